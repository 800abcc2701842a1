package client

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/nagatha/nagatha-runtime/sdk"
)

// fake is a small runtime: tasks with logs in memory, the protocol on top, and
// ways to break the line.
type fake struct {
	*httptest.Server

	mu       sync.Mutex
	tasks    map[string]*fakeTask
	log      []string // published events, CloudEvents
	keys     map[string]string
	conns    map[*fakeConn]struct{}
	subs     int // subscribe requests seen
	dials    int
	submits  int
	overlap  int                               // events sent again before a cursor
	refuse   int                               // answer upgrades with this status
	cutAfter func(dial int) int                // frames until this connection breaks; 0: never
	on       func(c *fakeConn, m message) bool // may take a request over; mu is held
}

type fakeTask struct {
	task   sdk.Task
	events []sdk.TaskEvent
}

type fakeConn struct {
	f      *fake
	ws     *websocket.Conn
	frames int
	cut    int
	dead   bool
	subs   map[string]SubscribeRequest
}

func newFake(t *testing.T) *fake {
	f := &fake{tasks: map[string]*fakeTask{}, keys: map[string]string{}, conns: map[*fakeConn]struct{}{}}
	f.Server = httptest.NewServer(f)
	t.Cleanup(func() {
		f.breakAll(0, "")
		f.Close()
	})
	return f
}

func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Authorization") != "Bearer secret" {
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(http.StatusUnauthorized)
		_, _ = io.WriteString(w, `{"code":"unauthorized","detail":"this token is not known"}`)
		return
	}
	switch r.URL.Path {
	case "/api/v1/plugins":
		_, _ = io.WriteString(w, `{"plugins":[{"name":"demo","state":"ready"}],"next_cursor":""}`)
		return
	case "/api/v1/system":
		_, _ = io.WriteString(w, `{"version":"1.2.3","uptime":"5s"}`)
		return
	}
	f.mu.Lock()
	f.dials++
	dial, refuse := f.dials, f.refuse
	f.mu.Unlock()
	if refuse != 0 {
		w.WriteHeader(refuse)
		return
	}
	up := websocket.Upgrader{Subprotocols: []string{"nagatha.v1"}}
	ws, err := up.Upgrade(w, r, nil)
	if err != nil {
		return
	}
	c := &fakeConn{f: f, ws: ws, subs: map[string]SubscribeRequest{}}
	f.mu.Lock()
	if f.cutAfter != nil {
		c.cut = f.cutAfter(dial)
	}
	f.conns[c] = struct{}{}
	f.mu.Unlock()
	for {
		_, frame, err := ws.ReadMessage()
		if err != nil {
			break
		}
		var m message
		if json.Unmarshal(frame, &m) == nil {
			f.mu.Lock()
			if f.on == nil || !f.on(c, m) {
				c.request(m)
			}
			f.mu.Unlock()
		}
	}
	f.mu.Lock()
	delete(f.conns, c)
	f.mu.Unlock()
	_ = ws.Close()
}

func (c *fakeConn) reply(m message, result any) {
	c.send(map[string]any{"jsonrpc": "2.0", "id": m.ID, "result": result})
}

func (c *fakeConn) fail(m message, code string, retryable bool) {
	c.send(map[string]any{"jsonrpc": "2.0", "id": m.ID, "error": map[string]any{
		"code": -32000, "message": "no: " + code, "data": map[string]any{"code": code, "retryable": retryable}}})
}

func (c *fakeConn) note(method string, params map[string]any) {
	c.send(map[string]any{"jsonrpc": "2.0", "method": method, "params": params})
}

// send counts frames, and breaks the line in place of the one after the last.
func (c *fakeConn) send(v any) {
	if c.dead {
		return
	}
	if c.cut > 0 && c.frames == c.cut {
		c.dead = true
		_ = c.ws.NetConn().Close()
		return
	}
	c.frames++
	b, err := json.Marshal(v)
	if err == nil {
		err = c.ws.WriteMessage(websocket.TextMessage, b)
	}
	c.dead = err != nil
}

func (c *fakeConn) request(m message) {
	f := c.f
	switch m.Method {
	case "ping", "unsubscribe":
		if m.Method == "unsubscribe" {
			var p map[string]string
			_ = json.Unmarshal(m.Params, &p)
			delete(c.subs, p["subscription"])
		}
		c.reply(m, struct{}{})
	case "task.get":
		var p struct{ ID string }
		_ = json.Unmarshal(m.Params, &p)
		if t := f.tasks[p.ID]; t != nil {
			c.reply(m, taskReply{t.task})
			return
		}
		c.fail(m, sdk.CodeNotFound, false)
	case "task.submit":
		var s sdk.Submission
		_ = json.Unmarshal(m.Params, &s)
		f.submits++
		c.reply(m, f.submit(s))
	case "task.submit_many":
		var p struct{ Tasks []sdk.Submission }
		_ = json.Unmarshal(m.Params, &p)
		var out []any
		for _, s := range p.Tasks {
			if s.Kind == "bad" {
				out = append(out, map[string]any{"error": sdk.Errorf(sdk.CodeInvalid, "kind: no")})
			} else {
				out = append(out, f.submit(s))
			}
		}
		c.reply(m, map[string]any{"results": out})
	case "subscribe":
		f.subs++
		c.subscribe(m)
	default:
		c.fail(m, sdk.CodeMethodNotFound, false)
	}
}

func (f *fake) submit(s sdk.Submission) any {
	id, again := f.keys[s.IdempotencyKey]
	if !again || s.IdempotencyKey == "" {
		id = fmt.Sprintf("tsk_%d", len(f.tasks)+1)
		f.keys[s.IdempotencyKey] = id
		f.tasks[id] = &fakeTask{task: sdk.Task{ID: id, Kind: s.Kind, Payload: s.Payload, State: sdk.StateQueued, Life: 1}}
	}
	return map[string]any{"task": f.tasks[id].task, "deduplicated": again}
}

func (c *fakeConn) subscribe(m message) {
	var req SubscribeRequest
	_ = json.Unmarshal(m.Params, &req)
	t := c.f.tasks[req.Task]
	if req.Task != "" && t == nil {
		c.fail(m, sdk.CodeNotFound, false)
		return
	}
	id := fmt.Sprintf("s%d", c.f.subs)
	c.subs[id] = req
	c.reply(m, map[string]any{"subscription": id, "recovered": true})
	from, _ := strconv.Atoi(req.From)
	from = max(0, from-c.f.overlap)
	if t == nil {
		for i := range c.f.log {
			if i >= from && req.From != "" && req.From != "now" {
				c.published(id, i)
			}
		}
		return
	}
	c.note("snapshot", map[string]any{"subscription": id, "task": t.task})
	if req.From == "now" {
		from = len(t.events)
	}
	for i := from; i < len(t.events); i++ {
		c.event(id, &t.events[i])
	}
	c.note("live", map[string]any{"subscription": id})
	if n := len(t.events); n > 0 && t.events[n-1].End {
		delete(c.subs, id)
	}
}

func (c *fakeConn) event(id string, e *sdk.TaskEvent) {
	if req := c.subs[id]; len(req.Types) == 0 || slices.Contains(req.Types, e.Type) {
		c.note("event", map[string]any{"subscription": id, "cursor": fmt.Sprint(e.Seq), "event": e})
	}
}

func (c *fakeConn) published(id string, i int) {
	c.note("event", map[string]any{"subscription": id, "cursor": fmt.Sprint(i + 1), "event": json.RawMessage(c.f.log[i])})
}

// append logs an event of a task and tells who listens.
func (f *fake) append(id, typ string, data string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	t := f.tasks[id]
	if t == nil {
		t = &fakeTask{task: sdk.Task{ID: id, Kind: "demo.echo", State: sdk.StateQueued, Life: 1}}
		f.tasks[id] = t
	}
	end := slices.Contains(ends, typ)
	t.events = append(t.events, sdk.TaskEvent{Seq: int64(len(t.events) + 1), Type: typ, Task: id, Life: t.task.Life,
		Attempt: 1, Time: sdk.Now(), Data: json.RawMessage(data), End: end})
	if end {
		t.task.State = sdk.StateCompleted
		t.task.Result = json.RawMessage(`"done"`)
	}
	for c := range f.conns {
		for s, req := range c.subs {
			if req.Task == id {
				c.event(s, &t.events[len(t.events)-1])
				if end {
					delete(c.subs, s)
				}
			}
		}
	}
}

func (f *fake) publish(id string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.log = append(f.log, fmt.Sprintf(`{"specversion":"1.0","id":%q,"source":"/t","type":"demo.ping","data":{}}`, id))
	for c := range f.conns {
		for s, req := range c.subs {
			if len(req.Topics) > 0 {
				c.published(s, len(f.log)-1)
			}
		}
	}
}

// history makes a task with n events, the last of which ends it.
func (f *fake) history(id string, n int) {
	for range n - 1 {
		f.append(id, sdk.EventProgress, `{"progress":1}`)
	}
	f.append(id, sdk.EventCompleted, `{"result":"done"}`)
}

// breakAll ends every connection: with a close code, or, for 0, like a cut wire.
func (f *fake) breakAll(code int, text string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for c := range f.conns {
		if code != 0 {
			_ = c.ws.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(code, text), time.Now().Add(time.Second))
		}
		c.dead = true
		_ = c.ws.NetConn().Close()
	}
}

func (f *fake) count(of *int) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return *of
}

func (f *fake) connect(t *testing.T, change ...func(*Config)) *Conn {
	t.Helper()
	cfg := Config{Server: f.URL, Token: "secret", Backoff: time.Millisecond, MaxBackoff: 5 * time.Millisecond}
	for _, c := range change {
		c(&cfg)
	}
	cl, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := cl.Connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}
