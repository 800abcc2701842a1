package runtime_test

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/nagatha/nagatha-runtime/runtime"
	"github.com/nagatha/nagatha-runtime/runtime/store"
	"github.com/nagatha/nagatha-runtime/sdk"
)

func TestPlan(t *testing.T) {
	const first = sdk.Time(1_000_000_000)
	minute := func(n float64) sdk.Time { return first.Add(time.Duration(n * float64(time.Minute))) }
	every := sdk.Schedule{Every: sdk.Duration(10 * time.Minute), NextAt: first, Missed: sdk.MissedOnce}
	with := func(s sdk.Schedule, p sdk.MissedPolicy) sdk.Schedule { s.Missed = p; return s }
	second := every
	second.Every = sdk.Duration(time.Second)
	cron := every
	cron.Every, cron.Cron, cron.NextAt = 0, "*/10 * * * *", first.Add(200*time.Second) // 1970-01-12 13:50
	at := every
	at.Every, at.At = 0, first
	moved := cron
	moved.Cron, moved.NextAt = "0 12 1 1 *", first // its rules changed: next_at is no tick of it
	for _, c := range []struct {
		name  string
		s     sdk.Schedule
		now   sdk.Time
		fire  string // minutes after first
		count int
		next  float64
	}{
		{"on time", every, minute(0), "[0]", 1, 10},
		{"a little late", every, minute(0.5), "[0]", 1, 10},
		{"late, once", every, minute(7), "[0]", 1, 10},
		{"missed, once", every, minute(35), "[30]", 1, 40},
		{"on time, skip", with(every, sdk.MissedSkip), minute(0.5), "[0]", 1, 10},
		{"missed, skip", with(every, sdk.MissedSkip), minute(35), "[]", 0, 40},
		{"missed but for the last, skip", with(every, sdk.MissedSkip), minute(30.1), "[30]", 1, 40},
		{"missed, all", with(every, sdk.MissedAll), minute(35), "[0 10 20 30]", 4, 40},
		{"missed, all, bounded", with(every, sdk.MissedAll), minute(10 * 1000), "", 100, 10010},
		{"years of seconds", second, minute(4e6), "[4e+06]", 1, 4e6 + 1/60.0},
		{"years of seconds, all", with(second, sdk.MissedAll), minute(4e6), "", 100, 4e6 + 1/60.0},
		{"cron", cron, minute(200/60.0 + 35), "[33.3333]", 1, 43.3333},
		{"cron, all", with(cron, sdk.MissedAll), minute(200/60.0 + 25), "[3.33333 13.3333 23.3333]", 3, 33.3333},
		{"one time", at, minute(0), "[0]", 1, 0},
		{"one time, missed", at, minute(1e5), "[0]", 1, 0},
		{"one time, missed, skip", with(at, sdk.MissedSkip), minute(1e5), "[]", 0, 0},
		{"other rules", moved, minute(2), "[0]", 1, 509520 - 16666.6667 + 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			fire, next, err := runtime.PlanTicks(c.s, first.Add(-10*c.s.Every.Std()), c.now)
			if err != nil {
				t.Fatal(err)
			}
			minutes := []string{}
			for _, f := range fire {
				minutes = append(minutes, fmt.Sprintf("%.6g", f.Sub(first).Minutes()))
			}
			if got := fmt.Sprint(minutes); len(fire) != c.count || c.fire != "" && got != c.fire {
				t.Errorf("fires %s, want %s", got, c.fire)
			}
			if !slices.IsSorted(fire) {
				t.Errorf("out of order: %v", fire)
			}
			want := fmt.Sprintf("%.6g", c.next)
			if got := fmt.Sprintf("%.6g", next.Sub(first).Minutes()); next != 0 && c.name != "other rules" && got != want || next == 0 != (c.next == 0) {
				t.Errorf("next %s after %s minutes, want %s", next, got, want)
			}
		})
	}
}

// A wall clock that jumps, in either direction, neither doubles nor loses a tick:
// with missed = all each tick up to the latest time that the clock ever showed fires
// once, and with once no tick fires twice.
func TestClockJumps(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		start := sdk.Time(1_790_000_000_000)
		s := sdk.Schedule{Missed: rapid.SampledFrom([]sdk.MissedPolicy{sdk.MissedAll, sdk.MissedOnce}).Draw(t, "missed")}
		if rapid.Bool().Draw(t, "every") {
			s.Every = sdk.Duration(rapid.Int64Range(60, 7200).Draw(t, "seconds")) * sdk.Duration(time.Second)
		} else {
			s.Cron, s.Zone = rapid.SampledFrom([]string{"*/5 * * * *", "17 * * * *", "0 3 * * *", "30 2 * * *"}).Draw(t, "cron"), "Europe/Berlin"
		}
		ticks := func(after, until sdk.Time) (out []sdk.Time) {
			for {
				_, next, err := runtime.PlanTicks(sdk.Schedule{Cron: s.Cron, Zone: s.Zone, Every: s.Every, NextAt: after}, start, after)
				if err != nil {
					t.Fatal(err)
				}
				if next > until {
					return out
				}
				out, after = append(out, next), next
			}
		}
		s.NextAt = ticks(start, start.Add(48*time.Hour))[0]
		now, furthest := start, start
		var fired []sdk.Time
		for range rapid.IntRange(1, 30).Draw(t, "looks") {
			now = now.Add(time.Duration(rapid.IntRange(1, 1800).Draw(t, "pass")) * time.Second)
			switch rapid.IntRange(0, 9).Draw(t, "jump") {
			case 0:
				now = now.Add(time.Hour)
			case 1:
				now = now.Add(-time.Hour)
			}
			furthest = max(furthest, now)
			if s.NextAt > now {
				continue
			}
			fire, next, err := runtime.PlanTicks(s, start, now)
			if err != nil {
				t.Fatal(err)
			}
			if next <= now {
				t.Fatalf("the next tick, %s, is not after %s", next, now)
			}
			fired, s.NextAt = append(fired, fire...), next
		}
		for i := 1; i < len(fired); i++ {
			if fired[i] <= fired[i-1] {
				t.Fatalf("%s fired after %s", fired[i], fired[i-1])
			}
		}
		want := ticks(start, furthest)
		if s.Missed == sdk.MissedAll && !slices.Equal(fired, want) {
			t.Fatalf("fired %v\n want %v", fired, want)
		}
		if n := len(want); n > 0 && (len(fired) == 0 || fired[len(fired)-1] != want[n-1]) {
			t.Fatalf("the last of %v did not fire: %v", want, fired)
		}
	})
}

func (e *engine) create(s sdk.Schedule) sdk.Schedule {
	e.Helper()
	out, err := e.CreateSchedule(e.Context(), "me", s)
	if err != nil {
		e.Fatal(err)
	}
	return out
}

func (e *engine) fireAt(at sdk.Time) {
	e.Helper()
	if _, err := e.FireDue(e.Context(), at); err != nil {
		e.Fatal(err)
	}
}

func (e *engine) tasksOf(s sdk.Schedule) []sdk.Task {
	e.Helper()
	page, err := e.Tasks(e.Context(), runtime.TaskFilter{Schedule: s.ID, Limit: 1000})
	if err != nil {
		e.Fatal(err)
	}
	return page.Tasks
}

func (e *engine) reload(s sdk.Schedule) sdk.Schedule {
	e.Helper()
	out, err := e.Schedule(e.Context(), s.ID)
	if err != nil {
		e.Fatal(err)
	}
	return out
}

// The loop itself: a schedule that is made while it sleeps without any runs.
func TestScheduleRuns(t *testing.T) { synctest.Test(t, testScheduleRuns) }

func testScheduleRuns(t *testing.T) {
	ran := make(chan *sdk.Task, 100)
	e := setup(t, runtime.Config{}, handler("t.tick", func(_ context.Context, t *sdk.Task, _ sdk.Host) (json.RawMessage, error) {
		ran <- t
		return nil, nil
	}))
	s := e.create(sdk.Schedule{Name: "s", Every: sdk.Duration(time.Second), Kind: "t.tick", Payload: json.RawMessage(`{"a": 1}`)})
	if s.NextAt.Sub(sdk.Now()) > time.Second || s.Overlap != sdk.OverlapSkip || s.Missed != sdk.MissedOnce || s.Source != sdk.SourceAPI {
		t.Errorf("made %+v", s)
	}
	last := ""
	for range 2 {
		select {
		case task := <-ran:
			tick, err := time.Parse(time.RFC3339, task.Labels["tick"])
			if task.Schedule != s.ID || task.Owner != "me" || string(task.Payload) != `{"a":1}` || err != nil ||
				task.Labels["tick"] <= last || tick.Before(s.NextAt.Time()) || tick.Sub(s.NextAt.Time())%time.Second != 0 {
				t.Errorf("task %+v after tick %s", task, last)
			}
			last = task.Labels["tick"]
		case <-time.After(20 * time.Second):
			t.Fatal("it does not run")
		}
	}
	e.fireAt(sdk.Now()) // the second one is kept
	if got := e.reload(s); got.LastTask == "" || got.LastAt < s.NextAt || got.NextAt <= got.LastAt {
		t.Errorf("afterwards %+v", got)
	}
	if _, err := e.PauseSchedule(t.Context(), s.ID, true); err != nil {
		t.Fatal(err)
	}
}

func TestScheduleTicks(t *testing.T) {
	started := make(chan int, 100)
	e := setup(t, runtime.Config{}, echo, blocking("t.slow", started, func(ctx context.Context) (json.RawMessage, error) { return nil, ctx.Err() }))
	hour := sdk.Duration(time.Hour)

	// Missed ticks.
	for missed, want := range map[sdk.MissedPolicy]int{sdk.MissedOnce: 1, sdk.MissedSkip: 0, sdk.MissedAll: 5} {
		s := e.create(sdk.Schedule{Name: "m-" + string(missed), Every: hour, Kind: "t.echo", Missed: missed})
		e.fireAt(s.NextAt.Add(4*time.Hour + 30*time.Minute))
		tasks := e.tasksOf(s)
		if len(tasks) != want {
			t.Errorf("%s: %d tasks", missed, len(tasks))
		}
		got := e.reload(s)
		if got.NextAt != s.NextAt.Add(5*time.Hour) || want > 0 && (got.LastAt != s.NextAt.Add(4*time.Hour) || got.LastTask != tasks[0].ID) {
			t.Errorf("%s: %+v", missed, got)
		}
		e.fireAt(s.NextAt.Add(4*time.Hour + 40*time.Minute))
		if n := len(e.tasksOf(s)); n != want {
			t.Errorf("%s: fired again: %d tasks", missed, n)
		}
	}

	// Overlap.
	for overlap, want := range map[sdk.OverlapPolicy]string{sdk.OverlapSkip: "1 running", sdk.OverlapAllow: "2 running", sdk.OverlapCancel: "2 cancelled"} {
		s := e.create(sdk.Schedule{Name: "o-" + strings.ReplaceAll(string(overlap), "_", "-"), Every: hour, Kind: "t.slow", Overlap: overlap, Timeout: hour})
		e.fireAt(s.NextAt)
		<-started
		e.fireAt(s.NextAt.Add(time.Hour))
		if overlap != sdk.OverlapSkip {
			<-started // the second one, which the next round must not take for its own
		}
		tasks := e.tasksOf(s)
		oldest := tasks[len(tasks)-1]
		if overlap == sdk.OverlapCancel {
			oldest = e.wait(oldest.ID)
		}
		if got := fmt.Sprintf("%d %s", len(tasks), oldest.State); got != want {
			t.Errorf("%s: %s, want %s", overlap, got, want)
		}
		for _, k := range tasks {
			if _, err := e.Cancel(t.Context(), k.ID, true, ""); err != nil {
				t.Error(err)
			}
		}
		if err := e.DeleteSchedule(t.Context(), s.Name); err != nil {
			t.Error(err)
		}
	}

	// Jitter: the task is due a little later.
	s := e.create(sdk.Schedule{Name: "jitter", Every: hour, Kind: "t.echo", Jitter: sdk.Duration(24 * time.Hour)})
	e.fireAt(s.NextAt)
	if k := e.tasksOf(s); len(k) != 1 || k[0].State != sdk.StateScheduled && k[0].RunAt > k[0].CreatedAt || k[0].RunAt >= s.NextAt.Add(24*time.Hour) {
		t.Errorf("jitter: %+v", k)
	}

	// One time.
	s = e.create(sdk.Schedule{Name: "at", At: sdk.Now().Add(time.Hour), Kind: "t.echo"})
	e.fireAt(s.At - 1)
	if n := len(e.tasksOf(s)); n != 0 {
		t.Error("it fired too early")
	}
	e.fireAt(s.At)
	e.fireAt(s.At.Add(time.Hour))
	if got := e.reload(s); len(e.tasksOf(s)) != 1 || got.NextAt != 0 || got.LastAt != s.At {
		t.Errorf("at: %+v", got)
	}

	// A schema that came later refuses the payload: the schedule says so and goes on.
	s = e.create(sdk.Schedule{Name: "later", Every: hour, Kind: "t.later", Payload: json.RawMessage(`{"n":"x"}`)})
	typed := sdk.Registration{HandlerInfo: sdk.HandlerInfo{Kind: "t.later",
		PayloadSchema: json.RawMessage(`{"type":"object","properties":{"n":{"type":"integer"}}}`)}, Handler: echo.Handler}
	e.load(echo, typed)
	e.fireAt(s.NextAt)
	if got := e.reload(s); !strings.Contains(got.Error, "payload.n") || got.NextAt != s.NextAt.Add(time.Hour) || got.LastTask != "" {
		t.Errorf("a bad payload: %+v", got)
	}
}

// A schedule whose queue is full says so, and the others go on.
func TestScheduleIntoFullQueue(t *testing.T) {
	e := setup(t, runtime.Config{Queues: []runtime.Queue{{Name: "default", Concurrency: 4}, {Name: "full", Concurrency: 1, Depth: 1}}}, echo)
	e.submit(sdk.Submission{Kind: "t.echo", Queue: "full", Delay: sdk.Duration(time.Hour)})
	hour := sdk.Duration(time.Hour)
	at := sdk.Now().Add(2 * time.Hour)
	full := e.create(sdk.Schedule{Name: "full", Every: hour, Kind: "t.echo", Queue: "full"})
	once := e.create(sdk.Schedule{Name: "once", At: at, Kind: "t.echo", Queue: "full"})
	free := e.create(sdk.Schedule{Name: "free", Every: hour, Kind: "t.echo"})
	watch, err := e.Watch(t.Context(), runtime.WatchRequest{Topics: []string{"system.schedule.*"}, From: "start"}, func() {})
	if err != nil {
		t.Fatal(err)
	}
	defer watch.Close()
	for range 2 {
		e.fireAt(at)
		at = at.Add(time.Hour)
	}
	if got := e.reload(full); len(e.tasksOf(full)) != 0 || !strings.Contains(got.Error, "limit_exceeded") || got.NextAt <= at.Add(-time.Hour) {
		t.Errorf("into a full queue: %+v", got)
	}
	if got := e.reload(free); len(e.tasksOf(free)) != 2 || got.Error != "" {
		t.Errorf("beside it: %+v", got)
	}
	if got := e.reload(once); len(e.tasksOf(once)) != 0 || got.NextAt == 0 || got.Error == "" {
		t.Errorf("one time: %+v", got)
	}
	if _, err := e.TriggerSchedule(t.Context(), full.ID); sdk.CodeOf(err) != sdk.CodeLimitExceeded {
		t.Errorf("by hand: %v", err)
	}
	told := map[string]int{}
	for end := time.Now().Add(20 * time.Second); len(told) < 2; {
		notices, err := watch.Next(t.Context(), 10)
		if err != nil || time.Now().After(end) {
			t.Fatalf("told of %v, %v", told, err)
		}
		for _, n := range notices {
			told[n.Entry.Event.Subject]++
		}
	}
	if told[full.ID] != 1 || told[once.ID] != 1 {
		t.Errorf("told of %v", told)
	}

	// There is room again.
	page, err := e.Tasks(t.Context(), runtime.TaskFilter{Queue: "full"})
	if err != nil || len(page.Tasks) != 1 {
		t.Fatal(page, err)
	}
	if _, err := e.Cancel(t.Context(), page.Tasks[0].ID, false, ""); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(20 * time.Second); len(e.tasksOf(once)) == 0; { // the depth is not counted all the time
		if time.Now().After(end) {
			t.Fatal("the one-time schedule was given up")
		}
		e.fireAt(e.reload(once).NextAt)
	}
	k := e.tasksOf(once)
	if got := e.reload(once); len(k) != 1 || k[0].Labels["tick"] != once.At.String() || got.NextAt != 0 || got.LastAt != once.At || got.Error != "" {
		t.Errorf("one time, at last: %+v, %+v", got, k)
	}
}

// What a dead runtime left due fires when the next one starts.
func TestScheduleAfterDowntime(t *testing.T) {
	path := filepath.Join(t.TempDir(), "nagatha.db")
	s, err := store.Open(t.Context(), store.Config{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	past := sdk.Now().Add(-time.Hour)
	old := runtime.Schedule{Since: past, Schedule: sdk.Schedule{ID: "sch_1", Name: "old", At: past, NextAt: past, Kind: "t.echo",
		Payload: json.RawMessage(`{}`), Missed: sdk.MissedOnce, Overlap: sdk.OverlapSkip, Source: sdk.SourceAPI}}
	if ok, err := s.PutSchedule(t.Context(), old); err != nil || !ok {
		t.Fatal(ok, err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	ran := make(chan string, 1)
	open(t, path, runtime.Config{}, handler("t.echo", func(_ context.Context, t *sdk.Task, _ sdk.Host) (json.RawMessage, error) {
		ran <- t.Labels["tick"]
		return nil, nil
	}))
	select {
	case tick := <-ran:
		if tick != past.String() {
			t.Errorf("tick %s, want %s", tick, past)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("it does not run")
	}
}
