package api_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	goruntime "runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nagatha/nagatha-runtime/runtime/api"
	"github.com/nagatha/nagatha-runtime/sdk"
)

// follow reads events of a task from a cursor, and cuts the connection after so
// many of them, or after the end.
func (w *world) follow(task, cursor string, most int) (events []taskEvent, last string, ended bool) {
	w.t.Helper()
	c := w.dial()
	defer c.ws.CloseNow()
	params := fmt.Sprintf(`{"task":%q}`, task)
	if cursor != "" {
		params = fmt.Sprintf(`{"task":%q,"from":%q}`, task, cursor)
	}
	var sub struct{ Recovered bool }
	c.call("subscribe", params, &sub)
	if !sub.Recovered {
		w.t.Fatal("not recovered")
	}
	last = cursor
	for len(events) < most {
		n := c.next()
		if n.Method != "event" {
			continue
		}
		e := n.event(w.t)
		events, last = append(events, e), n.Params.Cursor
		if e.End {
			return events, last, true
		}
	}
	return events, last, false
}

// A client that is cut again and again, also twice before it got anything, sees
// each event once and in order.
func TestCutEverywhere(t *testing.T) {
	w := start(t, nil)
	const total = 500
	task := w.finished(fmt.Sprintf(`{"kind":"bench.emit","payload":{"n":%d}}`, total-4))
	for _, k := range []int{1, 2, 3, 7, 31, 62, 63, 64, 65, 66, 100, 127, 128, 129, 250, 499, 500} {
		var seen []int64
		cursor := ""
		for ended := false; !ended; {
			w.follow(task.ID, cursor, 0)
			w.follow(task.ID, cursor, 0)
			var events []taskEvent
			events, cursor, ended = w.follow(task.ID, cursor, k)
			for _, e := range events {
				seen = append(seen, e.Seq)
			}
		}
		if len(seen) != total || !slices.IsSorted(seen) || seen[0] != 1 || seen[total-1] != total || len(slices.Compact(seen)) != total {
			t.Fatalf("cut after every %d: %d events, %v", k, len(seen), seen)
		}
	}
}

// The same over a task that is being written meanwhile, on topics, where the
// cursor is the log's.
func TestCutTopicsWhileRunning(t *testing.T) {
	w := start(t, nil)
	_, text := w.http(http.MethodPost, "/api/v1/tasks/batch", `{"tasks":[`+strings.Repeat(`{"kind":"bench.emit","payload":{"n":50}},`, 19)+
		`{"kind":"bench.emit","payload":{"n":50}}]}`, nil)
	if !strings.Contains(string(text), `"results"`) {
		t.Fatal(string(text))
	}
	seqs := map[string]int64{}
	cursor := "start"
	for k := 1; len(seqs) < 20 || !allEqual(seqs, 54); k++ {
		c := w.dial()
		c.call("subscribe", `{"topics":["kind.bench.*"],"from":"`+cursor+`"}`, nil)
		for range k%97 + 1 {
			n := c.next()
			if n.Method != "event" {
				continue
			}
			e := n.event(t)
			if e.Seq != seqs[e.Task]+1 {
				t.Fatalf("%s: seq %d after %d", e.Task, e.Seq, seqs[e.Task])
			}
			seqs[e.Task] = e.Seq
			cursor = n.Params.Cursor
			if allEqual(seqs, 54) && len(seqs) == 20 {
				break
			}
		}
		_ = c.ws.CloseNow()
	}
}

func allEqual(m map[string]int64, want int64) bool {
	for _, v := range m {
		if v != want {
			return false
		}
	}
	return true
}

// A client that does not read while a lot happens costs no memory, is told that
// it lags, and misses nothing.
func TestSlowClient(t *testing.T) {
	// However long the tasks take on a busy machine, it is not closed for that.
	w := start(t, func(c *api.Config) { c.WriteTimeout = time.Hour })
	c := w.dial()
	c.call("subscribe", `{"topics":["kind.bench.emit"]}`, nil)
	goruntime.GC()
	var before, after goruntime.MemStats
	goruntime.ReadMemStats(&before)
	const tasks, lines = 20, 1000
	for range tasks {
		w.finished(fmt.Sprintf(`{"kind":"bench.emit","payload":{"n":%d,"size":1000}}`, lines))
	}
	goruntime.GC()
	goruntime.ReadMemStats(&after)
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 16<<20 {
		t.Errorf("the heap grew by %d MiB for one slow client", grown>>20)
	}
	seqs := map[string]int64{}
	lags := 0
	for ended := 0; ended < tasks; {
		n := c.next()
		switch n.Method {
		case "lag":
			lags++
			if n.Params.Behind < 1 {
				t.Errorf("behind %d", n.Params.Behind)
			}
		case "event":
			e := n.event(t)
			if e.Seq != seqs[e.Task]+1 {
				t.Fatalf("seq %d after %d", e.Seq, seqs[e.Task])
			}
			seqs[e.Task] = e.Seq
			if e.End {
				ended++
			}
		}
	}
	if lags == 0 {
		t.Error("no lag notice")
	}
	c.call("ping", `{}`, nil)
}

// A busy subscription must not keep a quiet one, or replies, from their turn.
func TestTurns(t *testing.T) {
	w := start(t, nil)
	task := w.finished(`{"kind":"bench.emit","payload":{"n":5000,"size":200}}`)
	quiet := w.finished(`{"kind":"bench.echo"}`)
	c := w.dial()
	c.send(`{"jsonrpc":"2.0","id":"a","method":"subscribe","params":{"task":"` + task.ID + `"}}`)
	c.send(`{"jsonrpc":"2.0","id":"b","method":"subscribe","params":{"task":"` + quiet.ID + `"}}`)
	c.send(`{"jsonrpc":"2.0","id":"c","method":"ping"}`)
	busy, quietDone, ponged := 0, -1, -1
	for quietDone < 0 || ponged < 0 || busy < 5004 {
		text, err := c.read()
		if err != nil {
			t.Fatal(err)
		}
		r, n, isNote := c.parse(text)
		switch {
		case !isNote && string(r.ID) == `"c"`:
			ponged = busy
		case isNote && n.Method == "event":
			e := n.event(t)
			if e.Task == task.ID {
				busy++
			} else if e.End {
				quietDone = busy
			}
		}
	}
	if quietDone > 1000 || ponged > 1000 {
		t.Errorf("the quiet subscription ended after %d events of the busy one, the ping after %d", quietDone, ponged)
	}
}

func TestGap(t *testing.T) {
	w := start(t, nil)
	task := w.finished(`{"kind":"bench.echo"}`)
	_, cursor, _ := w.follow(task.ID, "", 3)
	other := start(t, nil) // another history
	stranger := other.finished(`{"kind":"bench.echo"}`)
	c := other.dial()
	var sub struct{ Recovered bool }
	c.call("subscribe", `{"task":"`+stranger.ID+`","from":"`+cursor+`"}`, &sub)
	if sub.Recovered {
		t.Error("recovered from a cursor of another history")
	}
	var got []string
	for n := c.next(); ; n = c.next() {
		got = append(got, n.Method)
		if n.Method == "gap" && n.Params.Reason == "" {
			t.Error("a gap without a reason")
		}
		if n.Method == "live" {
			break
		}
	}
	if len(got) < 4 || got[0] != "gap" || got[1] != "snapshot" || got[2] != "event" {
		t.Errorf("notices %v", got)
	}
}

// A list of large tasks is cut where a frame would overflow, and goes on.
func TestLargePages(t *testing.T) {
	w := start(t, nil)
	c := w.dial()
	const n = 40
	pad := strings.Repeat("x", 200<<10)
	for i := range n {
		c.call("task.submit", fmt.Sprintf(`{"kind":"nobody.there","payload":{"i":%d,"pad":%q}}`, i, pad), nil)
	}
	cursor, seen, pages := "", map[string]bool{}, 0
	for {
		var list struct {
			Tasks      []sdk.Task
			NextCursor string `json:"next_cursor"`
		}
		c.call("task.list", fmt.Sprintf(`{"limit":1000,"cursor":%q}`, cursor), &list)
		pages++
		for _, task := range list.Tasks {
			if seen[task.ID] {
				t.Fatalf("%s came twice", task.ID)
			}
			seen[task.ID] = true
		}
		if cursor = list.NextCursor; cursor == "" {
			break
		}
	}
	if len(seen) != n || pages < 2 {
		t.Errorf("%d tasks in %d pages", len(seen), pages)
	}
}

func TestEventStream(t *testing.T) {
	w := start(t, nil)
	task := w.finished(`{"kind":"bench.emit","payload":{"n":96}}`)
	read := func(last string) (status int, ids []string, seqs []int64, names []string) {
		h := http.Header{"Accept": {"text/event-stream"}}
		if last != "" {
			h.Set("Last-Event-ID", last)
		}
		resp, text := w.http(http.MethodGet, "/api/v1/tasks/"+task.ID+"/events", "", h)
		for _, message := range strings.Split(string(text), "\n\n") {
			id, data, name := "", "", ""
			for line := range strings.SplitSeq(message, "\n") {
				field, value, _ := strings.Cut(line, ": ")
				switch field {
				case "id":
					id = value
				case "data":
					data = value
				case "event":
					name = value
				}
			}
			switch {
			case name != "":
				names = append(names, name)
			case data != "":
				var e sdk.TaskEvent
				if err := json.Unmarshal([]byte(data), &e); err != nil {
					t.Fatalf("%s: %v", data, err)
				}
				ids, seqs = append(ids, id), append(seqs, e.Seq)
			}
		}
		return resp.StatusCode, ids, seqs, names
	}
	status, ids, seqs, names := read("")
	if status != 200 || len(seqs) != 100 || seqs[99] != 100 || fmt.Sprint(names) != "[snapshot live]" {
		t.Fatalf("%d: %d events, %v", status, len(seqs), names)
	}
	if _, _, seqs, _ = read(ids[39]); len(seqs) != 60 || seqs[0] != 41 {
		t.Errorf("after 40 came %v", seqs)
	}
	if status, _, seqs, _ = read(ids[99]); status != http.StatusNoContent || len(seqs) != 0 {
		t.Errorf("after the end: %d, %v", status, seqs)
	}
	for accept, want := range map[string]string{
		"Text/Event-Stream": "text/event-stream", "text/event-stream;charset=utf-8, */*;q=0.1": "text/event-stream",
		"application/json, text/event-stream": "text/event-stream", "application/json;q=0.5, text/event-stream;q=0.9": "text/event-stream",
		"application/json, text/event-stream;q=0.5": "application/json", "text/event-stream;q=0": "application/json",
		"*/*": "application/json", "text/*": "application/json", "": "application/json", "x;;, text/event-stream;q=much": "application/json",
	} {
		resp, _ := w.http(http.MethodGet, "/api/v1/tasks/"+task.ID+"/events", "", http.Header{"Accept": {accept}})
		if got := resp.Header.Get("Content-Type"); got != want {
			t.Errorf("Accept %q: %s", accept, got)
		}
	}
}

// HEAD is over with the headers, although the task goes on.
func TestEventStreamHead(t *testing.T) {
	w := start(t, nil)
	_, text := w.http(http.MethodPost, "/api/v1/tasks", `{"kind":"nobody.there"}`, nil)
	var task sdk.Task
	if err := json.Unmarshal(text, &task); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	conn, err := net.Dial("tcp", w.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Fprintf(conn, "HEAD /api/v1/tasks/%s/events HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\nAccept: text/event-stream\r\nConnection: close\r\n\r\n",
		task.ID, w.addr, token); err != nil {
		t.Fatal(err)
	}
	answer, err := io.ReadAll(conn)
	if err != nil || !strings.HasPrefix(string(answer), "HTTP/1.1 200") || !strings.Contains(string(answer), "text/event-stream") {
		t.Errorf("%v: %s", err, answer)
	}
}

// A client that asks for a lot and does not read is made to wait: its answers
// do not pile up.
func TestAskAndDoNotRead(t *testing.T) {
	w := start(t, nil)
	c := w.dial()
	pad := strings.Repeat("x", 200<<10)
	for range 15 {
		c.call("task.submit", fmt.Sprintf(`{"kind":"nobody.there","payload":{"pad":%q}}`, pad), nil)
	}
	goruntime.GC()
	var before, during goruntime.MemStats
	goruntime.ReadMemStats(&before)
	const asks = 60 // of 3 MiB each
	for i := range asks {
		c.send(fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"method":"task.list","params":{"limit":1000}}`, i))
	}
	// Once the answers that may wait do so, nothing more is read from the store.
	last, still := uint64(0), 0
	until(t, "the server has stopped", func() bool {
		goruntime.ReadMemStats(&during)
		if still++; during.Mallocs-last > 20 {
			still = 0
		}
		last = during.Mallocs
		return still == 50
	})
	goruntime.GC()
	goruntime.ReadMemStats(&during)
	if grown := int64(during.HeapAlloc) - int64(before.HeapAlloc); grown > 100<<20 {
		t.Errorf("the heap grew by %d MiB for %d answers that wait", grown>>20, asks)
	}
	for range asks {
		if r := c.reply(); r.Error != nil {
			t.Fatal(r.Error)
		}
	}
}
