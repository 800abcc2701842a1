package runtime_test

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nagatha/nagatha-runtime/runtime"
	"github.com/nagatha/nagatha-runtime/sdk"
)

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
