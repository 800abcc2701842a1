package runtime

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nagatha/nagatha-runtime/sdk"
)

// attemptOps is what an attempt has asked for, and what it waits for.
type attemptOps struct {
	mu      sync.Mutex
	count   map[string]int       // how often a name was used
	known   map[OpKey]*Operation // recorded by an earlier run; nil until it was read
	asked   map[OpKey]bool       // of those, what this run has asked for
	waiters map[OpKey]*waiter
}

// waiter is a call that waits for an answer.
type waiter struct {
	answered chan struct{} // closed once answer is set
	answer   json.RawMessage
}

// name gives an operation its name and occurrence.
func (o *attemptOps) name(op *Operation, name string) *sdk.Error {
	if name == "" || len(name) > sdk.MaxOperationName || !cleanText(name) {
		return sdk.Invalid("name", "want 1 to %d bytes of UTF-8 without NUL", sdk.MaxOperationName)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.count == nil {
		o.count = map[string]int{}
	}
	o.count[name]++
	op.Name, op.Occurrence = name, o.count[name]
	return nil
}

// recall reads what an earlier run of this life has recorded, once.
func (a *attempt) recall(ctx context.Context) error {
	a.ops.mu.Lock()
	defer a.ops.mu.Unlock()
	if a.ops.known != nil {
		return nil
	}
	known := map[OpKey]*Operation{}
	if a.task.Attempt > 1 || a.replay { // otherwise there was no earlier run
		ops, err := a.r.store.Operations(ctx, a.task.ID, a.task.Life)
		if err != nil {
			return err
		}
		for i := range ops {
			known[ops[i].Key()] = &ops[i]
		}
	}
	a.ops.known, a.ops.asked = known, map[OpKey]bool{}
	return nil
}

// recorded fills in the recorded answer of an operation, if there is one.
func (o *attemptOps) recorded(op *Operation) (ok bool, mismatch *sdk.Error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	old := o.known[op.Key()]
	if old == nil {
		return false, nil
	}
	if old.Op != op.Op || old.Target != op.Target {
		return false, Mismatch(op.Name, op.Occurrence, old.Op+" "+old.Target, op.Op+" "+op.Target)
	}
	o.asked[op.Key()] = true
	op.Child, op.Answer = old.Child, old.Answer
	return old.Answer != nil, nil
}

// forgotten returns an operation that an earlier run of the attempt recorded and
// this one, which has come to its end, never asked for.
func (o *attemptOps) forgotten() *Operation {
	o.mu.Lock()
	defer o.mu.Unlock()
	for key, op := range o.known {
		if !o.asked[key] {
			return op
		}
	}
	return nil
}

// operate performs operations, waiting where they have to be waited for, and fills
// in their answers. The errors of single ones are in errs.
func (a *attempt) operate(ctx context.Context, ops []Operation, waits bool) (errs []*sdk.Error, err error) {
	if err := a.recall(ctx); err != nil {
		return nil, err
	}
	var missing []Operation
	var index []int
	for i := range ops {
		ok, mismatch := a.ops.recorded(&ops[i])
		if mismatch != nil {
			a.stop(mismatch, graceTimeout)
			return nil, mismatch
		}
		if !ok {
			missing, index = append(missing, ops[i]), append(index, i)
		}
	}
	if len(missing) == 0 {
		return nil, nil
	}
	if waits {
		// What it said so far comes before the waiting in its log.
		a.out.flush()
		a.ops.expect(missing)
		defer a.ops.forget(missing)
	}
	done, err := a.ask(ctx, missing)
	if err != nil {
		return nil, err
	}
	for j, op := range done.Ops {
		i := index[j]
		ops[i].Child, ops[i].Answer = op.Child, op.Answer
		if done.Errs != nil && done.Errs[j] != nil {
			if errs == nil {
				errs = make([]*sdk.Error, len(ops))
			}
			errs[i] = done.Errs[j]
			continue
		}
		if op.Answer != nil || !waits {
			continue
		}
		if ops[i].Answer, err = a.await(ctx, op.Key()); err != nil {
			return nil, err
		}
	}
	return errs, nil
}

// ask records operations in the store. While the store cannot take them the attempt
// waits: its task is not to blame.
func (a *attempt) ask(ctx context.Context, ops []Operation) (Operated, error) {
	req := OperateRequest{Fence: a.fence(), Now: sdk.Now(), Ops: ops}
	for again := false; ; again = true {
		done, err := a.r.store.Operate(ctx, req)
		switch {
		case err == nil:
			// The answer that was lost may have said that it was parked.
			if done.Parked || again && done.Waiting && !a.isParked() {
				a.r.park(a)
			}
			return done, nil
		case errors.Is(err, ErrFenced):
			a.stop(errFenced, graceCancel)
			return done, err
		case sdk.CodeOf(err) == sdk.CodeReplayMismatch:
			a.stop(err, graceTimeout)
			return done, err
		case sdk.CodeOf(err) != sdk.CodeUnavailable:
			return done, err
		}
		a.r.log.Error("cannot record an operation; trying again", "task", a.task.ID, "error", err, "after", soon)
		if !pause(soon, ctx.Done(), a.ctx.Done()) {
			return done, err
		}
	}
}

// pause waits, and reports false if one of the channels was faster.
func pause(d time.Duration, stop, also <-chan struct{}) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-stop:
	case <-also:
	}
	return false
}

// expect registers waiters before their operations can be answered.
func (o *attemptOps) expect(ops []Operation) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.waiters == nil {
		o.waiters = map[OpKey]*waiter{}
	}
	for _, op := range ops {
		o.waiters[op.Key()] = &waiter{answered: make(chan struct{})}
	}
}

func (o *attemptOps) forget(ops []Operation) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, op := range ops {
		delete(o.waiters, op.Key())
	}
}

func (a *attempt) await(ctx context.Context, key OpKey) (json.RawMessage, error) {
	a.ops.mu.Lock()
	w := a.ops.waiters[key]
	a.ops.mu.Unlock()
	select {
	case <-w.answered:
		return w.answer, nil
	case <-ctx.Done():
		return nil, sdk.Errorf(sdk.CodeCancelled, "waiting for %s: %v", key.Name, context.Cause(ctx))
	case <-a.ctx.Done():
		return nil, sdk.Errorf(sdk.CodeCancelled, "waiting for %s: %v", key.Name, context.Cause(a.ctx))
	}
}

// collect looks in the store for answers that waiters wait for. It runs whenever
// there may be some; one that runs already looks once more.
func (a *attempt) collect() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.over {
		return
	}
	if a.news++; a.news > 1 {
		return
	}
	a.behind.Go(func() {
		for seen := 0; ; {
			a.mu.Lock()
			if seen == a.news || a.over {
				a.news = 0
				a.mu.Unlock()
				return
			}
			seen = a.news
			a.mu.Unlock()
			a.deliver()
		}
	})
}

func (a *attempt) deliver() {
	a.ops.mu.Lock()
	keys := make([]OpKey, 0, len(a.ops.waiters))
	for key, w := range a.ops.waiters {
		select {
		case <-w.answered:
		default:
			keys = append(keys, key)
		}
	}
	a.ops.mu.Unlock()
	if len(keys) == 0 {
		return
	}
	answers, err := a.r.store.Answers(a.ctx, a.task.ID, a.task.Life, keys)
	for err != nil && pause(soon, a.ctx.Done(), nil) {
		answers, err = a.r.store.Answers(a.ctx, a.task.ID, a.task.Life, keys)
	}
	if err != nil {
		return
	}
	a.ops.mu.Lock()
	defer a.ops.mu.Unlock()
	for i, key := range keys {
		w := a.ops.waiters[key]
		if w == nil || answers[i] == nil {
			continue
		}
		select {
		case <-w.answered:
		default:
			w.answer = answers[i]
			close(w.answered)
		}
	}
}

// The operations, as runtime/host lets them through.

func (a *attempt) stepGet(ctx context.Context, q sdk.StepGet) (sdk.StepGetReply, error) {
	op := Operation{Op: OpStep}
	if err := a.ops.name(&op, q.Name); err != nil {
		return sdk.StepGetReply{}, err
	}
	if err := a.recall(ctx); err != nil {
		return sdk.StepGetReply{}, err
	}
	done, mismatch := a.ops.recorded(&op)
	if mismatch != nil {
		a.stop(mismatch, graceTimeout)
		return sdk.StepGetReply{}, mismatch
	}
	return sdk.StepGetReply{Occurrence: op.Occurrence, Done: done, Value: op.Answer}, nil
}

func (a *attempt) stepPut(ctx context.Context, q sdk.StepPut) (struct{}, error) {
	if size, limit := len(q.Value), a.r.cfg.Limits.Result; size > limit {
		return struct{}{}, sdk.Errorf(sdk.CodeLimitExceeded, "the value of step %q %s", q.Name, sizeMessage(size, limit, "limits.result"))
	}
	if len(q.Value) == 0 {
		q.Value = json.RawMessage("null")
	}
	if !cleanText(string(q.Value)) || !json.Valid(q.Value) {
		return struct{}{}, sdk.Invalid("value", "is not JSON in UTF-8")
	}
	_, err := a.operate(ctx, []Operation{{Name: q.Name, Occurrence: q.Occurrence, Op: OpStep, Record: q.Value}}, false)
	return struct{}{}, err
}

// tasks makes the operations of a submit or run.
func (a *attempt) tasks(op string, q sdk.Tasks) ([]Operation, error) {
	if len(q.Tasks) == 0 || len(q.Tasks) > maxSubmissions {
		return nil, sdk.Invalid("tasks", "want 1 to %d, not %d", maxSubmissions, len(q.Tasks))
	}
	if q.Name == "" {
		q.Name = op + " " + q.Tasks[0].Kind
	}
	ops := make([]Operation, len(q.Tasks))
	children, err := a.children(q.Tasks)
	if err != nil {
		return nil, err
	}
	for i, n := range children {
		ops[i] = Operation{Op: op, Target: n.Task.Kind, Task: &children[i]}
		name := q.Name
		if len(q.Tasks) > 1 {
			name = fmt.Sprintf("%s [%d]", name, i)
		}
		if err := a.ops.name(&ops[i], name); err != nil {
			return nil, err
		}
	}
	return ops, nil
}

// children checks what an attempt submits.
func (a *attempt) children(subs []sdk.Submission) ([]NewTask, error) {
	now := sdk.Now()
	out := make([]NewTask, len(subs))
	for i := range subs {
		n, bad := a.r.newTask(a.task.Owner, &subs[i], now)
		if bad == nil {
			bad = a.count(&n, now)
		}
		if bad != nil {
			if len(subs) > 1 {
				bad.Message = fmt.Sprintf("task %d: %s", i, bad.Message)
			}
			return nil, bad
		}
		out[i] = n
	}
	return out, nil
}

// count says how many steps a child is away from the origin of its attempt's task. One
// that waits for a while begins anew: a chain of such is a timer, not a runaway.
func (a *attempt) count(n *NewTask, now sdk.Time) *sdk.Error {
	switch {
	case n.Task.RunAt.Sub(now) >= newChain:
	case a.hops >= sdk.MaxHops:
		return sdk.Errorf(sdk.CodeLimitExceeded, "this task is %d steps of events and tasks away from its origin, at most %d are allowed: is there a loop?", a.hops, sdk.MaxHops)
	default:
		n.Hops = a.hops + 1
	}
	return nil
}

// newChain is how long a child waits at the least to begin a chain of its own.
const newChain = 10 * time.Second

func firstError(errs []*sdk.Error) error {
	for _, e := range errs {
		if e != nil {
			return e
		}
	}
	return nil
}

func (a *attempt) submitTasks(ctx context.Context, q sdk.Tasks) (sdk.SubmitReply, error) {
	ops, err := a.tasks(sdk.OpSubmit, q)
	if err != nil {
		return sdk.SubmitReply{}, err
	}
	errs, err := a.operate(ctx, ops, false)
	if err == nil {
		err = firstError(errs)
	}
	if err != nil {
		return sdk.SubmitReply{}, err
	}
	reply := sdk.SubmitReply{IDs: make([]string, len(ops))}
	for i := range ops {
		reply.IDs[i] = ops[i].Child
	}
	return reply, nil
}

func (a *attempt) runTasks(ctx context.Context, q sdk.Tasks) (sdk.RunReply, error) {
	ops, err := a.tasks(sdk.OpRun, q)
	if err != nil {
		return sdk.RunReply{}, err
	}
	errs, err := a.operate(ctx, ops, true)
	if err == nil {
		err = firstError(errs)
	}
	if err != nil {
		return sdk.RunReply{}, err
	}
	reply := sdk.RunReply{Outcomes: make([]sdk.Outcome, len(ops))}
	for i := range ops {
		if err := json.Unmarshal(ops[i].Answer, &reply.Outcomes[i]); err != nil {
			return sdk.RunReply{}, fmt.Errorf("outcome of task %s: %w", ops[i].Child, err)
		}
	}
	return reply, nil
}

func (a *attempt) awaitAnswer(ctx context.Context, q sdk.AwaitRequest) (sdk.AwaitReply, error) {
	var reply sdk.AwaitReply
	op := Operation{Op: sdk.OpAwait, Target: q.Signal, Child: q.Task}
	switch {
	case (q.Signal == "") == (q.Task == ""):
		return reply, sdk.Invalid("signal", "give either signal or task")
	case q.Signal != "" && !validSignal(q.Signal):
		return reply, badSignal(q.Signal)
	case q.Timeout < 0 || q.Timeout.Std() > maxAhead:
		return reply, sdk.Invalid("timeout", "want 0s to 10 years")
	}
	if q.Task != "" {
		op.Target = "task " + q.Task
	}
	if q.Timeout > 0 {
		op.Due = sdk.Now().Add(q.Timeout.Std())
	}
	if q.Name == "" {
		q.Name = sdk.OpAwait + " " + firstNonZero(q.Signal, q.Task)
	}
	if err := a.ops.name(&op, q.Name); err != nil {
		return reply, err
	}
	ops := []Operation{op}
	errs, err := a.operate(ctx, ops, true)
	if err == nil {
		err = firstError(errs)
	}
	if err != nil {
		return reply, err
	}
	if q.Task != "" && !isTimeout(ops[0].Answer) {
		reply.Outcome = &sdk.Outcome{}
		return reply, json.Unmarshal(ops[0].Answer, reply.Outcome)
	}
	return reply, json.Unmarshal(ops[0].Answer, &reply)
}

func isTimeout(answer json.RawMessage) bool {
	var r sdk.AwaitReply
	return json.Unmarshal(answer, &r) == nil && r.TimedOut
}

const defaultApproval = 24 * time.Hour

func (a *attempt) approve(ctx context.Context, q sdk.ApproveRequest) (sdk.Decision, error) {
	var d sdk.Decision
	if q.Timeout == 0 {
		q.Timeout = sdk.Duration(defaultApproval)
	}
	if len(q.Detail) == 0 {
		q.Detail = json.RawMessage("null")
	}
	switch {
	case q.Question == "" || !cleanText(q.Question):
		return d, sdk.Invalid("question", "want a text in UTF-8 without NUL")
	case len(q.Question)+len(q.Detail) > a.r.cfg.Limits.Payload:
		return d, sdk.Errorf(sdk.CodeLimitExceeded, "question and detail %s", sizeMessage(len(q.Question)+len(q.Detail), a.r.cfg.Limits.Payload, "limits.payload"))
	case !json.Valid(q.Detail) || !cleanText(string(q.Detail)):
		return d, sdk.Invalid("detail", "is not JSON in UTF-8")
	case q.Timeout < 0 || q.Timeout.Std() > maxAhead:
		return d, sdk.Invalid("timeout", "want more than 0s and at most 10 years")
	}
	op := Operation{Op: sdk.OpApprove}
	if err := a.ops.name(&op, firstNonZero(q.Name, sdk.OpApprove)); err != nil {
		return d, err
	}
	now := sdk.Now()
	op.Due = now.Add(q.Timeout.Std())
	op.Approval = &sdk.Approval{
		ID: newID("apr_"), Task: a.task.ID, Question: q.Question, Detail: q.Detail,
		Digest: a.digest(&op, q), RequestedAt: now, ExpiresAt: op.Due, State: sdk.ApprovalPending,
	}
	ops := []Operation{op}
	errs, err := a.operate(ctx, ops, true)
	if err == nil {
		err = firstError(errs)
	}
	if err != nil {
		return d, err
	}
	return d, json.Unmarshal(ops[0].Answer, &d)
}

// digest stands for exactly this question of this attempt's task.
func (a *attempt) digest(op *Operation, q sdk.ApproveRequest) string {
	b, _ := json.Marshal([]any{a.task.ID, a.task.Life, op.Name, op.Occurrence, q.Question, q.Detail}) // cannot fail
	sum := sha256.Sum256(b)
	return "sha256:" + hex.EncodeToString(sum[:])
}
