package storetest

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nagatha/nagatha-runtime/runtime"
	"github.com/nagatha/nagatha-runtime/sdk"
)

func newSchedule(id string, next sdk.Time) runtime.Schedule {
	return runtime.Schedule{
		Schedule: sdk.Schedule{
			ID: "sch_" + id, Name: id, Every: sdk.Duration(90 * time.Second), Kind: "a.a", Payload: json.RawMessage(`{"n":1}`), Queue: "default",
			Priority: -3, Timeout: sdk.Duration(time.Minute), MaxAttempts: 2, Missed: sdk.MissedOnce, Overlap: sdk.OverlapSkip,
			Jitter: sdk.Duration(time.Second), NextAt: next, Source: sdk.SourceAPI,
		},
		Owner: "me", Since: 1_000,
	}
}

func (f *fixture) put(s runtime.Schedule) runtime.Schedule {
	f.Helper()
	if ok, err := f.PutSchedule(f.Context(), s); err != nil || !ok {
		f.Fatalf("put %s: %v, %v", s.ID, ok, err)
	}
	return f.schedule(s.ID)
}

func (f *fixture) schedule(id string) runtime.Schedule {
	f.Helper()
	list, err := f.Schedules(f.Context(), runtime.ScheduleFilter{ID: id, Limit: 1})
	if err != nil || len(list) != 1 {
		f.Fatalf("schedule %s: %d, %v", id, len(list), err)
	}
	return list[0]
}

func (f *fixture) tick(s runtime.Schedule, overlap sdk.OverlapPolicy, tasks ...runtime.NewTask) runtime.Ticked {
	f.Helper()
	for i := range tasks {
		tasks[i].Task.Schedule = s.ID
	}
	done, err := f.Tick(f.Context(), runtime.TickRequest{ID: s.ID, Version: s.Version, Now: sdk.Now(), Next: s.NextAt + 1000, Last: s.NextAt, Overlap: overlap, Tasks: tasks})
	if err != nil {
		f.Fatal(err)
	}
	return done
}

func testSchedules(t *testing.T, open Open) {
	f := setup(t, open, Options{})
	s := f.put(newSchedule("one", 5_000_000_000_000)) // later than 32 bits of anything
	want := newSchedule("one", 5_000_000_000_000)
	want.Version = s.Version
	if got, w := fmt.Sprintf("%+v", s), fmt.Sprintf("%+v", want); got != w || s.Version == 0 {
		t.Errorf("kept\n%s\nwant\n%s", got, w)
	}
	if got := f.schedule("one"); got.ID != "sch_one" {
		t.Errorf("by name: %+v", got)
	}

	// A version holds once.
	changed := s
	changed.Cron, changed.Zone, changed.Every, changed.Paused, changed.NextAt = "0 0 * * *", "Europe/Berlin", 0, true, 0
	changed.LastAt, changed.LastTask, changed.Error = 7, "tsk_1", "no"
	if got := f.put(changed); got.Cron != changed.Cron || got.Every != 0 || !got.Paused || got.NextAt != 0 || got.LastTask != "tsk_1" || got.Error != "no" || got.Version <= s.Version {
		t.Errorf("changed: %+v", got)
	}
	if ok, err := f.PutSchedule(t.Context(), s); ok || err != nil {
		t.Errorf("an old version was written: %v, %v", ok, err)
	}
	if ok, err := f.PutSchedule(t.Context(), runtime.Schedule{Schedule: sdk.Schedule{ID: "sch_none", Name: "none", Source: sdk.SourceAPI}, Version: 3}); ok || err != nil {
		t.Errorf("one that is not there was written: %v, %v", ok, err)
	}

	// Names.
	double := newSchedule("two", 0)
	double.Name = "one"
	if _, err := f.PutSchedule(t.Context(), double); sdk.CodeOf(err) != sdk.CodeConflict || !strings.Contains(err.Error(), "sch_one") {
		t.Errorf("a second name: %v", err)
	}
	double.Source = sdk.SourceConfig
	f.put(double)
	if got := f.schedule("one"); got.ID != "sch_two" {
		t.Errorf("the configuration's name comes first, not %s", got.ID)
	}
	if ok, err := f.PutSchedule(t.Context(), double); ok || err != nil { // another node was faster
		t.Errorf("the same schedule of the configuration again: %v, %v", ok, err)
	}

	// Lists.
	f.put(newSchedule("three", 0))
	for text, filter := range map[string]runtime.ScheduleFilter{
		"[sch_one sch_three sch_two]": {},
		"[sch_one sch_three]":         {Source: sdk.SourceAPI, Limit: 5},
		"[sch_three sch_two]":         {After: "sch_one", Limit: 2},
		"[]":                          {ID: "sch_none"},
	} {
		list, err := f.Schedules(t.Context(), filter)
		if err != nil {
			t.Fatal(err)
		}
		ids := []string{}
		for _, s := range list {
			ids = append(ids, s.ID)
		}
		if fmt.Sprint(ids) != text {
			t.Errorf("%+v: %v, want %s", filter, ids, text)
		}
	}
	for range 2 {
		if err := f.DeleteSchedule(t.Context(), "sch_two"); err != nil {
			t.Error(err)
		}
	}
	if got := f.schedule("one"); got.ID != "sch_one" {
		t.Errorf("after the delete: %s", got.ID)
	}
}

func testDueSchedules(t *testing.T, open Open) {
	f := setup(t, open, Options{})
	due := func(now sdk.Time, limit int) string {
		list, next, err := f.DueSchedules(t.Context(), now, limit)
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, s := range list {
			names = append(names, s.Name)
		}
		return fmt.Sprint(names, int64(next))
	}
	if got := due(100, 10); got != "[] 0" {
		t.Errorf("of none: %s", got)
	}
	for name, next := range map[string]sdk.Time{"a": 30, "b": 10, "c": 20, "d": 40, "paused": 0} {
		f.put(newSchedule(name, next))
	}
	for _, c := range []struct {
		now   sdk.Time
		limit int
		want  string
	}{{5, 10, "[] 10"}, {20, 10, "[b c] 30"}, {20, 1, "[b] 20"}, {100, 10, "[b c a d] 0"}, {100, 4, "[b c a d] 0"}} {
		if got := due(c.now, c.limit); got != c.want {
			t.Errorf("at %d, limit %d: %s, want %s", c.now, c.limit, got, c.want)
		}
	}
}

func testTick(t *testing.T, open Open) {
	f := setup(t, open, Options{})
	s := f.put(newSchedule("s", 1_000_000_000_000))

	// It fires once, however many try.
	var wg sync.WaitGroup
	var mu sync.Mutex
	var won []runtime.Ticked
	for range 8 {
		task := f.newTask("a.a")
		wg.Go(func() {
			task.Task.Schedule = s.ID
			done, err := f.Tick(t.Context(), runtime.TickRequest{ID: s.ID, Version: s.Version, Now: sdk.Now(), Next: s.NextAt + 60_000, Last: s.NextAt,
				Overlap: sdk.OverlapSkip, Tasks: []runtime.NewTask{task}})
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				t.Error(err)
			}
			if done.Won {
				won = append(won, done)
			}
		})
	}
	wg.Wait()
	if len(won) != 1 || len(won[0].Tasks) != 1 {
		t.Fatalf("%d fired it: %+v", len(won), won)
	}
	first := won[0].Tasks[0]
	after := f.schedule("s")
	if after.NextAt != s.NextAt+60_000 || after.LastAt != s.NextAt || after.LastTask != first.ID || after.Version <= s.Version {
		t.Errorf("after the tick: %+v", after)
	}
	f.wantEvents(first.ID, sdk.EventCreated, sdk.EventQueued)
	page, err := f.Tasks(t.Context(), runtime.TaskFilter{Schedule: s.ID, Limit: 10})
	if err != nil || len(page.Tasks) != 1 || page.Tasks[0].Schedule != s.ID {
		t.Fatalf("its tasks: %+v, %v", page, err)
	}

	// Overlap, while the first task runs.
	running := f.claimOne("a.a")
	if done := f.tick(after, sdk.OverlapSkip, f.newTask("a.a")); !done.Won || !done.Skipped || len(done.Tasks) != 0 {
		t.Errorf("skip: %+v", done)
	}
	s = f.schedule("s")
	if s.LastTask != first.ID || s.LastAt != after.LastAt || s.NextAt != after.NextAt+1000 {
		t.Errorf("after a skipped tick: %+v", s)
	}
	done := f.tick(s, sdk.OverlapAllow, f.newTask("a.a"), f.newTask("a.a"))
	if len(done.Tasks) != 2 || done.Skipped {
		t.Fatalf("allow: %+v", done)
	}
	queued := done.Tasks[1].ID
	if s = f.schedule("s"); s.LastTask != queued {
		t.Errorf("the last task is %s, want %s", s.LastTask, queued)
	}
	if done = f.tick(s, sdk.OverlapCancel, f.newTask("a.a")); len(done.Tasks) != 1 {
		t.Fatalf("cancel_previous: %+v", done)
	}
	if k := f.wantState(queued, sdk.StateCancelled); !strings.Contains(k.Reason, "sch_s") {
		t.Errorf("reason %q", k.Reason)
	}
	f.wantState(done.Tasks[0].ID, sdk.StateQueued)
	f.wantState(first.ID, sdk.StateRunning) // it was told
	held, err := f.Held(t.Context(), "n1")
	if err != nil || len(held) != 1 || !held[0].Cancelled {
		t.Errorf("the running one was not told: %+v, %v", held, err)
	}
	canceled := end(running, sdk.StateCancelled)
	f.mustFinish(canceled)

	// A tick without a task, and one of a schedule that has gone.
	s = f.schedule("s")
	if out, err := f.Tick(t.Context(), runtime.TickRequest{ID: s.ID, Version: s.Version, Now: sdk.Now(), Error: "broken"}); err != nil || !out.Won {
		t.Errorf("%+v, %v", out, err)
	}
	if got := f.schedule("s"); got.NextAt != 0 || got.Error != "broken" || got.LastTask != s.LastTask || got.LastAt != s.LastAt {
		t.Errorf("after a failed tick: %+v", got)
	}
	if err := f.DeleteSchedule(t.Context(), s.ID); err != nil {
		t.Fatal(err)
	}
	if done := f.tick(s, sdk.OverlapAllow, f.newTask("a.a")); done.Won {
		t.Error("a deleted schedule fired")
	}

	// The tasks of one schedule do not stop another's.
	other := f.put(newSchedule("other", 1000))
	if done := f.tick(other, sdk.OverlapSkip, f.newTask("a.a")); len(done.Tasks) != 1 {
		t.Errorf("another schedule: %+v", done)
	}
}

// testTickIntoFullQueue: a tick that its queue does not take is skipped, says why, and
// holds up nobody.
func testTickIntoFullQueue(t *testing.T, open Open) {
	f := setup(t, open, Options{})
	f.queues(runtime.QueueLimits{Name: "default", Depth: 3})
	f.submit(f.newTask("a.b"), f.newTask("a.b"))
	s := f.put(newSchedule("s", 1000))
	tick := func(next, last sdk.Time, n int) runtime.Ticked {
		t.Helper()
		req := runtime.TickRequest{ID: s.ID, Version: s.Version, Now: sdk.Now(), Next: next, Last: last, Overlap: sdk.OverlapAllow}
		for range n {
			task := f.newTask("a.b")
			task.Task.Schedule = s.ID
			req.Tasks = append(req.Tasks, task)
		}
		done, err := f.Tick(t.Context(), req)
		if err != nil {
			t.Fatal(err)
		}
		s = f.schedule("s")
		return done
	}
	// There is room for one of three.
	done := tick(2000, 1000, 3)
	if !done.Won || len(done.Tasks) != 1 || done.Refused == nil || done.Refused.Code != sdk.CodeLimitExceeded {
		t.Fatalf("three ticks: %+v", done)
	}
	kept := done.Tasks[0].ID
	if s.NextAt != 2000 || s.LastAt != 1000 || s.LastTask != kept || !strings.Contains(s.Error, "depth") {
		t.Errorf("after them: %+v", s)
	}
	f.wantEvents(kept, sdk.EventCreated, sdk.EventQueued)
	done = tick(3000, 2000, 1)
	if !done.Won || len(done.Tasks) != 0 || done.Refused == nil {
		t.Errorf("the next tick: %+v", done)
	}
	if s.NextAt != 3000 || s.LastAt != 1000 || s.LastTask != kept || s.Error == "" {
		t.Errorf("after it: %+v", s)
	}
	// By hand, whoever asks hears of it, and nothing has changed.
	before := s
	by := f.newTask("a.b")
	by.Task.Schedule = s.ID
	if _, err := f.Tick(t.Context(), runtime.TickRequest{ID: s.ID, Version: s.Version, Now: sdk.Now(), Next: s.NextAt, Overlap: sdk.OverlapAllow,
		Tasks: []runtime.NewTask{by}}); sdk.CodeOf(err) != sdk.CodeLimitExceeded {
		t.Errorf("by hand: %v", err)
	}
	if s = f.schedule("s"); s.Version != before.Version || s.Error != before.Error {
		t.Errorf("after a try by hand: %+v", s)
	}
	// A tick that is the only one is not given up.
	now := sdk.Now()
	done = tick(0, 3000, 1)
	if done.Refused == nil || s.NextAt <= now || s.NextAt > now.Add(time.Minute) || s.Error == "" {
		t.Errorf("the last tick: %+v, %+v", done, s)
	}
	for range 3 {
		f.mustFinish(end(f.claimOne("a.b"), sdk.StateCompleted))
	}
	for until := time.Now().Add(20 * time.Second); ; { // its depth is not counted all the time
		if done = tick(0, 3000, 1); done.Refused == nil {
			break
		}
		if time.Now().After(until) {
			t.Fatalf("there is room, and it is refused: %+v", done)
		}
	}
	if len(done.Tasks) != 1 || s.NextAt != 0 || s.LastAt != 3000 || s.Error != "" {
		t.Errorf("at last: %+v, %+v", done, s)
	}
}
