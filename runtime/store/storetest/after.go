package storetest

import (
	"testing"
	"time"

	"github.com/nagatha/nagatha-runtime/runtime"
	"github.com/nagatha/nagatha-runtime/sdk"
)

func testAfter(t *testing.T, open Open) {
	f := setup(t, open, Options{})
	out := f.submit(f.newTask("a.b"), f.newTask("a.b"), f.newTask("a.b"))
	a, b, fails := out[0].Task.ID, out[1].Task.ID, out[2].Task.ID
	both, later, doomed := f.newTask("a.later"), f.newTask("a.later"), f.newTask("a.later")
	both.After, later.After, doomed.After = []string{a, b, b}, []string{a}, []string{a, fails}
	later.Task.RunAt = sdk.Now().Add(time.Hour)
	later.Task.State = sdk.StateScheduled
	next, bad := f.newTask("a.later"), f.newTask("a.later")
	f.submit(both, later, doomed)
	next.After, bad.After = []string{doomed.Task.ID}, []string{a, "tsk_none"}
	out = f.submit(next, bad)
	if out[0].Task.State != sdk.StateScheduled || out[1].Err == nil || out[1].Err.Code != sdk.CodeInvalid {
		t.Errorf("%+v", out)
	}
	if _, err := f.Store.Task(t.Context(), bad.Task.ID); sdk.CodeOf(err) != sdk.CodeNotFound {
		t.Errorf("refused, and there: %v", err)
	}
	if n, _, err := f.Store.Promote(t.Context(), sdk.Now().Add(time.Minute), 100); n != 0 || err != nil {
		t.Errorf("promoted %d held back, %v", n, err)
	}
	c := f.claim(3, "a.b")
	byID := map[string]runtime.Claimed{}
	for _, k := range c {
		byID[k.Task.ID] = k
	}
	f.mustFinish(end(byID[a], sdk.StateCompleted))
	f.wantState(both.Task.ID, sdk.StateScheduled)
	if k := f.wantState(later.Task.ID, sdk.StateScheduled); k.Reason != "" {
		t.Errorf("reason %q", k.Reason)
	}
	f.mustFinish(end(byID[b], sdk.StateCompleted))
	f.wantState(both.Task.ID, sdk.StateQueued)
	f.mustFinish(end(byID[fails], sdk.StateFailed))
	for _, id := range []string{doomed.Task.ID, next.Task.ID} {
		if k := f.wantState(id, sdk.StateFailed); k.Error == nil || k.Error.Code != sdk.CodeDependencyFailed || k.FinishedAt == 0 {
			t.Errorf("%+v", k)
		}
	}
	if n, _, err := f.Store.Promote(t.Context(), sdk.Now().Add(2*time.Hour), 100); n != 1 || err != nil {
		t.Errorf("promoted %d, %v", n, err)
	}
	late := f.newTask("a.later")
	late.After = []string{a, b}
	if out := f.submit(late); out[0].Task.State != sdk.StateQueued {
		t.Errorf("%+v", out[0].Task)
	}
	f.wantEvents(doomed.Task.ID, sdk.EventCreated, sdk.EventScheduled, sdk.EventFailed)
}

// testStartsAfter: what starts because something has ended starts no earlier than that,
// although its claim was asked for before.
func testStartsAfter(t *testing.T, open Open) {
	ahead := sdk.Now().Add(time.Hour)
	f := setup(t, open, Options{Now: func() sdk.Time { return ahead }})
	first := f.submit(f.newTask("a.b"))[0].Task.ID
	next := f.newTask("a.b")
	next.After = []string{first}
	f.submit(next)
	f.mustFinish(end(f.claimOne("a.b"), sdk.StateCompleted))
	if c := f.claimOne("a.b"); c.Task.ID != next.Task.ID || c.Task.StartedAt < f.task(first).FinishedAt || f.task(c.Task.ID).StartedAt != c.Task.StartedAt {
		t.Errorf("started at %s after %s", c.Task.StartedAt, f.task(first).FinishedAt)
	}
}
