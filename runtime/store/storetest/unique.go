package storetest

import (
	"errors"
	"sync"
	"testing"

	"github.com/nagatha/nagatha-runtime/runtime"
	"github.com/nagatha/nagatha-runtime/sdk"
)

func (f *fixture) unique(kind, text string) runtime.NewTask {
	n := f.newTask(kind)
	n.Unique = text
	return n
}

func testUnique(t *testing.T, open Open) {
	f := setup(t, open, Options{})
	// Doubles within one set, and one with a key besides.
	keyed := f.unique("a.b", "u")
	keyed.IdempotencyKey, keyed.BodyHash = "k", "h"
	out := f.submit(f.unique("a.b", "u"), f.unique("a.b", "u"), keyed, f.unique("a.b", "v"), f.newTask("a.b"))
	first := out[0].Task.ID
	if out[0].Duplicate || !out[1].Duplicate || out[1].Task.ID != first || !out[2].Duplicate || out[2].Task.ID != first || out[3].Duplicate || out[4].Duplicate {
		t.Fatalf("in one set: %+v", out)
	}
	if got := f.events(first); len(got) != 2 {
		t.Errorf("%d events for one task", len(got))
	}
	// It is taken while the task lives, in whatever state.
	taken := func(when string) {
		t.Helper()
		if again := f.submit(f.unique("x.x", "u"))[0]; !again.Duplicate || again.Err != nil || again.Task.ID != first {
			t.Errorf("%s: %+v", when, again)
		}
	}
	taken("queued")
	c := f.claim(1, "a.b")[0]
	if c.Task.ID != first {
		t.Fatalf("claimed %s", c.Task.ID)
	}
	taken("running")
	f.mustFinish(end(c, sdk.StateQueued))
	taken("given back")
	c = f.claim(1, "a.b")[0]
	later := end(c, sdk.StateRetrying)
	later.RunAt = sdk.Now().Add(hour)
	f.mustFinish(later)
	taken("retrying")
	f.cancel(first, false, "")

	// Free again, whichever way the life ended.
	for _, state := range []sdk.State{sdk.StateCompleted, sdk.StateFailed, sdk.StateCancelled} {
		n := f.submit(f.unique("u.u", "u"))[0]
		if n.Duplicate || n.Task.ID == first {
			t.Fatalf("before %s: %+v", state, n)
		}
		f.mustFinish(end(f.claimOne("u.u"), state))
	}

	// A new life needs it too.
	second := f.submit(f.unique("u.u", "u"))[0].Task.ID
	res, err := f.Store.Retry(t.Context(), []string{first})
	if err != nil || res[0].Err == nil || res[0].Err.Code != sdk.CodeConflict {
		t.Errorf("retry while another lives: %+v, %v", res, err)
	}
	f.wantState(first, sdk.StateCancelled)
	f.mustFinish(end(f.claimOne("u.u"), sdk.StateCompleted))
	if res, err = f.Store.Retry(t.Context(), []string{first}); err != nil || res[0].Err != nil {
		t.Errorf("retry after its end: %+v, %v", res, err)
	}
	taken("in its second life")
	f.wantState(second, sdk.StateCompleted)
}

// testUniqueRace: however many submit at the same moment, one task lives.
func testUniqueRace(t *testing.T, open Open) {
	f := setup(t, open, Options{})
	for range 10 {
		var mu sync.Mutex
		var wg sync.WaitGroup
		ids, fresh := map[string]bool{}, 0
		for range 16 {
			n := f.unique("a.b", "only")
			wg.Go(func() {
				out, err := f.Store.Submit(t.Context(), []runtime.NewTask{n})
				if err != nil || out[0].Err != nil {
					t.Error(errors.Join(err), out)
					return
				}
				mu.Lock()
				defer mu.Unlock()
				ids[out[0].Task.ID] = true
				if !out[0].Duplicate {
					fresh++
				}
			})
		}
		wg.Wait()
		if len(ids) != 1 || fresh != 1 {
			t.Fatalf("%d tasks, %d new ones", len(ids), fresh)
		}
		f.mustFinish(end(f.claimOne("a.b"), sdk.StateCompleted))
	}
}
