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

// testUniqueOfTheRefused: a submission that makes no living task does not take its unique
// from the others of its set, nor keep them from being answered.
func testUniqueOfTheRefused(t *testing.T, open Open) {
	f := setup(t, open, Options{})
	failed := f.submit(f.newTask("a.b"))[0].Task.ID
	f.mustFinish(end(f.claimOne("a.b"), sdk.StateFailed))
	used := f.newTask("x.x")
	used.IdempotencyKey, used.BodyHash = "k", "h"
	f.submit(used)

	unmet, born, conflict := f.unique("x.x", "unmet"), f.unique("x.x", "born"), f.unique("x.x", "conflict")
	unmet.After, born.After = []string{"tsk_none"}, []string{failed}
	conflict.IdempotencyKey, conflict.BodyHash = "k", "other"
	out := f.submit(unmet, f.unique("x.x", "unmet"), born, f.unique("x.x", "born"), f.unique("x.x", "born"), conflict, f.unique("x.x", "conflict"))
	if err := out[0].Err; err == nil || err.Code != sdk.CodeInvalid {
		t.Errorf("after an unknown task: %v", err)
	}
	if k := f.wantState(out[2].Task.ID, sdk.StateFailed); k.Error == nil || k.Error.Code != sdk.CodeDependencyFailed {
		t.Errorf("after a failed task: %+v", k)
	}
	if err := out[5].Err; err == nil || err.Code != sdk.CodeConflict {
		t.Errorf("with the key of another: %v", err)
	}
	for _, i := range []int{1, 3, 6} {
		if out[i].Err != nil || out[i].Duplicate || out[i].Task.State != sdk.StateQueued {
			t.Errorf("%d: %+v", i, out[i])
		}
	}
	if out[4].Err != nil || !out[4].Duplicate || out[4].Task.ID != out[3].Task.ID {
		t.Errorf("while one lives: %+v", out[4])
	}
	// The key answers before what the task would come after is looked at.
	again := f.unique("x.x", "u")
	again.IdempotencyKey, again.BodyHash, again.After = "k", "h", []string{"tsk_none"}
	if out := f.submit(again); out[0].Err != nil || out[0].Task.ID != used.Task.ID {
		t.Errorf("%+v", out[0])
	}
}

// testKeyOfTheUnique: a submit that the holder of its unique answered is answered by the same
// task when it is repeated under its key, even after that has ended.
func testKeyOfTheUnique(t *testing.T, open Open) {
	f := setup(t, open, Options{})
	f.queues(runtime.QueueLimits{Name: "default", Depth: 100})
	first := f.submit(f.unique("a.b", "u"))[0].Task.ID
	repeat := func(when, hash string) runtime.Submitted {
		t.Helper()
		n := f.unique("a.b", "u")
		n.IdempotencyKey, n.BodyHash = "k", hash
		out := f.submit(n, f.newTask("x.x"))
		if out[1].Err != nil || out[1].Duplicate {
			t.Errorf("%s: %+v beside it", when, out[1])
		}
		return out[0]
	}
	if out := repeat("while it lives", "h"); !out.Duplicate || out.Task.ID != first {
		t.Fatalf("while it lives: %+v", out)
	}
	f.mustFinish(end(f.claimOne("a.b"), sdk.StateCompleted))
	if out := repeat("after its end", "h"); !out.Duplicate || out.Err != nil || out.Task.ID != first {
		t.Errorf("after its end: %+v", out)
	}
	if out := repeat("with another body", "other"); out.Err == nil || out.Err.Code != sdk.CodeConflict {
		t.Errorf("with another body: %+v", out)
	}
	plain := f.newTask("a.b")
	plain.IdempotencyKey, plain.BodyHash = "k", "h"
	if out := f.submit(plain)[0]; !out.Duplicate || out.Task.ID != first {
		t.Errorf("without unique: %+v", out)
	}
	if k, hash, err := f.Store.Keyed(t.Context(), "", "k"); err != nil || k.ID != first || hash != "h" {
		t.Errorf("keyed: %s, %q, %v", k.ID, hash, err)
	}
	other := f.unique("a.b", "v")
	other.Task.Owner, other.IdempotencyKey, other.BodyHash = "another", "k", "h"
	if out := f.submit(other)[0]; out.Err != nil || out.Duplicate {
		t.Errorf("of another owner: %+v", out)
	}
	if n, err := f.Store.Delete(t.Context(), []string{first}); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	if out := repeat("once it is gone", "other"); out.Err != nil || out.Duplicate {
		t.Errorf("once it is gone: %+v", out)
	}
}
