package main

import (
	"encoding/json"
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
