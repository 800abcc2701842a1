package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/nagatha/nagatha-runtime/sdk"
	"github.com/nagatha/nagatha-runtime/sdk/sdktest"
)

// web is the real server-everything on streamable HTTP.
type web struct {
	t    *testing.T
	port string
	cmd  *exec.Cmd
}

var lastPort atomic.Int64

// freePort returns a port that stays free while a server is away: below those that the
// kernel gives to whoever asks for any.
func freePort() string {
	for {
		port := strconv.Itoa(28_000 + (os.Getpid()+int(lastPort.Add(1)))%4_000)
		if l, err := net.Listen("tcp", "127.0.0.1:"+port); err == nil {
			_ = l.Close()
			return port
		}
	}
}

func serveEverything(t *testing.T) *web {
	t.Helper()
	w := &web{t: t, port: freePort()}
	w.start()
	t.Cleanup(w.kill)
	return w
}

func (w *web) start() {
	w.t.Helper()
	w.cmd = exec.Command("node", script("everything"), "streamableHttp")
	w.cmd.Env = append(w.cmd.Environ(), "PORT="+w.port)
	if err := w.cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	eventually(w.t, "server-everything listens", func() bool {
		c, err := net.Dial("tcp", "127.0.0.1:"+w.port)
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	})
}

func (w *web) kill() {
	_ = w.cmd.Process.Kill()
	_ = w.cmd.Wait()
}

func (w *web) config() serverConfig {
	return serverConfig{URL: "http://127.0.0.1:" + w.port + "/mcp"}
}

func TestEverythingHTTP(t *testing.T) {
	needNode(t)
	w := serveEverything(t)
	p := start(t, map[string]serverConfig{"everything": w.config()})
	testEverything(t, p)

	// Killed in a call: the SDK alone would take 22 s to notice.
	host := sdktest.NewHost()
	done := make(chan error, 1)
	go func() { done <- p.run(context.Background(), "call_tool", long, host, nil) }()
	<-host.Heard()
	begun := time.Now()
	w.kill()
	select {
	case err := <-done:
		if wants(t, err, sdk.CodeUnavailable); time.Since(begun) > 15*time.Second {
			t.Errorf("it took %v", time.Since(begun))
		}
	case <-time.After(30 * time.Second):
		t.Fatal("the call hangs")
	}
	if tools := p.allTools(host); len(tools) != 0 {
		t.Errorf("tools of a dead server: %v", tools)
	}

	// Started again while nobody looks: it knows nothing of the session.
	w.start()
	p.call("everything", "echo", `{"message":"one"}`, host)
	restarts := p.state("everything").Restarts
	w.kill()
	w.start()
	if got := p.call("everything", "echo", `{"message":"two"}`, host); !strings.Contains(got.text(), "two") {
		t.Errorf("after a restart: %+v", got)
	}
	if s := p.state("everything"); s.State != "connected" || s.Restarts <= restarts {
		t.Errorf("it is %+v", s)
	}
}

// allTools lists the tools of all servers.
func (p plugin) allTools(host sdk.Host) []tool {
	p.Helper()
	var list struct{ Tools []tool }
	p.must("list_tools", `{}`, host, &list)
	return list.Tools
}

// goServer is a server of the SDK with one tool, whose description can be changed.
func goServer() *mcp.Server {
	s := mcp.NewServer(&mcp.Implementation{Name: "go", Version: "1"}, nil)
	describe(s, "greet", "says hello")
	return s
}

func describe(s *mcp.Server, name, description string) {
	mcp.AddTool(s, &mcp.Tool{Name: name, Description: description}, func(context.Context, *mcp.CallToolRequest, map[string]any) (*mcp.CallToolResult, any, error) {
		return &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: "hello"}}}, nil, nil
	})
}

// serveGo serves over HTTP; stateless is the era of 2026-07-28.
func serveGo(t *testing.T, s *mcp.Server, o *mcp.StreamableHTTPOptions, wrap func(http.Handler) http.Handler) string {
	t.Helper()
	var h http.Handler = mcp.NewStreamableHTTPHandler(func(*http.Request) *mcp.Server { return s }, o)
	if wrap != nil {
		h = wrap(h)
	}
	srv := httptest.NewServer(h)
	t.Cleanup(func() {
		srv.CloseClientConnections()
		srv.Close()
	})
	return srv.URL
}

// endSessions ends what nobody says goodbye to.
func endSessions(s *mcp.Server) {
	for session := range s.Sessions() {
		_ = session.Close()
	}
}

// Both eras of the protocol, by the same code.
func TestEras(t *testing.T) {
	t.Parallel() // it waits most of the time
	for era, o := range map[string]*mcp.StreamableHTTPOptions{"2025-11-25": {}, "2026-07-28": {Stateless: true}, "2026-07-28 in JSON": {Stateless: true, JSONResponse: true}} {
		t.Run(era, func(t *testing.T) {
			s := goServer()
			p := start(t, map[string]serverConfig{"go": {URL: serveGo(t, s, o, nil)}})
			host := sdktest.NewHost()
			if got := p.call("go", "greet", `{}`, host); got.text() != "hello" {
				t.Errorf("got %+v", got)
			}
			if st := p.state("go"); !strings.HasPrefix(era, st.Protocol) || st.Server != "go 1" || st.Transport != "http" {
				t.Errorf("it is %+v", st)
			}
			describe(s, "part", "says goodbye")
			eventually(t, "the new tool is told of", func() bool { _, ok := p.tools("go", host)["part"]; return ok })
			s.RemoveTools("greet")
			eventually(t, "the old one is withdrawn", func() bool { _, ok := p.tools("go", host)["greet"]; return !ok })
			wants(t, p.run(t.Context(), "call_tool", `{"server":"go","tool":"greet"}`, host, nil), sdk.CodeNotFound, "it has: part")
		})
	}
	t.Run("pinned to the old", func(t *testing.T) {
		p := start(t, map[string]serverConfig{"go": {URL: serveGo(t, goServer(), &mcp.StreamableHTTPOptions{Stateless: true}, nil), Protocol: "2025-11-25"}})
		p.call("go", "greet", `{}`, sdktest.NewHost())
		if st := p.state("go"); st.Protocol != "2025-11-25" {
			t.Errorf("it is %+v", st)
		}
	})
}

func TestHeaders(t *testing.T) {
	var without atomic.Int32
	guard := func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Authorization") != "Bearer abc" {
				without.Add(1)
				http.Error(w, "no", http.StatusUnauthorized)
				return
			}
			h.ServeHTTP(w, r)
		})
	}
	url := serveGo(t, goServer(), nil, guard)
	p := start(t, map[string]serverConfig{"with": {URL: url, Headers: map[string]string{"authorization": "Bearer abc"}}})
	p.call("with", "greet", `{}`, sdktest.NewHost())
	if n := without.Load(); n != 0 {
		t.Errorf("%d requests without the header", n)
	}
	p = start(t, map[string]serverConfig{"without": {URL: url}})
	wants(t, p.run(t.Context(), "call_tool", `{"server":"without","tool":"greet"}`, sdktest.NewHost(), nil), sdk.CodeUnavailable, "Unauthorized", "headers")
}

// Headers hold secrets: they do not follow a redirect to somebody else.
func TestRedirect(t *testing.T) {
	var leaked atomic.Bool
	thief := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Key") != "" {
			leaked.Store(true)
		}
	}))
	defer thief.Close()
	srv := httptest.NewServer(http.RedirectHandler(thief.URL, http.StatusTemporaryRedirect))
	defer srv.Close()
	p := start(t, map[string]serverConfig{"r": {URL: srv.URL, Headers: map[string]string{"X-Key": "secret"}}})
	wants(t, p.run(t.Context(), "call_tool", `{"server":"r","tool":"x"}`, sdktest.NewHost(), nil), sdk.CodeUnavailable, "it redirects to "+thief.URL)
	if leaked.Load() {
		t.Error("the header went to another server")
	}
}

// A refusal with a status of 404 says nothing about the session.
func TestRefusalHTTP(t *testing.T) {
	refuse := func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			b, _ := io.ReadAll(r.Body)
			r.Body = io.NopCloser(bytes.NewReader(b))
			var req struct {
				ID     json.RawMessage
				Method string
			}
			if _ = json.Unmarshal(b, &req); req.Method == "tools/call" {
				w.Header().Set("Content-Type", "application/json")
				w.WriteHeader(http.StatusNotFound)
				fmt.Fprintf(w, `{"jsonrpc":"2.0","id":%s,"error":{"code":-32602,"message":"not like this"}}`, req.ID)
				return
			}
			h.ServeHTTP(w, r)
		})
	}
	p := start(t, map[string]serverConfig{"go": {URL: serveGo(t, goServer(), &mcp.StreamableHTTPOptions{}, refuse)}})
	wants(t, p.run(t.Context(), "call_tool", `{"server":"go","tool":"greet"}`, sdktest.NewHost(), nil), sdk.CodeHandlerError, "not like this")
	if s := p.state("go"); s.Restarts != 0 || s.State != "connected" {
		t.Errorf("it is %+v", s)
	}
}

// What a tool has done whose answer was lost is not known, and the error says so.
func TestLostAnswer(t *testing.T) {
	lose := func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			b, _ := io.ReadAll(r.Body)
			r.Body = io.NopCloser(bytes.NewReader(b))
			switch {
			case bytes.Contains(b, []byte("end-of-stream")):
				w.Header().Set("Content-Type", "text/event-stream")
			case bytes.Contains(b, []byte("bad-gateway")):
				w.WriteHeader(http.StatusBadGateway)
			default:
				h.ServeHTTP(w, r)
			}
		})
	}
	p := start(t, map[string]serverConfig{"go": {URL: serveGo(t, goServer(), &mcp.StreamableHTTPOptions{Stateless: true}, lose)}})
	p.tools("go", sdktest.NewHost())
	for _, how := range []string{"end-of-stream", "bad-gateway"} {
		err := p.run(t.Context(), "call_tool", `{"server":"go","tool":"greet","arguments":{"how":"`+how+`"}}`, sdktest.NewHost(), nil)
		wants(t, err, sdk.CodeUnavailable, "the connection broke")
	}
	p.call("go", "greet", `{}`, sdktest.NewHost())
}

// That the server has forgotten the session says nothing about a call that was under
// way meanwhile: only the one that it refused is made again.
func TestForgottenSession(t *testing.T) {
	var hung, refused atomic.Int32
	began, over := make(chan struct{}), make(chan struct{})
	forget := func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			b, _ := io.ReadAll(r.Body)
			r.Body = io.NopCloser(bytes.NewReader(b))
			switch {
			case bytes.Contains(b, []byte("hang")):
				if hung.Add(1) == 1 {
					close(began)
				}
				select {
				case <-over:
				case <-r.Context().Done():
				}
			case bytes.Contains(b, []byte("refuse")) && refused.Add(1) == 1:
				http.Error(w, "no such session", http.StatusNotFound)
			default:
				h.ServeHTTP(w, r)
			}
		})
	}
	s := goServer()
	defer endSessions(s)
	p := start(t, map[string]serverConfig{"go": {URL: serveGo(t, s, &mcp.StreamableHTTPOptions{}, forget)}})
	defer close(over)
	p.tools("go", sdktest.NewHost())
	done := make(chan error, 1)
	go func() {
		done <- p.run(context.Background(), "call_tool", `{"server":"go","tool":"greet","arguments":{"how":"hang"}}`, sdktest.NewHost(), nil)
	}()
	<-began
	if got := p.call("go", "greet", `{"how":"refuse"}`, sdktest.NewHost()); got.text() != "hello" {
		t.Errorf("the call that was refused: %+v", got)
	}
	wants(t, <-done, sdk.CodeUnavailable, "the connection broke")
	if n := hung.Load(); n != 1 {
		t.Errorf("the call that was under way was made %d times", n)
	}
}

// A server that is not there has done nothing, and the error does not make it seem so.
func TestNobodyListens(t *testing.T) {
	server := goServer()
	defer endSessions(server)
	s := httptest.NewUnstartedServer(mcp.NewStreamableHTTPHandler(func(*http.Request) *mcp.Server { return server }, nil))
	s.Config.SetKeepAlivesEnabled(false) // each request makes a connection
	s.Start()
	p := start(t, map[string]serverConfig{"go": {URL: s.URL}})
	p.call("go", "greet", `{}`, sdktest.NewHost())
	s.CloseClientConnections()
	s.Close()
	for range 2 {
		err := p.run(t.Context(), "call_tool", `{"server":"go","tool":"greet"}`, sdktest.NewHost(), nil)
		wants(t, err, sdk.CodeUnavailable, "connection refused", "does it run")
		if text := fmt.Sprint(err); strings.Contains(text, "connection broke") || strings.Count(text, "connection refused") != 1 {
			t.Errorf("got %s", text)
		}
	}
	lost := httptest.NewServer(http.NotFoundHandler())
	defer lost.Close()
	p = start(t, map[string]serverConfig{"lost": {URL: lost.URL}})
	wants(t, p.run(t.Context(), "call_tool", `{"server":"lost","tool":"x"}`, sdktest.NewHost(), nil), sdk.CodeUnavailable, "Not Found", "url")
}

// A server may be silent at any point: deadlines hold.
func TestSilentHTTP(t *testing.T) {
	t.Parallel() // it waits most of the time
	over := make(chan struct{})
	silence := func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		select {
		case <-over:
		case <-r.Context().Done():
		}
	}
	mute := httptest.NewServer(http.HandlerFunc(silence))
	defer mute.Close()
	noStream := func(h http.Handler) http.Handler { // it never answers whether it has a stream
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodGet {
				silence(w, r)
				return
			}
			h.ServeHTTP(w, r)
		})
	}
	s := goServer()
	mcp.AddTool(s, &mcp.Tool{Name: "sleep"}, func(ctx context.Context, _ *mcp.CallToolRequest, _ struct{}) (*mcp.CallToolResult, any, error) {
		select {
		case <-over:
		case <-ctx.Done():
		}
		return &mcp.CallToolResult{}, nil, nil
	})
	defer close(over)
	p := start(t, map[string]serverConfig{"mute": {URL: mute.URL, ConnectTimeout: sdk.Duration(300 * time.Millisecond)},
		"half": {URL: serveGo(t, s, &mcp.StreamableHTTPOptions{}, noStream), ConnectTimeout: sdk.Duration(20 * time.Second)}})
	begun := time.Now()
	wants(t, p.run(t.Context(), "call_tool", `{"server":"mute","tool":"x"}`, sdktest.NewHost(), nil), sdk.CodeUnavailable, "within 300ms")
	if d := time.Since(begun); d > 10*time.Second {
		t.Errorf("it took %v", d)
	}
	if got := p.call("half", "greet", `{}`, sdktest.NewHost()); got.text() != "hello" {
		t.Errorf("got %+v", got)
	}
	wants(t, p.run(t.Context(), "call_tool", `{"server":"half","tool":"sleep","timeout":"200ms"}`, sdktest.NewHost(), nil), sdk.CodeTimeout)
	if got := p.call("half", "greet", `{}`, sdktest.NewHost()); got.text() != "hello" {
		t.Errorf("the next call: %+v", got)
	}
}

// One that never answers does not keep the others waiting.
func TestParallelStart(t *testing.T) {
	t.Parallel() // it waits most of the time
	servers := map[string]serverConfig{"quick": fake("plain")}
	for i := range 8 {
		servers[fmt.Sprintf("silent%d", i)] = fake("silent")
	}
	begun := time.Now()
	p := start(t, servers)
	if got := p.call("quick", "hello", `{}`, sdktest.NewHost()); got.text() != "hi" {
		t.Errorf("got %+v", got)
	}
	if d := time.Since(begun); d > 30*time.Second {
		t.Errorf("it took %v", d)
	}
	// Nor does it keep a list waiting for long: the agent asks for one each time.
	begun = time.Now()
	for _, tool := range p.allTools(sdktest.NewHost()) {
		if tool.Server != "quick" {
			t.Errorf("a tool of %s", tool.Server)
		}
	}
	if d := time.Since(begun); d > 3*firstWait {
		t.Errorf("it took %v", d)
	}
}

// Answers in JSON come when the tool is done; calls must not wait for each other.
func TestParallelHTTP(t *testing.T) {
	s := mcp.NewServer(&mcp.Implementation{Name: "go", Version: "1"}, nil)
	var here sync.WaitGroup
	here.Add(5)
	mcp.AddTool(s, &mcp.Tool{Name: "meet"}, func(context.Context, *mcp.CallToolRequest, struct{}) (*mcp.CallToolResult, any, error) {
		here.Done()
		here.Wait() // for all five
		return &mcp.CallToolResult{}, nil, nil
	})
	p := start(t, map[string]serverConfig{"go": {URL: serveGo(t, s, &mcp.StreamableHTTPOptions{JSONResponse: true}, nil)}})
	var wg sync.WaitGroup
	for range 5 {
		wg.Go(func() {
			if err := p.run(t.Context(), "call_tool", `{"server":"go","tool":"meet","timeout":"20s"}`, sdktest.NewHost(), nil); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}
