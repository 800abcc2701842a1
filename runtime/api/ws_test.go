package api_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/coder/websocket"

	"github.com/nagatha/nagatha-runtime/runtime/api"
	"github.com/nagatha/nagatha-runtime/sdk"
)

type helloReply struct {
	Server, Version, Protocol, Epoch string
	Scopes                           []string
	HeartbeatS                       int `json:"heartbeat_s"`
	Limits                           map[string]int
}

func TestHello(t *testing.T) {
	w := start(t, func(c *api.Config) { c.Limits.RequestsPerSecond = 5000 })
	c := w.anonymous()
	var h helloReply
	c.call("hello", `{"token":"`+token+`","client":{"name":"test","version":"1"}}`, &h)
	if h.Server != "nagatha-runtime" || h.Protocol != "nagatha.v1" || h.Epoch == "" || h.HeartbeatS != 25 || len(h.Scopes) == 0 {
		t.Errorf("%+v", h)
	}
	want := map[string]int{"frame_bytes": 4 << 20, "payload_bytes": 256 << 10, "result_bytes": 256 << 10, "subscriptions": 1000,
		"in_flight": 1000, "requests_per_s": 5000, "connections": 10_000}
	if fmt.Sprint(h.Limits) != fmt.Sprint(want) {
		t.Errorf("limits %v, want %v", h.Limits, want)
	}
	c.call("ping", `{}`, nil)
	c.call("hello", `{}`, &h) // again, without a token: it is known

	known := w.dial()
	known.call("hello", `{"client":{"name":"x"}}`, &h)
	known.fails("hello", `{"clint":{}}`, "invalid", -32602)
	known.fails("hello", `{"token":"wrong"}`, "unauthorized", -32001)
	if code, _ := known.closed(); code != 4500 {
		t.Errorf("closed %d", code)
	}
}

func TestUpgrade(t *testing.T) {
	w := start(t, nil)
	for _, tt := range []struct {
		name         string
		header       http.Header
		subprotocols []string
		query        string
		status       int
		chosen       string
	}{
		{"no token", nil, nil, "", 101, ""},
		{"header", bearer(), nil, "", 101, ""},
		{"subprotocol token", nil, []string{"nagatha.v1", "nagatha.bearer." + token}, "", 101, "nagatha.v1"},
		{"bad header", http.Header{"Authorization": {"Bearer nope"}}, nil, "", 401, ""},
		{"basic", http.Header{"Authorization": {"Basic YTpi"}}, nil, "", 401, ""},
		{"bad subprotocol token", nil, []string{"nagatha.v1", "nagatha.bearer.nope"}, "", 401, ""},
		{"other subprotocol", bearer(), []string{"graphql-ws"}, "", 400, ""},
		{"only the bearer one", nil, []string{"nagatha.bearer." + token}, "", 400, ""},
		{"query", bearer(), nil, "?token=" + token, 400, ""},
		{"query of another name", nil, nil, "?auth=" + token, 400, ""},
		{"foreign origin", http.Header{"Authorization": {"Bearer " + token}, "Origin": {"http://evil.example"}}, nil, "", 403, ""},
		{"null origin", http.Header{"Authorization": {"Bearer " + token}, "Origin": {"null"}}, nil, "", 403, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ws, resp, err := websocket.Dial(t.Context(), "ws://"+w.addr+"/api/v1/ws"+tt.query,
				&websocket.DialOptions{HTTPHeader: tt.header, Subprotocols: tt.subprotocols})
			if resp == nil {
				t.Fatal(err)
			}
			if err == nil {
				if got := ws.Subprotocol(); got != tt.chosen {
					t.Errorf("subprotocol %q", got)
				}
				_ = ws.CloseNow()
			} else if ct := resp.Header.Get("Content-Type"); ct != "application/problem+json" {
				t.Errorf("refused as %s", ct)
			}
			if resp.StatusCode != tt.status {
				t.Errorf("status %d, want %d", resp.StatusCode, tt.status)
			}
		})
	}
	// A client of another draft is told which version there is (RFC 6455, 4.4).
	old := bearer()
	for name, value := range map[string]string{"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "8", "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA=="} {
		old.Set(name, value)
	}
	if resp, _ := w.http(http.MethodGet, "/api/v1/ws", "", old); resp.StatusCode != http.StatusBadRequest || resp.Header.Get("Sec-WebSocket-Version") != "13" {
		t.Errorf("version 8: %d %v", resp.StatusCode, resp.Header)
	}
	if resp, _ := w.http(http.MethodGet, "/api/v1/ws", "", nil); resp.StatusCode != http.StatusUpgradeRequired {
		t.Errorf("plain GET: %d", resp.StatusCode)
	}
}

func TestMethods(t *testing.T) {
	w := start(t, nil)
	c := w.dial()

	var s submitted
	c.call("task.submit", `{"kind":"bench.echo","payload":{"x":1},"labels":{"team":"a"},"idempotency_key":"k1"}`, &s)
	if s.Task.ID == "" || s.Deduplicated || s.Subscription != "" {
		t.Fatalf("%+v", s)
	}
	first := s.Task.ID
	c.call("task.submit", `{"kind":"bench.echo","payload":{"x":1},"labels":{"team":"a"},"idempotency_key":"k1"}`, &s)
	if s.Task.ID != first || !s.Deduplicated {
		t.Errorf("the same key gave %s, deduplicated %v", s.Task.ID, s.Deduplicated)
	}
	c.fails("task.submit", `{"kind":"bench.echo","payload":{"x":2},"idempotency_key":"k1"}`, "conflict", -32009)
	e := c.fails("task.submit", `{"kind":"bench.echo","prioritty":1,"timeout":5}`, "invalid", -32602)
	if len(e.Data.Fields) != 2 || e.Data.Fields[0].Field != "timeout" || e.Data.Fields[1].Field != "prioritty" {
		t.Errorf("fields %v", e.Data.Fields)
	}
	c.fails("task.submit", `{"kind":"../../x"}`, "invalid", -32602)
	if e := c.fails("task.submit", `{"kind":"bench.echo","max_attempts":0}`, "invalid", -32602); e.Data.Fields[0].Field != "max_attempts" {
		t.Errorf("no attempts: %+v", e)
	}
	c.fails("task.submit", `{"kind":"bench.echo","payload":"`+strings.Repeat("x", 300<<10)+`"}`, "limit_exceeded", -32013)

	var many struct {
		Results []struct {
			Task         *sdk.Task
			Deduplicated *bool
			Error        *sdk.Error
		}
	}
	c.call("task.submit_many", `{"tasks":[{"kind":"bench.echo"},{"kind":"bench.echo","x":1},{"kind":"BAD"},{"kind":"bench.fail"},7]}`, &many)
	if len(many.Results) != 5 {
		t.Fatalf("%d results", len(many.Results))
	}
	for i, good := range []bool{true, false, false, true, false} {
		r := many.Results[i]
		if (r.Task != nil) != good || (r.Error == nil) != good || (r.Deduplicated != nil) != good {
			t.Errorf("result %d: %+v", i, r)
		}
	}
	if f := many.Results[1].Error.Fields; len(f) != 1 || f[0].Field != "x" {
		t.Errorf("fields of the second: %v", f)
	}
	c.fails("task.submit_many", `{}`, "invalid", -32602)

	// Each task is told of, also where not all of them fit into a frame whole.
	var cut struct {
		Results []struct {
			Task  *sdk.Task
			Error *sdk.Error
			Cut   bool
		}
	}
	c.call("task.submit_many", `{"tasks":[{"kind":"`+strings.Repeat("x", 5000)+`"}`+strings.Repeat(`,{"kind":"bench.echo","payload":"`+strings.Repeat("x", 4000)+`"}`, 999)+`]}`, &cut)
	for i, r := range cut.Results[1:] {
		if !r.Cut || r.Task.ID == "" || r.Task.Kind != "bench.echo" || string(r.Task.Payload) != "null" {
			t.Fatalf("result %d: %+v", i, r)
		}
	}
	if e := cut.Results[0].Error; e == nil || e.Code != "invalid" || len(e.Fields) > 0 || !cut.Results[0].Cut {
		t.Errorf("%+v", cut.Results[0])
	}

	resp, text := w.http("POST", "/api/v1/tasks/batch", `{"tasks":[{"kind":"bench.echo","payload":1}`+strings.Repeat(`,{"kind":"bench.echo","payload":"`+strings.Repeat("x", 4000)+`"}`, 999)+`]}`, nil)
	if resp.StatusCode != 200 || len(text) > 2<<20 || strings.Count(string(text), `"cut":true`) != 1000 {
		t.Errorf("batch: %d, %d bytes", resp.StatusCode, len(text))
	}
	c.fails("task.submit_many", `{"tasks":[`+strings.Repeat(`{},`, 1000)+`{}]}`, "invalid", -32602)

	w.finished(`{"kind":"bench.echo"}`)
	var one struct{ Task sdk.Task }
	c.call("task.get", `{"id":"`+first+`"}`, &one)
	if one.Task.Kind != "bench.echo" || one.Task.Owner != "admin" {
		t.Errorf("%+v", one.Task)
	}
	c.fails("task.get", `{"id":"tsk_none"}`, "not_found", -32004)
	c.fails("task.get", `{}`, "invalid", -32602)
	c.fails("task.get", `{"id":"tsk_\u0000"}`, "invalid", -32602)
	c.fails("task.submit", `{"kind":"bench.echo","after":["tsk_\u0000"]}`, "invalid", -32602)

	var list struct {
		Tasks      []sdk.Task
		NextCursor string `json:"next_cursor"`
	}
	c.call("task.list", `{"kind":"bench.*","label":"team=a","limit":10}`, &list)
	if len(list.Tasks) != 1 || list.Tasks[0].ID != first || list.NextCursor != "" {
		t.Errorf("%d tasks, next %q", len(list.Tasks), list.NextCursor)
	}
	c.call("task.list", `{"limit":2}`, &list)
	if len(list.Tasks) != 2 || list.NextCursor == "" {
		t.Fatalf("%d tasks, next %q", len(list.Tasks), list.NextCursor)
	}
	last := list.Tasks[1].ID
	c.call("task.list", `{"limit":2,"cursor":"`+list.NextCursor+`"}`, &list)
	if len(list.Tasks) != 2 || list.Tasks[0].ID >= last {
		t.Errorf("the second page does not follow the first")
	}
	c.fails("task.list", `{"state":["nope"]}`, "invalid", -32602)
	c.fails("task.list", `{"kind":["a.b"`+strings.Repeat(`,"a.b"`, 1000)+`]}`, "invalid", -32602)
	c.fails("task.list", `{"limit":1001}`, "invalid", -32602)
	c.fails("task.list", `{"limit":0}`, "invalid", -32602)
	c.fails("task.list", `{"cursor":"garbage!"}`, "bad_cursor", -32010)

	c.call("task.submit", `{"kind":"bench.block","subscribe":true}`, &s)
	for n := c.next(); n.Method != "event" || n.event(t).Type != sdk.EventProgress; n = c.next() {
	}
	c.fails("task.retry", `{"id":"`+s.Task.ID+`"}`, "conflict", -32009)
	c.fails("task.cancel", `{"id":"`+s.Task.ID+`","mode":"hard"}`, "invalid", -32602)
	c.call("task.cancel", `{"id":"`+s.Task.ID+`","reason":"enough"}`, &one)
	for n := c.next(); n.Method != "event" || !n.event(t).End; n = c.next() {
	}
	c.call("task.cancel", `{"id":"`+s.Task.ID+`"}`, &one)
	if one.Task.State != sdk.StateCancelled {
		t.Errorf("state %s", one.Task.State)
	}
	c.call("task.retry", `{"id":"`+s.Task.ID+`"}`, &one)
	if one.Task.Life != 2 {
		t.Errorf("life %d", one.Task.Life)
	}

	var id struct{ ID string }
	c.call("event.publish", `{"type":"demo.ping","data":{"a":1}}`, &id)
	if id.ID == "" {
		t.Error("no id")
	}
	c.fails("event.publish", `{"type":"task.completed"}`, "invalid", -32602)
	c.fails("event.publish", `{"type":"demo.ping","da_ta":1}`, "invalid", -32602)
	c.fails("event.publish", `{}`, "invalid", -32602)

	c.fails("task.signal", `{"id":"x","name":"y"}`, "not_found", -32004)
	c.fails("task.signal", `{"id":"x"}`, "invalid", -32602)
	c.fails("approval.decide", `{}`, "invalid", -32602)
	c.fails("approval.decide", `{"id":"x","decision":"maybe","digest":"d"}`, "invalid", -32602)
	c.fails("approval.decide", `{"id":"x","decision":"approve","digest":"d"}`, "not_found", -32004)
	c.fails("task.sumbit", `{}`, "method_not_found", -32601)
	c.fails("ping", `{"x":1}`, "invalid", -32602)
	c.fails("ping", `[]`, "invalid", -32602)
}

func TestSubscribe(t *testing.T) {
	w := start(t, nil)
	c := w.dial()
	task := w.finished(`{"kind":"bench.emit","payload":{"n":5}}`)

	var sub struct {
		Subscription string
		Recovered    bool
	}
	c.call("subscribe", `{"task":"`+task.ID+`"}`, &sub)
	if sub.Subscription == "" || !sub.Recovered {
		t.Fatalf("%+v", sub)
	}
	if n := c.next(); n.Method != "snapshot" || n.Params.Task.ID != task.ID || n.Params.Subscription != sub.Subscription {
		t.Fatalf("first came %+v", n)
	}
	var seq int64
	lives := 0
	for ended := false; !ended || lives == 0; {
		switch n := c.next(); n.Method {
		case "event":
			e := n.event(t)
			if seq++; e.Seq != seq || e.Kind != "bench.emit" || e.Queue != "default" || e.Task != task.ID || n.Params.Cursor == "" {
				t.Fatalf("event %+v, want seq %d", e, seq)
			}
			ended = e.End
		case "live":
			lives++
		default:
			t.Fatalf("a %s", n.Method)
		}
	}
	if lives != 1 {
		t.Errorf("%d live notices", lives)
	}
	// It has ended by itself: its slot is free and nothing of it comes any more.
	until(t, "the subscription ends", func() bool {
		r := c.try("unsubscribe", `{"subscription":"`+sub.Subscription+`"}`)
		return r.Error != nil && r.Error.Data.Code == "not_found"
	})

	c.fails("subscribe", `{}`, "invalid", -32602)
	c.fails("subscribe", `{"task":"x","topics":["kind.a.b"]}`, "invalid", -32602)
	c.fails("subscribe", `{"topics":["nonsense"]}`, "invalid", -32602)
	c.fails("subscribe", `{"task":"tsk_none"}`, "not_found", -32004)
	c.fails("subscribe", `{"topics":["kind.bench.*"],"from":"no cursor"}`, "bad_cursor", -32010)
	c.fails("subscribe", `{"topics":["kind.bench.*"],"last":0}`, "invalid", -32602)
	c.fails("subscribe", `{"topics":["kind.bench.*"],"types":["a.b"`+strings.Repeat(`,"a.b"`, 100)+`]}`, "invalid", -32602)

	c.call("subscribe", `{"topics":["event.demo.>"]}`, &sub)
	c.call("event.publish", `{"type":"demo.ping","source":"test","subject":"me","data":{"a":[1,2]}}`, nil)
	n := c.next()
	var ce map[string]any
	if err := json.Unmarshal(n.Params.Event, &ce); err != nil {
		t.Fatal(err)
	}
	if n.Method != "event" || ce["type"] != "demo.ping" || ce["specversion"] != "1.0" || ce["subject"] != "me" || ce["source"] != "test" ||
		ce["id"] == "" || fmt.Sprint(ce["data"]) != "map[a:[1 2]]" {
		t.Errorf("%s %v", n.Method, ce)
	}
	c.call("unsubscribe", `{"subscription":"`+sub.Subscription+`"}`, nil)
	c.call("event.publish", `{"type":"demo.ping"}`, nil)
	c.call("ping", `{}`, nil)
	if len(c.notes) > 0 {
		t.Errorf("after unsubscribe came %+v", c.notes)
	}
}

func TestSubscriptionLimit(t *testing.T) {
	w := start(t, func(c *api.Config) { c.Limits.Subscriptions = 2 })
	c := w.dial()
	var sub struct{ Subscription string }
	c.call("subscribe", `{"topics":["kind.a.b"]}`, &sub)
	c.call("subscribe", `{"topics":["kind.a.b"]}`, nil)
	c.fails("subscribe", `{"topics":["kind.a.b"]}`, "limit_exceeded", -32013)
	c.fails("task.submit", `{"kind":"bench.echo","subscribe":true}`, "limit_exceeded", -32013)
	c.fails("subscribe", `{"topics":["nonsense"]}`, "limit_exceeded", -32013)
	c.call("unsubscribe", `{"subscription":"`+sub.Subscription+`"}`, nil)
	c.fails("subscribe", `{"topics":["nonsense"]}`, "invalid", -32602) // keeps no place
	c.call("subscribe", `{"topics":["kind.a.b"]}`, nil)
}

// submit with subscribe sees every event of its task, the reply first.
func TestSubmitAndSubscribeMissesNothing(t *testing.T) {
	w := start(t, nil)
	c := w.dial()
	const tasks = 40
	for i := range tasks {
		c.send(fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"method":"task.submit","params":{"kind":"bench.emit","payload":{"n":20},"subscribe":true}}`, i))
	}
	seqs := map[string]int64{} // by subscription
	for ended := 0; ended < tasks; {
		text, err := c.read()
		if err != nil {
			t.Fatal(err)
		}
		r, n, isNote := c.parse(text)
		if !isNote {
			var s submitted
			if r.Error != nil || json.Unmarshal(r.Result, &s) != nil || s.Subscription == "" {
				t.Fatalf("%s %v", r.Result, r.Error)
			}
			seqs[s.Subscription] = 0
			continue
		}
		last, replied := seqs[n.Params.Subscription]
		if !replied {
			t.Fatalf("a notification of %s came before its reply", n.Params.Subscription)
		}
		if n.Method == "event" {
			e := n.event(t)
			if e.Seq != last+1 {
				t.Fatalf("seq %d after %d", e.Seq, last)
			}
			seqs[n.Params.Subscription] = e.Seq
			if e.End {
				ended++
			}
		}
	}
}

func TestJSONRPC(t *testing.T) {
	w := start(t, nil)
	c := w.dial()
	for _, tt := range []struct {
		send, id string
		number   int
	}{
		{`{"jsonrpc":"2.0","id":1,"method":"ping"`, "null", -32700},
		{`[{"jsonrpc":"2.0","id":1,"method":"ping"}]`, "null", -32600},
		{`[]`, "null", -32600},
		{`{"jsonrpc":"2.0","id":"a","method":"ping","params":[]}`, `"a"`, -32602},
		{`{"jsonrpc":"2.0","id":1e2,"method":"ping","params":"x"}`, `1e2`, -32602},
		{`{"jsonrpc":"2.0","id":-1,"method":"nope"}`, `-1`, -32601},
		{`{"jsonrpc":"2.0","id":null,"method":"ping"}`, `null`, 0},
		{`{"jsonrpc":"2.0","id":"é\u00e9","method":"ping"}`, `"é\u00e9"`, 0},
		{`{"jsonrpc":"2.0","id":1,"method":"ping","params":null}`, `1`, 0},
		{`{"jsonrpc":"2.0","id":1,"method":"ping","extra":1}`, `1`, -32600},
		{`{"jsonrpc":"2.0","id":1,"method":"task.submit","params":{"kind":"a.b","payload":{"x":1,"x":2}}}`, `1`, -32600},
	} {
		c.send(tt.send)
		text, err := c.read()
		if err != nil {
			t.Fatal(err)
		}
		var raw struct {
			ID    json.RawMessage
			Error *rpcErr
		}
		if err := json.Unmarshal(text, &raw); err != nil {
			t.Fatal(err)
		}
		number := 0
		if raw.Error != nil {
			number = raw.Error.Code
		}
		if string(raw.ID) != tt.id || number != tt.number {
			t.Errorf("%s: id %s error %v, want %s %d", tt.send, raw.ID, raw.Error, tt.id, tt.number)
		}
	}
	// Without an id nothing is answered, not even an error; it runs all the same.
	c.send(`{"jsonrpc":"2.0","method":"nope"}`)
	c.send(`{"jsonrpc":"2.0","method":"task.submit","params":{"kind":"bench.echo","labels":{"quiet":"yes"}}}`)
	c.call("ping", `{}`, nil)
	until(t, "the quiet task exists", func() bool {
		var list struct{ Tasks []sdk.Task }
		c.call("task.list", `{"label":["quiet=yes"]}`, &list)
		return len(list.Tasks) == 1
	})
}

// Requests that are fired and forgotten are carried out though their sender
// has gone.
func TestSubmitThenClose(t *testing.T) {
	w := start(t, nil)
	c := w.dial()
	const n = 300
	for range n {
		c.send(`{"jsonrpc":"2.0","method":"task.submit","params":{"kind":"bench.echo"}}`)
	}
	if err := c.ws.Close(websocket.StatusNormalClosure, ""); err != nil {
		t.Fatal(err)
	}
	until(t, "all tasks exist", func() bool {
		_, text := w.http(http.MethodGet, "/api/v1/system", "", nil)
		var s sdk.SystemStatus
		if err := json.Unmarshal(text, &s); err != nil {
			t.Fatal(err)
		}
		total := int64(0)
		for _, k := range s.Tasks {
			total += k
		}
		return total == n
	})
}
