package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// Clients and servers from npm, and connections that are cut.

// node installs what testdata/npm wants, or skips: in CI a skip is a failure.
func node(t *testing.T) {
	t.Helper()
	if err := npm(); err != nil {
		if os.Getenv("NAGATHA_NO_SKIP") != "" {
			t.Fatalf("needs Node and npm: %v", err)
		}
		t.Skipf("SKIPPED: needs Node and npm: %v", err)
	}
}

var npm = sync.OnceValue(func() error {
	for _, tool := range []string{"node", "npm"} {
		if _, err := exec.LookPath(tool); err != nil {
			return err
		}
	}
	cmd := exec.Command("npm", "ci", "--no-audit", "--no-fund", "--fetch-retries=5", "--ignore-scripts")
	cmd.Dir = "testdata/npm"
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("npm ci: %w\n%s", err, out)
	}
	return nil
})

// TestNodeClient is TestNothingAcknowledgedIsLost with npm's ws and json-rpc-2.0.
func TestNodeClient(t *testing.T) {
	node(t)
	const tasks = 10_000
	d := newDaemon(t, demoWasm)
	d.start()
	cmd := exec.CommandContext(t.Context(), "node", "testdata/npm/client.js", "ws://"+d.addr+"/api/v1/ws",
		filepath.Join(d.dir, "data", "admin.token"), fmt.Sprint(tasks))
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	kills := map[int]bool{}
	for len(kills) < 3 {
		kills[1000*(1+rand.IntN(9))] = true
	}
	killed, last := 0, ""
	for sc := bufio.NewScanner(out); sc.Scan(); {
		last = sc.Text()
		var n int
		if _, err := fmt.Sscanf(last, "submitted %d", &n); err == nil && kills[n] {
			killed++
			d.kill()
			d.start()
		}
	}
	if err := cmd.Wait(); err != nil {
		t.Fatalf("the client: %v", err)
	}
	var sum struct{ Acked, Ended, Doubles, Missing, Connections int }
	if err := json.Unmarshal([]byte(last), &sum); err != nil {
		t.Fatalf("it said %q: %v", last, err)
	}
	if killed != 3 || sum.Acked != tasks || sum.Ended != tasks || sum.Doubles != 0 || sum.Missing != 0 || sum.Connections < 3 {
		t.Errorf("%d kills, %+v", killed, sum)
	}
}

// cutReader follows a task and cuts its connection after every k events.
type cutReader struct {
	d      *daemon
	task   string
	cursor string
	seq    int64
	ended  bool
}

// read opens a connection, goes on where the last one was cut, applies up to k
// events, and cuts it without a goodbye.
func (r *cutReader) read(ctx context.Context, k int) error {
	ctx, cancel := context.WithTimeout(ctx, 90*time.Second)
	defer cancel()
	c, err := dial(ctx, r.d)
	if err != nil {
		return err
	}
	defer func() { _ = c.ws.CloseNow() }()
	params := fmt.Sprintf(`{"task":%q}`, r.task)
	if r.cursor != "" {
		params = fmt.Sprintf(`{"task":%q,"from":%q}`, r.task, r.cursor)
	}
	if err := c.call(ctx, 1, "subscribe", params); err != nil {
		return err
	}
	replied := false
	for n := 0; n < k || !replied; {
		_, b, err := c.ws.Read(ctx)
		if err != nil {
			return err
		}
		var m struct {
			ID     *int
			Method string
			Error  json.RawMessage
			Params struct {
				Cursor string
				Event  struct {
					Seq int64
					End bool
				}
			}
		}
		if err := json.Unmarshal(b, &m); err != nil {
			return err
		}
		if m.Error != nil {
			return fmt.Errorf("subscribe: %s", m.Error)
		}
		replied = replied || m.ID != nil
		if m.Method == "gap" || m.Method == "lag" {
			return fmt.Errorf("a %s", m.Method)
		}
		if m.Method != "event" || n >= k {
			continue
		}
		if m.Params.Event.Seq != r.seq+1 {
			r.d.Fatalf("event %d after %d", m.Params.Event.Seq, r.seq)
		}
		r.seq, r.cursor, r.ended = m.Params.Event.Seq, m.Params.Cursor, m.Params.Event.End
		n++
		if r.ended {
			return nil
		}
	}
	return nil
}

// TestCutConnections: whoever comes back with a cursor gets every event once,
// however often it is cut, across a restart, of a task that has ended and of one
// that runs.
func TestCutConnections(t *testing.T) {
	d := newDaemon(t, demoProcess)
	d.start()
	_, m := d.rest("POST", "/api/v1/tasks?wait=30s", `{"kind":"demo.countdown","payload":{"steps":248,"interval":"1ms"}}`)
	id, _ := m["id"].(string)
	if m["state"] != "completed" {
		t.Fatalf("the task: %v", m)
	}
	var want int64
	for _, k := range []int{1000, 1, 2, 3, 7, 19, 64, 250, 499} {
		r := &cutReader{d: d, task: id}
		restarted := false
		for !r.ended {
			if err := r.read(t.Context(), k); err != nil {
				t.Fatalf("k=%d: %v", k, err)
			}
			if !r.ended {
				if err := r.read(t.Context(), 0); err != nil { // cut again, before anything was applied
					t.Fatalf("k=%d: %v", k, err)
				}
			}
			if !restarted && r.seq > 200 && k > 2 {
				restarted = true
				d.kill()
				d.start()
			}
		}
		if want == 0 {
			want = r.seq
		}
		if r.seq != want || r.seq < 500 {
			t.Errorf("k=%d: %d events, want %d", k, r.seq, want)
		}
	}

	// While it runs: a second attempt follows the kill, and the numbers go on.
	_, m = d.rest("POST", "/api/v1/tasks", `{"kind":"demo.countdown","payload":{"steps":250,"interval":"15ms"}}`)
	r := &cutReader{d: d, task: m["id"].(string)}
	for restarted := false; !r.ended; {
		if err := r.read(t.Context(), 17); err != nil {
			t.Fatal(err)
		}
		if !restarted && r.seq > 150 {
			restarted = true
			d.kill()
			d.start()
		}
	}
	if _, m := d.rest("GET", "/api/v1/tasks/"+r.task, ""); m["state"] != "completed" || m["attempt"] != 2.0 {
		t.Errorf("the running task: %v", m)
	}
}

// TestMCPServer calls the real server-everything through the whole runtime.
func TestMCPServer(t *testing.T) {
	node(t)
	dir, err := filepath.Abs("testdata/npm/node_modules/@modelcontextprotocol/server-everything/dist/index.js")
	if err != nil {
		t.Fatal(err)
	}
	program, err := exec.LookPath("node") // a plugin's environment is empty
	if err != nil {
		t.Fatal(err)
	}
	d := newDaemon(t, fmt.Sprintf("plugin \"mcp\" {\n  command = [\"BIN/mcp\"]\n  grant {\n    store = true\n    publish = [\"mcp.>\"]\n  }\n  config {\n    servers = {\n      everything = { command = [%q, %q] }\n    }\n  }\n}\n", program, dir))
	d.start()
	code, m := d.rest("POST", "/api/v1/tasks?wait=30s", `{"kind":"mcp.call_tool","payload":{"server":"everything","tool":"echo","arguments":{"message":"hi"}}}`)
	if b, _ := json.Marshal(m["result"]); code != 200 || m["state"] != "completed" || !strings.Contains(string(b), "hi") {
		t.Fatalf("%d %v", code, m)
	}

	long := `{"kind":"mcp.call_tool","max_attempts":1,"payload":{"server":"everything","tool":"trigger-long-running-operation","arguments":{"duration":%s,"steps":5}}}`
	progress := func(duration string, onFirst func()) (seen []float64, end string, data json.RawMessage) {
		ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
		defer cancel()
		c, err := dial(ctx, d)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = c.ws.CloseNow() }()
		params := fmt.Sprintf(long, duration)
		if err := c.call(ctx, 1, "task.submit", strings.TrimSuffix(params, "}")+`,"subscribe":true}`); err != nil {
			t.Fatal(err)
		}
		for {
			_, b, err := c.ws.Read(ctx)
			if err != nil {
				t.Fatal(err)
			}
			var m struct {
				Error  json.RawMessage
				Params struct {
					Event struct {
						Type string
						End  bool
						Data json.RawMessage
					}
				}
			}
			if err := json.Unmarshal(b, &m); err != nil || m.Error != nil {
				t.Fatalf("%s %v", b, err)
			}
			e := m.Params.Event
			if e.Type == "task.progress" {
				var p struct{ Progress float64 }
				_ = json.Unmarshal(e.Data, &p)
				seen = append(seen, p.Progress)
				if len(seen) == 1 {
					onFirst()
				}
			}
			if e.End {
				return seen, e.Type, e.Data
			}
		}
	}
	seen, end, data := progress("1", func() {})
	if end != "task.completed" || len(seen) < 4 || seen[len(seen)-1] != 5 {
		t.Errorf("progress %v, then %s %s", seen, end, data)
	}
	_, end, data = progress("30", func() {
		if out, err := exec.Command("pkill", "-KILL", "-f", dir).CombinedOutput(); err != nil {
			t.Errorf("kill the server: %v %s", err, out)
		}
	})
	var failed struct {
		Error struct {
			Code      string
			Retryable bool
		}
	}
	if err := json.Unmarshal(data, &failed); err != nil || end != "task.failed" || failed.Error.Code != "unavailable" || !failed.Error.Retryable {
		t.Errorf("the killed server: %s %s", end, data)
	}
	if _, m := d.rest("POST", "/api/v1/tasks?wait=30s", `{"kind":"mcp.call_tool","payload":{"server":"everything","tool":"get-sum","arguments":{"a":2,"b":40}}}`); m["state"] != "completed" || !strings.Contains(fmt.Sprint(m["result"]), "42") {
		t.Errorf("the next call: %v", m)
	}
}
