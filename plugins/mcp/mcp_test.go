package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
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
	goleak.VerifyTestMain(m)
}

// serverMain plays servers that misbehave.
func serverMain(part string) {
	switch part {
	case "silent":
		select {}
	case "exits":
		fmt.Fprintln(os.Stderr, "no licence found")
		os.Exit(7)
	case "noisy", "slow":
		for sc := bufio.NewScanner(os.Stdin); sc.Scan(); {
			fmt.Println("[debug] got a line")
			var req struct {
				ID     json.RawMessage `json:"id"`
				Method string          `json:"method"`
			}
			_ = json.Unmarshal(sc.Bytes(), &req)
			reply := func(result string) { fmt.Printf("{\"jsonrpc\":\"2.0\",\"id\":%s,\"result\":%s}\n", req.ID, result) }
			switch req.Method {
			case "initialize":
				reply(`{"protocolVersion":"2025-06-18","capabilities":{"tools":{}},"serverInfo":{"name":"noisy","version":"1"}}`)
			case "tools/list":
				fmt.Println("{ not json")
				reply(`{"tools":[{"name":"hello","inputSchema":{"type":"object"}}]}`)
			case "tools/call":
				if part == "noisy" {
					reply(`{"content":[{"type":"text","text":"hi"}]}`)
				}
			default:
				if req.ID != nil {
					fmt.Printf("{\"jsonrpc\":\"2.0\",\"id\":%s,\"error\":{\"code\":-32601,\"message\":\"no such method\"}}\n", req.ID)
				}
			}
		}
	}
	os.Exit(0)
}

var npm = sync.OnceValue(func() error {
	for _, tool := range []string{"node", "npm"} {
		if _, err := exec.LookPath(tool); err != nil {
			return err
		}
	}
	if _, err := os.Stat(everything); err == nil {
		return nil
	}
	cmd := exec.Command("npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts")
	cmd.Dir = "testdata/npm"
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("npm ci: %w\n%s", err, out)
	}
	return nil
})

const everything = "testdata/npm/node_modules/@modelcontextprotocol/server-everything/dist/index.js"

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
	p := newPlugin()
	config, err := json.Marshal(map[string]any{"servers": servers})
	if err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	if err := p.(sdk.Configurer).Configure(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	if d := time.Since(begin); d > time.Second {
		t.Errorf("configuring took %v", d)
	}
	t.Cleanup(func() {
		if err := p.(interface{ Close() error }).Close(); err != nil {
			t.Error(err)
		}
	})
	return plugin{t, p}
}

func real() map[string]serverConfig {
	return map[string]serverConfig{"everything": {Command: []string{"node", everything}}}
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

type called struct {
	Content []struct{ Type, Text string }
	IsError bool `json:"is_error"`
}

func TestEverything(t *testing.T) {
	needNode(t)
	p := start(t, real())
	var list struct{ Tools []toolInfo }
	if err := p.run(t.Context(), "list_tools", `{}`, sdktest.NewHost(), &list); err != nil || len(list.Tools) < 5 || list.Tools[0].Server != "everything" {
		t.Fatalf("%d tools, %v", len(list.Tools), err)
	}
	var got called
	err := p.run(t.Context(), "call_tool", `{"server":"everything","tool":"echo","arguments":{"message":"hello"}}`, sdktest.NewHost(), &got)
	if err != nil || len(got.Content) != 1 || !strings.Contains(got.Content[0].Text, "hello") || got.IsError {
		t.Errorf("echo: %+v, %v", got, err)
	}
	// A tool's own error is a result.
	err = p.run(t.Context(), "call_tool", `{"server":"everything","tool":"echo","arguments":{"nonsense":1}}`, sdktest.NewHost(), &got)
	if err != nil || !got.IsError {
		t.Errorf("bad arguments: %+v, %v", got, err)
	}
	for payload, want := range map[string]string{
		`{"server":"nobody","tool":"echo"}`:       "configured are: everything",
		`{"server":"everything","tool":"nosuch"}`: "it has: ",
	} {
		err := p.run(t.Context(), "call_tool", payload, sdktest.NewHost(), nil)
		if e := sdk.AsError(err); e == nil || e.Code != sdk.CodeNotFound || e.Retryable || !strings.Contains(e.Message, want) {
			t.Errorf("%s: %v", payload, err)
		}
	}
	var health struct {
		Status struct{ Connected, Failed, Total_tools int } `json:"mcp_status"`
	}
	if err := p.run(t.Context(), "check_health", `{}`, sdktest.NewHost(), &health); err != nil || health.Status.Connected != 1 || health.Status.Total_tools != len(list.Tools) {
		t.Errorf("health: %+v, %v", health, err)
	}
}

func TestParallelCalls(t *testing.T) {
	needNode(t)
	p := start(t, real())
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			var got called
			err := p.run(t.Context(), "call_tool", fmt.Sprintf(`{"server":"everything","tool":"echo","arguments":{"message":"<%d>"}}`, i), sdktest.NewHost(), &got)
			if err != nil || len(got.Content) == 0 || !strings.Contains(got.Content[0].Text, fmt.Sprintf("<%d>", i)) {
				t.Errorf("call %d: %+v, %v", i, got, err)
			}
		})
	}
	wg.Wait()
}

const long = `{"server":"everything","tool":"trigger-long-running-operation","arguments":{"duration":%d,"steps":%d}}`

func TestProgress(t *testing.T) {
	needNode(t)
	p := start(t, real())
	host := sdktest.NewHost()
	if err := p.run(t.Context(), "call_tool", fmt.Sprintf(long, 1, 4), host, nil); err != nil {
		t.Fatal(err)
	}
	// The server may send the last one after the result.
	if lines := host.Lines(); len(lines) < 3 || !strings.HasPrefix(lines[0], "progress 1/4") {
		t.Errorf("said %q", lines)
	}
}

func TestKilledServer(t *testing.T) {
	needNode(t)
	p := start(t, real())
	host := sdktest.NewHost()
	done := make(chan error, 1)
	go func() { done <- p.run(context.Background(), "call_tool", fmt.Sprintf(long, 60, 600), host, nil) }()
	<-host.Heard()
	kill(t, "server-everything")
	select {
	case err := <-done:
		if e := sdk.AsError(err); e == nil || e.Code != sdk.CodeUnavailable || !e.Retryable || !strings.Contains(e.Message, "killed") {
			t.Errorf("the call that was under way: %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("the call hangs")
	}
	var got called
	if err := p.run(t.Context(), "call_tool", `{"server":"everything","tool":"echo","arguments":{"message":"again"}}`, host, &got); err != nil || len(got.Content) == 0 {
		t.Errorf("the next call: %+v, %v", got, err)
	}
	var list struct{ Servers []status }
	if err := p.run(t.Context(), "servers", `{}`, host, &list); err != nil || list.Servers[0].State != "connected" || list.Servers[0].Restarts != 1 {
		t.Errorf("servers: %+v, %v", list, err)
	}
}

// kill ends this process's child that has a word in its command line.
func kill(t *testing.T, word string) {
	t.Helper()
	out, err := exec.Command("pgrep", "-P", fmt.Sprint(os.Getpid()), "-f", word).Output()
	if err != nil {
		t.Fatalf("find %s: %v", word, err)
	}
	var pid int
	if _, err := fmt.Sscan(string(out), &pid); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
}

func TestCancel(t *testing.T) {
	needNode(t)
	p := start(t, real())
	host := sdktest.NewHost()
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("not needed any more")
	go func() { <-host.Heard(); cancel(why) }()
	if err := p.run(ctx, "call_tool", fmt.Sprintf(long, 60, 600), host, nil); !errors.Is(err, why) {
		t.Errorf("got %v", err)
	}
	if err := p.run(t.Context(), "call_tool", `{"server":"everything","tool":"echo","arguments":{"message":"x"}}`, host, nil); err != nil {
		t.Errorf("the next call: %v", err)
	}
}

func TestTimeouts(t *testing.T) {
	silent := fake("silent")
	silent.ConnectTimeout = sdk.Duration(300 * time.Millisecond)
	p := start(t, map[string]serverConfig{"silent": silent, "slow": fake("slow")})
	begin := time.Now()
	err := p.run(t.Context(), "call_tool", `{"server":"silent","tool":"x","timeout":"3s"}`, sdktest.NewHost(), nil)
	if e := sdk.AsError(err); e == nil || e.Code != sdk.CodeUnavailable || !strings.Contains(e.Message, "within 300ms") {
		t.Errorf("silent: %v", err)
	}
	err = p.run(t.Context(), "call_tool", `{"server":"slow","tool":"hello","timeout":"200ms"}`, sdktest.NewHost(), nil)
	if e := sdk.AsError(err); e == nil || e.Code != sdk.CodeTimeout || !strings.Contains(e.Message, "within 200ms") {
		t.Errorf("slow: %v", err)
	}
	if d := time.Since(begin); d > 10*time.Second {
		t.Errorf("it took %v", d)
	}
}

func TestNoisyServer(t *testing.T) {
	p := start(t, map[string]serverConfig{"noisy": fake("noisy")})
	for range 3 {
		var got called
		if err := p.run(t.Context(), "call_tool", `{"server":"noisy","tool":"hello"}`, sdktest.NewHost(), &got); err != nil || got.Content[0].Text != "hi" {
			t.Fatalf("got %+v, %v", got, err)
		}
	}
}

func TestServersThatDoNotStart(t *testing.T) {
	p := start(t, map[string]serverConfig{"exits": fake("exits"), "missing": {Command: []string{"/no/such/program"}}, "cat": {Command: []string{"cat"}}})
	for server, want := range map[string][]string{"exits": {"exit status 7", "no licence found"}, "missing": {"no such file"}, "cat": {"connect"}} {
		err := p.run(t.Context(), "call_tool", `{"server":"`+server+`","tool":"x"}`, sdktest.NewHost(), nil)
		e := sdk.AsError(err)
		if e == nil || e.Code != sdk.CodeUnavailable {
			t.Errorf("%s: %v", server, err)
			continue
		}
		for _, w := range want {
			if !strings.Contains(e.Message, w) {
				t.Errorf("%s: want %q in %s", server, w, e.Message)
			}
		}
	}
	var health struct {
		Status struct{ Failed int } `json:"mcp_status"`
	}
	if err := p.run(t.Context(), "check_health", `{}`, sdktest.NewHost(), &health); err != nil || health.Status.Failed != 3 {
		t.Errorf("health: %+v, %v", health, err)
	}
}

func TestBadConfig(t *testing.T) {
	for _, c := range []string{`{"servers":{"a":{"command":[]}}}`, `{"servers":{"a":{"comand":["x"]}}}`, `{"servers":{"a":{"command":["x"],"call_timeout":"soon"}}}`} {
		if err := newPlugin().(sdk.Configurer).Configure(t.Context(), json.RawMessage(c)); err == nil {
			t.Errorf("%s passed", c)
		}
	}
}

func TestCloseLeavesNothing(t *testing.T) {
	p := start(t, map[string]serverConfig{"deaf": {Command: []string{"sh", "-c", "trap '' TERM; setsid sleep 300 & sleep 301"}, ConnectTimeout: sdk.Duration(200 * time.Millisecond)}})
	_ = p.run(t.Context(), "call_tool", `{"server":"deaf","tool":"x","timeout":"2s"}`, sdktest.NewHost(), nil)
	if err := p.Plugin.(interface{ Close() error }).Close(); err != nil {
		t.Error(err)
	}
	if out, err := exec.Command("pgrep", "-f", "sleep 301").Output(); err == nil {
		t.Errorf("still there: %s", out)
	}
}

// The real carrier, and the conformance suite.
func TestAsProcess(t *testing.T) {
	needNode(t)
	abs, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	config := fmt.Sprintf(`{"servers":{"everything":{"command":["node",%q]}}}`, abs+"/"+everything)
	sdktest.Carriers(t, "github.com/nagatha/nagatha-runtime/plugins/mcp", sdktest.Options{ProcessOnly: true, Config: json.RawMessage(config),
		Env: []string{"PATH=" + os.Getenv("PATH")}}, func(t *testing.T, p sdktest.Plugin) {
		sdktest.Conformance(t, p)
		got, err := p.Run(t, "mcp.call_tool", `{"server":"everything","tool":"echo","arguments":{"message":"hello"}}`, sdktest.NewHost())
		if err != nil || !strings.Contains(got, "hello") {
			t.Errorf("got %s, %v", got, err)
		}
	})
}
