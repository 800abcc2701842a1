package api_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"
	"go.uber.org/goleak"

	"github.com/nagatha/nagatha-runtime/runtime"
	"github.com/nagatha/nagatha-runtime/runtime/api"
	"github.com/nagatha/nagatha-runtime/runtime/store"
	"github.com/nagatha/nagatha-runtime/sdk"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const token = "ngt_TESTTEST_secret_for_tests_only"

// patience is how long a test waits for what should come at once.
const patience = 30 * time.Second

// world is a running server on the real engine and the real store, with a
// plugin linked in.
type world struct {
	t       *testing.T
	rt      *runtime.Runtime
	srv     *api.Server
	addr    string
	base    string
	plugin  *bench
	plugins *plugins
	commits atomic.Int64
	stop    func() // ends the server, and waits
}

func start(t *testing.T, change func(*api.Config)) *world {
	t.Helper()
	w := &world{t: t, plugin: newBench(), plugins: &plugins{}}
	var hook runtime.Hook
	st, err := store.Open(t.Context(), store.Config{Path: filepath.Join(t.TempDir(), "test.db"), OnCommit: func(c runtime.Commit) {
		w.commits.Add(1)
		hook.Committed(c)
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := st.Close(); err != nil {
			t.Error(err)
		}
	})
	w.rt, err = runtime.New(runtime.Config{Store: st, Version: "test", StoreName: "sqlite", BusName: "none"})
	if err != nil {
		t.Fatal(err)
	}
	hook.To(w.rt.Committed)
	if err := w.rt.SetPlugin(t.Context(), runtime.Plugin{Name: "bench", Plugin: w.plugin.bundle()}); err != nil {
		t.Fatal(err)
	}
	cfg := api.Config{Runtime: w.rt, Plugins: w.plugins, AdminToken: token, Version: "test", Listen: "127.0.0.1:0",
		Limits: api.Limits{RequestsPerSecond: -1}, Logger: slog.New(slog.NewTextHandler(testLog{t}, &slog.HandlerOptions{Level: slog.LevelWarn}))}
	if change != nil {
		change(&cfg)
	}
	w.srv, err = api.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	engine, stopEngine := run(t, w.rt.Run)
	server, stopServer := run(t, w.srv.Run)
	w.stop = func() { stopServer(); <-server }
	t.Cleanup(func() {
		w.stop()
		w.plugin.releaseAll()
		stopEngine()
		<-engine
	})
	addr := w.srv.Addr()
	if addr == nil {
		t.Fatal("the server does not listen")
	}
	w.addr = addr.String()
	w.base = "http://" + w.addr
	return w
}

// run runs f until stop; done is closed when it has returned.
func run(t *testing.T, f func(context.Context) error) (done chan struct{}, stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done = make(chan struct{})
	go func() {
		defer close(done)
		if err := f(ctx); err != nil && !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	}()
	return done, cancel
}

type testLog struct{ t *testing.T }

func (l testLog) Write(p []byte) (int, error) {
	l.t.Log(strings.TrimSpace(string(p)))
	return len(p), nil
}

// bench is the plugin under the tests.
type bench struct {
	mu   sync.Mutex
	gate chan struct{} // bench.block waits for it
	done bool
}

func newBench() *bench { return &bench{gate: make(chan struct{})} }

func (b *bench) releaseAll() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.done {
		b.done = true
		close(b.gate)
	}
}

type emit struct {
	N    int `json:"n"`
	Size int `json:"size"`
}

func (b *bench) bundle() *sdk.Bundle {
	info := func(kind string) sdk.HandlerInfo { return sdk.HandlerInfo{Kind: kind, MaxAttempts: 1} }
	return sdk.New(sdk.Info{Name: "bench", Version: "1"},
		sdk.Registration{HandlerInfo: info("bench.echo"), Handler: sdk.HandlerFunc(
			func(_ context.Context, task *sdk.Task, _ sdk.Host) (json.RawMessage, error) { return task.Payload, nil })},
		sdk.Func(sdk.HandlerInfo{Kind: "bench.look", ReadOnly: true}, func(context.Context, sdk.Host, struct{}) (int, error) { return 1, nil }),
		sdk.Func(info("bench.emit"), func(_ context.Context, host sdk.Host, in emit) (int, error) {
			line := strings.Repeat("x", in.Size)
			for i := range in.N {
				host.Log(slog.LevelInfo, line, "i", i)
			}
			return in.N, nil
		}),
		sdk.Func(info("bench.block"), func(ctx context.Context, host sdk.Host, _ struct{}) (string, error) {
			host.Progress(1, 2, "waiting")
			select {
			case <-b.gate:
				return "released", nil
			case <-ctx.Done():
				return "", ctx.Err()
			}
		}),
		sdk.Func(info("bench.fail"), func(context.Context, sdk.Host, struct{}) (string, error) {
			return "", sdk.Permanent(errors.New("as asked"))
		}),
	)
}

// plugins is the api's view of them.
type plugins struct {
	reloads atomic.Int64
	fault   error // of the next reload
}

func (p *plugins) Plugins() []sdk.PluginStatus {
	return []sdk.PluginStatus{{Name: "bench", Version: "1", Carrier: "process", State: sdk.PluginReady,
		Kinds: []sdk.KindStatus{{Kind: "bench.echo"}}, Grants: map[string]any{}, Limits: map[string]string{}}}
}

func (p *plugins) Reload(context.Context, string) error {
	p.reloads.Add(1)
	return p.fault
}

func (p *plugins) Enable(context.Context, string) error  { return nil }
func (p *plugins) Disable(context.Context, string) error { return nil }

// client is a JSON-RPC client on a WebSocket library that the server does not
// use.
type client struct {
	t     *testing.T
	ws    *websocket.Conn
	id    int
	notes []note // that came while a reply was awaited
}

// note is a notification.
type note struct {
	Method string `json:"method"`
	Params struct {
		Subscription string          `json:"subscription"`
		Cursor       string          `json:"cursor"`
		Event        json.RawMessage `json:"event"`
		Task         *sdk.Task       `json:"task"`
		Reason       string          `json:"reason"`
		Behind       int64           `json:"behind"`
		RetryAfter   int             `json:"retry_after_ms"`
	} `json:"params"`
}

func (n note) event(t *testing.T) (e taskEvent) {
	t.Helper()
	if err := json.Unmarshal(n.Params.Event, &e); err != nil {
		t.Fatal(err)
	}
	return e
}

type taskEvent struct {
	sdk.TaskEvent
	Kind    string `json:"kind"`
	Queue   string `json:"queue"`
	FromSeq int64  `json:"from_seq"`
}

type reply struct {
	ID     json.RawMessage `json:"id"`
	Result json.RawMessage `json:"result"`
	Error  *rpcErr         `json:"error"`
}

type rpcErr struct {
	Code    int    `json:"code"`
	Message string `json:"message"`
	Data    struct {
		Code      string      `json:"code"`
		Retryable bool        `json:"retryable"`
		Fields    []sdk.Field `json:"fields"`
	} `json:"data"`
}

func (e *rpcErr) String() string {
	return fmt.Sprintf("%d %s %s %v", e.Code, e.Data.Code, e.Message, e.Data.Fields)
}

// dialRaw connects; the test closes.
func (w *world) dialRaw(opts *websocket.DialOptions) (*websocket.Conn, *http.Response, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	ws, resp, err := websocket.Dial(ctx, "ws://"+w.addr+"/api/v1/ws", opts)
	if err == nil {
		ws.SetReadLimit(-1)
	}
	return ws, resp, err
}

func bearer() http.Header { return http.Header{"Authorization": {"Bearer " + token}} }

// dial connects with the token.
func (w *world) dial() *client {
	w.t.Helper()
	ws, _, err := w.dialRaw(&websocket.DialOptions{HTTPHeader: bearer(), Subprotocols: []string{"nagatha.v1"}})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = ws.CloseNow() })
	return &client{t: w.t, ws: ws}
}

// anonymous connects without a token.
func (w *world) anonymous() *client {
	w.t.Helper()
	ws, _, err := w.dialRaw(nil)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = ws.CloseNow() })
	return &client{t: w.t, ws: ws}
}

func (c *client) send(text string) {
	c.t.Helper()
	if err := c.trySend(text); err != nil {
		c.t.Fatal(err)
	}
}

func (c *client) trySend(text string) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	return c.ws.Write(ctx, websocket.MessageText, []byte(text))
}

func (c *client) read() ([]byte, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	kind, text, err := c.ws.Read(ctx)
	if err == nil && kind != websocket.MessageText {
		c.t.Fatalf("a %v message", kind)
	}
	return text, err
}

// reply reads up to the next reply, keeping notifications.
func (c *client) reply() reply {
	c.t.Helper()
	for {
		text, err := c.read()
		if err != nil {
			c.t.Fatal(err)
		}
		r, n, isNote := c.parse(text)
		if !isNote {
			return r
		}
		c.notes = append(c.notes, n)
	}
}

func (c *client) parse(text []byte) (r reply, n note, isNote bool) {
	c.t.Helper()
	var head struct {
		JSONRPC string  `json:"jsonrpc"`
		Method  *string `json:"method"`
	}
	if err := json.Unmarshal(text, &head); err != nil || head.JSONRPC != "2.0" {
		c.t.Fatalf("not JSON-RPC: %.200s (%v)", text, err)
	}
	var err error
	if head.Method != nil {
		err = json.Unmarshal(text, &n)
	} else {
		err = json.Unmarshal(text, &r)
	}
	if err != nil {
		c.t.Fatalf("%.200s: %v", text, err)
	}
	return r, n, head.Method != nil
}

// next returns the next notification.
func (c *client) next() note {
	c.t.Helper()
	if len(c.notes) > 0 {
		n := c.notes[0]
		c.notes = c.notes[1:]
		return n
	}
	text, err := c.read()
	if err != nil {
		c.t.Fatal(err)
	}
	r, n, isNote := c.parse(text)
	if !isNote {
		c.t.Fatalf("a reply to %s where a notification should be: %s %v", r.ID, r.Result, r.Error)
	}
	return n
}

// try calls a method and returns its reply.
func (c *client) try(method, params string) reply {
	c.t.Helper()
	c.id++
	c.send(fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"method":%q,"params":%s}`, c.id, method, params))
	r := c.reply()
	if string(r.ID) != fmt.Sprint(c.id) {
		c.t.Fatalf("reply to %s, want %d", r.ID, c.id)
	}
	return r
}

// call calls a method that must succeed.
func (c *client) call(method, params string, result any) {
	c.t.Helper()
	r := c.try(method, params)
	if r.Error != nil {
		c.t.Fatalf("%s: %v", method, r.Error)
	}
	if result != nil {
		if err := json.Unmarshal(r.Result, result); err != nil {
			c.t.Fatal(err)
		}
	}
}

// fails calls a method that must fail with code.
func (c *client) fails(method, params, code string, number int) *rpcErr {
	c.t.Helper()
	r := c.try(method, params)
	if r.Error == nil || r.Error.Data.Code != code || r.Error.Code != number {
		c.t.Fatalf("%s %s: %s %v, want %s %d", method, params, r.Result, r.Error, code, number)
	}
	return r.Error
}

// closed reads until the connection ends and returns the close code and reason.
func (c *client) closed() (int, string) {
	c.t.Helper()
	for {
		text, err := c.read()
		if err == nil {
			if _, n, isNote := c.parse(text); isNote {
				c.notes = append(c.notes, n)
			}
			continue
		}
		var ce websocket.CloseError
		if !errors.As(err, &ce) {
			c.t.Fatalf("ended without a close frame: %v", err)
		}
		return int(ce.Code), ce.Reason
	}
}

type submitted struct {
	Task         sdk.Task `json:"task"`
	Deduplicated bool     `json:"deduplicated"`
	Subscription string   `json:"subscription"`
}

// finished submits a task over REST and waits for its end.
func (w *world) finished(body string) sdk.Task {
	w.t.Helper()
	resp, text := w.http(http.MethodPost, "/api/v1/tasks?wait=30s", body, nil)
	var task sdk.Task
	if err := json.Unmarshal(text, &task); err != nil || resp.StatusCode != http.StatusOK {
		w.t.Fatalf("%d %s %v", resp.StatusCode, text, err)
	}
	return task
}

// http does a request with the token.
func (w *world) http(method, path, body string, header http.Header) (*http.Response, []byte) {
	w.t.Helper()
	req, err := http.NewRequestWithContext(w.t.Context(), method, w.base+path, strings.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	req.Header = bearer()
	for name, v := range header {
		req.Header[http.CanonicalHeaderKey(name)] = v
	}
	if host := req.Header.Get("Host"); host != "" {
		req.Host = host
	}
	tr := &http.Transport{DisableKeepAlives: true}
	resp, err := tr.RoundTrip(req)
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return resp, text
}

// until polls a condition that only another process, or the kernel, can make
// true.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.After(patience)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("waited in vain: %s", what)
		}
	}
}
