package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/nagatha/nagatha-runtime/runtime"
	"github.com/nagatha/nagatha-runtime/sdk"
)

type operateArg struct {
	req runtime.OperateRequest
	out runtime.Operated
	err error
}

// Operate implements runtime.Store.
func (s *Store) Operate(ctx context.Context, req runtime.OperateRequest) (runtime.Operated, error) {
	a := &operateArg{req: req}
	// Not cut short: the answer says whether the attempt still has its slots.
	if err := s.do(context.WithoutCancel(ctx), verbOperate, max(1, len(req.Ops)), a); err != nil {
		return runtime.Operated{}, err
	}
	return a.out, a.err
}

// operator is the task of an attempt that asks for operations.
type operator struct {
	sdk.Task
	waits, hops int
	trace       string
	held        string // keys that its ancestors hold
	bytes       int64

	waiting []string // what it begins to wait for, for people
	rows    [][]any  // new operations
	again   [][]any  // recorded ones that it waits for once more
	size    int64
}

// opWeight is what an operation counts towards the task's bytes beside its answer,
// so that a handler cannot record without end.
const opWeight = 512

// operate works request by request: an attempt asks for one operation at a time, or
// for a set of children, which is inserted as one.
func (t *tick) operate(a *operateArg) error {
	a.out, a.err = runtime.Operated{Ops: append([]runtime.Operation(nil), a.req.Ops...)}, nil
	o, err := t.operator(a.req.Fence)
	if err != nil {
		return err
	}
	if o.ID == "" {
		a.err = runtime.ErrFenced
		return nil
	}
	fresh := make([]bool, len(a.out.Ops))
	for i := range a.out.Ops {
		op := &a.out.Ops[i]
		if fresh[i], err = t.recorded(&o, op); err != nil {
			if sdk.CodeOf(err) == sdk.CodeReplayMismatch {
				a.err = err
				return nil
			}
			return err
		}
		if fresh[i] {
			o.size += opWeight + int64(len(op.Record))
			if q := op.Approval; q != nil {
				o.size += int64(len(q.Question) + len(q.Detail))
			}
		}
	}
	if o.bytes+o.size > t.cfg.MaxBytes {
		a.err = sdk.Errorf(sdk.CodeLimitExceeded, "the task's events and operations have more bytes than limits.bytes_per_task allows, %d", t.cfg.MaxBytes)
		return nil
	}
	if a.out.Errs, err = t.children(&o, a.out.Ops, fresh); err != nil {
		return err
	}
	for i := range a.out.Ops {
		if a.out.Errs != nil && a.out.Errs[i] != nil {
			continue
		}
		if fault, err := t.operation(&o, &a.out.Ops[i], fresh[i], a.req.Now); err != nil {
			return err
		} else if fault != nil {
			if a.out.Errs == nil {
				a.out.Errs = make([]*sdk.Error, len(a.out.Ops))
			}
			a.out.Errs[i] = fault
		}
	}
	a.out.Parked, err = t.record(&o)
	a.out.Waiting = o.State == sdk.StateWaiting || a.out.Parked
	return err
}

// operator reads the task of an attempt that still counts; without an id: none.
func (t *tick) operator(f runtime.Fence) (o operator, err error) {
	err = t.query(`SELECT `+taskColumns+`, waits, hops, traceparent, event_bytes, held_keys FROM tasks WHERE id = $1 AND token = $2 AND node <> ''`+t.dialect.hold,
		func(r Row) error { return scanTask(r, &o.Task, &o.waits, &o.hops, &o.trace, &o.bytes, &o.held) }, f.Task, f.Token)
	if err != nil {
		return o, fmt.Errorf("find the attempt: %w", err)
	}
	return o, nil
}

// recorded fills in what the store knows of an operation, and reports whether it is
// new.
func (t *tick) recorded(o *operator, op *runtime.Operation) (fresh bool, err error) {
	known, target := "", ""
	var waiting int
	var answer sql.NullString
	err = t.query(`SELECT op, target, child, waiting, answer FROM operations WHERE task = $1 AND life = $2 AND name = $3 AND occurrence = $4`,
		func(r Row) error { return r.Scan(&known, &target, &op.Child, &waiting, &answer) }, o.ID, o.Life, op.Name, op.Occurrence)
	if err != nil {
		return false, fmt.Errorf("find the operation: %w", err)
	}
	if known == "" {
		return true, nil
	}
	if known != op.Op || target != op.Target {
		return false, runtime.Mismatch(op.Name, op.Occurrence, known+" "+target, op.Op+" "+op.Target)
	}
	if answer.Valid {
		op.Answer = json.RawMessage(answer.String)
	} else if waiting == 1 {
		op.Due = -1 // it is waited for already
	}
	return false, nil
}

// operation answers one operation, or notes that it is waited for.
func (t *tick) operation(o *operator, op *runtime.Operation, fresh bool, now sdk.Time) (*sdk.Error, error) {
	due, what := op.Due, ""
	if op.Answer == nil {
		switch op.Op {
		case runtime.OpStep:
			op.Answer = op.Record
		case sdk.OpSubmit:
			op.Answer = json.RawMessage("null")
		case sdk.OpRun:
			what = op.Child
		case sdk.OpAwait:
			var fault *sdk.Error
			var err error
			if what, fault, err = t.await(o, op, fresh); fault != nil || err != nil {
				return fault, err
			}
		case sdk.OpApprove:
			if fresh {
				if err := t.askApproval(o, op); err != nil {
					return nil, err
				}
			}
			what = "an approval"
		}
	}
	waiting := 0
	if op.Answer == nil {
		waiting = 1
		if due >= 0 {
			o.waiting = append(o.waiting, what)
		}
	}
	switch {
	case fresh:
		var answer any
		answered := sdk.Time(0)
		if op.Answer != nil {
			answer, answered = string(op.Answer), max(now, 1)
		}
		o.rows = append(o.rows, []any{o.ID, o.Life, op.Name, op.Occurrence, op.Op, op.Target, op.Child, waiting, int64(max(due, 0)), int64(now), int64(answered), answer})
		if due > 0 && waiting == 1 && (t.out.NextDue == 0 || due < t.out.NextDue) {
			t.out.NextDue = due
		}
	case waiting == 1 && due >= 0:
		o.again = append(o.again, []any{o.ID, o.Life, op.Name, op.Occurrence})
	}
	if due < 0 {
		op.Due = 0
	}
	return nil, nil
}

// await looks whether what is waited for has come, and says what it is.
func (t *tick) await(o *operator, op *runtime.Operation, fresh bool) (string, *sdk.Error, error) {
	if op.Child != "" {
		var k sdk.Task
		err := t.query(`SELECT `+taskColumns+` FROM tasks WHERE id = $1`+t.dialect.hold,
			func(r Row) error { return scanTask(r, &k) }, op.Child)
		switch {
		case err != nil:
			return "", nil, err
		case k.ID == "":
			return "", noTask(op.Child), nil
		case k.ID == o.ID:
			return "", sdk.Errorf(sdk.CodeInvalid, "await: a task cannot wait for itself"), nil
		case k.State.Terminal():
			op.Answer = outcome(&k)
			return "", nil, t.answerLate(o, op, fresh)
		}
		return op.Child, nil, t.need(op.Child)
	}
	got, err := t.takeSignal(o.ID, op.Target)
	if err != nil || got == nil {
		return fmt.Sprintf("signal %q", op.Target), nil, err
	}
	op.Answer = got
	return "", nil, t.answerLate(o, op, fresh)
}

// answerLate stores the answer of an operation that an earlier run of the attempt
// recorded without one.
func (t *tick) answerLate(o *operator, op *runtime.Operation, fresh bool) error {
	if fresh {
		return nil
	}
	_, err := t.exec(`UPDATE operations SET answered = $1, answer = $2 WHERE task = $3 AND life = $4 AND name = $5 AND occurrence = $6`,
		int64(max(t.now, 1)), string(op.Answer), o.ID, o.Life, op.Name, op.Occurrence)
	return err
}

// record writes the new operations, and makes the task wait where some have no
// answer.
func (t *tick) record(o *operator) (parked bool, err error) {
	if len(o.rows) > 0 {
		err := t.over(`task TEXT, life INTEGER, name TEXT, occurrence INTEGER, op TEXT, target TEXT, child TEXT, waiting INTEGER, due BIGINT, created BIGINT,
			answered BIGINT, answer TEXT`, o.rows,
			`INSERT INTO operations (task, life, name, occurrence, op, target, child, waiting, due, created, answered, answer)
			SELECT task, life, name, occurrence, op, target, child, waiting, due, created, answered, answer FROM r`, nil)
		if err != nil {
			return false, fmt.Errorf("record operations: %w", err)
		}
		if _, err := t.exec(`UPDATE tasks SET event_bytes = event_bytes + $1 WHERE id = $2`, o.size, o.ID); err != nil {
			return false, err
		}
	}
	if len(o.again) > 0 {
		err := t.over(`task_ TEXT, life_ INTEGER, name_ TEXT, occurrence_ INTEGER`, o.again,
			`UPDATE operations SET waiting = 1 FROM r WHERE task = r.task_ AND life = r.life_ AND name = r.name_ AND occurrence = r.occurrence_`, nil)
		if err != nil {
			return false, fmt.Errorf("wait for operations: %w", err)
		}
	}
	if len(o.waiting) == 0 {
		return false, nil
	}
	what := o.waiting[0]
	if n := len(o.waiting); n > 3 {
		what = strings.Join(o.waiting[:3], ", ") + fmt.Sprintf(" and %d more", n-3)
	} else if n > 1 {
		what = strings.Join(o.waiting, ", ")
	}
	parked = o.State == sdk.StateRunning
	logged := 0
	if parked {
		logged = 1
	}
	return parked, t.query(`UPDATE tasks SET state = 'waiting', ready = 0, waits = waits + $1, reason = $2, event_seq = event_seq + $3, version = version + 1
		WHERE id = $4 RETURNING `+taskColumns+`, event_seq`,
		func(r Row) error {
			var k sdk.Task
			var seq int64
			if err := scanTask(r, &k, &seq); err != nil {
				return err
			}
			if parked {
				b, err := json.Marshal(map[string]string{"for": what})
				if err != nil {
					return err
				}
				t.event(&k, seq, sdk.EventWaiting, t.now, string(b))
			}
			t.changed(&k, seq)
			return nil
		}, len(o.waiting), "waiting for "+what, logged, o.ID)
}

// Answers implements runtime.Store.
func (s *Store) Answers(ctx context.Context, task string, life int, keys []runtime.OpKey) ([]json.RawMessage, error) {
	out := make([]json.RawMessage, len(keys))
	for i, key := range keys {
		err := s.read(ctx, `SELECT answer FROM operations WHERE task = $1 AND life = $2 AND name = $3 AND occurrence = $4`, func(r Row) error {
			var answer sql.NullString
			err := r.Scan(&answer)
			if answer.Valid {
				out[i] = json.RawMessage(answer.String)
			}
			return err
		}, task, life, key.Name, key.Occurrence)
		if err != nil {
			return nil, fmt.Errorf("read answers: %w", err)
		}
	}
	return out, nil
}

// Operations implements runtime.Store.
func (s *Store) Operations(ctx context.Context, task string, life int) ([]runtime.Operation, error) {
	var out []runtime.Operation
	err := s.read(ctx, `SELECT name, occurrence, op, target, child, answer FROM operations WHERE task = $1 AND life = $2 ORDER BY created, name, occurrence`,
		func(r Row) error {
			var op runtime.Operation
			var answer sql.NullString
			err := r.Scan(&op.Name, &op.Occurrence, &op.Op, &op.Target, &op.Child, &answer)
			if answer.Valid {
				op.Answer = json.RawMessage(answer.String)
			}
			out = append(out, op)
			return err
		}, task, life)
	if err != nil {
		return nil, fmt.Errorf("read operations: %w", err)
	}
	return out, nil
}
