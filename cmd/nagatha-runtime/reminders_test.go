package main

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	_ "github.com/mattn/go-sqlite3"
)

// The reminders plugin as its users meet it.

func remindersDaemon(t *testing.T, carrier, grant, config string) *daemon {
	t.Helper()
	return remindersDaemonWith(t, carrier, "", grant, config)
}

// remindersDaemonWith runs the plugin beside what else is in a configuration; grant and
// config are further lines of those blocks.
func remindersDaemonWith(t *testing.T, carrier, more string, lines ...string) *daemon {
	t.Helper()
	file, limits := `command = ["BIN/reminders"]`, ""
	if carrier == "wasm" {
		file, limits = `wasm = "BIN/reminders.wasm"`, "  limits {\n    instances = 4\n    concurrency = 8\n  }\n"
	}
	lines = append(lines, "", "")
	d := newDaemon(t, "plugin \"reminders\" {\n  "+file+"\n"+limits+"  grant {\n    store = true\n    publish = [\"reminder.*\", \"todo.due\"]\n"+
		"    submit = [\"reminders.fire\", \"reminders.deliver\"]\n"+lines[0]+"  }\n  config {\n    queue = \"reminders\"\n"+lines[1]+"  }\n}\n"+
		"queue \"reminders\" {\n  concurrency = 8\n  depth = 1000000\n}\n"+more)
	d.start()
	return d
}

// reminders runs a kind of the plugin to its end and returns its result.
func (d *daemon) reminders(kind, payload string) map[string]any {
	d.Helper()
	m := d.await(d.submit(`{"kind":"reminders.` + kind + `","payload":` + payload + `}`))
	result, ok := m["result"].(map[string]any)
	if m["state"] != "completed" || !ok {
		d.Fatalf("%s %.200s is %v: %v", kind, payload, m["state"], m["error"])
	}
	return result
}

// remind makes a reminder and returns its id.
func (d *daemon) remind(payload string) string {
	d.Helper()
	return d.reminders("create", payload)["reminder"].(map[string]any)["id"].(string)
}

// dueEvent is a reminder.due event as a client of the WebSocket gets it.
type dueEvent struct {
	ID   string
	Data struct {
		ID, Text   string
		DueAt      time.Time `json:"due_at"`
		FiredAt    time.Time `json:"fired_at"`
		Occurrence int
		Missed     int
	}
	heard time.Time
}

// listen hands on every reminder.due event that the runtime has kept, and each new
// one, until the test or the connection ends.
func (d *daemon) listen() <-chan dueEvent {
	d.Helper()
	c, err := dial(d.Context(), d)
	if err != nil {
		d.Fatal(err)
	}
	if err := c.call(d.Context(), 1, "subscribe", `{"topics":["event.reminder.due"],"from":"start"}`); err != nil {
		d.Fatal(err)
	}
	out := make(chan dueEvent, 1000)
	var done sync.WaitGroup
	done.Go(func() {
		for {
			_, b, err := c.ws.Read(context.WithoutCancel(d.Context()))
			if err != nil {
				return
			}
			var n struct {
				Method string
				Params struct{ Event dueEvent }
			}
			if json.Unmarshal(b, &n) == nil && n.Method == "event" {
				n.Params.Event.heard = time.Now()
				out <- n.Params.Event
			}
		}
	})
	d.Cleanup(func() { _ = c.ws.CloseNow(); done.Wait() })
	return out
}

// next waits for an event whose text begins so.
func (d *daemon) next(events <-chan dueEvent, text string) dueEvent {
	d.Helper()
	late := time.After(30 * time.Second)
	for {
		select {
		case e := <-events:
			if strings.HasPrefix(e.Data.Text, text) {
				return e
			}
		case <-late:
			d.Fatalf("no reminder.due event %q", text)
		}
	}
}

func TestReminderIsDueOnTime(t *testing.T) {
	for _, carrier := range []string{"process", "wasm"} {
		t.Run(carrier, func(t *testing.T) {
			d := remindersDaemon(t, carrier, "", "")
			events := d.listen()
			var late []time.Duration
			for i := range 3 {
				d.remind(fmt.Sprintf(`{"say":"in 2 seconds stretch %d"}`, i))
			}
			for range 3 { // due together, in no order
				e := d.next(events, "stretch ")
				if e.heard.Before(e.Data.DueAt) || e.Data.Occurrence != 1 || e.ID != e.Data.ID+"_1" {
					t.Errorf("got %+v", e)
				}
				late = append(late, e.heard.Sub(e.Data.DueAt))
			}
			// The machine may be busy with other tests: the median.
			if slices.Sort(late); late[1] > time.Second {
				t.Errorf("late by %v", late)
			}
			t.Logf("late by %v", late)

			// The runtime is killed between the making and the time.
			d.remind(`{"say":"in 2 seconds survive"}`)
			d.kill()
			d.start()
			ready := time.Now()
			events = d.listen()
			e := d.next(events, "survive")
			if late := e.heard.Sub(e.Data.DueAt); late > time.Second && e.heard.Sub(ready) > 5*time.Second {
				t.Errorf("late by %s, %s after the start", late, e.heard.Sub(ready))
			}
			// All of them once, in everything that was ever published.
			d.remind(`{"say":"in 1 second last"}`)
			seen := map[string]int{}
			for events := d.listen(); ; {
				e := <-events
				if seen[e.Data.Text]++; e.Data.Text == "last" {
					break
				}
			}
			if fmt.Sprint(seen) != "map[last:1 stretch 0:1 stretch 1:1 stretch 2:1 survive:1]" {
				t.Errorf("published %v", seen)
			}
		})
	}
}

// back makes everything that a runtime which is down has planned older.
func (d *daemon) back(by time.Duration) {
	d.Helper()
	db, err := sql.Open("sqlite3", filepath.Join(d.dir, "data", "nagatha.db"))
	if err != nil {
		d.Fatal(err)
	}
	defer db.Close()
	exec := func(text string, args ...any) {
		d.Helper()
		if _, err := db.ExecContext(d.Context(), text, args...); err != nil {
			d.Fatal(err)
		}
	}
	ms := by.Milliseconds()
	exec(`UPDATE tasks SET run_at = run_at - ? WHERE state = 'scheduled' AND kind = 'reminders.fire'`, ms)
	exec(`UPDATE data SET key = 'due/' || printf('%013d', CAST(substr(key, 5, 13) AS INTEGER) - ?) || substr(key, 18) WHERE ns = 'reminders' AND key LIKE 'due/%'`, ms)
	rows, err := db.QueryContext(d.Context(), `SELECT id, value FROM data WHERE ns = 'reminders' AND key LIKE 'reminder/%'`)
	if err != nil {
		d.Fatal(err)
	}
	defer rows.Close()
	values := map[int64]string{}
	for rows.Next() {
		var id int64
		var value string
		if err := rows.Scan(&id, &value); err != nil {
			d.Fatal(err)
		}
		var m map[string]any
		if err := json.Unmarshal([]byte(value), &m); err != nil {
			d.Fatal(err)
		}
		for _, field := range []string{"due_at", "start_at"} {
			at, err := time.Parse(time.RFC3339, m[field].(string))
			if err != nil {
				d.Fatal(err)
			}
			m[field] = at.Add(-by).Format("2006-01-02T15:04:05.000Z07:00")
		}
		b, _ := json.Marshal(m)
		values[id] = string(b)
	}
	if err := rows.Err(); err != nil {
		d.Fatal(err)
	}
	for id, value := range values {
		exec(`UPDATE data SET value = ? WHERE id = ?`, value, id)
	}
}

func TestRemindersAfterDowntime(t *testing.T) {
	for _, c := range []struct {
		name, recurrence string
		down             time.Duration
		missed           int
	}{{"an hour", "* * * * *", time.Hour, 58}, {"a month", "daily", 30 * 24 * time.Hour, 29}} {
		t.Run(c.name, func(t *testing.T) {
			d := remindersDaemon(t, "process", "", "")
			d.remind(fmt.Sprintf(`{"text":"series","in":"2 minutes","recurrence":%q}`, c.recurrence))
			d.remind(`{"text":"once","in":"2 minutes"}`)
			lost := d.remind(`{"text":"lost","in":"2 minutes"}`)
			_, page := d.rest("GET", "/api/v1/tasks?kind=reminders.fire&label=reminder%3D"+lost, "")
			timer := page["tasks"].([]any)[0].(map[string]any)["id"].(string)
			d.rest("POST", "/api/v1/tasks/"+timer+"/cancel", "{}")
			d.kill()
			d.back(c.down)
			d.start()
			events := d.listen()
			d.next(events, "once")
			swept := d.reminders("process_due", `{}`)
			if n := swept["due_reminders"].(float64); n < 1 {
				t.Errorf("sweep: %v", swept)
			}
			if again := d.reminders("process_due", `{}`); again["due_reminders"] != 0.0 {
				t.Errorf("sweep again: %v", again)
			}
			d.remind(`{"say":"in 1 second last"}`)
			got := map[string][]int{}
			for events := d.listen(); ; {
				e := <-events
				if e.Data.Text == "last" {
					break
				}
				got[e.Data.Text] = append(got[e.Data.Text], e.Data.Missed)
			}
			series := got["series"]
			// The test itself may take a minute, and so one occurrence more.
			if len(got["once"]) != 1 || len(got["lost"]) != 1 || len(series) < 1 || len(series) > 2 || series[0] < c.missed-1 || series[0] > c.missed+2 {
				t.Errorf("published %v, want the series once with about %d missed", got, c.missed)
			}
		})
	}
}

func TestReminderWebhook(t *testing.T) {
	var mu sync.Mutex
	var ids, bodies []string
	hook := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		mu.Lock()
		defer mu.Unlock()
		ids, bodies = append(ids, r.Header.Get("webhook-id")), append(bodies, string(b))
		if !strings.HasPrefix(r.Header.Get("webhook-signature"), "v1,") || len(ids) == 1 {
			w.WriteHeader(http.StatusInternalServerError)
		}
	}))
	defer hook.Close()
	address := hook.Listener.Addr().String()
	d := remindersDaemon(t, "wasm", fmt.Sprintf("    http = [%q]\n    secrets = { PHONE = \"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\" }\n", address),
		fmt.Sprintf("    channels = {\n      phone = { url = \"http://%s/hook\", secret = \"PHONE\" }\n    }\n", address))
	id := d.remind(`{"text":"stretch","in":"1 second","channels":["phone"]}`)
	var log []any
	d.until("the webhook is delivered", func() bool {
		log = d.reminders("get", `{"id":"`+id+`"}`)["deliveries"].([]any)
		return len(log) == 2 && log[1].(map[string]any)["status"] == "delivered"
	})
	mu.Lock()
	defer mu.Unlock()
	if len(ids) != 2 || ids[0] != id+"_1" || ids[1] != ids[0] || bodies[0] != bodies[1] || log[1].(map[string]any)["attempts"] != 2.0 {
		t.Errorf("requests %v, log %v", ids, log)
	}
}

// What the engine adds: schemas, and real full-text search.
func TestRemindersRefuse(t *testing.T) {
	d := remindersDaemon(t, "process", "", "")
	for payload, want := range map[string]string{
		`{"kind":"reminders.todo_add","payload":{"title":"a","priority":"med"}}`:     "payload.priority",
		`{"kind":"reminders.create","payload":{"text":"a","whne":"in 5 minutes"}}`:   "payload",
		`{"kind":"reminders.todo_update","payload":{"id":"x","status":"closed"}}`:    "payload.status",
		`{"kind":"reminders.note_search","payload":{"query":"x","limit":100000000}}`: "payload.limit",
	} {
		status, problem := d.rest("POST", "/api/v1/tasks", payload)
		if b, _ := json.Marshal(problem); status != http.StatusUnprocessableEntity || !strings.Contains(string(b), want) {
			t.Errorf("%s: %d %s", payload, status, b)
		}
	}
	m := d.await(d.submit(`{"kind":"reminders.create","payload":{"say":"soonish stretch"}}`))
	if b, _ := json.Marshal(m["error"]); m["state"] != "failed" || m["attempt"] != 1.0 || !strings.Contains(string(b), "a time is RFC 3339") {
		t.Errorf("a bad time: %v after %v, %s", m["state"], m["attempt"], b)
	}
	d.reminders("note_add", `{"title":"Job","content":"Bob works at Acme"}`)
	d.reminders("note_add", `{"title":"Cake","content":"Flour and eggs"}`)
	found := d.reminders("note_search", `{"query":"where does Bob work?"}`)["notes"].([]any)
	if len(found) != 1 || found[0].(map[string]any)["title"] != "Job" {
		t.Errorf("found %v", found)
	}
}
