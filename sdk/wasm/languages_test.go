//go:build !wasip1

package wasm_test

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/nagatha/nagatha-runtime/sdk"
	"github.com/nagatha/nagatha-runtime/sdk/sdktest"
	"github.com/nagatha/nagatha-runtime/sdk/wasm"
)

// The plugins in other languages that docs/plugins.md speaks of.

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
	greets(t, p, "script")
	host := sdktest.NewHost()
	if _, err := p.Handle(t.Context(), sdktest.Task("script.greet", `{"name":"Ann"}`), host); err != nil || !slices.Equal(host.Lines(), []string{"progress 1/1 greeting"}) {
		t.Errorf("it said %q, %v", host.Lines(), err)
	}
}

// TestRust: Debian's packages are rustc and libstd-rust-dev-wasm32, and those of C for the
// linker; .ci/run installs them.
func TestRust(t *testing.T) {
	module := filepath.Join(t.TempDir(), "greet.wasm")
	compiler, target := rust()
	if compiler == "" {
		t.Skip("SKIPPED: needs rustc and its library for WASI")
	}
	compile(t, compiler, "--edition", "2021", "-O", "-C", "strip=symbols", "-D", "warnings", "--target", target, "testdata/rust/greet.rs", "-o", module)
	visits(t, module, "rust")
}

// rust looks for a compiler that can make modules: the one in front, or Debian's.
func rust() (compiler, target string) {
	for _, target := range []string{"wasm32-wasip1", "wasm32-wasi"} { // the name until Rust 1.78
		for _, compiler := range []string{"rustc", "/usr/bin/rustc"} {
			out, err := exec.Command(compiler, "--print", "target-libdir", "--target", target).Output()
			if err != nil {
				continue
			}
			if _, err := os.Stat(strings.TrimSpace(string(out))); err == nil {
				return compiler, target
			}
		}
	}
	return "", ""
}

// TestC: Debian's packages are clang, lld, wasi-libc and libclang-rt-dev-wasm32; .ci/run
// installs them.
func TestC(t *testing.T) {
	clang := []string{"clang", "--target=wasm32-wasi", "-O2", "-s"}
	module := filepath.Join(t.TempDir(), "greet.wasm")
	try := exec.Command(clang[0], append(clang[1:], "-x", "c", "-", "-o", module)...)
	try.Stdin = strings.NewReader("#include <stdio.h>\nint main(void) { return puts(\"\") < 0; }\n")
	if out, err := try.CombinedOutput(); err != nil {
		t.Skipf("SKIPPED: needs clang, lld, wasi-libc and libclang-rt-dev-wasm32: %v\n%s", err, out)
	}
	compile(t, append(clang, "-Wall", "-Wextra", "-Werror", "testdata/c/greet.c", "testdata/c/nagatha.c", "testdata/c/json.c", "-o", module)...)
	visits(t, module, "c")
}

func compile(t *testing.T, command ...string) {
	t.Helper()
	if out, err := exec.Command(command[0], command[1:]...).CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", command, err, out)
	}
}

// greets lets a plugin say hello to people with difficult names.
func greets(t *testing.T, p *wasm.Plugin, name string) {
	t.Helper()
	if err := sdktest.Verify(t.Context(), p); err != nil {
		t.Error(err)
	}
	if missing := sdktest.Undescribed(p.Info()); len(missing) > 0 || p.Info().Name != name {
		t.Errorf("the manifest of %s: %v", p.Info().Name, missing)
	}
	long := strings.Repeat("né", 50_000)
	for payload, want := range map[string]string{
		`{"name":"Ann"}`: "Hello, Ann",
		`{ "a" : ["}", {"b":"\""}], "c":-1.5e3 ,"d":[ ],"e":null, "name":"Zoë" }`: "Hello, Zoë",
		`{"name":"\"a\\b\"\n\t\u0001"}`:                                           "Hello, \"a\\b\"\n\t\u0001",
		`{"name":"Zo\u00eb \u20ac \ud83d\ude00 \/"}`:                              "Hello, Zoë € 😀 /",
		`{"name":"` + long + `"}`:                                                 "Hello, " + long,
	} {
		got, err := run(t, p, name+".greet", payload)
		var said struct{ Text string }
		if json.Unmarshal([]byte(got), &said) != nil || said.Text != want || err != nil {
			t.Errorf("%.80s: %.80s, %v", payload, got, err)
		}
	}
	if _, err := run(t, p, name+".greet", `{"name":1}`); sdk.CodeOf(err) != "no_name" || sdk.AsError(err).Retryable {
		t.Errorf("got %v", err)
	}
}

// visits tries all that the plugins in C and Rust show: configuration, progress, log, calls
// of the host with their errors, waits, and the cancel of each.
func visits(t *testing.T, module, name string) {
	p := load(t, wasm.Config{Path: module, Name: name, Instances: 1, Concurrency: 4})
	if err := p.Configure(t.Context(), []byte(`{}`)); err != nil {
		t.Fatal(err)
	}
	greets(t, p, name)
	if err := p.Configure(t.Context(), []byte(`{"greeting":"Gr\u00fcezi"}`)); err != nil {
		t.Fatal(err)
	}
	if got, err := run(t, p, name+".greet", `{"name":"Ann"}`); got != `{"text":"Grüezi, Ann"}` || err != nil {
		t.Errorf("got %s, %v", got, err)
	}

	visit := func(ctx context.Context, payload string, host sdk.Host) (string, error) {
		got, err := p.Handle(ctx, sdktest.Task(name+".visit", payload), host)
		return string(got), err
	}
	host := sdktest.NewHost()
	for _, want := range []string{`{"visits":1}`, `{"visits":2}`} {
		if got, err := visit(t.Context(), `{"name":"Ann","rooms":2}`, host); got != want || err != nil {
			t.Errorf("got %s, %v, want %s", got, err, want)
		}
	}
	lines := host.Lines()
	if !slices.Equal(lines[1:3], []string{"progress 1/2 room 1", "progress 2/2 room 2"}) || len(lines) != 6 ||
		!strings.HasPrefix(lines[0], "log INFO a visit [") || !strings.Contains(lines[0], "attempt 1") || !strings.Contains(lines[0], "name Ann") {
		t.Errorf("it said %q", lines)
	}
	if item := host.Items["visits/Ann"]; string(item.Value) != "2" || item.Version != 2 {
		t.Errorf("it stored %s, version %d", item.Value, item.Version)
	}

	denied := sdktest.NewHost()
	denied.Denied[sdk.OpKVGet] = true
	if _, err := visit(t.Context(), `{"name":"Ann"}`, denied); sdk.CodeOf(err) != sdk.CodeCapabilityDenied || sdk.AsError(err).Retryable {
		t.Errorf("without a grant: %v", err)
	}
	if _, err := visit(t.Context(), `{"name":"Ann"}`, beaten{sdktest.NewHost()}); sdk.CodeOf(err) != sdk.CodeConflict || !sdk.AsError(err).Retryable {
		t.Errorf("when another was faster: %v", err)
	}

	// A cancel, in a wait and in a call.
	for payload, host := range map[string]interface {
		sdk.Host
		Heard() <-chan struct{}
	}{`{"name":"Ann","rooms":1000000}`: sdktest.NewHost(), `{"name":"Ann"}`: deaf{sdktest.NewHost()}} {
		ctx, cancel := context.WithCancel(sdk.WithAbort(t.Context(), nil))
		go func() { <-host.Heard(); cancel() }()
		if _, err := visit(ctx, payload, host); sdk.CodeOf(err) != sdk.CodeCancelled {
			t.Errorf("cancelled in %s: %v", payload, err)
		}
	}

	// One instance has several tasks: they wait for each other, and none is lost, nor is
	// the cancel of one that waits, in whatever order all this arrives.
	host = sdktest.NewHost()
	ctx, cancel := context.WithCancel(sdk.WithAbort(t.Context(), nil))
	gone, already := context.WithCancel(ctx)
	already()
	var wg sync.WaitGroup
	wg.Go(func() {
		if _, err := visit(ctx, `{"name":"Ann","rooms":1000000}`, host); sdk.CodeOf(err) != sdk.CodeCancelled {
			t.Errorf("the first: %v", err)
		}
	})
	<-host.Heard()
	wg.Go(func() {
		if _, err := p.Handle(gone, sdktest.Task(name+".visit", `{"name":"Bob","rooms":1000000}`), host); sdk.CodeOf(err) != sdk.CodeCancelled {
			t.Errorf("the second: %v", err)
		}
	})
	wg.Go(func() {
		if got, err := visit(t.Context(), `{"name":"Cleo"}`, host); got != `{"visits":1}` || err != nil {
			t.Errorf("the third: %s, %v", got, err)
		}
	})
	cancel()
	wg.Wait()
	if p.Instances() != 1 {
		t.Errorf("%d instances", p.Instances())
	}
}

// beaten is a host whose store was written by another meanwhile.
type beaten struct{ *sdktest.Host }

func (h beaten) Call(ctx context.Context, op string, request []byte) ([]byte, error) {
	if op == sdk.OpKVSet {
		return nil, sdk.Errorf(sdk.CodeConflict, "%s: another version", op)
	}
	return h.Host.Call(ctx, op, request)
}
