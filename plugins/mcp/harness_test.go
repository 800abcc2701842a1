package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/nagatha/nagatha-runtime/sdk"
	"github.com/nagatha/nagatha-runtime/sdk/process"
	"github.com/nagatha/nagatha-runtime/sdk/sdktest"
)

func TestMain(m *testing.M) {
	process.Supervise()
	if part := os.Getenv("TEST_SERVER"); part != "" {
		serverMain(part)
	}
	if scenario := os.Getenv("MCP_CONFORMANCE_SCENARIO"); scenario != "" {
		conformanceMain(scenario)
	}
	goleak.VerifyTestMain(m)
}

var npm = sync.OnceValue(func() error {
	for _, tool := range []string{"node", "npm"} {
		if _, err := exec.LookPath(tool); err != nil {
			return err
		}
	}
	// The last of them: an older install may have only the first.
	if _, err := os.Stat(script("sequential-thinking")); err == nil {
		return nil
	}
	cmd := exec.Command("npm", "ci", "--no-audit", "--no-fund", "--fetch-retries=5", "--ignore-scripts")
	cmd.Dir = "testdata/npm"
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("npm ci: %w\n%s", err, out)
	}
	return nil
})

// script is the program of one of the real servers.
func script(name string) string {
	path, err := filepath.Abs("testdata/npm/node_modules/@modelcontextprotocol/server-" + name + "/dist/index.js")
	if err != nil {
		panic(err)
	}
	return path
}

// needNode installs the real servers, or skips: in CI a skip is a failure.
func needNode(t *testing.T) {
	t.Helper()
	if err := npm(); err != nil {
		if os.Getenv("NAGATHA_NO_SKIP") != "" {
			t.Fatalf("needs Node and npm: %v", err)
		}
		t.Skipf("SKIPPED: needs Node and npm: %v", err)
	}
}

type plugin struct {
	*testing.T
	sdk.Plugin
}

// start configures a plugin in this process.
func start(t *testing.T, servers map[string]serverConfig) plugin {
	t.Helper()
	return startWith(t, map[string]any{"servers": servers})
}

func startWith(t *testing.T, config map[string]any) plugin {
	t.Helper()
	p := newPlugin()
	raw, err := json.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	if err := p.(sdk.Configurer).Configure(t.Context(), raw); err != nil {
		t.Fatal(err)
	}
	if d := time.Since(begin); d > 9*time.Second {
		t.Errorf("configuring took %v", d)
	}
	t.Cleanup(func() {
		if err := p.(interface{ Close() error }).Close(); err != nil {
			t.Error(err)
		}
	})
	return plugin{t, p}
}

func node(args ...string) serverConfig {
	return serverConfig{Command: append([]string{"node", script(args[0])}, args[1:]...)}
}

func real() map[string]serverConfig {
	return map[string]serverConfig{"everything": node("everything")}
}

func fake(part string) serverConfig {
	self, err := os.Executable()
	if err != nil {
		panic(err)
	}
	return serverConfig{Command: []string{self}, Env: map[string]string{"TEST_SERVER": part}}
}

func (p plugin) run(ctx context.Context, kind, payload string, host sdk.Host, result any) error {
	p.Helper()
	b, err := p.Handle(ctx, sdktest.Task("mcp."+kind, payload), host)
	if err == nil && result != nil {
		err = json.Unmarshal(b, result)
	}
	return err
}

// must runs a kind that works.
func (p plugin) must(kind, payload string, host sdk.Host, result any) {
	p.Helper()
	if err := p.run(p.Context(), kind, payload, host, result); err != nil {
		p.Fatalf("%s %s: %v", kind, payload, err)
	}
}

type called struct {
	Content    []struct{ Type, Text string }
	Structured any
	IsError    bool `json:"is_error"`
}

func (c called) text() string {
	var out []string
	for _, part := range c.Content {
		out = append(out, part.Text)
	}
	return strings.Join(out, "\n")
}

// call calls a tool that answers.
func (p plugin) call(server, tool, arguments string, host sdk.Host) called {
	p.Helper()
	var got called
	p.must("call_tool", fmt.Sprintf(`{"server":%q,"tool":%q,"arguments":%s}`, server, tool, arguments), host, &got)
	return got
}

// tools lists the tools of a server by name.
func (p plugin) tools(server string, host sdk.Host) map[string]tool {
	p.Helper()
	var list struct{ Tools []tool }
	p.must("list_tools", `{"server":"`+server+`"}`, host, &list)
	out := map[string]tool{}
	for _, t := range list.Tools {
		out[t.Name] = t
	}
	return out
}

func (p plugin) state(server string) status {
	p.Helper()
	var list struct{ Servers []status }
	p.must("servers", `{}`, sdktest.NewHost(), &list)
	for _, s := range list.Servers {
		if s.Name == server {
			return s
		}
	}
	p.Fatalf("no server %q in %+v", server, list)
	return status{}
}

// wants checks an error's code and its text.
func wants(t *testing.T, err error, code sdk.Code, texts ...string) {
	t.Helper()
	e := sdk.AsError(err)
	if e == nil || e.Code != code {
		t.Errorf("got %v, want %s", err, code)
		return
	}
	for _, text := range texts {
		if !strings.Contains(e.Message, text) {
			t.Errorf("want %q in %q", text, e.Message)
		}
	}
}

// eventually waits for something that another goroutine brings about.
func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !f(); {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-t.Context().Done():
		}
	}
}

// children are the processes that this one started whose command line has a word.
func children(t *testing.T, word string) []int {
	t.Helper()
	out, err := exec.Command("pgrep", "-P", fmt.Sprint(os.Getpid()), "-f", word).Output()
	if err != nil && len(out) > 0 {
		t.Fatalf("pgrep: %v", err)
	}
	var pids []int
	for _, f := range strings.Fields(string(out)) {
		var pid int
		if _, err := fmt.Sscan(f, &pid); err != nil {
			t.Fatal(err)
		}
		pids = append(pids, pid)
	}
	return pids
}

// kill ends this process's child that has a word in its command line.
func kill(t *testing.T, word string) {
	t.Helper()
	pids := children(t, word)
	if len(pids) == 0 {
		t.Fatalf("no process %s", word)
	}
	if err := syscall.Kill(pids[0], syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
}
