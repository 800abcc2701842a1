package storetest

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nagatha/nagatha-runtime/runtime"
	"github.com/nagatha/nagatha-runtime/sdk"
)

func (f *fixture) cancel(id string, force bool, reason string) runtime.Cancelled {
	f.Helper()
	out, err := f.Store.Cancel(f.Context(), []runtime.CancelRequest{{ID: id, Now: sdk.Now(), Force: force, Reason: reason}})
	if err != nil {
		f.Fatal(err)
	}
	return out[0]
}

func testCancel(t *testing.T, open Open) {
	f := setup(t, open, Options{})
	queued := f.submit(f.newTask("a.b"))[0].Task.ID
	if c := f.cancel(queued, false, "why"); c.Err != nil || c.Token != 0 || c.Task.State != sdk.StateCancelled || c.Task.Reason != "why" {
		t.Errorf("queued: %+v", c)
	}
	if c := f.cancel(queued, true, "again"); c.Err != nil || c.Task.Reason != "why" {
		t.Errorf("twice: %+v", c)
	}
	f.wantEvents(queued, sdk.EventCreated, sdk.EventQueued, sdk.EventCancelled)
	if c := f.cancel("tsk_none", false, ""); c.Err == nil || c.Err.Code != sdk.CodeNotFound {
		t.Errorf("unknown: %+v", c)
	}

	// A running one is marked, and its node told. What its attempt does then:
	for state, want := range map[sdk.State]sdk.State{
		sdk.StateCompleted: sdk.StateCompleted, sdk.StateCancelled: sdk.StateCancelled, sdk.StateFailed: sdk.StateFailed,
		sdk.StateRetrying: sdk.StateCancelled, sdk.StateQueued: sdk.StateCancelled,
	} {
		id := f.submit(f.newTask("a.b"))[0].Task.ID
		c := f.claimOne("a.b")
		out := f.cancel(id, false, "enough")
		if out.Token != c.Token || out.Node != "n1" || out.Task.State != sdk.StateRunning {
			t.Errorf("running: %+v", out)
		}
		if out := f.cancel(id, true, "now"); out.Token != c.Token {
			t.Errorf("force: %+v", out)
		}
		req := end(c, state)
		req.RunAt, req.Reason = sdk.Now().Add(time.Hour), "enough"
		f.mustFinish(req)
		if got := f.wantState(id, want); want == sdk.StateCancelled && got.Reason != "enough" {
			t.Errorf("%s: reason %q", state, got.Reason)
		}
		f.events(id)
	}
}

// testForce: force reaches children in the same transaction, whether their parent runs
// or waits for them.
func testForce(t *testing.T, open Open) {
	var told []runtime.Told
	f := setup(t, open, Options{OnCommit: own(func(c runtime.Commit) { told = append(told, c.Cancels...) })})
	f.submit(f.newTask("a.p"))
	p := f.claimOne("a.p")
	middle, leaf := f.newTask("a.m"), f.newTask("a.l")
	f.mustOperate(p, f.run("r", 1, middle))
	f.mustOperate(f.claimOne("a.m"), f.run("r", 1, leaf))
	l := f.claimOne("a.l")
	f.cancel(p.Task.ID, true, "now")
	for _, c := range told {
		if c.Task == l.Task.ID && c.Token == l.Token && c.Force {
			return
		}
	}
	t.Errorf("told %+v", told)
}

func testRecover(t *testing.T, open Open) {
	f := setup(t, open, Options{})
	claimBy := func(node string, most int) string {
		n := f.newTask("a.b")
		n.Task.MaxAttempts = most
		f.submit(n)
		out, err := f.Store.Claim(t.Context(), runtime.ClaimRequest{Node: node, Lanes: []runtime.Lane{lane("default", 1, "a.b")}})
		if err != nil || len(out) != 1 {
			t.Fatal(out, err)
		}
		return out[0].Task.ID
	}
	// Another kind is claimed here than is recovered, or the claims would take
	// what was just recovered.
	again, last, asked, mine, other := claimBy("dead", 2), claimBy("dead", 1), claimBy("dead", 1), claimBy("self", 2), claimBy("alive", 2)
	f.cancel(asked, false, "enough")
	if err := f.Store.Beat(t.Context(), runtime.NodeBeat{ID: "dead"}); err != nil {
		t.Fatal(err)
	}
	before, err := f.Store.Head(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	n, err := f.Store.Recover(t.Context(), runtime.RecoverRequest{Now: sdk.Now(), Self: "self", Dead: []string{"dead"}})
	if n != 3 || err != nil {
		t.Fatalf("recovered %d, %v", n, err)
	}
	if n, err := f.Store.Recover(t.Context(), runtime.RecoverRequest{Now: sdk.Now(), Self: "other", Dead: []string{"dead"}}); n != 0 || err != nil {
		t.Errorf("recovered again: %d, %v", n, err)
	}
	entries, err := f.Store.Log(t.Context(), before.Pos, 100)
	if err != nil {
		t.Fatal(err)
	}
	var lost []string
	for _, e := range entries {
		if e.Event != nil {
			lost = append(lost, e.Event.Source+" "+e.Event.Type+" "+e.Event.Subject)
		}
	}
	if strings.Join(lost, ", ") != "nagatha/self system.node.lost dead" {
		t.Errorf("told: %v", lost)
	}
	if got := f.wantState(again, sdk.StateQueued); got.Error == nil || got.Error.Code != sdk.CodeNodeLost || got.Attempt != 1 {
		t.Errorf("again: %+v", got)
	}
	f.wantEvents(again, sdk.EventCreated, sdk.EventQueued, sdk.EventStarted, sdk.EventRetrying, sdk.EventQueued)
	if got := f.wantState(last, sdk.StateFailed); got.Error.Code != sdk.CodeNodeLost {
		t.Errorf("last: %+v", got)
	}
	if got := f.wantState(asked, sdk.StateCancelled); got.Reason != "enough" {
		t.Errorf("asked: %+v", got)
	}
	f.wantState(mine, sdk.StateRunning)
	f.wantState(other, sdk.StateRunning)
	if n, err := f.Store.Recover(t.Context(), runtime.RecoverRequest{Now: sdk.Now(), Self: "self", AllOthers: true}); n != 1 || err != nil {
		t.Errorf("all others: %d, %v", n, err)
	}
	f.wantState(mine, sdk.StateRunning)
	f.wantState(other, sdk.StateQueued)
}

func testConcurrent(t *testing.T, open Open) {
	var mu sync.Mutex
	seqs, head := map[string]int64{}, int64(0)
	f := setup(t, open, Options{OnCommit: func(c runtime.Commit) {
		mu.Lock()
		defer mu.Unlock()
		if len(c.Tasks) > 0 && c.Head <= head {
			t.Errorf("head %d after %d", c.Head, head)
		}
		head = max(head, c.Head)
		for _, k := range c.Tasks {
			if k.Seq <= seqs[k.ID] {
				t.Errorf("%s: seq %d after %d", k.ID, k.Seq, seqs[k.ID])
			}
			seqs[k.ID] = k.Seq
			if k.State == sdk.StateQueued && !c.Queued {
				t.Errorf("%s is queued, and nobody was told", k.ID)
			}
		}
	}})
	var wg sync.WaitGroup
	for g := range 64 {
		wg.Go(func() {
			kind := fmt.Sprintf("k.k%d", g)
			for i := range 5 {
				now := sdk.Now()
				out, err := f.Store.Submit(t.Context(), []runtime.NewTask{{Task: sdk.Task{ID: fmt.Sprintf("tsk_%d_%d", g, i), Kind: kind, Queue: "default",
					State: sdk.StateQueued, Payload: []byte(`{}`), MaxAttempts: 1, CreatedAt: now, RunAt: now}}})
				if err != nil || out[0].Err != nil {
					t.Error(out, err)
					return
				}
				claimed, err := f.Store.Claim(t.Context(), runtime.ClaimRequest{Node: "n", Lanes: []runtime.Lane{lane("default", 1, kind)}})
				if err != nil || len(claimed) != 1 {
					t.Error(claimed, err)
					return
				}
				c := claimed[0]
				for range 3 {
					errs, err := f.Store.Append(t.Context(), []runtime.AppendRequest{{Fence: fence(c), Events: []runtime.NewEvent{{Type: sdk.EventLog, Data: []byte(`{}`)}}}})
					if err != nil || errs[0] != nil {
						t.Error(errs, err)
					}
				}
				errs, err := f.Store.Finish(t.Context(), []runtime.FinishRequest{end(c, sdk.StateCompleted)})
				if err != nil || errs[0] != nil {
					t.Error(errs, err)
				}
			}
		})
	}
	wg.Wait()
	for g := range 64 {
		for i := range 5 {
			id := fmt.Sprintf("tsk_%d_%d", g, i)
			if events := f.events(id); len(events) != 7 || seqs[id] != 7 {
				t.Errorf("%s has %d events, %d were told", id, len(events), seqs[id])
			}
		}
	}
}

// testSameTick sends requests about one task at the same moment, so that they
// share transactions: each must see the others as if they came one by one.
func testSameTick(t *testing.T, open Open) {
	f := setup(t, open, Options{})
	for round := range 30 {
		id := f.submit(f.newTask("a.b"))[0].Task.ID
		c := f.claimOne("a.b")
		var wg sync.WaitGroup
		var finished, appended [4]error
		for i := range 4 {
			wg.Go(func() {
				errs, err := f.Store.Append(t.Context(), []runtime.AppendRequest{{Fence: fence(c), Events: []runtime.NewEvent{{Type: sdk.EventLog, Data: []byte(`{}`)}}}})
				appended[i] = errors.Join(append(errs, err)...)
			})
			wg.Go(func() {
				errs, err := f.Store.Finish(t.Context(), []runtime.FinishRequest{end(c, sdk.StateCompleted)})
				finished[i] = errors.Join(append(errs, err)...)
			})
		}
		wg.Go(func() { f.cancel(id, false, "") })
		wg.Wait()
		wins := 0
		for _, err := range finished {
			if err == nil {
				wins++
			} else if !errors.Is(err, runtime.ErrFenced) {
				t.Errorf("finish: %v", err)
			}
		}
		logs := 0
		for i, err := range appended {
			if err == nil {
				logs++
			} else if !errors.Is(err, runtime.ErrFenced) {
				t.Errorf("append %d: %v", i, err)
			}
		}
		if events := f.events(id); wins != 1 || len(events) != 4+logs {
			t.Fatalf("round %d: %d ends, %d of 4 appends, %d events", round, wins, logs, len(events))
		}
	}
}
