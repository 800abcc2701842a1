package runtime_test

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
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
func TestScheduleRuns(t *testing.T) {
	ran := make(chan *sdk.Task, 100)
	e := setup(t, runtime.Config{}, handler("t.tick", func(_ context.Context, t *sdk.Task, _ sdk.Host) (json.RawMessage, error) {
		ran <- t
		return nil, nil
	}))
	s := e.create(sdk.Schedule{Name: "s", Every: sdk.Duration(time.Second), Kind: "t.tick", Payload: json.RawMessage(`{"a": 1}`)})
	if s.NextAt.Sub(sdk.Now()) > time.Second || s.Overlap != sdk.OverlapSkip || s.Missed != sdk.MissedOnce || s.Source != sdk.SourceAPI {
		t.Errorf("made %+v", s)
	}
	for i := range 2 {
		select {
		case task := <-ran:
			want := s.NextAt.Add(time.Duration(i) * time.Second).String()
			if task.Schedule != s.ID || task.Owner != "me" || string(task.Payload) != `{"a":1}` || task.Labels["tick"] != want {
				t.Errorf("task %+v, want tick %s", task, want)
			}
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

func TestScheduleChanges(t *testing.T) {
	e := setup(t, runtime.Config{}, echo)
	def := sdk.Schedule{Name: "s", Cron: "0 3 * * *", Zone: "Europe/Berlin", Kind: "t.echo"}
	s := e.create(def)
	if h := s.NextAt.Time().In(zone(t, "Europe/Berlin")).Hour(); h != 3 || !strings.HasPrefix(s.ID, "sch_") {
		t.Errorf("made %+v", s)
	}
	paused, err := e.PauseSchedule(t.Context(), s.ID, true)
	if err != nil || !paused.Paused || paused.NextAt != 0 {
		t.Errorf("paused %+v, %v", paused, err)
	}
	e.fireAt(s.NextAt.Add(48 * time.Hour))
	got, err := e.TriggerSchedule(t.Context(), "s")
	if err != nil || got.LastTask == "" || got.NextAt != 0 || got.LastAt != 0 {
		t.Errorf("triggered %+v, %v", got, err)
	}
	if k := e.wait(got.LastTask); k.State != sdk.StateCompleted || k.Schedule != s.ID || len(e.tasksOf(s)) != 1 {
		t.Errorf("its task %+v", k)
	}
	if got, err = e.PauseSchedule(t.Context(), s.ID, false); err != nil || got.Paused || got.NextAt != s.NextAt {
		t.Errorf("resumed %+v, %v", got, err)
	}
	def.Payload = json.RawMessage(`{"n": 2}`)
	if got, err = e.ReplaceSchedule(t.Context(), s.ID, def); err != nil || string(got.Payload) != `{"n":2}` || got.NextAt != s.NextAt || got.LastTask == "" {
		t.Errorf("replaced %+v, %v", got, err)
	}
	def.Cron, def.Zone, def.Every = "", "", sdk.Duration(time.Hour)
	if got, err = e.ReplaceSchedule(t.Context(), s.ID, def); err != nil || got.Cron != "" || got.NextAt.Sub(sdk.Now()) > time.Hour {
		t.Errorf("replaced %+v, %v", got, err)
	}
	if page, next, err := e.Schedules(t.Context(), runtime.ScheduleFilter{}); err != nil || len(page) != 1 || next != "" {
		t.Errorf("listed %+v, %q, %v", page, next, err)
	}
	if err := e.DeleteSchedule(t.Context(), s.ID); err != nil {
		t.Error(err)
	}
	for name, err := range map[string]error{
		"get":     second(e.Schedule(t.Context(), s.ID)),
		"pause":   second(e.PauseSchedule(t.Context(), s.ID, true)),
		"trigger": second(e.TriggerSchedule(t.Context(), s.ID)),
		"replace": second(e.ReplaceSchedule(t.Context(), s.ID, def)),
		"delete":  e.DeleteSchedule(t.Context(), s.ID),
	} {
		if sdk.CodeOf(err) != sdk.CodeNotFound {
			t.Errorf("%s one that has gone: %v", name, err)
		}
	}
}

func second[T any](_ T, err error) error { return err }

func TestBadSchedules(t *testing.T) {
	e := setup(t, runtime.Config{}, echo)
	e.create(sdk.Schedule{Name: "taken", Every: sdk.Duration(time.Hour), Kind: "t.echo"})
	good := sdk.Schedule{Name: "s", Every: sdk.Duration(time.Hour), Kind: "t.echo"}
	for field, change := range map[string]func(s *sdk.Schedule){
		"name":         func(s *sdk.Schedule) { s.Name = "No" },
		"name ":        func(s *sdk.Schedule) { s.Name = "sch_x" },
		"name  ":       func(s *sdk.Schedule) { s.Name = "a.b" },
		"cron":         func(s *sdk.Schedule) { s.Every = 0 },
		"cron ":        func(s *sdk.Schedule) { s.Cron = "* * * * *" },
		"cron  ":       func(s *sdk.Schedule) { s.Every, s.Cron = 0, "0 0 31 2 *" },
		"zone":         func(s *sdk.Schedule) { s.Zone = "UTC" },
		"zone ":        func(s *sdk.Schedule) { s.Every, s.Cron, s.Zone = 0, "* * * * *", "Nowhere" },
		"every":        func(s *sdk.Schedule) { s.Every = sdk.Duration(time.Millisecond) },
		"every ":       func(s *sdk.Schedule) { s.Every = -sdk.Duration(time.Hour) },
		"at":           func(s *sdk.Schedule) { s.Every, s.At = 0, 1000 },
		"missed":       func(s *sdk.Schedule) { s.Missed = "none" },
		"overlap":      func(s *sdk.Schedule) { s.Overlap = "none" },
		"overlap ":     func(s *sdk.Schedule) { s.Missed, s.Overlap = sdk.MissedAll, sdk.OverlapSkip },
		"jitter":       func(s *sdk.Schedule) { s.Jitter = -1 },
		"kind":         func(s *sdk.Schedule) { s.Kind = "echo" },
		"kind ":        func(s *sdk.Schedule) { s.Kind = "system.no_such" },
		"payload":      func(s *sdk.Schedule) { s.Payload = json.RawMessage(`{`) },
		"queue":        func(s *sdk.Schedule) { s.Queue = "nowhere" },
		"priority":     func(s *sdk.Schedule) { s.Priority = 101 },
		"timeout":      func(s *sdk.Schedule) { s.Timeout = -1 },
		"max_attempts": func(s *sdk.Schedule) { s.MaxAttempts = -1 },
	} {
		s := good
		change(&s)
		_, err := e.CreateSchedule(t.Context(), "", s)
		if f := sdk.AsError(err); err == nil || f.Code != sdk.CodeInvalid || len(f.Fields) == 0 || f.Fields[0].Field != strings.TrimSpace(field) {
			t.Errorf("%s: %v", field, err)
		}
	}
	good.Name = "taken"
	if _, err := e.CreateSchedule(t.Context(), "", good); sdk.CodeOf(err) != sdk.CodeConflict {
		t.Errorf("a name in use: %v", err)
	}
}

func TestConfiguredSchedules(t *testing.T) {
	path := filepath.Join(t.TempDir(), "nagatha.db")
	hour := sdk.Duration(time.Hour)
	run := func(do func(e *engine), list ...sdk.Schedule) {
		e := open(t, path, runtime.Config{Schedules: list}, echo)
		e.wait(e.submit(sdk.Submission{Kind: "t.echo"}).ID) // it runs, so the schedules are in
		do(e)
		e.stop()
	}
	a := sdk.Schedule{Name: "a", Every: hour, Kind: "t.echo"}
	b := sdk.Schedule{Name: "b", Cron: "0 0 * * *", Kind: "system.cleanup_old_data", Payload: json.RawMessage(`{}`)}
	var next sdk.Time
	run(func(e *engine) {
		s := e.reload(sdk.Schedule{ID: "a"})
		if s.ID != "sch_a" || s.Source != sdk.SourceConfig || s.NextAt == 0 || s.Overlap != sdk.OverlapSkip {
			t.Errorf("kept %+v", s)
		}
		e.fireAt(s.NextAt)
		next = s.NextAt.Add(time.Hour)
		for name, err := range map[string]error{
			"pause":   second(e.PauseSchedule(t.Context(), s.ID, true)),
			"replace": second(e.ReplaceSchedule(t.Context(), s.ID, a)),
			"delete":  e.DeleteSchedule(t.Context(), s.ID),
		} {
			if sdk.CodeOf(err) != sdk.CodeConflict || !strings.Contains(err.Error(), "config.hcl") {
				t.Errorf("%s: %v", name, err)
			}
		}
		if got, err := e.TriggerSchedule(t.Context(), "b"); err != nil || e.wait(got.LastTask).State != sdk.StateCompleted {
			t.Errorf("trigger: %+v, %v", got, err)
		}
		e.create(sdk.Schedule{Name: "mine", Every: hour, Kind: "t.echo"})
	}, a, b)
	var version string
	run(func(e *engine) { // the same again: nothing changes
		s := e.reload(sdk.Schedule{ID: "a"})
		if s.NextAt != next || s.LastAt != next.Add(-time.Hour) || s.LastTask == "" {
			t.Errorf("after a restart %+v, want next %s", s, next)
		}
		version = fmt.Sprintf("%+v", s)
	}, a, b)
	run(func(e *engine) {
		if s := e.reload(sdk.Schedule{ID: "a"}); fmt.Sprintf("%+v", s) != version {
			t.Errorf("changed to %+v", s)
		}
	}, a, b)
	a.Every = 2 * hour
	run(func(e *engine) { // changed, and without b
		s := e.reload(sdk.Schedule{ID: "a"})
		if s.Every != 2*hour || s.NextAt != next.Add(time.Hour) || s.LastTask == "" {
			t.Errorf("changed to %+v, want next %s", s, next.Add(time.Hour))
		}
		if _, err := e.Schedule(t.Context(), "b"); sdk.CodeOf(err) != sdk.CodeNotFound {
			t.Errorf("one that has gone: %v", err)
		}
		if _, err := e.Schedule(t.Context(), "mine"); err != nil {
			t.Errorf("the api's own: %v", err)
		}
	}, a)
}

func TestSystemKinds(t *testing.T) {
	e := setup(t, runtime.Config{Plugins: []string{}, Version: "1.2"})
	k := e.wait(e.submit(sdk.Submission{Kind: "system.refresh_status"}).ID)
	var status struct {
		Version string
		Tasks   map[string]int
	}
	if err := json.Unmarshal(k.Result, &status); err != nil || status.Version != "1.2" || status.Tasks["running"] != 1 || k.Plugin != "system" {
		t.Errorf("status %s, %v", k.Result, err)
	}
	if k := e.wait(e.submit(sdk.Submission{Kind: "system.cleanup_old_data"}).ID); string(k.Result) != `{"deleted":0}` {
		t.Errorf("cleanup %s %v", k.Result, k.Error)
	}
	for _, s := range []sdk.Submission{{Kind: "system.none"}, {Kind: "system.refresh_status", Payload: json.RawMessage(`{"x":1}`)}} {
		if out, err := e.Submit(t.Context(), "", []sdk.Submission{s}); err != nil || out[0].Err == nil {
			t.Errorf("%s %s was taken", s.Kind, s.Payload)
		}
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
