package main

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/nagatha/nagatha-runtime"

// layer is what one room may import: rooms of ours, and packages of others.
type layer struct {
	ours   []string
	others []string // prefixes of import paths
}

// The rooms and their walls (docs/design of the project, § 4). A package that is
// not here, or an import that is not allowed, fails the test: change the map only
// with a reason.
var layers = map[string]layer{
	"sdk":               {},
	"sdk/wire":          {ours: []string{"sdk"}},
	"sdk/wire/wiretest": {others: []string{"google.golang.org/protobuf"}}, // generated, for tests
	"sdk/process": {ours: []string{"sdk", "sdk/wire"},
		others: []string{"github.com/hashicorp/go-plugin", "github.com/hashicorp/go-hclog", "google.golang.org/grpc", "google.golang.org/protobuf", "golang.org/x/sys/unix"}},
	"sdk/wasm":    {ours: []string{"sdk", "sdk/wire"}, others: []string{"github.com/tetratelabs/wazero"}},
	"sdk/serve":   {ours: []string{"sdk", "sdk/wire", "sdk/process", "sdk/wasm"}},
	"sdk/sdktest": {ours: []string{"sdk", "sdk/wire", "sdk/process", "sdk/wasm", "sdk/serve"}},
	"sdk/client":  {ours: []string{"sdk"}, others: []string{"github.com/gorilla/websocket"}},

	"bus":         {ours: []string{"sdk"}, others: []string{"github.com/ThreeDotsLabs/watermill"}},
	"bus/bustest": {ours: []string{"bus", "sdk"}, others: []string{"github.com/ThreeDotsLabs/watermill"}},

	"runtime": {ours: []string{"bus", "sdk"},
		others: []string{"github.com/santhosh-tekuri/jsonschema", "golang.org/x/text", // jsonschema's messages
			"github.com/adhocore/gronx"}},
	"runtime/store":           {ours: []string{"runtime", "sdk"}, others: []string{"github.com/mattn/go-sqlite3", "github.com/jackc/pgx", "github.com/pressly/goose", "golang.org/x/sys/unix"}},
	"runtime/store/storetest": {ours: []string{"runtime", "sdk"}, others: []string{"pgregory.net/rapid", "github.com/jackc/pgx"}},
	"runtime/host":            {ours: []string{"sdk", "sdk/wire", "sdk/process", "sdk/wasm"}, others: []string{"github.com/hashicorp/go-plugin", "github.com/tetratelabs/wazero"}},
	"runtime/api": {ours: []string{"runtime", "sdk"},
		others: []string{"github.com/gorilla/websocket", "github.com/danielgtaylor/huma", "github.com/prometheus/client_golang"}},
	"runtime/config": {others: []string{"github.com/hashicorp/hcl", "github.com/zclconf/go-cty", "github.com/agext/levenshtein"}},

	"plugins/agent":     {ours: []string{"sdk", "sdk/serve"}},
	"plugins/demo":      {ours: []string{"sdk", "sdk/serve"}},
	"plugins/memory":    {ours: []string{"sdk", "sdk/serve"}},
	"plugins/reminders": {ours: []string{"sdk", "sdk/serve"}},
	"plugins/usage":     {ours: []string{"sdk", "sdk/serve"}},
	"plugins/mcp":       {ours: []string{"sdk", "sdk/serve"}, others: []string{"github.com/modelcontextprotocol/go-sdk"}},

	// plugins check judges a plugin's file as the runtime would, by the runtime's rules.
	"cmd/nagatha": {ours: []string{"runtime", "sdk", "sdk/client", "sdk/process", "sdk/sdktest", "sdk/wasm"},
		others: []string{"github.com/spf13/cobra", "github.com/spf13/pflag", "github.com/schollz/progressbar", "golang.org/x/term"}},
	"cmd/nagatha-runtime": {ours: []string{"bus", "runtime", "runtime/api", "runtime/config", "runtime/host", "runtime/store", "sdk", "sdk/process"},
		others: []string{"github.com/ThreeDotsLabs/watermill/message"}},
}

type pkg struct {
	ImportPath string
	Imports    []string
	GoFiles    []string
}

// list asks go for the packages as they are built for a target.
func list(t *testing.T, env ...string) []pkg {
	t.Helper()
	cmd := exec.Command("go", "list", "-e", "-tags", "sqlite_fts5", "-json=ImportPath,Imports,GoFiles", "./...")
	cmd.Dir = "../.."
	cmd.Env = append(os.Environ(), env...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, &stderr)
	}
	var pkgs []pkg
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p pkg
		if err := dec.Decode(&p); err == io.EOF {
			return pkgs
		} else if err != nil {
			t.Fatal(err)
		}
		pkgs = append(pkgs, p)
	}
}

func TestLayers(t *testing.T) {
	for _, target := range [][]string{nil, {"GOOS=wasip1", "GOARCH=wasm", "CGO_ENABLED=0"}} {
		for _, p := range list(t, target...) {
			room := strings.TrimPrefix(strings.TrimPrefix(p.ImportPath, module), "/")
			if len(p.GoFiles) == 0 {
				continue
			}
			l, ok := layers[room]
			if !ok {
				t.Errorf("package %s is in no room: give it one in the map, or put its files elsewhere", p.ImportPath)
				continue
			}
			for _, i := range p.Imports {
				if wall := l.forbids(i); wall != "" {
					t.Errorf("%s imports %s: %s", room, i, wall)
				}
				if target != nil && strings.HasPrefix(room, "sdk/wasm") && strings.Contains(i, "wazero") {
					t.Errorf("%s imports %s in a guest", room, i)
				}
			}
		}
	}
}

// forbids says which wall an import breaks, or "".
func (l layer) forbids(path string) string {
	if ours, ok := strings.CutPrefix(path, module+"/"); ok {
		if slices.Contains(l.ours, ours) {
			return ""
		}
		return "the room may import of ours only " + strings.Join(l.ours, ", ")
	}
	if first, _, _ := strings.Cut(path, "/"); !strings.Contains(first, ".") {
		return "" // the standard library
	}
	for _, o := range l.others {
		if path == o || strings.HasPrefix(path, o+"/") {
			return ""
		}
	}
	return "the room may import of others only " + strings.Join(l.others, ", ")
}

// Small files, one noun each.
func TestFileSizes(t *testing.T) {
	err := filepath.WalkDir("../..", func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() && (d.Name() == "node_modules" || d.Name() == ".git") {
			if err == nil {
				err = filepath.SkipDir
			}
			return err
		}
		if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, ".pb.go") {
			return nil
		}
		b, err := os.ReadFile(path)
		if n := bytes.Count(b, []byte("\n")); n > 800 {
			t.Errorf("%s has %d lines: split it by its nouns", path, n)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
