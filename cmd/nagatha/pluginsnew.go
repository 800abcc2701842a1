package main

import (
	"embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/spf13/cobra"
)

//go:embed template
var pluginTemplate embed.FS

const sdkModule = "github.com/nagatha/nagatha-runtime"

var pluginName = regexp.MustCompile(`^[a-z][a-z0-9_-]*$`)

func (a *app) pluginsNewCommand() *cobra.Command {
	var dir, sdkPath, module string
	c := &cobra.Command{
		Use:   "new NAME",
		Short: "Write a plugin to begin with: one file that compiles, and its test",
		Long: `Write a plugin to begin with into a new directory: main.go with one kind, and a test
that runs it on both carriers. Outside a Go module it gets a go.mod, too; --sdk names
a checkout of the runtime's source whose SDK is then used. A nagatha that stands in the
bin of a checkout uses that one.`,
		Example: `  nagatha plugins new hello --sdk ~/src/nagatha-runtime
  cd hello && go test . && GOOS=wasip1 GOARCH=wasm go build -o hello.wasm`,
		Args: exactly("NAME"),
		RunE: func(c *cobra.Command, args []string) error {
			name := args[0]
			if !pluginName.MatchString(name) || name == "system" {
				return usagef("NAME %q: want a lower-case name such as hello", name)
			}
			if dir == "" {
				dir = name
			}
			files, err := newPlugin(name, dir, sdkPath, module)
			if err != nil {
				return err
			}
			return a.show(map[string]any{"dir": dir, "files": files}, func(w io.Writer) error {
				_, err := fmt.Fprintf(w, "wrote %s\n", strings.Join(files, ", "))
				if released() && len(files) == 3 { // with a go.mod, and no go.sum
					a.say("fetch the SDK with: cd %s && go mod tidy", dir)
				}
				a.say("test it with: cd %s && go test .", dir)
				a.say("build it with: GOOS=wasip1 GOARCH=wasm go build -o %s.wasm", name)
				a.say("check it with: nagatha plugins check %s.wasm", name)
				return err
			})
		},
	}
	c.Flags().StringVar(&dir, "dir", "", "the directory to make (default NAME)")
	c.Flags().StringVar(&sdkPath, "sdk", "", "a checkout of the runtime, for go.mod")
	c.Flags().StringVar(&module, "module", "", "the module's `path`, for go.mod (default NAME)")
	return c
}

// newPlugin writes the files and returns their paths.
func newPlugin(name, dir, sdkPath, module string) ([]string, error) {
	files := map[string]string{}
	for _, f := range []string{"main.go", "main_test.go"} {
		text, err := pluginTemplate.ReadFile("template/" + f + ".txt")
		if err != nil {
			return nil, err
		}
		files[f] = strings.ReplaceAll(string(text), "NAME", name)
	}
	inside, err := insideModule(dir)
	if err != nil {
		return nil, err
	}
	if !inside || module != "" || sdkPath != "" {
		if module == "" {
			module = name
		}
		if program, err := os.Executable(); err == nil && sdkPath == "" && !released() {
			sdkPath = checkout(program)
		}
		if files["go.mod"], files["go.sum"], err = goMod(module, sdkPath); err != nil {
			return nil, err
		}
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		if errors.Is(err, fs.ErrExist) {
			err = fmt.Errorf("%s is there already; name another directory with --dir", dir)
		}
		return nil, err
	}
	var written []string
	for _, f := range []string{"go.mod", "go.sum", "main.go", "main_test.go"} {
		if files[f] == "" {
			continue
		}
		path := filepath.Join(dir, f)
		if err := os.WriteFile(path, []byte(files[f]), 0o644); err != nil {
			return nil, err
		}
		written = append(written, path)
	}
	return written, nil
}

// insideModule reports whether a directory belongs to a Go module.
func insideModule(dir string) (bool, error) {
	dir, err := filepath.Abs(dir)
	for err == nil {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return true, nil
		}
		up := filepath.Dir(dir)
		if up == dir {
			return false, nil
		}
		dir = up
	}
	return false, err
}

// released reports whether this is a version that the module proxy has.
func released() bool { return strings.HasPrefix(version, "v") }

// checkout returns the checkout of the runtime's source in whose bin a program stands,
// or "".
func checkout(program string) string {
	dir := filepath.Dir(filepath.Dir(program))
	if text, err := os.ReadFile(filepath.Join(dir, "go.mod")); err != nil || !strings.HasPrefix(string(text), "module "+sdkModule+"\n") {
		return ""
	}
	return dir
}

// goMod makes a module that uses the SDK: that of a checkout with the very versions
// that it is tested with, or the released one.
func goMod(module, sdkPath string) (mod, sum string, err error) {
	if sdkPath == "" {
		if !released() {
			return "", "", usagef("this nagatha is no released version, so its SDK cannot be downloaded: name a checkout of the runtime's source with --sdk PATH")
		}
		return fmt.Sprintf("module %s\n\ngo 1.26\n\nrequire %s %s\n", module, sdkModule, version), "", nil
	}
	if sdkPath, err = filepath.Abs(sdkPath); err != nil {
		return "", "", err
	}
	text, err := os.ReadFile(filepath.Join(sdkPath, "go.mod"))
	if err != nil || !strings.HasPrefix(string(text), "module "+sdkModule+"\n") {
		return "", "", usagef("--sdk %s: there is no go.mod of %s", sdkPath, sdkModule)
	}
	sums, err := os.ReadFile(filepath.Join(sdkPath, "go.sum"))
	if err != nil {
		return "", "", err
	}
	_, rest, _ := strings.Cut(string(text), "\n")
	return fmt.Sprintf("module %s\n%s\nrequire %s v0.0.0\n\nreplace %s => %s\n", module, rest, sdkModule, sdkModule, sdkPath), string(sums), nil
}
