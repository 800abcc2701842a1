package store

import (
	"encoding/json"
	"strings"

	"github.com/nagatha/nagatha-runtime/runtime"
	"github.com/nagatha/nagatha-runtime/sdk"
)

// children inserts the tasks of new operations as one set.
func (t *tick) children(o *operator, ops []runtime.Operation, fresh []bool) (errs []*sdk.Error, err error) {
	var in []runtime.NewTask
	var index []int
	for i := range ops {
		if fresh[i] && ops[i].Task != nil {
			in, index = append(in, *ops[i].Task), append(index, i)
		}
	}
	if len(in) == 0 {
		return nil, nil
	}
	sub := &submitArg{in: o.adopt(in), out: make([]runtime.Submitted, len(in))}
	if err := t.submit([]*submitArg{sub}); err != nil {
		return nil, err
	}
	for j, s := range sub.out {
		op := &ops[index[j]]
		if s.Err == nil && s.Task.Kind != op.Target { // which it may not be allowed to run
			s.Err = sdk.Errorf(sdk.CodeConflict, "a task of the kind %s has the unique or the idempotency key", s.Task.Kind)
		} else if s.Err == nil && op.Op == sdk.OpRun && s.Task.ID == o.ID {
			s.Err = sdk.Errorf(sdk.CodeConflict, "the task itself has the unique or the idempotency key, and cannot wait for itself")
		}
		if s.Err != nil {
			if errs == nil {
				errs = make([]*sdk.Error, len(ops))
			}
			errs[index[j]] = s.Err
			continue
		}
		op.Child = s.Task.ID
		if op.Op == sdk.OpRun && s.Task.State.Terminal() {
			op.Answer = outcome(&s.Task)
		} else if op.Op == sdk.OpRun && s.Duplicate {
			if err := t.need(op.Child); err != nil {
				return nil, err
			}
		}
	}
	return errs, nil
}

// adopt makes tasks children of the operator's.
func (o *operator) adopt(tasks []runtime.NewTask) []runtime.NewTask {
	out := make([]runtime.NewTask, len(tasks)) // a copy: a set may be run again
	for i, n := range tasks {
		n.Task.Parent = o.ID
		n.TraceParent = o.trace
		o.inherit(&n)
		out[i] = n
	}
	return out
}

// inherit lets a child run under the slots of the keys that its parent holds, or that
// those before it hold: they wait for it, and would never give them back.
func (o *operator) inherit(n *runtime.NewTask) {
	n.HeldKeys = o.held
	if o.ConcurrencyKey != "" && !strings.Contains(n.HeldKeys, keyMark(o.ConcurrencyKey)) {
		n.HeldKeys += keyMark(o.ConcurrencyKey)
	}
	if n.Task.ConcurrencyKey == "" {
		n.Task.ConcurrencyKey = o.ConcurrencyKey
	}
}

// need marks a task whose end somebody other than its parent waits for.
func (t *tick) need(id string) error {
	_, err := t.exec(`UPDATE tasks SET dependents = 1 WHERE id = $1`, id)
	return err
}

// outcome is how a task ended, as the answer to who waited for it.
func outcome(k *sdk.Task) json.RawMessage {
	out := sdk.Outcome{ID: k.ID, State: k.State, Result: k.Result}
	switch k.State {
	case sdk.StateCompleted:
	case sdk.StateCancelled:
		out.Result = nil
		out.Error = sdk.Errorf(sdk.CodeCancelled, "it was cancelled: %s", k.Reason)
	default:
		out.Result, out.Error = nil, k.Error
	}
	b, _ := json.Marshal(out) // of plain types and JSON: cannot fail
	return b
}
