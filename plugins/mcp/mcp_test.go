package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nagatha/nagatha-runtime/sdk"
	"github.com/nagatha/nagatha-runtime/sdk/sdktest"
)

// testEverything is what the real server-everything must do on any transport.
func testEverything(t *testing.T, p plugin) {
	host := sdktest.NewHost()
	tools := p.tools("everything", host)
	echo := tools["echo"]
	if len(tools) < 5 || echo.Server != "everything" || echo.Description == "" || !echo.Enabled || len(echo.Hash) != 64 || echo.InputSchema == nil {
		t.Fatalf("%d tools; echo: %+v", len(tools), echo)
	}
	if got := p.call("everything", "echo", `{"message":"hello"}`, host); len(got.Content) != 1 || !strings.Contains(got.text(), "hello") || got.IsError {
		t.Errorf("echo: %+v", got)
	}
	if got := p.call("everything", "get-structured-content", `{"location":"Chicago"}`, host); got.Structured == nil {
		t.Errorf("structured content: %+v", got)
	}
	// A tool's own error is a result.
	if got := p.call("everything", "echo", `{"nonsense":1}`, host); !got.IsError {
		t.Errorf("bad arguments: %+v", got)
	}
	for payload, want := range map[string]string{
		`{"server":"nobody","tool":"echo"}`:       "configured are: everything",
		`{"server":"everything","tool":"nosuch"}`: "it has: ",
	} {
		err := p.run(t.Context(), "call_tool", payload, host, nil)
		if wants(t, err, sdk.CodeNotFound, want); sdk.AsError(err).Retryable {
			t.Errorf("%s: retryable", payload)
		}
	}
	testResources(t, p, host)
	var health struct {
		Status struct{ Connected, Failed, Total_tools int } `json:"mcp_status"`
	}
	if p.must("check_health", `{}`, host, &health); health.Status.Connected != 1 || health.Status.Total_tools != len(tools) {
		t.Errorf("health: %+v", health)
	}
	var test struct {
		Connected    bool
		Tools        int      `json:"tools_count"`
		Protocol     string   `json:"protocol_version"`
		Server       string   `json:"server_info"`
		Capabilities []string `json:"capabilities"`
	}
	if p.must("test_connection", `{"server":"everything"}`, host, &test); !test.Connected || test.Tools != len(tools) || test.Protocol != oldEra || !strings.Contains(test.Server, "everything") ||
		!strings.Contains(strings.Join(test.Capabilities, " "), "prompts resources tools") {
		t.Errorf("test_connection: %+v", test)
	}
	host = sdktest.NewHost()
	p.call("everything", "trigger-long-running-operation", `{"duration":1,"steps":4}`, host)
	// The last one comes beside the result, or after it.
	if lines := host.Lines(); len(lines) != 4 || !strings.HasPrefix(lines[0], "progress 1/4") || !strings.HasPrefix(lines[3], "progress 4/4") {
		t.Errorf("said %q", lines)
	}
}

func testResources(t *testing.T, p plugin, host sdk.Host) {
	var list struct {
		Resources, Templates []resource
	}
	p.must("list_resources", `{}`, host, &list)
	if len(list.Resources) == 0 || len(list.Templates) == 0 || list.Resources[0].Server != "everything" {
		t.Fatalf("resources: %+v", list)
	}
	var read struct{ Contents []struct{ URI, Text string } }
	p.must("read_resource", `{"server":"everything","uri":"`+list.Resources[0].URI+`"}`, host, &read)
	if len(read.Contents) != 1 || read.Contents[0].Text == "" || read.Contents[0].URI != list.Resources[0].URI {
		t.Errorf("resource: %+v", read)
	}
	var blob struct{ Contents []content }
	p.must("read_resource", `{"server":"everything","uri":"demo://resource/dynamic/blob/1"}`, host, &blob)
	if len(blob.Contents) != 1 || len(blob.Contents[0].Blob) == 0 || blob.Contents[0].Text != nil {
		t.Errorf("blob: %+v", blob)
	}
	if err := p.run(t.Context(), "read_resource", `{"server":"everything","uri":"demo://nowhere"}`, host, nil); sdk.CodeOf(err) != sdk.CodeHandlerError {
		t.Errorf("a resource that is not there: %v", err)
	}
	var prompts struct{ Prompts []prompt }
	p.must("list_prompts", `{"server":"everything"}`, host, &prompts)
	i := 0
	for i < len(prompts.Prompts) && prompts.Prompts[i].Name != "args-prompt" {
		i++
	}
	if i == len(prompts.Prompts) || len(prompts.Prompts[i].Arguments) == 0 {
		t.Fatalf("prompts: %+v", prompts)
	}
	var got struct {
		Messages []struct {
			Role    string
			Content struct{ Text string }
		}
	}
	p.must("get_prompt", `{"server":"everything","prompt":"args-prompt","arguments":{"city":"Berlin"}}`, host, &got)
	if len(got.Messages) == 0 || got.Messages[0].Role != "user" || !strings.Contains(got.Messages[0].Content.Text, "Berlin") {
		t.Errorf("prompt: %+v", got)
	}
}

func TestEverything(t *testing.T) {
	needNode(t)
	testEverything(t, start(t, real()))
}

// The other real servers, all at once.
func TestRealServers(t *testing.T) {
	needNode(t)
	dir := t.TempDir()
	if err := os.WriteFile(dir+"/note.txt", []byte("remember the milk"), 0o600); err != nil {
		t.Fatal(err)
	}
	memory := node("memory")
	memory.Env = map[string]string{"MEMORY_FILE_PATH": dir + "/memory.jsonl"}
	p := start(t, map[string]serverConfig{"files": node("filesystem", dir), "memory": memory, "thinking": node("sequential-thinking")})
	host := sdktest.NewHost()
	for _, server := range []string{"files", "memory", "thinking"} {
		p.tools(server, host) // waits for it to be up
	}
	count := map[string]int{}
	for _, tool := range p.allTools(host) {
		count[tool.Server]++
	}
	if count["files"] < 10 || count["memory"] < 5 || count["thinking"] != 1 {
		t.Errorf("tools: %v", count)
	}
	if got := p.call("files", "read_text_file", `{"path":"`+dir+`/note.txt"}`, host); !strings.Contains(got.text(), "the milk") {
		t.Errorf("files: %+v", got)
	}
	if a := p.tools("files", host)["read_text_file"].Annotations; !a.ReadOnly || !a.Idempotent || a.Destructive {
		t.Errorf("annotations of read_text_file: %+v", a)
	}
	if a := p.tools("files", host)["write_file"].Annotations; a.ReadOnly || !a.Destructive {
		t.Errorf("annotations of write_file: %+v", a)
	}
	p.call("memory", "create_entities", `{"entities":[{"name":"Bob","entityType":"person","observations":["works at Acme"]}]}`, host)
	if got := p.call("memory", "search_nodes", `{"query":"Bob"}`, host); !strings.Contains(got.text(), "Acme") {
		t.Errorf("memory: %+v", got)
	}
	if got := p.call("thinking", "sequentialthinking", `{"thought":"one","nextThoughtNeeded":false,"thoughtNumber":1,"totalThoughts":1}`, host); got.IsError {
		t.Errorf("thinking: %+v", got)
	}
	// What memory has is in its file, so a new process knows it too.
	kill(t, "server-memory")
	eventually(t, "the end of memory's session is noticed", func() bool { return p.state("memory").Restarts == 1 })
	if got := p.call("memory", "search_nodes", `{"query":"Bob"}`, host); !strings.Contains(got.text(), "Acme") {
		t.Errorf("memory, killed: %+v", got)
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
			if err != nil || !strings.Contains(got.text(), fmt.Sprintf("<%d>", i)) {
				t.Errorf("call %d: %+v, %v", i, got, err)
			}
		})
	}
	wg.Wait()
}

const long = `{"server":"everything","tool":"trigger-long-running-operation","arguments":{"duration":60,"steps":600}}`

func TestKilledServer(t *testing.T) {
	needNode(t)
	p := start(t, real())
	host := sdktest.NewHost()
	done := make(chan error, 1)
	go func() { done <- p.run(context.Background(), "call_tool", long, host, nil) }()
	<-host.Heard()
	kill(t, "server-everything")
	select {
	case err := <-done:
		if wants(t, err, sdk.CodeUnavailable, "killed"); !sdk.AsError(err).Retryable {
			t.Errorf("the call that was under way: %v", err)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("the call hangs")
	}
	if got := p.call("everything", "echo", `{"message":"again"}`, host); got.IsError {
		t.Errorf("the next call: %+v", got)
	}
	if s := p.state("everything"); s.State != "connected" || s.Restarts != 1 {
		t.Errorf("it is %+v", s)
	}
}

func TestCancel(t *testing.T) {
	needNode(t)
	p := start(t, real())
	host := sdktest.NewHost()
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("not needed any more")
	go func() { <-host.Heard(); cancel(why) }()
	if err := p.run(ctx, "call_tool", long, host, nil); !errors.Is(err, why) {
		t.Errorf("got %v", err)
	}
	p.call("everything", "echo", `{"message":"x"}`, host)
}

func TestTimeouts(t *testing.T) {
	t.Parallel() // it waits most of the time
	silent := fake("silent")
	silent.ConnectTimeout = sdk.Duration(300 * time.Millisecond)
	p := start(t, map[string]serverConfig{"silent": silent, "slow": fake("slow")})
	begin := time.Now()
	err := p.run(t.Context(), "call_tool", `{"server":"silent","tool":"x","timeout":"30s"}`, sdktest.NewHost(), nil)
	wants(t, err, sdk.CodeUnavailable, "within 300ms")
	p.tools("slow", sdktest.NewHost()) // it is up: only the call is slow
	err = p.run(t.Context(), "call_tool", `{"server":"slow","tool":"hello","timeout":"200ms"}`, sdktest.NewHost(), nil)
	wants(t, err, sdk.CodeTimeout, "no answer within")
	wants(t, p.run(t.Context(), "call_tool", `{"server":"slow","tool":"hello","timeout":"1s"}`, sdktest.NewHost(), nil), sdk.CodeTimeout, "no answer within")
	if d := time.Since(begin); d > 30*time.Second {
		t.Errorf("it took %v", d)
	}
}

// A server that falls silent while it has nothing to do is started again.
func TestMuteServer(t *testing.T) {
	t.Parallel() // it waits most of the time
	// It has its default of 10 s to answer the first time, on the busiest machine; the other
	// never does.
	p := start(t, map[string]serverConfig{"mute": fake("mute")})
	never := fake("mute")
	never.ListTimeout = sdk.Duration(time.Second)
	never.Env = map[string]string{"TEST_SERVER": "mute", "MUTE_AFTER": "0"}
	q := start(t, map[string]serverConfig{"never": never})
	wants(t, q.run(t.Context(), "call_tool", `{"server":"never","tool":"hello"}`, sdktest.NewHost(), nil), sdk.CodeUnavailable, "within 1s", "list_timeout")
	host := sdktest.NewHost()
	if got := p.call("mute", "hello", `{}`, host); got.text() != "hi" {
		t.Errorf("got %+v", got)
	}
	var health struct {
		Status struct {
			Failed [][2]string `json:"failed_servers"`
		} `json:"mcp_status"`
	}
	if p.must("check_health", `{}`, host, &health); len(health.Status.Failed) != 1 || !strings.Contains(health.Status.Failed[0][1], "no answer within 10s") {
		t.Errorf("health: %+v", health)
	}
	eventually(t, "it is started again", func() bool { s := p.state("mute"); return s.Restarts == 1 && s.State == "connected" })
}

// A server that does not read any more blocks whoever writes to it, once its pipe is
// full: the deadline holds, and it is started again.
func TestDeafServer(t *testing.T) {
	t.Parallel() // it waits most of the time
	p := start(t, map[string]serverConfig{"deaf": fake("deaf")})
	host := sdktest.NewHost()
	p.tools("deaf", host)
	wants(t, p.run(t.Context(), "call_tool", `{"server":"deaf","tool":"hello","timeout":"100ms"}`, host, nil), sdk.CodeTimeout)
	begun := time.Now()
	long := func() error {
		return p.run(t.Context(), "call_tool", `{"server":"deaf","tool":"hello","timeout":"100ms","arguments":{"x":"`+strings.Repeat("x", 200<<10)+`"}}`, host, nil)
	}
	wants(t, long(), sdk.CodeTimeout)
	if d := time.Since(begun); d > 30*time.Second {
		t.Errorf("it took %v", d)
	}
	eventually(t, "it is started again", func() bool {
		s := p.state("deaf")
		if s.Restarts == 0 { // on a busy machine a call can be over before the server has seen it
			_ = long()
		}
		return s.Restarts > 0 && s.State == "connected"
	})
}

// An old server that leaves the new era's first question unanswered is asked in the
// old way the next time.
func TestShyServer(t *testing.T) {
	t.Parallel() // it waits most of the time
	shy := fake("shy")
	shy.ConnectTimeout = sdk.Duration(2 * time.Second)
	p := start(t, map[string]serverConfig{"shy": shy})
	eventually(t, "it is connected", func() bool { return p.state("shy").State == "connected" })
	if s := p.state("shy"); s.Protocol != "2025-06-18" {
		t.Errorf("it is %+v", s)
	}
}

func TestNoisyServer(t *testing.T) {
	p := start(t, map[string]serverConfig{"noisy": fake("noisy")})
	host := sdktest.NewHost()
	for range 3 {
		if got := p.call("noisy", "hello", `{}`, host); got.text() != "hi" {
			t.Fatalf("got %+v", got)
		}
	}
	// 17 MiB on one line are too much for a result, and no harm to the session.
	err := p.run(t.Context(), "call_tool", `{"server":"noisy","tool":"big","timeout":"5m"}`, host, nil)
	if wants(t, err, sdk.CodeLimitExceeded, "ask it for less"); sdk.AsError(err).Retryable {
		t.Error("retryable")
	}
	// Who asks for it gets the beginning, and hears how much there was.
	var part struct {
		called
		TextBytes int `json:"text_bytes"`
	}
	p.must("call_tool", `{"server":"noisy","tool":"big","timeout":"5m","cut":true}`, host, &part)
	if n := len(part.text()); n < 200<<10 || n > maxResult || part.TextBytes != 17<<20 {
		t.Errorf("%d of %d bytes", n, part.TextBytes)
	}
	if got := p.call("noisy", "empty", `{}`, host); got.Content == nil || len(got.Content) != 0 {
		t.Errorf("a result of nothing: %+v", got)
	}
	err = p.run(t.Context(), "call_tool", `{"server":"noisy","tool":"refuse"}`, host, nil)
	wants(t, err, sdk.CodeHandlerError, "not like this (-32602)")
	// It has answered, so the connection did not break.
	for _, tool := range []string{"garbled", "strange"} {
		err = p.run(t.Context(), "call_tool", `{"server":"noisy","tool":"`+tool+`"}`, host, nil)
		if wants(t, err, sdk.CodeHandlerError, "its answer cannot be read"); strings.Contains(err.Error(), "connection") || strings.Contains(err.Error(), "struct") || sdk.AsError(err).Retryable {
			t.Errorf("%s: %v", tool, err)
		}
	}
	if s := p.state("noisy"); s.Restarts != 0 || s.State != "connected" {
		t.Errorf("it is %+v", s)
	}
}

func TestServersThatDoNotStart(t *testing.T) {
	p := start(t, map[string]serverConfig{"exits": fake("exits"), "missing": {Command: []string{"/no/such/program"}}, "cat": {Command: []string{"cat"}},
		"unknown": {Command: []string{"no-such-program"}}, "elsewhere": {Command: []string{"cat"}, Cwd: "/no/such/directory"}})
	for server, want := range map[string][]string{"exits": {"exit status 7", "no licence found"}, "missing": {"/no/such/program", "no such file", "command"}, "cat": {"is it an MCP server"},
		"unknown": {"no-such-program", "PATH", "command"}, "elsewhere": {"cwd", "/no/such/directory"}} {
		wants(t, p.run(t.Context(), "call_tool", `{"server":"`+server+`","tool":"x"}`, sdktest.NewHost(), nil), sdk.CodeUnavailable, want...)
	}
	var health struct {
		Status struct{ Failed int } `json:"mcp_status"`
	}
	if p.must("check_health", `{}`, sdktest.NewHost(), &health); health.Status.Failed != 5 {
		t.Errorf("health: %+v", health)
	}
	var test struct {
		Connected bool
		Error     string
	}
	if p.must("test_connection", `{"server":"exits"}`, sdktest.NewHost(), &test); test.Connected || !strings.Contains(test.Error, "no licence found") {
		t.Errorf("test_connection: %+v", test)
	}
}

func TestCloseLeavesNothing(t *testing.T) {
	t.Parallel() // it waits most of the time
	// Commands of this process's own: others run the same test.
	deaf, grandchild := fmt.Sprintf("sleep 3%d", os.Getpid()), fmt.Sprintf("sleep 4%d", os.Getpid())
	parent := fake("parent")
	parent.Env["TEST_COMMAND"] = grandchild
	p := start(t, map[string]serverConfig{"parent": parent,
		"deaf": {Command: []string{"sh", "-c", "trap '' TERM; " + deaf}, ConnectTimeout: sdk.Duration(200 * time.Millisecond)}})
	if got := p.call("parent", "hello", `{}`, sdktest.NewHost()); got.text() != "started" {
		t.Fatalf("got %+v", got)
	}
	if err := exec.Command("pgrep", "-f", grandchild).Run(); err != nil {
		t.Fatalf("no %s: %v", grandchild, err)
	}
	_ = p.run(t.Context(), "call_tool", `{"server":"deaf","tool":"x","timeout":"2s"}`, sdktest.NewHost(), nil)
	if err := p.Plugin.(interface{ Close() error }).Close(); err != nil {
		t.Error(err)
	}
	for _, command := range []string{deaf, grandchild} {
		if out, err := exec.Command("pgrep", "-f", command).Output(); err == nil {
			t.Errorf("%s is still there: %s", command, out)
		}
	}
}

// The real carrier, and the conformance suite.
func TestAsProcess(t *testing.T) {
	needNode(t)
	config := fmt.Sprintf(`{"servers":{"everything":{"command":["node",%q]}}}`, script("everything"))
	sdktest.Carriers(t, "github.com/nagatha/nagatha-runtime/plugins/mcp", sdktest.Options{ProcessOnly: true, Config: json.RawMessage(config),
		Env: []string{"PATH=" + os.Getenv("PATH")}}, func(t *testing.T, p sdktest.Plugin) {
		sdktest.Conformance(t, p)
		got, err := p.Run(t, "mcp.call_tool", `{"server":"everything","tool":"echo","arguments":{"message":"hello"}}`, sdktest.NewHost())
		if err != nil || !strings.Contains(got, "hello") {
			t.Errorf("got %s, %v", got, err)
		}
	})
}
