package storetest

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/nagatha/nagatha-runtime/runtime"
	"github.com/nagatha/nagatha-runtime/sdk"
)

// offer is free slots of the default queue, given away once.
type offer struct {
	req     runtime.ClaimRequest
	mu      sync.Mutex
	free    bool
	ends    bool         // the slots are those of attempts that end, as many as they are
	pending int          // Free without Take
	news    runtime.News // of the last Free
	took    []runtime.Claimed
	takes   int
}

// offer offers n slots to the transactions that follow.
func (f *fixture) offer(n int, kinds ...string) *offer {
	o := &offer{free: n > 0, req: runtime.ClaimRequest{Node: "n1", Lanes: []runtime.Lane{lane("default", n, kinds...)}}}
	f.Store.Offer(o)
	return o
}

func (o *offer) Free(n runtime.News) (runtime.ClaimRequest, bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.news = n
	if o.ends {
		o.req.Lanes[0].Limit = len(n.Ending)
		o.free = len(n.Ending) > 0
	}
	if !o.free {
		return runtime.ClaimRequest{}, false
	}
	o.free = false
	o.pending++
	return o.req, true
}

func (o *offer) Take(claimed []runtime.Claimed) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.pending--
	o.took = append(o.took, claimed...)
	o.free = len(o.took) == 0
	o.takes++
}

func (o *offer) taken() []runtime.Claimed {
	o.mu.Lock()
	defer o.mu.Unlock()
	out := o.took
	o.took = nil
	return out
}

// testOffer: tasks start in the transaction that stores them, the best first, where
// slots are free; what has no slot, or no handler, is queued.
func testOffer(t *testing.T, open Open) {
	var mu sync.Mutex
	commits := 0
	f := setup(t, open, Options{OnCommit: func(c runtime.Commit) {
		mu.Lock()
		defer mu.Unlock()
		if len(c.Tasks) > 0 && !c.Remote {
			commits++
		}
	}})
	o := f.offer(3, "a.b")
	var tasks []runtime.NewTask
	for i := range 5 {
		n := f.newTask("a.b")
		n.Task.Priority, n.Hops, n.TraceParent = i, i, "trace"
		n.Task.Payload, n.Task.Labels, n.Task.Owner = json.RawMessage(fmt.Sprint(i)), map[string]string{"i": fmt.Sprint(i)}, "me"
		tasks = append(tasks, n)
	}
	unknown, other := f.newTask("x.y"), f.newTask("a.b")
	other.Task.Queue = "other"
	tasks = append(tasks, unknown, other)
	for _, s := range f.submit(tasks...) {
		if s.Err != nil || s.Duplicate || s.Task.State != sdk.StateQueued || s.Task.Version != 1 {
			t.Errorf("submitted: %+v", s)
		}
	}
	got := o.taken()
	if len(got) != 3 {
		t.Fatalf("%d tasks started in 3 slots", len(got))
	}
	for i, c := range got {
		want := tasks[4-i]
		if c.Task.ID != want.Task.ID || c.Token != 1 || c.Hops != want.Hops || c.TraceParent != "trace" || c.Live || c.Replay {
			t.Errorf("start %d: %+v, want %s", i+1, c, want.Task.ID)
		}
		stored := f.wantState(c.Task.ID, sdk.StateRunning)
		// A claim knows no more than the row says, and no less.
		a, _ := json.Marshal(c.Task)
		b, _ := json.Marshal(stored)
		if string(a) != string(b) {
			t.Errorf("claimed %s\n stored %s", a, b)
		}
		f.wantEvents(c.Task.ID, sdk.EventCreated, sdk.EventQueued, sdk.EventStarted)
	}
	mu.Lock()
	if commits != 1 {
		t.Errorf("%d commits for one submit", commits)
	}
	mu.Unlock()
	if n := o.news; len(n.Ending) > 0 || len(n.Ready) != 2 || !n.Ready["default"] || !n.Ready["other"] || n.Anywhere {
		t.Errorf("the news are %+v", n)
	}
	for _, n := range append(tasks[:2:2], unknown, other) {
		f.wantState(n.Task.ID, sdk.StateQueued)
		f.wantEvents(n.Task.ID, sdk.EventCreated, sdk.EventQueued)
	}
	if err := f.append(got[0], 2); err != nil {
		t.Error(err)
	}
	for _, c := range got {
		f.mustFinish(end(c, sdk.StateCompleted))
		if f.finish(end(c, sdk.StateCompleted)) == nil {
			t.Error("an attempt ended twice")
		}
	}
	// What waited is claimed like any other task.
	if c := f.claimOne("a.b"); c.Task.ID != tasks[1].Task.ID {
		t.Errorf("claimed %s, want %s", c.Task.ID, tasks[1].Task.ID)
	}
	// A started task is this node's: it comes back when the node dies.
	o = f.offer(1, "lost.lost")
	f.submit(f.newTask("lost.lost"))
	lost := o.taken()[0]
	if _, err := f.Store.Recover(t.Context(), runtime.RecoverRequest{Dead: []string{"n1"}, Now: sdk.Now()}); err != nil {
		t.Fatal(err)
	}
	f.wantState(lost.Task.ID, sdk.StateQueued)
	if err := f.finish(end(lost, sdk.StateCompleted)); err == nil {
		t.Error("a lost attempt ended its task")
	}
	if again := f.claimOne("lost.lost"); again.Token != 2 || again.Task.Attempt != 2 {
		t.Errorf("%+v", again)
	}
}

// testOfferOfOthers: whatever makes tasks ready fills free slots, and each offer that
// was asked for ends, whether anything came of it or not.
func testOfferOfOthers(t *testing.T, open Open) {
	f := setup(t, open, Options{})
	f.queues(runtime.QueueLimits{Name: "default", Depth: 3})
	started := func(what string, o *offer, id string) runtime.Claimed {
		t.Helper()
		got := o.taken()
		if len(got) != 1 || got[0].Task.ID != id {
			t.Fatalf("%s: %+v started, want %s", what, got, id)
		}
		f.wantState(id, sdk.StateRunning)
		return got[0]
	}
	keyed := f.newTask("a.b")
	keyed.IdempotencyKey, keyed.BodyHash = "k", "h"
	o := f.offer(1, "a.b")
	if s := f.submit(keyed, keyed); s[0].Duplicate || !s[1].Duplicate || s[1].Task.ID != keyed.Task.ID {
		t.Errorf("%+v", s)
	}
	c := started("an idempotency key", o, keyed.Task.ID)

	o = f.offer(1, "a.b")
	retry := end(c, sdk.StateRetrying)
	f.mustFinish(retry)
	c = started("a retry without delay", o, keyed.Task.ID)
	f.wantEvents(keyed.Task.ID, sdk.EventCreated, sdk.EventQueued, sdk.EventStarted, sdk.EventRetrying, sdk.EventQueued, sdk.EventStarted)
	f.mustFinish(end(c, sdk.StateCompleted))

	o = f.offer(1, "a.b")
	o.free = false
	needs := f.newTask("a.b")
	after := f.newTask("a.b")
	after.After = []string{needs.Task.ID}
	f.submit(needs)
	f.submit(after)
	c = f.claimOne("a.b")
	o = f.offer(1, "a.b")
	f.mustFinish(end(c, sdk.StateCompleted))
	f.mustFinish(end(started("what came after another", o, after.Task.ID), sdk.StateCompleted))

	// A queue's depth holds for what is put off too.
	o = f.offer(1, "a.b")
	full := 0
	for _, s := range f.submit(f.newTask("a.b"), f.newTask("a.b"), f.newTask("a.b"), f.newTask("a.b"), f.newTask("a.b")) {
		if s.Err != nil {
			full++
		}
	}
	if full != 2 || len(o.taken()) != 1 {
		t.Errorf("%d of 5 were refused by a depth of 3", full)
	}
	// Nothing to start: the slots come back.
	f.queues() // without a cap
	o = f.offer(1, "x.y")
	f.submit(f.newTask("a.b"))
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.pending != 0 || o.takes == 0 || !o.free {
		t.Errorf("an offer that nobody took is still out: %d, taken back %d times", o.pending, o.takes)
	}
}

// testOfferOfEnds: the slots of attempts that end start others in the same transaction,
// unless the end was refused.
func testOfferOfEnds(t *testing.T, open Open) {
	var mu sync.Mutex
	var commits [][]runtime.Change
	f := setup(t, open, Options{OnCommit: func(c runtime.Commit) {
		mu.Lock()
		defer mu.Unlock()
		if len(c.Tasks) > 0 && !c.Remote {
			commits = append(commits, c.Tasks)
		}
	}})
	f.submit(f.newTask("a.b"), f.newTask("a.b"), f.newTask("a.b"), f.newTask("a.b"))
	c := f.claim(2, "a.b")
	o := f.offer(1, "a.b")
	o.ends = true
	var stale []runtime.FinishRequest
	for step, state := range []sdk.State{sdk.StateCompleted, sdk.StateFailed} {
		mu.Lock()
		commits = nil
		mu.Unlock()
		stale = append(stale, end(c[step], state))
		f.mustFinish(stale[step])
		next := o.taken()
		if n := o.news; len(n.Ending) != 1 || n.Ending[0] != fence(c[step]) || len(n.Ready) > 0 || n.Anywhere {
			t.Errorf("%s: the news are %+v", state, n)
		}
		if len(next) != 1 || next[0].Token != 1 {
			t.Fatalf("%d tasks started when one ended as %s", len(next), state)
		}
		f.wantState(c[step].Task.ID, state)
		f.wantState(next[0].Task.ID, sdk.StateRunning)
		mu.Lock()
		if len(commits) != 1 || len(commits[0]) != 2 {
			t.Errorf("%s: an end and a start took the commits %v", state, commits)
		}
		mu.Unlock()
	}
	f.submit(f.newTask("a.b"))
	for _, q := range stale {
		if f.finish(q) == nil {
			t.Error("an attempt ended twice")
		}
	}
	if next := o.taken(); len(next) != 0 {
		t.Errorf("an end that was refused gave its slot to %v", next)
	}
}

// testRuns: events that were stored together are read one by one, from any place.
func testRuns(t *testing.T, open Open) {
	f := setup(t, open, Options{})
	before, err := f.Store.Head(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	o := f.offer(2, "a.b")
	f.submit(f.newTask("a.b"), f.newTask("a.b"))
	c := o.taken()
	var reqs []runtime.AppendRequest
	for i := range c {
		q := runtime.AppendRequest{Fence: fence(c[i])}
		for j := range 70 {
			data := fmt.Sprintf(`{"text":"%d %s"}`, j, strings.Repeat("ü\\n", j%7*100)) // some small, some large
			if j == 40 {
				data = fmt.Sprintf(`{"text":"%s"}`, strings.Repeat("x", 60_000))
			}
			q.Events = append(q.Events, runtime.NewEvent{Type: sdk.EventOutput, Time: sdk.Time(1000 + j), Data: json.RawMessage(data)})
		}
		reqs = append(reqs, q)
	}
	if errs, err := f.Store.Append(t.Context(), reqs); err != nil || errs[0] != nil || errs[1] != nil {
		t.Fatal(errs, err)
	}
	if err := f.Store.Publish(t.Context(), runtime.Fence{}, []sdk.Event{{ID: "1", Source: "s", Type: "x.y"}}); err != nil {
		t.Fatal(err)
	}
	f.mustFinish(end(c[0], sdk.StateCompleted))

	all, err := f.Store.Log(t.Context(), before.Pos, 1000)
	if err != nil || len(all) != 2*(3+70)+1+1 {
		t.Fatalf("%d entries, %v", len(all), err)
	}
	perTask := map[string][]runtime.LogEntry{}
	for i, e := range all {
		if e.Pos != before.Pos+int64(i)+1 {
			t.Fatalf("entry %d has position %d after %d", i, e.Pos, before.Pos)
		}
		if e.Task != nil {
			perTask[e.Task.Task] = append(perTask[e.Task.Task], e)
		}
	}
	same := func(a, b runtime.LogEntry) bool {
		x, _ := json.Marshal(a)
		y, _ := json.Marshal(b)
		return string(x) == string(y)
	}
	for _, limit := range []int{1, 2, 31, 33, 64, 1000} {
		for from := 0; from < len(all); from += 7 {
			got, err := f.Store.Log(t.Context(), before.Pos+int64(from), limit)
			if err != nil || !slices.EqualFunc(got, all[from:min(from+limit, len(all))], same) {
				t.Fatalf("%d of the log after %d: %d entries, %v", limit, from, len(got), err)
			}
		}
		for i := range c {
			id := c[i].Task.ID
			want := perTask[id]
			for from := 0; from < len(want); from += 5 {
				got, err := f.Store.TaskEvents(t.Context(), id, int64(from), limit)
				if err != nil || !slices.EqualFunc(got, want[from:min(from+limit, len(want))], same) {
					t.Fatalf("%d events of %s after %d: %d, %v", limit, id, from, len(got), err)
				}
			}
		}
	}
	for i := range c {
		for j, e := range f.events(c[i].Task.ID)[3:73] {
			if e.Type != sdk.EventOutput || e.Time != sdk.Time(1000+j) || string(e.Data) != string(reqs[i].Events[j].Data) || e.Attempt != 1 || e.End {
				t.Fatalf("event %d came back as %+v", j, e)
			}
		}
	}
}
