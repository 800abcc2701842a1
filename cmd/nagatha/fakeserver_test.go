package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/gorilla/websocket"

	"github.com/nagatha/nagatha-runtime/sdk"
)

// fakeserver ADDR TASK EVENTS LOG speaks the protocol about one task, which is in
// the file TASK, and its events, one a line in the file EVENTS. It writes what it
// is asked to the file LOG. The token is "secret".
func fakeserver() {
	if len(os.Args) != 5 {
		fmt.Fprintln(os.Stderr, "usage: fakeserver ADDR TASK EVENTS LOG")
		os.Exit(2)
	}
	s := &server{}
	check(readJSON(os.Args[2], &s.task))
	f, err := os.Open(os.Args[3])
	check(err)
	for lines := bufio.NewScanner(f); lines.Scan(); {
		s.events = append(s.events, json.RawMessage(slices.Clone(lines.Bytes())))
	}
	check(f.Close())
	s.log, err = os.OpenFile(os.Args[4], os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	check(err)
	check(http.ListenAndServe(os.Args[1], s))
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "fakeserver:", err)
		os.Exit(1)
	}
}

func readJSON(path string, v any) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	return json.Unmarshal(b, v)
}

type server struct {
	task   sdk.Task
	events []json.RawMessage
	log    *os.File
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != "/healthz" && r.Header.Get("Authorization") != "Bearer secret" {
		w.WriteHeader(http.StatusUnauthorized)
		fmt.Fprint(w, `{"code":"unauthorized","detail":"this token is not known"}`)
		return
	}
	if path, ok := strings.CutPrefix(r.URL.Path, "/api/v1/schedules"); ok {
		s.schedules(w, r, path)
		return
	}
	if s.admin(w, r) {
		return
	}
	switch r.URL.Path {
	case "/healthz":
	case "/api/v1/system":
		fmt.Fprint(w, `{"version":"9.9","uptime":"1m","store":"sqlite","bus":"sql","tasks":{"failed":2,"queued":1},"plugins":{"ready":1,"failed":0},"connections":3}`)
	case "/api/v1/plugins/demo":
		fmt.Fprint(w, `{"name":"demo","version":"1.0.0","carrier":"wasm","state":"ready","kinds":[{"kind":"demo.echo","description":"Says it again.","example":{"text":"it's"}},{"kind":"demo.kinds","example":{}}]}`)
	case "/api/v1/plugins":
		fmt.Fprint(w, `{"plugins":[{"name":"demo","version":"1.0.0","carrier":"wasm","state":"ready","kinds":[{"kind":"demo.echo"}]}],"next_cursor":""}`)
	case "/api/v1/queues":
		fmt.Fprint(w, `{"queues":[{"name":"default","concurrency":16,"running":2,"queued":3,"scheduled":4,"oldest_wait":"1m5s","paused":false,"rate":"","depth_limit":0},`+
			`{"name":"slow","concurrency":1,"running":0,"queued":0,"scheduled":7,"oldest_wait":"0s","paused":true,"rate":"5/m","depth_limit":100}],"next_cursor":""}`)
	case "/api/v1/queues/slow/pause", "/api/v1/queues/slow/resume":
		fmt.Fprintf(s.log, "%s %s\n", r.Method, r.URL.Path)
		fmt.Fprintf(w, `{"name":"slow","concurrency":1,"key_concurrency":2,"paused":%v}`, strings.HasSuffix(r.URL.Path, "pause"))
	case "/api/v1/queues/none/pause":
		w.WriteHeader(http.StatusNotFound)
		fmt.Fprint(w, `{"code":"not_found","detail":"there is no queue \"none\"; config.hcl has default, slow"}`)
	case "/api/v1/tasks/bulk":
		body, _ := io.ReadAll(r.Body)
		fmt.Fprintf(s.log, "%s %s %s\n", r.Method, r.URL.Path, body)
		var q struct {
			Expected *int `json:"expected_count"`
		}
		_ = json.Unmarshal(body, &q)
		if q.Expected != nil && *q.Expected != 3 {
			w.WriteHeader(http.StatusConflict)
			fmt.Fprintf(w, `{"code":"conflict","detail":"3 tasks match, not %d; nothing was changed"}`, *q.Expected)
			return
		}
		fmt.Fprintf(w, `{"matched":3,"changed":2}`)
	case "/api/v1/ws":
		up := websocket.Upgrader{Subprotocols: []string{"nagatha.v1"}}
		ws, err := up.Upgrade(w, r, nil)
		if err != nil {
			return
		}
		for {
			var m request
			if ws.ReadJSON(&m) != nil {
				return
			}
			if m.Method != "ping" {
				fmt.Fprintf(s.log, "%s %s\n", m.Method, m.Params)
			}
			s.answer(ws, m)
		}
	default:
		w.WriteHeader(http.StatusNotFound)
	}
}

func (s *server) schedules(w http.ResponseWriter, r *http.Request, path string) {
	body, err := io.ReadAll(r.Body)
	check(err)
	fmt.Fprintf(s.log, "%s schedules%s %s\n", r.Method, path, body)
	const one = `{"id":"sch_1","name":"nightly","cron":"30 2 * * *","zone":"Europe/Berlin","kind":"demo.echo","payload":{"a":1},"missed":"once","overlap":"skip","jitter":"0s",
		"paused":false,"next_at":"2027-01-01T01:30:00.000Z","last_at":null,"last_task":"tsk_1","source":"api"}`
	switch {
	case strings.HasPrefix(path, "/none"):
		w.WriteHeader(http.StatusNotFound)
		fmt.Fprint(w, `{"code":"not_found","detail":"there is no schedule none"}`)
	case r.Method == http.MethodDelete:
		w.WriteHeader(http.StatusNoContent)
	case path == "" && r.Method == http.MethodGet:
		fmt.Fprintf(w, `{"schedules":[%s],"next_cursor":""}`, one)
	case path == "":
		w.WriteHeader(http.StatusCreated)
		fmt.Fprint(w, one)
	default:
		fmt.Fprint(w, one)
	}
}

type request struct {
	ID     json.RawMessage `json:"id"`
	Method string          `json:"method"`
	Params json.RawMessage `json:"params"`
}

func (s *server) answer(ws *websocket.Conn, m request) {
	var p struct {
		ID, Task, From string
		Topics         []string
	}
	_ = json.Unmarshal(m.Params, &p) // of other shapes for other methods
	send := func(v any) { _ = ws.WriteJSON(v) }
	reply := func(result any) { send(map[string]any{"jsonrpc": "2.0", "id": m.ID, "result": result}) }
	note := func(method string, params map[string]any) {
		params["subscription"] = "s1"
		send(map[string]any{"jsonrpc": "2.0", "method": method, "params": params})
	}
	fail := func(code, text string) {
		send(map[string]any{"jsonrpc": "2.0", "id": m.ID, "error": map[string]any{"code": -32000, "message": text, "data": map[string]any{"code": code}}})
	}
	if id := p.ID + p.Task; id != "" && id != s.task.ID && m.Method != "event.publish" {
		fail("not_found", "there is no task "+id)
		return
	}
	switch m.Method {
	case "task.submit":
		reply(map[string]any{"task": s.task, "deduplicated": false})
	case "task.get", "task.cancel":
		reply(map[string]any{"task": s.task})
	case "task.retry":
		fail("conflict", "the task is "+string(s.task.State))
	case "task.list":
		reply(map[string]any{"tasks": []sdk.Task{s.task}, "next_cursor": "next"})
	case "event.publish":
		reply(map[string]any{"id": "evt_1"})
	case "subscribe":
		reply(map[string]any{"subscription": "s1", "recovered": true})
		if p.Task != "" {
			note("snapshot", map[string]any{"task": s.task})
		}
		after, _ := strconv.Atoi(p.From)
		for i := after; i < len(s.events); i++ {
			note("event", map[string]any{"cursor": fmt.Sprint(i + 1), "event": s.events[i]})
		}
		if p.Task != "" {
			note("live", map[string]any{})
		}
		fmt.Fprintln(s.log, "sent everything")
	default:
		reply(struct{}{})
	}
}
