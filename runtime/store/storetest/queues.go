package storetest

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/nagatha/nagatha-runtime/runtime"
	"github.com/nagatha/nagatha-runtime/sdk"
)

func testPause(t *testing.T, open Open) {
	var queues, queued int
	f := setup(t, open, Options{OnCommit: own(func(c runtime.Commit) {
		if c.Queues {
			queues++
			if c.Queued {
				queued++
			}
		}
	})})
	pause := func(on bool) {
		t.Helper()
		if err := f.Store.Pause(t.Context(), "default", on); err != nil || f.Store.Paused("default") != on {
			t.Fatal(f.Store.Paused("default"), err)
		}
	}
	f.submit(f.newTask("a.b"), f.newTask("a.b"))
	c := f.claimOne("a.b")
	pause(true)
	pause(true)
	if f.Store.Paused("other") || len(f.claim(5, "a.b")) != 0 {
		t.Error("a paused queue starts tasks, or another is paused")
	}
	f.mustFinish(end(c, sdk.StateCompleted)) // what runs goes on
	pause(false)
	if queues != 3 || queued != 3 {
		t.Errorf("%d commits tell of the queue, %d wake dispatchers", queues, queued)
	}
	f.claimOne("a.b")
}

func testDepth(t *testing.T, open Open) {
	f := setup(t, open, Options{})
	f.queues(runtime.QueueLimits{Name: "default", Depth: 4})
	for range 20 { // ended ones do not count
		f.submit(f.newTask("a.b"))
		f.mustFinish(end(f.claimOne("a.b"), sdk.StateCompleted))
	}
	later := f.newTask("a.b")
	later.Task.State, later.Task.RunAt = sdk.StateScheduled, sdk.Now().Add(hour)
	keyed := f.newTask("a.b")
	keyed.IdempotencyKey, keyed.BodyHash = "k", "h"
	for _, out := range f.submit(later, keyed, f.unique("a.b", "u")) {
		if out.Err != nil {
			t.Fatal(out.Err)
		}
	}
	other := f.newTask("a.b")
	other.Task.Queue = "other"
	var full int
	for _, out := range f.submit(other, f.newTask("a.b"), f.newTask("a.b"), f.newTask("a.b")) {
		if out.Err != nil {
			if out.Err.Code != sdk.CodeLimitExceeded || len(out.Err.Fields) != 1 || out.Err.Fields[0].Field != "queue" {
				t.Errorf("%+v", out.Err)
			}
			full++
		}
	}
	if full != 2 {
		t.Errorf("%d of 3 were refused where one fits", full)
	}
	// What is there already is found.
	if out := f.submit(keyed, f.unique("a.b", "u")); !out[0].Duplicate || !out[1].Duplicate {
		t.Errorf("%+v", out)
	}
	// A task comes back whatever the queue holds.
	c := f.claimOne("a.b")
	f.mustFinish(end(c, sdk.StateQueued))
	f.wantState(c.Task.ID, sdk.StateQueued)
}

// testDepthOfDoubles: who has a double takes no place, nor does who was cancelled while
// something held it back.
func testDepthOfDoubles(t *testing.T, open Open) {
	f := setup(t, open, Options{})
	f.queues(runtime.QueueLimits{Name: "default", Depth: 3})
	var replays []runtime.NewTask
	for i := range 3 {
		n := f.newTask("a.b")
		n.IdempotencyKey, n.BodyHash = fmt.Sprint("k", i), "h"
		replays = append(replays, n)
	}
	f.submit(replays...)
	for _, c := range f.claim(3, "a.b") {
		f.mustFinish(end(c, sdk.StateCompleted))
	}
	one := f.unique("a.b", "u")
	set := append(slices.Clone(replays), one, f.unique("a.b", "u"), f.unique("a.b", "u"), f.newTask("a.b"))
	for i, out := range f.submit(set...) {
		if double := i != 3 && i != 6; out.Err != nil || out.Duplicate != double {
			t.Errorf("%d: %+v", i, out)
		}
	}
	for range 5 {
		n := f.newTask("a.b")
		n.After = []string{one.Task.ID}
		if out := f.submit(n)[0]; out.Err != nil {
			t.Fatal(out.Err)
		}
		f.cancel(n.Task.ID, false, "")
	}
	if counts, err := f.Store.QueueCounts(t.Context()); err != nil || counts["default"].Scheduled != 0 || counts["default"].Queued != 2 {
		t.Errorf("%+v, %v", counts["default"], err)
	}
}

// testDepthOfOthers: what others put into a queue takes the room that was counted before:
// here what is retried by hand, elsewhere the submits of other nodes.
func testDepthOfOthers(t *testing.T, open Open) {
	f := setup(t, open, Options{})
	f.queues(runtime.QueueLimits{Name: "default", Depth: 10})
	var failed []string
	for range 10 {
		failed = append(failed, f.submit(f.newTask("a.b"))[0].Task.ID)
		f.mustFinish(end(f.claimOne("a.b"), sdk.StateFailed))
	}
	f.submit(f.newTask("a.b"))
	if _, err := f.Store.Retry(t.Context(), failed); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		out := f.submit(f.newTask("x.x"))[0]
		if out.Err != nil {
			break
		}
		f.cancel(out.Task.ID, false, "") // it leaves no room either
		if time.Now().After(end) {
			t.Fatal("a full queue takes more for as long as nobody counts")
		}
	}
}

// testDepthOfDeliveries: an event that the bus took has been promised.
func testDepthOfDeliveries(t *testing.T, open Open) {
	f := setup(t, open, Options{})
	f.queues(runtime.QueueLimits{Name: "default", Depth: 1})
	f.submit(f.newTask("a.b"))
	n := f.newTask("a.b")
	n.Delivery = "mark"
	first := f.submit(n)[0]
	n.Task.ID = "tsk_again"
	if again := f.submit(n)[0]; first.Err != nil && again.Err == nil && again.Task.ID == "" {
		t.Fatal("the event is lost: refused at first, and a duplicate of nothing when it came again")
	} else if first.Err != nil {
		t.Errorf("refused: %v", first.Err)
	}
}

func testQueueCounts(t *testing.T, open Open) {
	f := setup(t, open, Options{})
	old := f.newTask("a.b")
	old.Task.RunAt = sdk.Now().Add(-hour)
	later := f.newTask("a.b")
	later.Task.State, later.Task.RunAt = sdk.StateScheduled, sdk.Now().Add(hour)
	held := f.newTask("a.b")
	held.Task.State, held.After = sdk.StateScheduled, []string{later.Task.ID}
	f.submit(f.newTask("x.x"), f.withKey("a.key", "k"), f.withKey("a.key", "k"), later)
	f.submit(held)
	f.claimOne("x.x")
	f.submit(old)
	got, err := f.Store.QueueCounts(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if q := got["default"]; q.Running != 1 || q.Queued != 3 || q.Scheduled != 2 || q.Oldest != old.Task.RunAt {
		t.Errorf("%+v, want 1 running, 3 queued, 2 scheduled, oldest %v", q, old.Task.RunAt)
	}
}
