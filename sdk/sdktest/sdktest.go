// Package sdktest tests plugins: [Host] is a host for unit tests of handlers, and
// [Carriers] builds a plugin for both carriers and runs it through the real wires.
//
//	func TestMain(m *testing.M) {
//		process.Supervise() // the test binary is the supervisor of the plugin
//		os.Exit(m.Run())
//	}
//
//	func TestPlugin(t *testing.T) {
//		sdktest.Carriers(t, "example.com/my/plugin", sdktest.Options{}, func(t *testing.T, p sdktest.Plugin) {
//			sdktest.Conformance(t, p)
//			got, err := p.Run(t, "my.kind", `{"n":1}`, sdktest.NewHost())
//			…
//		})
//	}
package sdktest

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/nagatha/nagatha-runtime/sdk"
	"github.com/nagatha/nagatha-runtime/sdk/process"
	"github.com/nagatha/nagatha-runtime/sdk/wasm"
)

// Carrier is what both carriers' plugins can do.
type Carrier interface {
	sdk.Plugin
	sdk.Configurer
	Done() <-chan struct{}
	Close(ctx context.Context) error
}

// Plugin is a plugin under test on one carrier.
type Plugin struct {
	Carrier
	Name   string // of the carrier: process or wasm
	Launch func(t *testing.T) Carrier
}

// Options say how the plugin is run. Zero is a default.
type Options struct {
	Config      json.RawMessage // default {}
	Memory      int64           // bytes; default 256 MiB (wasm), none (process)
	Instances   int             // wasm
	ProcessOnly bool            // it cannot be a module
	Env         []string        // process
}

// Carriers builds the main package pkg for each carrier and calls f with the
// plugin running there. It ends when f does.
func Carriers(t *testing.T, pkg string, o Options, f func(t *testing.T, p Plugin)) {
	t.Helper()
	if o.Config == nil {
		o.Config = json.RawMessage("{}")
	}
	log := func(t *testing.T) func(slog.Level, string) {
		return func(l slog.Level, s string) { t.Logf("plugin: %v %s", l, s) }
	}
	run := func(name string, launch func(t *testing.T) (Carrier, error)) {
		t.Run(name, func(t *testing.T) {
			start := func(t *testing.T) Carrier {
				t.Helper()
				c, err := launch(t)
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { _ = c.Close(context.Background()) })
				if err := c.Configure(t.Context(), o.Config); err != nil {
					t.Fatal(err)
				}
				return c
			}
			f(t, Plugin{Carrier: start(t), Name: name, Launch: start})
		})
	}

	program := build(t, pkg, "plugin", "")
	run("process", func(t *testing.T) (Carrier, error) {
		parent := os.TempDir()
		if len(parent) > 40 { // a socket's path may have about a hundred bytes
			parent = "/tmp"
		}
		dir, err := os.MkdirTemp(parent, "sdktest")
		if err != nil {
			return nil, err
		}
		t.Cleanup(func() { os.RemoveAll(dir) })
		return process.Launch(t.Context(), process.Config{Name: filepath.Base(pkg), Command: []string{program}, Env: o.Env, RunDir: dir,
			Memory: o.Memory, Log: log(t)})
	})
	if o.ProcessOnly {
		return
	}
	module := build(t, pkg, "plugin.wasm", "wasip1")
	cache := t.TempDir()
	run("wasm", func(t *testing.T) (Carrier, error) {
		memory := o.Memory
		if memory == 0 {
			memory = 256 << 20
		}
		return wasm.Load(t.Context(), wasm.Config{Name: filepath.Base(pkg), Path: module, CacheDir: cache, Instances: o.Instances,
			Memory: memory, Log: log(t)})
	})
}

// build is plain go build, as a plugin's writer would call it.
func build(t *testing.T, pkg, out, goos string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), out)
	cmd := exec.Command("go", "build", "-ldflags=-s -w", "-o", path, pkg)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if goos != "" {
		cmd.Env = append(cmd.Env, "GOOS="+goos, "GOARCH=wasm")
	}
	if b, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build %s: %v\n%s", pkg, err, b)
	}
	return path
}

// Task makes a first attempt of a task. Its ID is always the same: a test of several
// tasks, whose handler keeps something for each, gives them others.
func Task(kind, payload string) *sdk.Task {
	now := sdk.Now()
	return &sdk.Task{ID: "tsk_test", Kind: kind, Queue: "default", State: sdk.StateRunning, Payload: json.RawMessage(payload),
		Life: 1, Attempt: 1, MaxAttempts: 5, CreatedAt: now, RunAt: now, StartedAt: now, Timeout: sdk.Duration(time.Minute)}
}

// Run runs one attempt to its end.
func (p Plugin) Run(t *testing.T, kind, payload string, host sdk.Host) (string, error) {
	t.Helper()
	got, err := p.Handle(t.Context(), Task(kind, payload), host)
	return string(got), err
}

// ErrStopped is the cause with which [Plugin.RunFor] ends an attempt.
var ErrStopped = errors.New("the test ended the attempt")

// RunFor runs an attempt whose context ends after d, and which is aborted grace
// later.
func (p Plugin) RunFor(t *testing.T, d, grace time.Duration, kind, payload string, host sdk.Host) (string, error) {
	t.Helper()
	abort := make(chan struct{})
	ctx, cancel := context.WithCancelCause(sdk.WithAbort(t.Context(), abort))
	stop := time.AfterFunc(d, func() { cancel(ErrStopped) })
	kill := time.AfterFunc(d+grace, func() { close(abort) })
	defer func() { stop.Stop(); kill.Stop(); cancel(nil) }()
	got, err := p.Handle(ctx, Task(kind, payload), host)
	return string(got), err
}

// Conformance checks what every plugin must do and should say; see [Verify] and
// [Undescribed].
func Conformance(t *testing.T, p Plugin) {
	t.Helper()
	if err := Verify(t.Context(), p); err != nil {
		t.Error(err)
	}
	for _, what := range Undescribed(p.Info()) {
		t.Error(what)
	}
}
