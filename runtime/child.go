package runtime

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/nagatha/nagatha-runtime/sdk"
)

// tasks makes the operations of a submit or run.
func (a *attempt) tasks(ctx context.Context, op string, q sdk.Tasks) ([]Operation, error) {
	if len(q.Tasks) == 0 || len(q.Tasks) > maxSubmissions {
		return nil, sdk.Invalid("tasks", "want 1 to %d, not %d", maxSubmissions, len(q.Tasks))
	}
	if q.Name == "" {
		q.Name = op + " " + q.Tasks[0].Kind
	}
	if err := a.recall(ctx); err != nil {
		return nil, err
	}
	ops := make([]Operation, len(q.Tasks))
	names := make([]string, len(q.Tasks))
	all := true
	for i, t := range q.Tasks {
		ops[i] = Operation{Op: op, Target: t.Kind}
		names[i] = q.Name
		if len(q.Tasks) > 1 {
			names[i] = fmt.Sprintf("%s [%d]", q.Name, i)
		}
		all = all && a.ops.recalls(names[i])
	}
	// What is recorded was checked when it was new; by now its deadline may have passed,
	// or a newer plugin may want another payload.
	if !all {
		children, err := a.children(q.Tasks)
		if err != nil {
			return nil, err
		}
		for i := range children {
			ops[i].Task = &children[i]
		}
	}
	for i := range ops {
		if err := a.ops.name(&ops[i], names[i]); err != nil {
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
	ops, err := a.tasks(ctx, sdk.OpSubmit, q)
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
	ops, err := a.tasks(ctx, sdk.OpRun, q)
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
