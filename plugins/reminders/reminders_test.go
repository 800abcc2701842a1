package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nagatha/nagatha-runtime/sdk"
	"github.com/nagatha/nagatha-runtime/sdk/process"
	"github.com/nagatha/nagatha-runtime/sdk/sdktest"
)

func TestMain(m *testing.M) {
	process.Supervise()
	os.Exit(m.Run())
}

// world is the plugin with a clock and an engine of the test's own: tasks that were
// submitted run when the clock gets there.
type world struct {
	*testing.T
	host   *sdktest.Host
	plugin sdk.Plugin
	now    sdk.Time
	tasks  int
	taken  int // of host.Submitted
	timers []sdk.Submission
	lose   bool // timers are lost
}

func newWorld(t *testing.T, config string) *world {
	w := &world{T: t, host: sdktest.NewHost(), plugin: plugin(), now: sdk.TimeOf(wednesday)}
	w.host.Now = func() sdk.Time { return w.now }
	if config == "" {
		config = `{}`
	}
	if err := w.plugin.(sdk.Configurer).Configure(t.Context(), json.RawMessage(config)); err != nil {
		t.Fatal(err)
	}
	return w
}

// try runs a task that is submitted now.
func (w *world) try(kind, payload string) (map[string]any, error) {
	w.Helper()
	w.tasks++
	task := sdktest.Task("reminders."+kind, payload)
	task.ID, task.CreatedAt, task.RunAt = fmt.Sprintf("tsk_%04d", w.tasks), w.now, w.now
	return w.handle(task)
}

func (w *world) handle(task *sdk.Task) (map[string]any, error) {
	got, err := w.plugin.Handle(w.Context(), task, w.host)
	for _, s := range w.host.Submitted[w.taken:] {
		if !w.lose {
			w.timers = append(w.timers, s)
		}
	}
	w.taken = len(w.host.Submitted)
	var m map[string]any
	if err == nil {
		err = json.Unmarshal(got, &m)
	}
	return m, err
}

func (w *world) run(kind, payload string) map[string]any {
	w.Helper()
	m, err := w.try(kind, payload)
	if err != nil {
		w.Fatalf("%s %s: %v", kind, payload, err)
	}
	return m
}

// one runs a kind whose result has one member.
func (w *world) one(kind, payload string) map[string]any {
	w.Helper()
	for _, v := range w.run(kind, payload) {
		return v.(map[string]any)
	}
	return nil
}

// advance moves the clock, and runs what becomes due on the way.
func (w *world) advance(d time.Duration) {
	w.Helper()
	end := w.now.Add(d)
	for {
		slices.SortStableFunc(w.timers, func(a, b sdk.Submission) int { return int(a.RunAt - b.RunAt) })
		if len(w.timers) == 0 || w.timers[0].RunAt > end {
			break
		}
		next := w.timers[0]
		w.timers = w.timers[1:]
		w.now = max(w.now, next.RunAt)
		w.submitted(next)
	}
	w.now = end
}

// down moves the clock while nothing runs; then what is due runs, in its order.
func (w *world) down(d time.Duration) {
	w.Helper()
	w.now = w.now.Add(d)
	w.advance(0)
}

// submitted runs a task to its end, with the attempts that it has.
func (w *world) submitted(s sdk.Submission) {
	w.Helper()
	h, _ := w.plugin.Info().Handler(s.Kind)
	w.tasks++
	for attempt := 1; ; attempt++ {
		task := sdktest.Task(s.Kind, string(s.Payload))
		task.ID, task.CreatedAt, task.RunAt, task.Attempt, task.MaxAttempts = fmt.Sprintf("tsk_%04d", w.tasks), w.now, w.now, attempt, h.MaxAttempts
		_, err := w.handle(task)
		if err == nil {
			return
		}
		if e := sdk.AsError(err); !e.Retryable || attempt >= h.MaxAttempts {
			return
		}
		w.now = w.now.Add(time.Second)
	}
}

// due lists the reminder.due events: text, due_at and occurrence.
func (w *world) due() string {
	w.Helper()
	var out []string
	ids := map[string]bool{}
	for _, e := range w.host.Published {
		if e.Type != "reminder.due" {
			continue
		}
		if ids[e.ID] {
			w.Errorf("event %s was published twice", e.ID)
		}
		ids[e.ID] = true
		var d dueEvent
		if err := json.Unmarshal(e.Data, &d); err != nil {
			w.Fatal(err)
		}
		line := fmt.Sprintf("%s@%s#%d", d.Text, d.DueAt.Time().Format("02T15:04:05"), d.Occurrence)
		if d.Missed > 0 {
			line += fmt.Sprintf("+%d", d.Missed)
		}
		out = append(out, line)
	}
	return strings.Join(out, " ")
}

func (w *world) wantDue(want string) {
	w.Helper()
	if got := w.due(); got != want {
		w.Errorf("was due: %s\nwant:    %s", got, want)
	}
}

func TestOnce(t *testing.T) {
	w := newWorld(t, "")
	r := w.one("create", `{"say":"in 5 seconds stretch"}`)
	if r["text"] != "stretch" || r["status"] != "pending" || r["due_at"] != "2026-01-28T09:00:05.000Z" || r["recurrence"] != "" || r["zone"] != "UTC" {
		t.Errorf("created %v", r)
	}
	id := r["id"].(string)
	w.advance(4999 * time.Millisecond)
	w.wantDue("")
	w.advance(time.Millisecond)
	w.wantDue("stretch@28T09:00:05#1")
	w.advance(24 * time.Hour)
	w.wantDue("stretch@28T09:00:05#1")
	m := w.run("get", `{"id":"`+id+`"}`)
	r, log := m["reminder"].(map[string]any), m["deliveries"].([]any)
	if r["status"] != "due" || r["due_at"] != nil || r["occurrence"] != 1.0 || len(log) != 1 {
		t.Errorf("then %v, %v", r, log)
	}
	if d := log[0].(map[string]any); d["channel"] != "event" || d["status"] != "delivered" || d["message_id"] != id+"_1" || w.host.Published[0].ID != id+"_1" {
		t.Errorf("delivery log %v", d)
	}
	if r = w.one("complete", `{"id":"`+id+`"}`); r["status"] != "completed" || r["completed_at"] == nil {
		t.Errorf("completed %v", r)
	}
	if m := w.run("delete", `{"id":"`+id+`"}`); m["deleted"] != true {
		t.Error("it was not deleted")
	}
	if m := w.run("delete", `{"id":"`+id+`"}`); m["deleted"] != false {
		t.Error("it was deleted twice")
	}
	if len(w.host.Items) != 1 { // the delivery log, which goes after a month
		t.Errorf("left behind: %v", w.host.Items)
	}
	w.advance(31 * 24 * time.Hour)
	if m := w.run("list", `{"status":"all"}`); len(m["reminders"].([]any)) != 0 {
		t.Errorf("still there: %v", m)
	}
}

func TestWaysToSayWhen(t *testing.T) {
	w := newWorld(t, `{"zone":"Europe/Berlin"}`)
	for payload, want := range map[string]string{
		`{"text":"a","at":"tomorrow at 9am"}`:                                    "2026-01-29T08:00:00.000Z",
		`{"text":"a","at":"tomorrow at 9am","zone":"Asia/Kolkata"}`:              "2026-01-29T03:30:00.000Z",
		`{"text":"a","in":"10 minutes"}`:                                         "2026-01-28T09:10:00.000Z",
		`{"text":"a","in":"1h"}`:                                                 "2026-01-28T10:00:00.000Z",
		`{"text":"a","recurrence":"0 12 * * *"}`:                                 "2026-01-28T11:00:00.000Z",
		`{"text":"a","at":"2026-01-31 08:00","recurrence":"weekdays"}`:           "2026-02-02T07:00:00.000Z",
		`{"text":"a","at":"2026-01-31T08:00:00+02:00","recurrence":"0 8 1 * *"}`: "2026-02-01T07:00:00.000Z",
	} {
		if r := w.one("create", payload); r["due_at"] != want {
			t.Errorf("%s: %v, want %s", payload, r["due_at"], want)
		}
	}
	for payload, want := range map[string]string{
		`{"text":"a"}`:                                  "say when",
		`{"in":"5 minutes"}`:                            "text",
		`{"text":"  ","in":"5 minutes"}`:                "text",
		`{"text":"a","at":"at noon","in":"5 minutes"}`:  "one of at, in and say",
		`{"text":"a","say":"in 5 minutes b"}`:           "leave text out",
		`{"text":"a","at":"2026-01-28T09:00:00Z"}`:      "in the past",
		`{"text":"a","at":"soon"}`:                      timeGrammar,
		`{"text":"a","in":"soon"}`:                      spanGrammar,
		`{"text":"a","in":"1 h","recurrence":"hourly"}`: "cron line",
		`{"text":"a","in":"1 h","zone":"Mars/Olympus"}`: "no time zone",
		`{"text":"a","in":"1 h","zone":"Local"}`:        "no time zone",
		`{"text":"a","in":"1 h","channels":["phone"]}`:  "no channel",
		`{"text":"a","in":"1 h","todo":"todo_none"}`:    "no to-do",
		`{"text":"a","recurrence":"0 0 31 2 *"}`:        "no date",
	} {
		if _, err := w.try("create", payload); err == nil || !strings.Contains(err.Error(), want) || sdk.AsError(err).Retryable {
			t.Errorf("%s: %v, want %q and no retry", payload, err, want)
		}
	}
}

// An attempt that was cut runs again: the reminder is the same, and so is its time,
// however long the task had to wait.
func TestCreateAgain(t *testing.T) {
	w := newWorld(t, "")
	task := sdktest.Task("reminders.create", `{"say":"in 5 seconds stretch"}`)
	task.CreatedAt, task.RunAt = w.now, w.now
	first, err := w.handle(task)
	if err != nil {
		t.Fatal(err)
	}
	w.now = w.now.Add(3 * time.Second)
	task.Attempt, task.RunAt = 2, w.now
	second, err := w.handle(task)
	if err != nil || fmt.Sprint(first) != fmt.Sprint(second) {
		t.Errorf("again: %v, %v; first %v", second, err, first)
	}
	w.advance(time.Hour)
	w.wantDue("stretch@28T09:00:05#1")
}

func TestSnoozeAndUpdate(t *testing.T) {
	w := newWorld(t, "")
	id := w.one("create", `{"say":"in 10 minutes tea"}`)["id"].(string)
	w.advance(5 * time.Minute)
	if r := w.one("snooze", `{"id":"`+id+`","for":"20 minutes"}`); r["due_at"] != "2026-01-28T09:25:00.000Z" {
		t.Errorf("snoozed %v", r)
	}
	w.advance(10 * time.Minute) // the old timer has nothing to do
	w.wantDue("")
	w.advance(10 * time.Minute)
	w.wantDue("tea@28T09:25:00#1")
	w.one("snooze", `{"id":"`+id+`","for":"5 minutes"}`)
	w.advance(time.Hour)
	w.wantDue("tea@28T09:25:00#1 tea@28T09:30:00#2")

	if r := w.one("update", `{"id":"`+id+`","text":"coffee","at":"tomorrow at 8am","recurrence":"daily"}`); r["status"] != "pending" || r["due_at"] != "2026-01-29T08:00:00.000Z" {
		t.Errorf("updated %v", r)
	}
	// A series that is snoozed goes on at its own time.
	w.advance(22 * time.Hour)
	w.one("snooze", `{"id":"`+id+`","for":"90 minutes"}`)
	w.advance(24 * time.Hour)
	w.wantDue("tea@28T09:25:00#1 tea@28T09:30:00#2 coffee@29T08:00:00#3 coffee@29T09:55:00#4 coffee@30T08:00:00#5")
	if r := w.one("update", `{"id":"`+id+`","recurrence":null}`); r["recurrence"] != "" || r["due_at"] != "2026-01-31T08:00:00.000Z" {
		t.Errorf("once %v", r)
	}
	if r := w.one("complete", `{"id":"`+id+`"}`); r["due_at"] != nil {
		t.Errorf("completed %v", r)
	}
	w.advance(48 * time.Hour)
	if got := len(w.host.Published); got != 5 {
		t.Errorf("%d events after it was completed", got)
	}
	if _, err := w.try("snooze", `{"id":"`+id+`","for":"1 h"}`); sdk.CodeOf(err) != sdk.CodeInvalid {
		t.Errorf("snoozed what is completed: %v", err)
	}
	for _, kind := range []string{"get", "complete", "update"} {
		if _, err := w.try(kind, `{"id":"rem_none"}`); sdk.CodeOf(err) != sdk.CodeNotFound {
			t.Errorf("%s of none: %v", kind, err)
		}
	}
}

func TestRecurring(t *testing.T) {
	w := newWorld(t, "")
	w.one("create", `{"text":"rent","at":"2026-01-31T08:00:00Z","recurrence":"monthly"}`)
	w.advance(100 * 24 * time.Hour)
	w.wantDue("rent@31T08:00:00#1 rent@28T08:00:00#2 rent@31T08:00:00#3 rent@30T08:00:00#4")
	list := w.run("list", `{}`)["reminders"].([]any)
	if len(list) != 1 || list[0].(map[string]any)["due_at"] != "2026-05-31T08:00:00.000Z" {
		t.Errorf("next: %v", list)
	}
}

// A timer cannot be set for longer than ten years: a later one is set again on the way.
func TestFarAway(t *testing.T) {
	w := newWorld(t, "")
	w.one("create", `{"text":"leap","at":"2027-01-01T08:00:00Z","recurrence":"0 8 29 2 */7"}`) // a Sunday: 2032, 2060
	w.advance(20 * 366 * 24 * time.Hour)
	w.wantDue("leap@29T08:00:00#1")
	w.advance(15 * 366 * 24 * time.Hour)
	w.wantDue("leap@29T08:00:00#1 leap@29T08:00:00#2")
}

func TestLostTimers(t *testing.T) {
	w := newWorld(t, "")
	w.one("create", `{"say":"in 10 minutes kept"}`)
	w.lose = true
	w.one("create", `{"say":"in 10 minutes lost"}`)
	w.one("create", `{"text":"series","in":"10 minutes","recurrence":"daily"}`)
	w.lose = false
	w.now = w.now.Add(10*time.Minute + time.Second) // nothing has run yet
	if m := w.run("process_due", `{}`); m["due_reminders"] != 0.0 || len(m["processed_reminders"].([]any)) != 0 {
		t.Errorf("within the grace: %v", m)
	}
	w.now = w.now.Add(time.Minute)
	m := w.run("process_due", `{}`)
	if m["due_reminders"] != 3.0 || len(m["processed_reminders"].([]any)) != 3 || m["due_tasks"] != 0.0 || m["timestamp"] == nil {
		t.Errorf("sweep: %v", m)
	}
	want := "kept@28T09:10:00#1 lost@28T09:10:00#1 series@28T09:10:00#1"
	w.wantDue(want)
	w.advance(0) // the timer that was only late
	if m := w.run("process_due", `{}`); m["due_reminders"] != 0.0 {
		t.Errorf("sweep again: %v", m)
	}
	w.advance(24 * time.Hour) // the series goes on
	w.wantDue(want + " series@29T09:10:00#2")
}

// One reminder that cannot be made due keeps nobody else waiting, and is told.
func TestSweepGoesOn(t *testing.T) {
	w := newWorld(t, "")
	w.lose = true
	bad := w.one("create", `{"say":"in 10 minutes bad"}`)["id"].(string)
	w.one("create", `{"say":"in 11 minutes good"}`)
	w.one("todo_add", `{"title":"todo","due":"in 1 minute"}`)
	item := w.host.Items[reminderKey(bad)]
	item.Value = []byte(strings.Replace(string(item.Value), `"UTC"`, `"Mars"`, 1))
	w.host.Items[reminderKey(bad)] = item
	w.advance(time.Hour)
	if _, err := w.try("process_due", `{}`); err == nil || !strings.Contains(err.Error(), bad) {
		t.Errorf("sweep: %v", err)
	}
	w.wantDue("good@28T09:11:00#1")
	if w.count("todo.due") != 1 {
		t.Error("the to-do was not noticed")
	}
}

// errCut is what a host answers whose attempt is cut.
var errCut = errors.New("cut")

// Whatever attempt is cut, and wherever a change gets in between: an occurrence is
// published once, and the series goes on.
func TestRaces(t *testing.T) {
	w := newWorld(t, "")
	id := w.one("create", `{"text":"a","in":"1 minute","recurrence":"daily"}`)["id"].(string)
	p := w.plugin
	w.now = w.now.Add(time.Minute)
	// A snooze comes between the reading and the commit of the timer.
	snoozed := false
	w.plugin = between{p, func(op string) error {
		if op == sdk.OpCommit && !snoozed {
			snoozed = true
			in := &world{T: t, host: w.host, plugin: p, now: w.now, tasks: 100, taken: w.taken}
			in.one("snooze", `{"id":"`+id+`","for":"1 h"}`)
			w.timers = append(w.timers, in.timers...)
			w.taken = in.taken
		}
		return nil
	}}
	w.advance(0)
	w.wantDue("")
	w.plugin = p
	w.advance(time.Hour)
	w.wantDue("a@28T10:01:00#1")
	// The attempt is cut before its commit, and after it.
	for _, after := range []bool{false, true} {
		cut := false
		w.plugin = between{p, func(op string) error {
			if op != sdk.OpCommit || cut {
				return nil
			}
			cut = true
			if after {
				return errAfter
			}
			return errCut
		}}
		w.advance(24 * time.Hour)
	}
	w.wantDue("a@28T10:01:00#1 a@29T09:01:00#2 a@30T09:01:00#3")
}

func TestDowntime(t *testing.T) {
	for _, c := range []struct {
		name, payload, want string
		down                time.Duration
	}{
		{"an hour, once", `{"say":"in 10 minutes a"}`, "a@28T09:10:00#1", time.Hour},
		{"an hour, every minute", `{"text":"a","recurrence":"* * * * *"}`, "a@28T09:01:00#1+59 a@28T10:01:00#2", time.Hour},
		{"a month, daily", `{"text":"a","in":"10 minutes","recurrence":"daily"}`, "a@28T09:10:00#1+29", 30 * 24 * time.Hour},
		{"a month, every minute", `{"text":"a","recurrence":"* * * * *"}`, "a@28T09:01:00#1+43199 a@27T09:01:00#2", 30 * 24 * time.Hour},
		{"a month, monthly", `{"text":"a","at":"2026-01-31T08:00:00Z","recurrence":"monthly"}`, "a@31T08:00:00#1", 30 * 24 * time.Hour},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, "")
			w.one("create", c.payload)
			w.down(c.down)
			w.advance(time.Minute)
			w.wantDue(c.want)
		})
	}
}

func TestListPages(t *testing.T) {
	w := newWorld(t, "")
	for i := range 7 {
		w.one("create", fmt.Sprintf(`{"text":"%d","in":"%d minutes"}`, i, 10-i))
	}
	texts := func(payload string) (string, string) {
		m := w.run("list", payload)
		s := ""
		for _, r := range m["reminders"].([]any) {
			s += r.(map[string]any)["text"].(string)
		}
		return s, m["next_cursor"].(string)
	}
	got, cursor := texts(`{"limit":5}`)
	rest, end := texts(`{"limit":5,"cursor":"` + cursor + `"}`)
	if got != "65432" || rest != "10" || end != "" {
		t.Errorf("by what is due next: %s, %s, %q", got, rest, end)
	}
	if got, end := texts(`{"status":"all","limit":7}`); got != "0123456" || end != "" {
		t.Errorf("all: %s, %q", got, end)
	}
	if got, end := texts(`{"status":"due"}`); got != "" || end != "" {
		t.Errorf("due: %s, %q", got, end)
	}
	for _, bad := range []string{"%%", "bm90ZS8"} {
		if _, err := w.try("list", `{"cursor":"`+bad+`"}`); sdk.CodeOf(err) != sdk.CodeInvalid {
			t.Errorf("cursor %s: %v", bad, err)
		}
	}
	// A page fits a result, whatever stands in it.
	for i := range 200 {
		w.one("create", fmt.Sprintf(`{"text":"%s","in":"%d minutes"}`, strings.Repeat("€", 999), 20+i))
	}
	seen, cursor := 0, ""
	for pages := 0; ; pages++ {
		m := w.run("list", `{"limit":200,"cursor":"`+cursor+`"}`)
		b, _ := json.Marshal(m)
		if len(b) > 256<<10 {
			t.Fatalf("a page of %d bytes", len(b))
		}
		seen += len(m["reminders"].([]any))
		if cursor = m["next_cursor"].(string); cursor == "" || pages > 20 {
			break
		}
	}
	if seen != 207 {
		t.Errorf("%d reminders on all pages", seen)
	}
}

// A month of a reminder every minute costs no more than a moment.
func BenchmarkCatchUp(b *testing.B) {
	r, _ := parseRecurrence("* * * * *", time.UTC)
	start := wednesday
	for b.Loop() {
		r.missed(start, start, start.Add(30*24*time.Hour))
	}
}
