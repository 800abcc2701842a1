package storetest

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/nagatha/nagatha-runtime/runtime"
	"github.com/nagatha/nagatha-runtime/sdk"
)

func (f *fixture) withKey(kind, key string) runtime.NewTask {
	n := f.newTask(kind)
	n.Task.ConcurrencyKey = key
	return n
}

func (f *fixture) queues(q ...runtime.QueueLimits) { f.Store.SetQueues(q) }

func testConcurrencyKeys(t *testing.T, open Open) {
	f := setup(t, open, Options{})
	var k []string
	for range 3 {
		k = append(k, f.submit(f.withKey("a.b", "k"))[0].Task.ID)
	}
	other, none := f.submit(f.withKey("a.b", "other"))[0].Task.ID, f.submit(f.newTask("a.b"))[0].Task.ID
	got := f.claim(10, "a.b")
	if len(got) != 3 || got[0].Task.ID != k[0] || got[1].Task.ID != other || got[2].Task.ID != none {
		t.Fatalf("claimed %v", ids(got))
	}
	if task := f.task(k[1]); task.Reason != `concurrency key "k" is busy` || task.ConcurrencyKey != "k" {
		t.Errorf("%q, key %q", task.Reason, task.ConcurrencyKey)
	}
	if again := f.claim(10, "a.b"); len(again) != 0 {
		t.Fatalf("claimed %v", ids(again))
	}
	// Each way out gives the slot back, in the order of the line.
	ways := []func(c runtime.Claimed){
		func(c runtime.Claimed) { f.mustFinish(end(c, sdk.StateCompleted)) },
		func(c runtime.Claimed) { f.mustFinish(end(c, sdk.StateFailed)) },
		func(c runtime.Claimed) { f.cancel(c.Task.ID, true, ""); f.mustFinish(end(c, sdk.StateCancelled)) },
		func(c runtime.Claimed) {
			r := end(c, sdk.StateRetrying)
			r.RunAt = sdk.Now().Add(hour)
			f.mustFinish(r)
		},
		func(c runtime.Claimed) { // lost with its node, for good
			if _, err := f.Store.Recover(t.Context(), runtime.RecoverRequest{Now: sdk.Now(), Self: "x", Dead: []string{"n1"}}); err != nil {
				t.Fatal(err)
			}
		},
	}
	for _, c := range got {
		f.mustFinish(end(c, sdk.StateCompleted))
	}
	for i, out := range ways {
		n := f.withKey("a.b", "k")
		n.Task.MaxAttempts, n.Task.Priority = 1, -1
		f.submit(n)
		c := f.claim(10, "a.b")
		if len(c) != 1 {
			t.Fatalf("way %d: claimed %v", i, ids(c))
		}
		out(c[0])
	}
	// One that is cancelled while it stands in line holds up nobody.
	first := f.claim(10, "a.b")
	if len(first) != 1 {
		t.Fatalf("claimed %v", ids(first))
	}
	gone, next := f.submit(f.withKey("a.b", "k"))[0].Task.ID, f.submit(f.withKey("a.b", "k"))[0].Task.ID
	f.cancel(gone, false, "")
	f.cancel(f.submit(f.withKey("a.b", "k"))[0].Task.ID, false, "")
	f.mustFinish(end(first[0], sdk.StateCompleted))
	if c := f.claim(10, "a.b"); len(c) < 1 {
		t.Errorf("%s does not start", next)
	}
}

// testKeyOfTheUnclaimed: a task that cannot start holds no slot: its kind has no
// handler, or its queue is paused.
func testKeyOfTheUnclaimed(t *testing.T, open Open) {
	f := setup(t, open, Options{})
	orphan := f.withKey("no.handler", "k")
	orphan.Task.Priority = 50
	f.submit(orphan)
	f.submit(f.withKey("a.b", "k"))
	c := f.claim(10, "a.b")
	if len(c) != 1 {
		t.Fatal("a task of a kind that nobody handles keeps others from their key")
	}
	if again := f.claim(10, "a.b", "no.handler"); len(again) != 0 {
		t.Fatalf("claimed %v beside it", ids(again))
	}
	f.mustFinish(end(c[0], sdk.StateCompleted))
	if c = f.claim(10, "a.b", "no.handler"); len(c) != 1 || c[0].Task.Kind != "no.handler" {
		t.Fatalf("claimed %v", ids(c))
	}
	f.mustFinish(end(c[0], sdk.StateCompleted))

	if err := f.Store.Pause(t.Context(), "slow", true); err != nil {
		t.Fatal(err)
	}
	held := f.withKey("a.b", "p")
	held.Task.Queue = "slow"
	f.submit(held, f.withKey("a.b", "p"))
	if c = f.claim(10, "a.b"); len(c) != 1 {
		t.Fatal("a task of a paused queue keeps others from their key")
	}
}

func testKeyConcurrency(t *testing.T, open Open) {
	f := setup(t, open, Options{})
	f.queues(runtime.QueueLimits{Name: "default", KeyConcurrency: 3})
	for range 10 {
		f.submit(f.withKey([]string{"a.a", "a.b"}[f.n%2], "k"))
	}
	running := map[string]runtime.Claimed{}
	for done := range 10 {
		for _, c := range f.claim(10, "a.a", "a.b") {
			running[c.Task.ID] = c
		}
		if want := min(3, 10-done); len(running) != want {
			t.Fatalf("%d at once after %d, want %d", len(running), done, want)
		}
		for id, c := range running {
			f.mustFinish(end(c, sdk.StateCompleted))
			delete(running, id)
			break
		}
	}
}

// testKeyRace: nodes that claim at the same moment share a key's slots.
func testKeyRace(t *testing.T, open Open) {
	f := setup(t, open, Options{})
	f.queues(runtime.QueueLimits{Name: "default", KeyConcurrency: 2})
	for i := range 60 {
		f.submit(f.withKey("a.b", fmt.Sprint("k", i%3)))
	}
	var mu sync.Mutex
	now, done := map[string]int{}, 0
	var wg sync.WaitGroup
	for node := range 6 {
		wg.Go(func() {
			for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); {
				out, err := f.Store.Claim(t.Context(), runtime.ClaimRequest{Node: fmt.Sprint("n", node), Lanes: []runtime.Lane{lane("default", 5, "a.b")}})
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				for _, c := range out {
					if now[c.Task.ConcurrencyKey]++; now[c.Task.ConcurrencyKey] > 2 {
						t.Errorf("%d at once with one key", now[c.Task.ConcurrencyKey])
					}
				}
				over := done == 60
				mu.Unlock()
				if over {
					return
				}
				for _, c := range out {
					mu.Lock()
					now[c.Task.ConcurrencyKey]--
					done++
					mu.Unlock()
					if errs, err := f.Store.Finish(t.Context(), []runtime.FinishRequest{end(c, sdk.StateCompleted)}); err != nil || errs[0] != nil {
						t.Error(errs, err)
						return
					}
				}
			}
			t.Error("not all of them ran")
		})
	}
	wg.Wait()
}

// testKeyOfChildren: children run under the slot of who waits for them, and for
// nobody longer.
func testKeyOfChildren(t *testing.T, open Open) {
	f := setup(t, open, Options{})
	f.submit(f.withKey("a.parent", "k"))
	stranger := f.submit(f.withKey("a.stranger", "k"))[0].Task.ID
	parent := f.claimOne("a.parent")
	none, same := f.newTask("a.none"), f.withKey("a.same", "k")
	f.mustOperate(parent, f.run("none", 1, none), f.run("same", 1, same), f.run("own", 1, f.withKey("a.own", "own")))
	f.wantState(parent.Task.ID, sdk.StateWaiting)
	for _, kind := range []string{"a.none", "a.own"} {
		f.mustFinish(end(f.claimOne(kind), sdk.StateCompleted))
	}
	child := f.claimOne("a.same")
	grandchild := f.withKey("a.grand", "k")
	f.mustOperate(child, f.run("grand", 1, grandchild))
	f.mustFinish(end(f.claimOne("a.grand"), sdk.StateCompleted))
	if c := f.claim(10, "a.stranger"); len(c) != 0 {
		t.Fatalf("%s runs beside those who hold the key", stranger)
	}
	f.mustFinish(end(f.claimOne("a.same"), sdk.StateCompleted))
	f.mustFinish(end(f.claimOne("a.parent"), sdk.StateCompleted))
	f.claimOne("a.stranger")
}

var everySecond = runtime.Rate{N: 1, Period: sdk.Duration(time.Second), Burst: 1}

func testRates(t *testing.T, open Open) {
	c := &clock{at: sdk.Now()}
	var heard sdk.Time
	f := setup(t, open, Options{Now: c.now, OnCommit: own(func(m runtime.Commit) { heard = m.NextDue })})
	f.queues(runtime.QueueLimits{Name: "default", Rate: runtime.Rate{N: 10, Period: sdk.Duration(time.Second), Burst: 3}})
	for range 40 {
		f.submit(f.newTask("a.b"))
	}
	claim := func(want int, when string) {
		t.Helper()
		got := f.claim(20, "a.b")
		if len(got) != want {
			t.Fatalf("%s: %d start, want %d", when, len(got), want)
		}
		for _, k := range got { // the rate holds for the times that clients see
			if k.Task.StartedAt != c.now() {
				t.Errorf("%s: started at %s, counted at %s", when, k.Task.StartedAt, c.now())
			}
		}
	}
	claim(3, "at first")
	if heard != c.now().Add(100*time.Millisecond) {
		t.Errorf("it says to look again at %v, want in 100ms, %v", heard, c.now().Add(100*time.Millisecond))
	}
	if !f.Store.RateLimited("default") {
		t.Error("nobody knows that it is limited")
	}
	claim(0, "at once again")
	c.advance(99 * time.Millisecond)
	claim(0, "too early")
	c.advance(time.Millisecond)
	claim(1, "in time")
	c.advance(time.Minute)
	claim(3, "after a pause")
	c.advance(hour)
	claim(3, "the clock jumped ahead")
	c.advance(-hour)
	claim(0, "the clock jumped back")
	c.advance(300 * time.Millisecond)
	claim(3, "soon after that")
	if got := f.claim(20, "no.such"); len(got) != 0 {
		t.Error(got)
	}
}

// testRateOfTheResumed: what goes on has started before.
func testRateOfTheResumed(t *testing.T, open Open) {
	c := &clock{at: sdk.Now()}
	f := setup(t, open, Options{Now: c.now})
	f.queues(runtime.QueueLimits{Name: "default", Rate: runtime.Rate{N: 1, Period: sdk.Duration(hour), Burst: 1}})
	f.submit(f.newTask("a.parent"))
	parent := f.claimOne("a.parent")
	child := f.newTask("a.child")
	child.Task.Queue = "other"
	f.mustOperate(parent, f.run("child", 1, child))
	got, err := f.Store.Claim(t.Context(), runtime.ClaimRequest{Node: "n1", Lanes: []runtime.Lane{lane("other", 1, "a.child")}})
	if err != nil || len(got) != 1 {
		t.Fatal(got, err)
	}
	f.mustFinish(end(got[0], sdk.StateCompleted))
	f.submit(f.newTask("a.parent"))
	if got := f.claim(5, "a.parent"); len(got) != 1 || got[0].Task.ID != parent.Task.ID {
		t.Errorf("claimed %v, want %s, which goes on, and nothing else", ids(got), parent.Task.ID)
	}
}

func testKeyRates(t *testing.T, open Open) {
	c := &clock{at: sdk.Now()}
	f := setup(t, open, Options{Now: c.now})
	f.queues(runtime.QueueLimits{Name: "default", KeyConcurrency: 10, KeyRate: everySecond})
	for range 4 {
		f.submit(f.withKey("a.b", "k"), f.withKey("a.b", "l"))
	}
	claim := func(want int, when string) {
		t.Helper()
		if got := f.claim(20, "a.b"); len(got) != want {
			t.Fatalf("%s: %d start, want %d", when, len(got), want)
		}
	}
	claim(2, "at first")
	_, next := f.promote(c.now())
	if next != c.now().Add(time.Second) {
		t.Errorf("it says to look again at %v, want in 1s, %v", next, c.now().Add(time.Second))
	}
	claim(0, "at once again")
	c.advance(time.Second)
	f.promote(c.now())
	claim(2, "in time")
	c.advance(-hour)
	f.promote(c.now())
	c.advance(time.Second)
	f.promote(c.now())
	claim(2, "the clock jumped back, and a second went by")
}

// testKeyOutlived: a child that outlives the holder of its slot needs one of its own.
func testKeyOutlived(t *testing.T, open Open) {
	f := setup(t, open, Options{})
	f.submit(f.withKey("a.parent", "k"))
	parent := f.claimOne("a.parent")
	running, queued, between := f.newTask("a.running"), f.newTask("a.queued"), f.withKey("a.between", "other")
	submit := func(name string, n runtime.NewTask) runtime.Operation {
		return runtime.Operation{Op: sdk.OpSubmit, Name: name, Occurrence: 1, Target: n.Task.Kind, Task: &n}
	}
	f.mustOperate(parent, submit("running", running), submit("queued", queued), submit("between", between))
	child, middle := f.claimOne("a.running"), f.claimOne("a.between")
	f.mustOperate(middle, submit("deep", f.withKey("a.deep", "k")))
	f.mustFinish(end(parent, sdk.StateCompleted))
	if got := f.claim(10, "a.queued", "a.deep"); len(got) != 0 {
		t.Fatalf("%v run beside the child that took the slot over", ids(got))
	}
	f.mustFinish(end(child, sdk.StateCompleted))
	got := f.claim(10, "a.queued", "a.deep")
	if len(got) != 1 {
		t.Fatalf("claimed %v, want one of them", ids(got))
	}
	f.mustFinish(end(got[0], sdk.StateCompleted))
	if got = f.claim(10, "a.queued", "a.deep"); len(got) != 1 {
		t.Fatalf("claimed %v, want the other", ids(got))
	}
	// By hand it is a task like any other.
	f.mustFinish(end(got[0], sdk.StateFailed))
	f.submit(f.withKey("a.b", "k"))
	f.claimOne("a.b")
	if _, err := f.Store.Retry(t.Context(), []string{got[0].Task.ID}); err != nil {
		t.Fatal(err)
	}
	if got := f.claim(10, "a.queued", "a.deep"); len(got) != 0 {
		t.Errorf("%v, retried, runs beside the holder of its key", ids(got))
	}
}

// testKeyOrder: the best of those who stand in line starts first, also one that came
// when another had been offered the slot.
func testKeyOrder(t *testing.T, open Open) {
	f := setup(t, open, Options{})
	var want []string
	for _, prio := range []int{0, 50, -50, 100} {
		n := f.withKey("a.b", "k")
		n.Task.Priority = prio
		want = append(want, f.submit(n)[0].Task.ID)
	}
	for _, i := range []int{3, 1, 0, 2} {
		c := f.claimOne("a.b")
		if c.Task.ID != want[i] {
			t.Errorf("claimed %s, want %s", c.Task.ID, want[i])
		}
		f.mustFinish(end(c, sdk.StateCompleted))
	}
}
