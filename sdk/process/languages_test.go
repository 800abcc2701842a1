package process_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/nagatha/nagatha-runtime/sdk"
	"github.com/nagatha/nagatha-runtime/sdk/sdktest"
)

// TestNode: the plugin in Node that docs/plugins.md speaks of.
func TestNode(t *testing.T) {
	install := exec.Command("npm", "ci", "--no-audit", "--no-fund", "--fetch-retries=5", "--ignore-scripts")
	install.Dir = "testdata/node"
	if out, err := install.CombinedOutput(); err != nil {
		if os.Getenv("NAGATHA_NO_SKIP") != "" {
			t.Fatalf("needs Node and npm: %v\n%s", err, out)
		}
		t.Skipf("SKIPPED: needs Node and npm: %v", err)
	}
	greets(t, "node", nil, "node", "testdata/node/greet.js", "../wire/nagatha.proto")
}

// TestPython: the plugin in Python. Debian's packages are python3-grpcio and
// python3-grpc-tools; .ci/run installs them.
func TestPython(t *testing.T) {
	const python = "/usr/bin/python3" // Debian's, whatever else is in front
	dir := t.TempDir()
	generate := exec.Command(python, "-m", "grpc_tools.protoc", "-I", "../wire", "--python_out", dir, "--grpc_python_out", dir, "nagatha.proto")
	if out, err := generate.CombinedOutput(); err != nil {
		t.Skipf("SKIPPED: needs python3-grpcio and python3-grpc-tools: %v\n%s", err, out)
	}
	greets(t, "python", []string{"PYTHONPATH=" + dir}, python, "testdata/python/greet.py")
}

// greets starts a plugin in another language and lets it greet.
func greets(t *testing.T, name string, env []string, command ...string) {
	t.Helper()
	cfg := config(t, "")
	cfg.Command, cfg.Env = command, append(cfg.Env, env...)
	p := launch(t, cfg)
	if err := p.Configure(t.Context(), []byte(`{}`)); err != nil {
		t.Fatal(err)
	}
	kind := name + ".greet"
	if h := p.Info().Handlers; p.Info().Name != name || len(h) != 1 || h[0].Kind != kind {
		t.Errorf("manifest %+v", p.Info())
	}
	greet := func(payload string) (string, error) {
		host := sdktest.NewHost()
		host.Now = func() sdk.Time { return sdk.TimeOf(time.Date(2026, 11, 26, 0, 0, 0, 0, time.UTC)) }
		got, err := p.Handle(t.Context(), &sdk.Task{ID: "tsk_1", Kind: kind, Payload: []byte(payload), Life: 1, Attempt: 1, MaxAttempts: 5}, host)
		return string(got), err
	}
	for range 3 {
		got, err := greet(`{"name":"Ann"}`)
		var said struct {
			Text string
			Year int
		}
		if json.Unmarshal([]byte(got), &said) != nil || said.Text != "Hello, Ann" || said.Year != 2026 || err != nil {
			t.Errorf("got %s, %v", got, err)
		}
	}
	if _, err := greet(`null`); sdk.CodeOf(err) != sdk.CodeHandlerError || !sdk.AsError(err).Retryable {
		t.Errorf("got %v", err)
	}
}
