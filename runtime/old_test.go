package runtime_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nagatha/nagatha-runtime/runtime"
	"github.com/nagatha/nagatha-runtime/sdk"
)

// The defects of the system that this one replaces, in what it did with tasks,
// schedules, events and plugins. docs/old-system.md lists all of them.

func (e *engine) task(id string) sdk.Task {
	e.Helper()
	t, err := e.Task(e.Context(), id)
	if err != nil {
		e.Fatal(err)
	}
	return t
}

// plugin loads a plugin called name beside "t".
func (e *engine) plugin(info sdk.Info, handlers ...sdk.Registration) error {
	info.Version = "1"
	return e.SetPlugin(e.Context(), runtime.Plugin{Name: info.Name, Plugin: sdk.New(info, handlers...)})
}

// What failed was stored as completed, with progress 100.
func TestOldFailureWasSuccess(t *testing.T) {
	e := setup(t, runtime.Config{}, handler("t.fails", func(_ context.Context, _ *sdk.Task, h sdk.Host) (json.RawMessage, error) {
		h.Progress(3, 10, "so far")
		return json.RawMessage(`{"success":false}`), sdk.Permanent(errors.New("no server"))
	}))
	k := e.wait(e.submit(sdk.Submission{Kind: "t.fails"}).ID)
	if k.State != sdk.StateFailed || k.Result != nil || k.Error == nil || k.Error.Message != "no server" {
		t.Errorf("%s, result %s, error %v", k.State, k.Result, k.Error)
	}
	if k.Progress == nil || k.Progress.Progress != 3 || k.Progress.Total != 10 { // it knew only 0 and 100
		t.Errorf("progress %+v", k.Progress)
	}
}

// Nothing was ever tried again, and the retries and timeouts of a manifest were ignored.
func TestOldNothingWasRetried(t *testing.T) {
	started := make(chan int, 10)
	slow := blocking("t.slow", started, func(ctx context.Context) (json.RawMessage, error) { return nil, context.Cause(ctx) })
	slow.MaxAttempts, slow.Timeout = 3, sdk.Duration(10*time.Millisecond)
	e := setup(t, runtime.Config{}, slow, handler("t.flaky", func(_ context.Context, k *sdk.Task, _ sdk.Host) (json.RawMessage, error) {
		if k.Attempt == 1 {
			return nil, errors.New("connection reset")
		}
		return json.RawMessage(`"done"`), nil
	}))
	if k := e.wait(e.submit(sdk.Submission{Kind: "t.flaky"}).ID); k.State != sdk.StateCompleted || k.Attempt != 2 {
		t.Errorf("flaky: %s after attempt %d", k.State, k.Attempt)
	}
	if k := e.wait(e.submit(sdk.Submission{Kind: "t.slow"}).ID); k.Error == nil || k.Error.Code != sdk.CodeTimeout || k.Attempt != 3 {
		t.Errorf("slow: %v after attempt %d", k.Error, k.Attempt)
	}
}

// A task was unknown until a worker took it, then it had been made "now" each time
// somebody asked, and one that never was seemed to wait.
func TestOldTaskWasUnknownUntilItRan(t *testing.T) {
	e := setup(t, runtime.Config{})
	first := e.submit(sdk.Submission{Kind: "t.echo"})
	if k := e.task(first.ID); k.State != sdk.StateQueued || !strings.Contains(k.Reason, "no handler") || k.CreatedAt != first.CreatedAt {
		t.Errorf("queued: %+v", k)
	}
	e.load(echo)
	if k := e.wait(first.ID); k.CreatedAt != first.CreatedAt || k.StartedAt < k.CreatedAt || k.FinishedAt < k.StartedAt {
		t.Errorf("times %s, %s, %s", k.CreatedAt, k.StartedAt, k.FinishedAt)
	}
	if got := e.types(first.ID); !slices.Equal(got, []string{"created", "queued", "started", "completed"}) { // no history was kept
		t.Errorf("events %v", got)
	}
	if _, err := e.Task(t.Context(), "tsk_none"); sdk.CodeOf(err) != sdk.CodeNotFound {
		t.Errorf("an unknown task: %v", err)
	}
}

// There was a status "cancelled" and no way to get there.
func TestOldNoCancel(t *testing.T) {
	started := make(chan int, 1)
	e := setup(t, runtime.Config{}, blocking("t.long", started, func(ctx context.Context) (json.RawMessage, error) { return nil, ctx.Err() }))
	id := e.submit(sdk.Submission{Kind: "t.long"}).ID
	<-started
	if _, err := e.Cancel(t.Context(), id, false, "enough"); err != nil {
		t.Fatal(err)
	}
	if k := e.wait(id); k.State != sdk.StateCancelled {
		t.Errorf("it is %s", k.State)
	}
}

// Ids were made of the name and the second.
func TestOldIDsCollided(t *testing.T) {
	e := setup(t, runtime.Config{})
	all, err := e.Submit(t.Context(), "", slices.Repeat([]sdk.Submission{{Kind: "t.echo"}}, 1000))
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, k := range all {
		seen[k.Task.ID] = true
	}
	if len(seen) != len(all) {
		t.Errorf("%d ids for %d tasks", len(seen), len(all))
	}
}

// Priority was stored and did nothing.
func TestOldPriorityDidNothing(t *testing.T) {
	order := make(chan string, 3)
	first := make(chan struct{})
	e := setup(t, runtime.Config{Queues: []runtime.Queue{{Name: "default", Concurrency: 1}}}, handler("t.note", func(_ context.Context, k *sdk.Task, _ sdk.Host) (json.RawMessage, error) {
		order <- string(k.Payload)
		if string(k.Payload) == `"first"` {
			<-first
		}
		return nil, nil
	}))
	e.submit(sdk.Submission{Kind: "t.note", Payload: json.RawMessage(`"first"`)})
	<-order
	low := e.submit(sdk.Submission{Kind: "t.note", Payload: json.RawMessage(`"low"`), Priority: -10})
	e.submit(sdk.Submission{Kind: "t.note", Payload: json.RawMessage(`"high"`), Priority: 10})
	close(first)
	e.wait(low.ID)
	if got := <-order + <-order; got != `"high""low"` {
		t.Errorf("order %s", got)
	}
}

// A task for one time was kept as an interval and ran for ever.
func TestOldOnceWasForEver(t *testing.T) {
	e := setup(t, runtime.Config{}, echo)
	at := sdk.Now().Add(time.Hour)
	s := e.create(sdk.Schedule{Name: "once", At: at, Kind: "t.echo"})
	for i := range 5 {
		e.fireAt(at.Add(time.Duration(i) * 24 * time.Hour))
	}
	if n := len(e.tasksOf(s)); n != 1 {
		t.Errorf("it fired %d times", n)
	}
}

// A schedule was in the memory of the process that had made it, and a restart forgot
// all of them.
func TestOldSchedulesWereForgotten(t *testing.T) {
	e := setup(t, runtime.Config{}, echo)
	s := e.create(sdk.Schedule{Name: "weekdays", Cron: "0 9 * * 1-5", Zone: "Europe/Berlin", Kind: "t.echo", Payload: json.RawMessage(`{"a":1}`)})
	e.stop()
	e = open(t, e.path, runtime.Config{}, echo)
	if got := e.reload(s); got.Cron != s.Cron || got.Zone != s.Zone || got.NextAt != s.NextAt || string(got.Payload) != `{"a":1}` {
		t.Errorf("afterwards %+v", got)
	}
}

// Lists and ranges of cron were read as some date, nonsense as now, and a time that had
// passed was taken.
func TestOldTimesWereMisread(t *testing.T) {
	e := setup(t, runtime.Config{}, echo)
	for i, s := range []sdk.Schedule{{Cron: "asdfgh qwerty"}, {Cron: "every now and then"}, {Cron: "61 * * * *"}, {At: sdk.Now().Add(-time.Hour)}} {
		s.Name, s.Kind = fmt.Sprintf("bad%d", i), "t.echo"
		if _, err := e.CreateSchedule(t.Context(), "", s); sdk.CodeOf(err) != sdk.CodeInvalid {
			t.Errorf("%q %s: %v", s.Cron, s.At, err)
		}
	}
	for i, c := range []struct {
		cron string
		fits func(time.Time) bool
	}{
		{"0 9 * * 1-5", func(at time.Time) bool {
			return at.Hour() == 9 && at.Minute() == 0 && at.Weekday() != time.Saturday && at.Weekday() != time.Sunday
		}},
		{"0,30 * * * *", func(at time.Time) bool { return at.Minute() == 0 || at.Minute() == 30 }},
		{"*/15 * * * *", func(at time.Time) bool { return at.Minute()%15 == 0 }},
	} {
		s := e.create(sdk.Schedule{Name: fmt.Sprintf("good%d", i), Cron: c.cron, Kind: "t.echo"})
		for range 20 {
			if at := s.NextAt.Time().UTC(); !c.fits(at) || at.Second() != 0 {
				t.Errorf("%s: %s", c.cron, at)
			}
			e.fireAt(s.NextAt)
			s = e.reload(s)
		}
	}
}

// The cleanup deleted the newest messages and kept the oldest.
func TestOldCleanupDeletedTheNewest(t *testing.T) {
	e := setup(t, runtime.Config{Plugins: []string{"t"}, Retention: runtime.Retention{Completed: time.Millisecond, Failed: time.Hour}}, echo,
		handler("t.fails", func(context.Context, *sdk.Task, sdk.Host) (json.RawMessage, error) {
			return nil, sdk.Permanent(errors.New("x"))
		}))
	old := e.wait(e.submit(sdk.Submission{Kind: "t.echo"}).ID)
	failed := e.wait(e.submit(sdk.Submission{Kind: "t.fails"}).ID)
	later := e.submit(sdk.Submission{Kind: "t.echo", Delay: sdk.Duration(time.Hour)})
	for deadline := time.Now().Add(time.Minute); ; { // until it is old enough
		e.wait(e.submit(sdk.Submission{Kind: "system.cleanup_old_data"}).ID)
		if _, err := e.Task(t.Context(), old.ID); sdk.CodeOf(err) == sdk.CodeNotFound {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the old one is kept")
		}
	}
	for _, kept := range []sdk.Task{failed, later} {
		e.task(kept.ID)
	}
}

// One slow subscriber stalled all others, and what a subscriber did wrong vanished.
func TestOldSlowSubscriberStalledTheBus(t *testing.T) {
	e := setup(t, runtime.Config{})
	release := make(chan struct{})
	defer close(release)
	do := func(kind string, f func() error) sdk.Registration {
		return handler(kind, func(context.Context, *sdk.Task, sdk.Host) (json.RawMessage, error) { return nil, f() })
	}
	err := e.plugin(sdk.Info{Name: "t", Subscriptions: []sdk.Subscription{{Type: "demo.ping", Kind: "t.slow"}, {Type: "demo.ping", Kind: "t.fails"}, {Type: "demo.ping", Kind: "t.quick"}}},
		do("t.slow", func() error { <-release; return nil }),
		do("t.fails", func() error { return sdk.Permanent(errors.New("cannot")) }),
		do("t.quick", func() error { return nil }))
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Deliver(t.Context(), sdk.Event{ID: "1", Source: "test", Type: "demo.ping"}); err != nil {
		t.Fatal(err)
	}
	page, err := e.Tasks(t.Context(), runtime.TaskFilter{})
	if err != nil || len(page.Tasks) != 3 {
		t.Fatalf("%d tasks, %v", len(page.Tasks), err)
	}
	for _, k := range page.Tasks {
		switch k.Kind {
		case "t.quick":
			if k := e.wait(k.ID); k.State != sdk.StateCompleted {
				t.Errorf("quick: %s", k.State)
			}
		case "t.fails":
			if k := e.wait(k.ID); k.State != sdk.StateFailed || k.Error.Message != "cannot" {
				t.Errorf("fails: %s %v", k.State, k.Error)
			}
		}
	}
}

// A "*" crossed the dots.
func TestOldStarCrossedDots(t *testing.T) {
	e := setup(t, runtime.Config{})
	if err := e.plugin(sdk.Info{Name: "t", Subscriptions: []sdk.Subscription{{Type: "agent.*", Kind: "t.echo"}}}, echo); err != nil {
		t.Fatal(err)
	}
	for id, typ := range map[string]string{"1": "agent.message.sent", "2": "agent.started", "3": "agent"} {
		if err := e.Deliver(t.Context(), sdk.Event{ID: id, Source: "test", Type: typ}); err != nil {
			t.Fatal(err)
		}
	}
	page, err := e.Tasks(t.Context(), runtime.TaskFilter{})
	if err != nil || len(page.Tasks) != 1 || !strings.Contains(string(page.Tasks[0].Payload), "agent.started") {
		t.Errorf("%+v, %v", page.Tasks, err)
	}
}

// Arguments and results were described by schemas that nobody looked at.
func TestOldSchemasWereIgnored(t *testing.T) {
	typed := echo
	typed.Kind, typed.MaxAttempts = "t.typed", 1
	typed.PayloadSchema = json.RawMessage(`{"type":"object","required":["n"]}`)
	typed.ResultSchema = json.RawMessage(`{"type":"object","properties":{"n":{"type":"integer"}}}`)
	e := setup(t, runtime.Config{}, typed)
	if out, err := e.Submit(t.Context(), "", []sdk.Submission{{Kind: "t.typed"}}); err != nil || out[0].Err == nil || out[0].Err.Fields[0].Field != "payload.n" {
		t.Errorf("%+v, %v", out, err)
	}
	if k := e.wait(e.submit(sdk.Submission{Kind: "t.typed", Payload: json.RawMessage(`{"n":"one"}`)}).ID); k.Error == nil || k.Error.Code != sdk.CodeInvalidResult {
		t.Errorf("%s %v", k.State, k.Error)
	}
}

// Another provider could take over the name of a task, and names that a provider had
// given up stayed.
func TestOldNamesWereTakenOver(t *testing.T) {
	e := setup(t, runtime.Config{}, echo)
	other := echo
	other.Handler = sdk.HandlerFunc(func(context.Context, *sdk.Task, sdk.Host) (json.RawMessage, error) {
		return json.RawMessage(`"stolen"`), nil
	})
	if err := e.plugin(sdk.Info{Name: "thief"}, other); err == nil || !strings.Contains(err.Error(), "t.echo") {
		t.Errorf("a kind of another plugin: %v", err)
	}
	if k := e.wait(e.submit(sdk.Submission{Kind: "t.echo"}).ID); string(k.Result) != `{}` {
		t.Errorf("%s", k.Result)
	}
	e.load(handler("t.other", echo.Handler.(sdk.HandlerFunc)))
	if k := e.submit(sdk.Submission{Kind: "t.echo"}); !strings.Contains(k.Reason, "no handler") {
		t.Errorf("after it was given up: %+v", k)
	}
}
