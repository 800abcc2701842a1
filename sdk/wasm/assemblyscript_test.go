//go:build !wasip1

package wasm_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/nagatha/nagatha-runtime/sdk"
	"github.com/nagatha/nagatha-runtime/sdk/wasm"
)

// TestAssemblyScript: the plugin in AssemblyScript that docs/plugins.md speaks of.
func TestAssemblyScript(t *testing.T) {
	const dir = "testdata/assemblyscript"
	module := filepath.Join(t.TempDir(), "greet.wasm")
	for _, command := range [][]string{
		{"npm", "ci", "--no-audit", "--no-fund", "--fetch-retries=5", "--ignore-scripts"},
		{"node", "node_modules/assemblyscript/bin/asc.js", "greet.ts", "-o", module, "--exportStart", "_start", "--use", "abort=greet/fail", "--optimize"},
	} {
		run := exec.Command(command[0], command[1:]...)
		run.Dir = dir
		if out, err := run.CombinedOutput(); err != nil {
			if os.Getenv("NAGATHA_NO_SKIP") != "" {
				t.Fatalf("needs Node and npm: %v\n%s", err, out)
			}
			t.Skipf("SKIPPED: needs Node and npm: %v", err)
		}
	}
	p := load(t, wasm.Config{Path: module, Name: "script"})
	if err := p.Configure(t.Context(), []byte(`{}`)); err != nil {
		t.Fatal(err)
	}
	for payload, want := range map[string]string{
		`{"name":"Ann"}`: `{"text":"Hello, Ann"}`,
		`{ "a" : ["}", {"b":"\""}], "name":"Zoë" }`: `{"text":"Hello, Zoë"}`,
	} {
		if got, err := run(t, p, "script.greet", payload); got != want || err != nil {
			t.Errorf("%s: %s, %v", payload, got, err)
		}
	}
	if _, err := run(t, p, "script.greet", `{"name":1}`); sdk.CodeOf(err) != "no_name" {
		t.Errorf("got %v", err)
	}
	if _, err := run(t, p, "script.wave", `{}`); sdk.CodeOf(err) != sdk.CodePluginProtocol {
		t.Errorf("got %v", err)
	}
}
