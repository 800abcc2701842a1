package storetest

import (
	"testing"
	"time"

	"github.com/nagatha/nagatha-runtime/runtime"
	"github.com/nagatha/nagatha-runtime/sdk"
)

const hour = time.Hour

// own is a commit hook that hears of the store's own commits alone, which are told
// before their callers go on.
func own(f func(runtime.Commit)) func(runtime.Commit) {
	return func(c runtime.Commit) {
		if !c.Remote {
			f(c)
		}
	}
}

func (f *fixture) promote(at sdk.Time) (n int, next sdk.Time) {
	f.Helper()
	n, next, err := f.Store.Promote(f.Context(), at, 1000)
	if err != nil {
		f.Fatal(err)
	}
	return n, next
}

func (f *fixture) wantExpired(id string) {
	f.Helper()
	k := f.wantState(id, sdk.StateFailed)
	if k.Error == nil || k.Error.Code != sdk.CodeExpired || k.Error.Retryable || k.FinishedAt == 0 || k.Reason != "" {
		f.Errorf("%s: %+v, error %+v", id, k, k.Error)
	}
	events := f.events(id)
	if last := events[len(events)-1]; last.Type != sdk.EventFailed || !last.End {
		f.Errorf("%s ends with %+v", id, last)
	}
}

func testExpiry(t *testing.T, open Open) {
	now := sdk.Now()
	c := &clock{at: now}
	var heard sdk.Time
	f := setup(t, open, Options{Now: c.now, OnCommit: own(func(c runtime.Commit) {
		if c.NextDue != 0 {
			heard = c.NextDue
		}
	})})
	at := func(d time.Duration) sdk.Time { return now.Add(d) }
	add := func(kind string, state sdk.State, deadline, expires sdk.Time) string {
		n := f.newTask(kind)
		n.Task.CreatedAt, n.Task.RunAt = now, now
		n.Task.State, n.Task.Deadline, n.Expires = state, deadline, expires
		if state == sdk.StateScheduled {
			n.Task.RunAt = at(2 * hour)
		}
		out := f.submit(n)
		if out[0].Err != nil {
			t.Fatal(out[0].Err)
		}
		return out[0].Task.ID
	}
	queued := add("a.queued", sdk.StateQueued, at(time.Minute), 0)
	if heard != at(time.Minute) {
		t.Errorf("the commit says that something is due at %v, want %v", heard, at(time.Minute))
	}
	scheduled := add("a.scheduled", sdk.StateScheduled, at(2*time.Minute), 0)
	unstarted := add("a.unstarted", sdk.StateQueued, 0, at(3*time.Minute))
	both := add("a.both", sdk.StateQueued, at(hour), at(4*time.Minute))
	started := add("a.started", sdk.StateQueued, 0, at(3*time.Minute))
	running := add("a.running", sdk.StateQueued, at(5*time.Minute), 0)
	retrying := add("a.retrying", sdk.StateQueued, at(6*time.Minute), 0)
	plain := add("a.plain", sdk.StateQueued, 0, 0)
	f.claimOne("a.started")
	runs := f.claimOne("a.running")
	back := end(f.claimOne("a.retrying"), sdk.StateRetrying)
	back.RunAt = at(hour)
	f.mustFinish(back)

	for _, step := range []struct {
		after  time.Duration
		gone   string
		nextAt time.Duration
	}{
		{time.Minute, queued, 2 * time.Minute}, {2 * time.Minute, scheduled, 3 * time.Minute},
		{3 * time.Minute, unstarted, 4 * time.Minute}, {4 * time.Minute, both, 0},
	} {
		before := f.task(step.gone).State
		if _, next := f.promote(at(step.after) - 1); next != at(step.after) || f.task(step.gone).State != before {
			t.Errorf("a millisecond before %v: %s, next due %v", step.after, f.task(step.gone).State, next)
		}
		c.advance(at(step.after).Sub(c.now()))
		if _, next := f.promote(c.now()); step.nextAt != 0 && next != at(step.nextAt) {
			t.Errorf("after %v the next is due at %v, want %v", step.after, next, at(step.nextAt))
		}
		f.wantExpired(step.gone)
	}
	// An attempt that runs ends by itself; one that gives up after the deadline is
	// not tried again.
	c.advance(at(7 * time.Minute).Sub(c.now()))
	f.promote(c.now())
	f.wantExpired(retrying)
	f.wantState(running, sdk.StateRunning)
	f.wantState(started, sdk.StateRunning)
	f.wantState(plain, sdk.StateQueued)
	again := end(runs, sdk.StateRetrying)
	again.RunAt = at(hour)
	f.mustFinish(again)
	f.promote(c.now())
	f.wantExpired(running)

	// Another life is not over before it began.
	res, err := f.Store.Retry(t.Context(), []string{queued, unstarted, running})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range res {
		if r.Err != nil {
			t.Error(r.Err)
		}
	}
	f.promote(c.now())
	for _, id := range []string{queued, unstarted, running} {
		f.wantState(id, sdk.StateQueued)
	}
}

// testExpiryOfTheWaiting: a task that waits is expired where it is parked, and what
// stands behind it hears of it.
func testExpiryOfTheWaiting(t *testing.T, open Open) {
	now := sdk.Now()
	var told []runtime.Told
	f := setup(t, open, Options{OnCommit: own(func(c runtime.Commit) { told = append(told, c.Cancels...) })})
	n := f.newTask("a.parent")
	n.Task.Deadline = now.Add(hour)
	id := f.submit(n)[0].Task.ID
	after := f.newTask("a.after")
	after.Task.State, after.After = sdk.StateScheduled, []string{id}
	behind := f.submit(after)[0].Task.ID
	parent := f.claimOne("a.parent")
	f.mustOperate(parent, f.run("child", 1, f.newTask("a.child")))
	f.wantState(id, sdk.StateWaiting)
	f.promote(now.Add(hour))
	f.wantExpired(id)
	if len(told) != 1 || told[0].Task != id || told[0].Token != parent.Token {
		t.Errorf("told %+v", told)
	}
	if k := f.wantState(behind, sdk.StateFailed); k.Error.Code != sdk.CodeDependencyFailed {
		t.Errorf("behind it: %+v", k.Error)
	}
	if err := f.finish(end(parent, sdk.StateCompleted)); err == nil {
		t.Error("its attempt still counts")
	}
}

// testExpiryInSteps: however many are late, a step is bounded and says to come back.
func testExpiryInSteps(t *testing.T, open Open) {
	f := setup(t, open, Options{})
	now := sdk.Now()
	var tasks []runtime.NewTask
	for range 250 {
		n := f.newTask("a.b")
		n.Expires = now.Add(time.Minute)
		tasks = append(tasks, n)
	}
	f.submit(tasks...)
	expired := func() int {
		counts, err := f.Store.Counts(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return int(counts[sdk.StateFailed])
	}
	for steps := 0; expired() < 250; steps++ {
		before := expired()
		n, next, err := f.Store.Promote(t.Context(), now.Add(time.Minute), 100)
		if err != nil || steps > 5 {
			t.Fatal(steps, err)
		}
		if done := expired() - before; done > 100 || done < 1 {
			t.Fatalf("one step ended %d", done)
		}
		if left := 250 - expired(); left > 0 && n < 100 && (next == 0 || next > now.Add(time.Minute)) {
			t.Fatalf("%d are left, but it says %d done and the next at %v", left, n, next)
		}
	}
}
