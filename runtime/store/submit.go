package store

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/nagatha/nagatha-runtime/runtime"
	"github.com/nagatha/nagatha-runtime/sdk"
)

type submitArg struct {
	in  []runtime.NewTask
	out []runtime.Submitted
}

// Submit implements runtime.Store.
func (s *Store) Submit(ctx context.Context, tasks []runtime.NewTask) ([]runtime.Submitted, error) {
	a := &submitArg{in: tasks, out: make([]runtime.Submitted, len(tasks))}
	if err := s.do(ctx, verbSubmit, len(tasks), a); err != nil {
		return nil, err
	}
	return a.out, nil
}

// newcomer is one task of the set with the place of its answer.
type newcomer struct {
	runtime.NewTask // a copy: a set may be run again
	out             *runtime.Submitted
	twins           []*newcomer // later ones of the set with the same key or mark
	new             bool
	full            bool   // its queue takes no more
	double          bool   // somebody has its key, or its unique
	unmet           string // the task that it comes after and that is not there
	stillborn       bool   // one that it comes after has failed, or was cancelled
	deferred        bool   // its insert waits for claims
	begun           bool   // a claim has inserted it
}

// submit inserts a set of tasks.
func (t *tick) submit(args []*submitArg) error {
	var all []*newcomer
	for _, a := range args {
		for i := range a.in {
			a.out[i] = runtime.Submitted{}
			all = append(all, &newcomer{NewTask: a.in[i], out: &a.out[i]})
		}
	}
	for len(all) > 0 {
		var err error
		if all, err = t.submitOnce(all); err != nil {
			return err
		}
	}
	return nil
}

// submitOnce inserts what has a key or mark of its own. Doubles inside the set answer with
// its first one; doubles of earlier tasks are found by what the database did not insert.
// What is left has another body than the first with its key, which did not get the key.
func (t *tick) submitOnce(set []*newcomer) (left []*newcomer, err error) {
	var all []*newcomer
	keys, marks := map[[2]string]*newcomer{}, map[string]*newcomer{}
	for _, n := range set {
		first := (*newcomer)(nil)
		if n.IdempotencyKey != "" {
			k := [2]string{n.Task.Owner, n.IdempotencyKey}
			if first = keys[k]; first == nil {
				keys[k] = n
			}
		}
		if n.Delivery != "" && first == nil {
			if first = marks[n.Delivery]; first == nil {
				marks[n.Delivery] = n
			}
		}
		if first != nil {
			first.twins = append(first.twins, n)
			continue
		}
		all = append(all, n)
	}
	if err := t.mark(marks); err != nil {
		return nil, err
	}
	if err := t.insert(all); err != nil {
		return nil, err
	}
	if err := t.owners(all); err != nil {
		return nil, err
	}
	for _, n := range all {
		for _, twin := range n.twins {
			switch same := twin.IdempotencyKey == "" || twin.BodyHash == n.BodyHash; {
			case same:
				*twin.out = *n.out
				twin.out.Duplicate = true
			case n.out.Err == nil:
				twin.out.Err = runtime.KeyConflict(twin.IdempotencyKey)
			default:
				left = append(left, twin)
			}
		}
	}
	return left, nil
}

// mark writes delivery marks and answers those that were there already.
func (t *tick) mark(marks map[string]*newcomer) error {
	if len(marks) == 0 {
		return nil
	}
	table := make([][]any, 0, len(marks))
	for _, m := range slices.Sorted(maps.Keys(marks)) { // nodes lock in the same order
		table = append(table, []any{m, marks[m].Task.ID, int64(t.now)})
	}
	fresh := map[string]bool{}
	err := t.over("mark TEXT, task TEXT, created BIGINT", table, `INSERT INTO deliveries (mark, task, created)
		SELECT mark, task, created FROM r WHERE true ON CONFLICT DO NOTHING RETURNING mark`, func(r Row) error {
		var m string
		err := r.Scan(&m)
		fresh[m] = true
		return err
	})
	if err != nil {
		return fmt.Errorf("mark deliveries: %w", err)
	}
	for m, n := range marks {
		if fresh[m] {
			continue
		}
		n.out.Duplicate = true
		err := t.query(`SELECT `+taskColumns+` FROM tasks WHERE id = (SELECT task FROM deliveries WHERE mark = $1)`,
			func(r Row) error { return scanTask(r, &n.out.Task) }, m)
		if err != nil {
			return fmt.Errorf("find the delivered task: %w", err)
		}
	}
	return nil
}

const (
	plainColumns = `id TEXT, kind TEXT, queue TEXT, state TEXT, priority INTEGER, payload TEXT, max_attempts INTEGER, created_at BIGINT,
		run_at BIGINT, deadline BIGINT, timeout_ms BIGINT, parent TEXT, schedule TEXT, labels TEXT, owner TEXT, idempotency_key TEXT,
		body_hash TEXT, hops INTEGER, traceparent TEXT, ready INTEGER`
	plainNames = `id, kind, queue, state, priority, payload, max_attempts, created_at, run_at, deadline, timeout_ms,
		parent, schedule, labels, owner, idempotency_key, body_hash, hops, traceparent, ready`
	// Few tasks have these, and each parameter costs every other task time.
	rareColumns = plainColumns + `, unique_key TEXT, concurrency_key TEXT, key_shared INTEGER, held_keys TEXT, ends_by BIGINT, finished_at BIGINT`
	rareNames   = plainNames + `, unique_key, concurrency_key, key_shared, held_keys, ends_by, finished_at`
)

func (n *newcomer) rare() bool {
	return n.Unique != "" || n.Task.ConcurrencyKey != "" || n.HeldKeys != "" || n.Task.Deadline != 0 || n.Expires != 0
}

func (t *tick) insert(all []*newcomer) error {
	var plain, rare [][]any
	var later []*newcomer
	byID := make(map[string]*newcomer, len(all))
	pending := map[string]int{} // of queues with a cap: not inserted yet
	if err := t.doubles(all); err != nil {
		return err
	}
	first := map[string]bool{} // whose unique it is
	for _, n := range all {
		if n.out.Duplicate || n.double || n.unmet != "" || first[n.Unique] {
			continue
		}
		// What the bus delivers has been promised already, and is marked as done.
		if n.Delivery == "" {
			ok, err := t.admit(n.Task.Queue, pending)
			if err != nil {
				return err
			}
			if n.full = !ok; n.full {
				continue
			}
		}
		first[n.Unique] = n.Unique != "" && !n.stillborn
		if n.deferred = t.put && n.simple(); n.deferred {
			n.new = true
			later = append(later, n)
			continue
		}
		row, err := n.row()
		if err != nil {
			return err
		}
		byID[n.Task.ID] = n
		if n.rare() {
			rare = append(rare, row)
		} else {
			plain = append(plain, row)
		}
	}
	for _, part := range []struct {
		columns, names string
		rows           [][]any
	}{{plainColumns, plainNames, plain}, {rareColumns, rareNames, rare}} {
		if len(part.rows) == 0 {
			continue
		}
		err := t.over(part.columns, part.rows, `INSERT INTO tasks (`+part.names+`, line, life, attempt, version, event_seq)
			SELECT `+part.names+`, priority, 1, 0, 1, 2 FROM r
			WHERE NOT EXISTS (SELECT 1 FROM aliases WHERE aliases.owner = r.owner AND aliases.idempotency_key = r.idempotency_key)
			ON CONFLICT DO NOTHING RETURNING id`,
			func(r Row) error {
				var id string
				err := r.Scan(&id)
				byID[id].new = true
				return err
			})
		if err != nil {
			return fmt.Errorf("insert tasks: %w", err)
		}
	}
	t.deferred = append(t.deferred, later...)
	if err := t.hold(inserted(all)); err != nil {
		return err
	}
	for _, n := range all {
		if !n.new {
			continue
		}
		task := n.Task
		task.Life, task.Attempt, task.Version = 1, 0, 1
		n.out.Task = task
		t.event(&task, 1, sdk.EventCreated, task.CreatedAt, `{}`)
		switch task.State {
		case sdk.StateScheduled:
			t.event(&task, 2, sdk.EventScheduled, task.CreatedAt, scheduledData(&task))
		case sdk.StateFailed:
			_, data, err := failure(task.Error)
			if err != nil {
				return err
			}
			t.event(&task, 2, sdk.EventFailed, task.CreatedAt, data)
			t.end(&task, false)
		default:
			if !n.deferred {
				t.fresh[task.ID] = n
			}
			t.event(&task, 2, sdk.EventQueued, task.CreatedAt, `{}`)
		}
		if !n.deferred {
			t.changed(&task, 2)
		}
		if n.Expires != 0 && (t.out.NextDue == 0 || n.Expires < t.out.NextDue) {
			t.out.NextDue = n.Expires
		}
	}
	return nil
}

// row is the task as insert takes it.
func (n *newcomer) row() ([]any, error) {
	k := &n.Task
	labels, err := n.labels()
	if err != nil {
		return nil, err
	}
	var key, unique any
	if n.IdempotencyKey != "" {
		key = n.IdempotencyKey
	}
	ready, shared := 0, 0
	if strings.Contains(n.HeldKeys, keyMark(k.ConcurrencyKey)) {
		shared = 1
	}
	if k.State == sdk.StateQueued && (k.ConcurrencyKey == "" || shared == 1) {
		ready = 1
	}
	row := []any{k.ID, k.Kind, k.Queue, string(k.State), k.Priority, string(k.Payload), k.MaxAttempts,
		int64(k.CreatedAt), int64(k.RunAt), int64(k.Deadline), k.Timeout.Std().Milliseconds(), k.Parent, k.Schedule,
		labels, k.Owner, key, n.BodyHash, n.Hops, n.TraceParent, ready}
	if !n.rare() {
		return row, nil
	}
	if n.Unique != "" {
		unique = n.Unique
	}
	endsBy := k.Deadline
	if n.Expires != 0 && (endsBy == 0 || n.Expires < endsBy) {
		endsBy = n.Expires
	}
	over := sdk.Time(0) // hold says why
	if n.stillborn {
		over = max(k.CreatedAt, 1)
	}
	return append(row, unique, k.ConcurrencyKey, shared, n.HeldKeys, int64(endsBy), int64(over)), nil
}

func (n *newcomer) labels() (string, error) {
	if n.Task.Labels == nil {
		return "{}", nil
	}
	b, err := json.Marshal(n.Task.Labels)
	return string(b), err
}

// keyMark is a key as it stands among the held keys of its holder's children.
func keyMark(key string) string { return "\n" + key + "\n" }

// inserted picks the tasks that the database took.
func inserted(all []*newcomer) []*newcomer {
	var out []*newcomer
	for _, n := range all {
		if n.new {
			out = append(out, n)
		}
	}
	return out
}

func scheduledData(task *sdk.Task) string {
	data := `{"run_at":"` + task.RunAt.String() + `"`
	if task.Reason != "" {
		b, _ := json.Marshal(task.Reason) // a string: cannot fail
		data += `,"reason":` + string(b)
	}
	return data + `}`
}
