package storetest

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nagatha/nagatha-runtime/runtime"
	"github.com/nagatha/nagatha-runtime/sdk"
)

// operate asks for operations under a claim.
func (f *fixture) operate(c runtime.Claimed, ops ...runtime.Operation) (runtime.Operated, error) {
	return f.Store.Operate(f.Context(), runtime.OperateRequest{Fence: runtime.Fence{Task: c.Task.ID, Token: c.Token}, Now: sdk.Now(), Ops: ops})
}

func (f *fixture) mustOperate(c runtime.Claimed, ops ...runtime.Operation) runtime.Operated {
	f.Helper()
	out, err := f.operate(c, ops...)
	if err != nil {
		f.Fatal(err)
	}
	return out
}

func await(signal string, occurrence int) runtime.Operation {
	return runtime.Operation{Name: "await " + signal, Occurrence: occurrence, Op: sdk.OpAwait, Target: signal}
}

func (f *fixture) run(name string, occurrence int, child runtime.NewTask) runtime.Operation {
	return runtime.Operation{Name: name, Occurrence: occurrence, Op: sdk.OpRun, Target: child.Task.Kind, Task: &child}
}

func (f *fixture) signal(id, name, data string) error {
	return f.Store.Signal(f.Context(), runtime.SignalRequest{Task: id, Name: name, Data: json.RawMessage(data), Now: sdk.Now()})
}

func (f *fixture) evict(c runtime.Claimed) bool {
	f.Helper()
	out, err := f.Store.Evict(f.Context(), []runtime.Fence{{Task: c.Task.ID, Token: c.Token}})
	if err != nil {
		f.Fatal(err)
	}
	return out[0]
}

func testSteps(t *testing.T, open Open) {
	f := setup(t, open, Options{MaxBytes: 64 << 10})
	f.submit(f.newTask("a.b"))
	c := f.claimOne("a.b")
	step := runtime.Operation{Name: "s", Occurrence: 1, Op: runtime.OpStep, Record: json.RawMessage(`{"v":1}`)}
	f.mustOperate(c, step)
	again := step
	again.Record = json.RawMessage(`{"v":2}`)
	if out := f.mustOperate(c, again); string(out.Ops[0].Answer) != `{"v":1}` || out.Parked {
		t.Errorf("recorded twice: %+v", out)
	}
	if _, err := f.operate(c, await("s", 1), runtime.Operation{Name: "s", Occurrence: 1, Op: sdk.OpAwait, Target: "x"}); sdk.CodeOf(err) != sdk.CodeReplayMismatch {
		t.Errorf("another operation of that name: %v", err)
	}
	f.wantState(c.Task.ID, sdk.StateRunning)
	ops, err := f.Store.Operations(t.Context(), c.Task.ID, 1)
	if err != nil || len(ops) != 1 || ops[0].Op != runtime.OpStep || string(ops[0].Answer) != `{"v":1}` {
		t.Errorf("%+v, %v", ops, err)
	}
	for i := range 1000 {
		if _, err = f.operate(c, runtime.Operation{Name: "many", Occurrence: i + 1, Op: runtime.OpStep, Record: json.RawMessage(`1`)}); err != nil {
			break
		}
	}
	if sdk.CodeOf(err) != sdk.CodeLimitExceeded {
		t.Errorf("without end: %v", err)
	}
	f.submit(f.newTask("a.b"))
	large := runtime.Operation{Name: "ask", Occurrence: 1, Op: sdk.OpApprove, Due: sdk.Now().Add(time.Hour), Approval: &sdk.Approval{
		ID: "apr_large", Question: "?", Detail: json.RawMessage(`"` + strings.Repeat("x", 64<<10) + `"`)}}
	if _, err := f.operate(f.claimOne("a.b"), large); sdk.CodeOf(err) != sdk.CodeLimitExceeded {
		t.Errorf("a question that is too large: %v", err)
	}
	stale := c
	stale.Token++
	if _, err := f.operate(stale, step); !errors.Is(err, runtime.ErrFenced) {
		t.Errorf("stale: %v", err)
	}
}

// testWaiting: parked, answered in part, answered, back; and evicted.
func testWaiting(t *testing.T, open Open) {
	var commits []runtime.Commit
	f := setup(t, open, Options{OnCommit: own(func(c runtime.Commit) { commits = append(commits, c) })})
	f.submit(f.newTask("a.b"))
	c := f.claimOne("a.b")
	out := f.mustOperate(c, await("x", 1), await("y", 1))
	if !out.Parked || !out.Waiting || out.Ops[0].Answer != nil {
		t.Fatalf("%+v", out)
	}
	if k := f.wantState(c.Task.ID, sdk.StateWaiting); k.Reason != `waiting for signal "x", signal "y"` {
		t.Errorf("reason %q", k.Reason)
	}
	if err := f.signal(c.Task.ID, "x", `{"n":1}`); err != nil {
		t.Fatal(err)
	}
	if got := f.claim(5, "a.b"); len(got) != 0 {
		t.Errorf("claimed %d with one answer missing", len(got))
	}
	told := slices.ContainsFunc(commits, func(k runtime.Commit) bool {
		return slices.Contains(k.Answered, runtime.Fence{Task: c.Task.ID, Token: c.Token})
	})
	if !told {
		t.Error("nobody was told of the first answer")
	}
	answers, err := f.Store.Answers(t.Context(), c.Task.ID, 1, []runtime.OpKey{{Name: "await y", Occurrence: 1}, {Name: "await x", Occurrence: 1}})
	if err != nil || answers[0] != nil || string(answers[1]) != `{"data":{"n":1}}` {
		t.Errorf("%s, %v", answers, err)
	}
	// A parked attempt may still write.
	if err := f.append(c, 1); err != nil {
		t.Error(err)
	}
	if err := f.signal(c.Task.ID, "y", `null`); err != nil {
		t.Fatal(err)
	}
	other, err := f.Store.Claim(t.Context(), runtime.ClaimRequest{Node: "n2", Lanes: []runtime.Lane{lane("default", 5, "a.b")}})
	if err != nil || len(other) != 0 {
		t.Errorf("another node claimed %d, %v", len(other), err)
	}
	back := f.claimOne("a.b")
	if !back.Live || back.Replay || back.Token != c.Token || back.Task.Attempt != 1 || back.Task.State != sdk.StateRunning {
		t.Errorf("%+v", back)
	}
	// Once more, and evicted this time: before the answer, and after it.
	for i, signalFirst := range []bool{false, true} {
		c = back
		f.mustOperate(c, await("x", i+2))
		if signalFirst {
			if err := f.signal(c.Task.ID, "x", `7`); err != nil {
				t.Fatal(err)
			}
		}
		if !f.evict(c) || f.evict(c) {
			t.Error("evicted not once")
		}
		if _, err := f.operate(c, await("z", 1)); !errors.Is(err, runtime.ErrFenced) {
			t.Errorf("the evicted attempt operates: %v", err)
		}
		if !signalFirst {
			f.wantState(c.Task.ID, sdk.StateWaiting)
			if err := f.signal(c.Task.ID, "x", `7`); err != nil {
				t.Fatal(err)
			}
		}
		f.wantState(c.Task.ID, sdk.StateQueued)
		f.submit(f.newTask("a.b"))
		if back = f.claimOne("a.b"); back.Task.ID != c.Task.ID {
			t.Fatalf("claimed %s before what goes on", back.Task.ID)
		}
		if back.Live || !back.Replay || back.Token == c.Token || back.Task.Attempt != 1 {
			t.Errorf("%+v", back)
		}
		if out := f.mustOperate(back, await("x", i+2)); string(out.Ops[0].Answer) != `{"data":7}` || out.Parked {
			t.Errorf("%+v", out)
		}
	}
	f.mustFinish(end(back, sdk.StateCompleted))
	f.wantEvents(c.Task.ID, sdk.EventCreated, sdk.EventQueued, sdk.EventStarted, sdk.EventWaiting, sdk.EventSignalled, sdk.EventProgress, sdk.EventSignalled, sdk.EventResumed,
		sdk.EventWaiting, sdk.EventSignalled, sdk.EventResumed, sdk.EventStarted,
		sdk.EventWaiting, sdk.EventSignalled, sdk.EventResumed, sdk.EventStarted, sdk.EventCompleted)
	if err := f.signal(c.Task.ID, "x", `1`); sdk.CodeOf(err) != sdk.CodeConflict {
		t.Errorf("after the end: %v", err)
	}
	if err := f.signal("tsk_none", "x", `1`); sdk.CodeOf(err) != sdk.CodeNotFound {
		t.Errorf("nobody: %v", err)
	}
}

// testKeptSignals: what came early is received once each, in order.
func testKeptSignals(t *testing.T, open Open) {
	f := setup(t, open, Options{})
	id := f.submit(f.newTask("a.b"))[0].Task.ID
	for i := range 3 {
		if err := f.signal(id, "x", fmt.Sprint(i)); err != nil {
			t.Fatal(err)
		}
	}
	c := f.claimOne("a.b")
	for i := range 3 {
		if out := f.mustOperate(c, await("x", i+1)); string(out.Ops[0].Answer) != fmt.Sprintf(`{"data":%d}`, i) {
			t.Errorf("%+v", out)
		}
	}
	if out := f.mustOperate(c, await("x", 4)); !out.Parked {
		t.Errorf("%+v", out)
	}
}

// testChildren: the ends of children answer their parent, whichever way they end.
func testChildren(t *testing.T, open Open) {
	f := setup(t, open, Options{})
	f.submit(f.newTask("a.p"))
	p := f.claimOne("a.p")
	kids := []runtime.NewTask{f.newTask("a.c"), f.newTask("a.c"), f.newTask("a.c"), f.newTask("a.c")}
	out := f.mustOperate(p, f.run("r [0]", 1, kids[0]), f.run("r [1]", 1, kids[1]), f.run("r [2]", 1, kids[2]), f.run("r [3]", 1, kids[3]))
	if !out.Parked || out.Errs != nil || out.Ops[3].Child != kids[3].Task.ID {
		t.Fatalf("%+v", out)
	}
	if k := f.task(kids[0].Task.ID); k.Parent != p.Task.ID {
		t.Errorf("parent %q", k.Parent)
	}
	c := f.claim(4, "a.c")
	f.mustFinish(end(c[0], sdk.StateCompleted))
	f.mustFinish(end(c[1], sdk.StateFailed))
	f.cancel(c[2].Task.ID, false, "r")
	f.mustFinish(end(c[2], sdk.StateRetrying)) // becomes cancelled
	retrying := end(c[3], sdk.StateRetrying)
	retrying.RunAt = sdk.Now().Add(time.Hour)
	f.mustFinish(retrying)
	f.wantState(p.Task.ID, sdk.StateWaiting)
	if got := f.claim(1, "a.p"); len(got) != 0 {
		t.Fatal("claimed while a child is retrying")
	}
	f.cancel(c[3].Task.ID, false, "r")
	p = f.claimOne("a.p")
	ops, err := f.Store.Operations(t.Context(), p.Task.ID, 1)
	if err != nil || len(ops) != 4 {
		t.Fatalf("%d, %v", len(ops), err)
	}
	for i, want := range []sdk.State{sdk.StateCompleted, sdk.StateFailed, sdk.StateCancelled, sdk.StateCancelled} {
		var o sdk.Outcome
		if err := json.Unmarshal(ops[i].Answer, &o); err != nil || o.State != want || o.ID != kids[i].Task.ID || (o.Error == nil) != (want == sdk.StateCompleted) {
			t.Errorf("%d: %s", i, ops[i].Answer)
		}
	}
	// Nobody waits for himself.
	self := f.newTask("a.s")
	self.Unique = "self"
	f.submit(self)
	c = f.claim(1, "a.s")
	double := f.newTask("a.s")
	double.Unique = "self"
	if out := f.mustOperate(c[0], f.run("self", 1, double)); out.Parked || out.Errs == nil || out.Errs[0].Code != sdk.CodeConflict {
		t.Errorf("%+v", out)
	}
	// Asked again, nothing starts anew.
	other := f.newTask("a.c")
	if out := f.mustOperate(p, f.run("r [1]", 1, other)); out.Ops[0].Child != kids[1].Task.ID || out.Ops[0].Answer == nil {
		t.Errorf("%+v", out)
	}
	if _, err := f.Store.Task(t.Context(), other.Task.ID); sdk.CodeOf(err) != sdk.CodeNotFound {
		t.Errorf("another child: %v", err)
	}
}

// testLostWhileWaiting: an attempt that dies keeps what it waited for, and its
// successor gets the answer.
func testLostWhileWaiting(t *testing.T, open Open) {
	f := setup(t, open, Options{})
	f.submit(f.newTask("a.p"))
	p := f.claimOne("a.p")
	kid := f.newTask("a.c")
	f.mustOperate(p, f.run("r", 1, kid))
	f.mustFinish(end(p, sdk.StateRetrying)) // it returned an error instead of waiting
	p = f.claimOne("a.p")
	if p.Replay || p.Task.Attempt != 2 {
		t.Errorf("%+v", p)
	}
	if out := f.mustOperate(p, f.run("r", 1, f.newTask("a.c"))); !out.Parked || out.Ops[0].Child != kid.Task.ID {
		t.Errorf("%+v", out)
	}
	// The node dies: nothing is counted.
	if _, err := f.Store.Recover(t.Context(), runtime.RecoverRequest{Now: sdk.Now(), Self: "n2", Dead: []string{"n1"}}); err != nil {
		t.Fatal(err)
	}
	f.wantState(p.Task.ID, sdk.StateWaiting)
	if err := f.finish(end(p, sdk.StateCompleted)); !errors.Is(err, runtime.ErrFenced) {
		t.Errorf("the lost attempt: %v", err)
	}
	f.mustFinish(end(f.claimOne("a.c"), sdk.StateCompleted))
	if p = f.claimOne("a.p"); !p.Replay || p.Task.Attempt != 2 {
		t.Errorf("%+v", p)
	}
	if out := f.mustOperate(p, f.run("r", 1, f.newTask("a.c"))); out.Parked || out.Ops[0].Answer == nil {
		t.Errorf("%+v", out)
	}
}

func testAwaitTask(t *testing.T, open Open) {
	f := setup(t, open, Options{})
	f.submit(f.newTask("a.p"), f.newTask("a.c"))
	p, c := f.claimOne("a.p"), f.claimOne("a.c")
	wait := func(n int, id string) runtime.Operation {
		return runtime.Operation{Name: "await", Occurrence: n, Op: sdk.OpAwait, Target: "task " + id, Child: id}
	}
	if out := f.mustOperate(p, wait(1, "tsk_none")); out.Errs == nil || out.Errs[0].Code != sdk.CodeNotFound || out.Parked {
		t.Errorf("%+v", out)
	}
	if out := f.mustOperate(p, wait(1, c.Task.ID)); !out.Parked {
		t.Errorf("%+v", out)
	}
	f.mustFinish(end(c, sdk.StateCompleted))
	p = f.claimOne("a.p")
	if out := f.mustOperate(p, wait(2, c.Task.ID)); out.Parked || out.Ops[0].Answer == nil {
		t.Errorf("of one that has ended: %+v", out)
	}
}

func testDue(t *testing.T, open Open) {
	f := setup(t, open, Options{})
	f.submit(f.newTask("a.p"))
	p := f.claimOne("a.p")
	now := sdk.Now()
	op := await("x", 1)
	op.Due = now.Add(time.Hour)
	ask := runtime.Operation{Name: "ask", Occurrence: 1, Op: sdk.OpApprove, Due: now.Add(2 * time.Hour), Approval: &sdk.Approval{
		ID: "apr_1", Question: "?", Detail: json.RawMessage(`null`), Digest: "d", RequestedAt: now, ExpiresAt: now.Add(2 * time.Hour)}}
	f.mustOperate(p, op, ask)
	if _, next, err := f.Store.Promote(t.Context(), now, 100); next != op.Due || err != nil {
		t.Errorf("next %v, %v", next, err)
	}
	if _, next, err := f.Store.Promote(t.Context(), op.Due, 100); next != ask.Due || err != nil {
		t.Errorf("next %v, %v", next, err)
	}
	f.wantState(p.Task.ID, sdk.StateWaiting)
	if _, next, err := f.Store.Promote(t.Context(), ask.Due, 100); next != 0 || err != nil {
		t.Errorf("next %v, %v", next, err)
	}
	p = f.claimOne("a.p")
	ops, err := f.Store.Operations(t.Context(), p.Task.ID, 1)
	if err != nil || string(ops[0].Answer) != `{"approved":false,"expired":true}` || string(ops[1].Answer) != `{"timed_out":true}` {
		t.Errorf("%+v, %v", ops, err)
	}
	list, err := f.Store.Approvals(t.Context(), runtime.ApprovalFilter{Limit: 10})
	if err != nil || len(list) != 1 || list[0].State != sdk.ApprovalExpired {
		t.Errorf("%+v, %v", list, err)
	}
	if _, err := f.Store.Decide(t.Context(), runtime.DecideRequest{ID: "apr_1", Approve: true, Digest: "d", Now: now}); sdk.CodeOf(err) != sdk.CodeConflict {
		t.Errorf("%v", err)
	}
	if _, err := f.Store.Decide(t.Context(), runtime.DecideRequest{ID: "apr_none", Now: now}); sdk.CodeOf(err) != sdk.CodeNotFound {
		t.Errorf("%v", err)
	}
}

// testApprovalStates: what nobody can decide any more is not shown as pending.
func testApprovalStates(t *testing.T, open Open) {
	f := setup(t, open, Options{})
	now := sdk.Now()
	for _, id := range []string{"apr_1", "apr_2"} {
		f.submit(f.newTask("a.b"))
		f.mustOperate(f.claimOne("a.b"), runtime.Operation{Name: "ask", Occurrence: 1, Op: sdk.OpApprove, Due: now.Add(time.Hour), Approval: &sdk.Approval{
			ID: id, Question: "?", Detail: json.RawMessage(`null`), Digest: "d", RequestedAt: now, ExpiresAt: now.Add(time.Hour)}})
	}
	states := func(state sdk.ApprovalState, at sdk.Time) string {
		list, err := f.Store.Approvals(t.Context(), runtime.ApprovalFilter{State: state, Now: at, Limit: 10})
		if err != nil {
			t.Fatal(err)
		}
		text := ""
		for _, a := range list {
			text += " " + a.ID + " " + string(a.State)
		}
		return text
	}
	if got := states("", now); got != " apr_1 pending apr_2 pending" {
		t.Errorf("at first:%s", got)
	}
	list, err := f.Store.Approvals(t.Context(), runtime.ApprovalFilter{ID: "apr_1", Limit: 1})
	if err != nil || len(list) != 1 {
		t.Fatal(list, err)
	}
	if _, err := f.Store.Cancel(t.Context(), []runtime.CancelRequest{{ID: list[0].Task, Now: now}}); err != nil {
		t.Fatal(err)
	}
	late := now.Add(2 * time.Hour)
	for _, c := range []struct {
		state sdk.ApprovalState
		at    sdk.Time
		want  string
	}{
		{"", now, " apr_1 withdrawn apr_2 pending"}, {"", late, " apr_1 withdrawn apr_2 expired"},
		{sdk.ApprovalPending, now, " apr_2 pending"}, {sdk.ApprovalPending, late, ""},
		{sdk.ApprovalExpired, now, ""}, {sdk.ApprovalExpired, late, " apr_2 expired"},
		{sdk.ApprovalWithdrawn, now, " apr_1 withdrawn"}, {sdk.ApprovalApproved, now, ""},
	} {
		if got := states(c.state, c.at); got != c.want {
			t.Errorf("%q at %s:%s, want%s", c.state, c.at, got, c.want)
		}
	}
	if _, _, err := f.Store.Promote(t.Context(), late, 100); err != nil {
		t.Fatal(err)
	}
	if got := states("", late); got != " apr_1 withdrawn apr_2 expired" {
		t.Errorf("once their time is over:%s", got)
	}
}

// testAfterCancelled: a task that was cancelled while it was held back is, in its next
// life, a task like any other.
func testAfterCancelled(t *testing.T, open Open) {
	f := setup(t, open, Options{})
	a, n := f.submit(f.newTask("a.b"))[0].Task.ID, f.newTask("a.later")
	n.After = []string{a}
	f.submit(n)
	f.cancel(n.Task.ID, false, "")
	if res, err := f.Store.Retry(t.Context(), []string{n.Task.ID}); err != nil || res[0].Err != nil {
		t.Fatal(res, err)
	}
	failed := end(f.claimOne("a.later"), sdk.StateRetrying)
	failed.RunAt = sdk.Now().Add(time.Minute)
	f.mustFinish(failed)
	if due, _ := f.promote(f.wantState(n.Task.ID, sdk.StateRetrying).RunAt); due != 1 {
		t.Error("it is never tried again")
	}
	f.mustFinish(end(f.claimOne("a.b"), sdk.StateFailed)) // which is not its concern any more
	f.mustFinish(end(f.claimOne("a.later"), sdk.StateCompleted))
}
