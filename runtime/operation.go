package runtime

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"strings"
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
	if o.count[name] == 0 && len(o.count) >= maxNames {
		return sdk.Errorf(sdk.CodeLimitExceeded, "the attempt has used %d names of operations, as many as it can", maxNames)
	}
	o.count[name]++
	op.Name, op.Occurrence = name, o.count[name]
	return nil
}

// maxNames bounds the names that an attempt makes the runtime remember: asking for a step
// is free, and records nothing. More operations than that do not fit into the default of
// limits.bytes_per_task.
const maxNames = 200_000

// recall reads what an earlier run of this life has recorded, once.
func (a *attempt) recall(ctx context.Context) error {
	a.ops.mu.Lock()
	defer a.ops.mu.Unlock()
	if a.ops.known != nil {
		return nil
	}
	known := map[OpKey]*Operation{}
	// The first token is that of the first run. The attempt does not tell: one that was
	// given back is not counted.
	if a.token > 1 {
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

// recalls reports whether the next operation of a name is one that an earlier run
// recorded.
func (o *attemptOps) recalls(name string) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.known[OpKey{name, o.count[name] + 1}] != nil
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

// forgotten returns the first operation, by name, that an earlier run of the attempt
// recorded and this one, which has come to its end, never asked for.
func (o *attemptOps) forgotten() (first *Operation) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for key, op := range o.known {
		if !o.asked[key] && (first == nil || cmp.Or(strings.Compare(op.Name, first.Name), cmp.Compare(op.Occurrence, first.Occurrence)) < 0) {
			first = op
		}
	}
	return first
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
	for err != nil {
		if a.ctx.Err() == nil {
			a.r.log.Error("cannot read the answers that a task waits for; trying again", "task", a.task.ID, "error", err, "after", soon)
		}
		if !pause(soon, a.ctx.Done(), nil) {
			return
		}
		answers, err = a.r.store.Answers(a.ctx, a.task.ID, a.task.Life, keys)
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
