package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"

	"github.com/nagatha/nagatha-runtime/runtime"
	"github.com/nagatha/nagatha-runtime/sdk"
)

type cancelArg struct {
	in  []runtime.CancelRequest
	out []runtime.Cancelled
}

type retryArg struct {
	ids []string
	out []runtime.Retried
}

// Cancel implements runtime.Store.
func (s *Store) Cancel(ctx context.Context, reqs []runtime.CancelRequest) ([]runtime.Cancelled, error) {
	a := &cancelArg{in: reqs, out: make([]runtime.Cancelled, len(reqs))}
	if err := s.do(ctx, verbCancel, len(reqs), a); err != nil {
		return nil, err
	}
	return a.out, nil
}

// Retry implements runtime.Store.
func (s *Store) Retry(ctx context.Context, ids []string) ([]runtime.Retried, error) {
	a := &retryArg{ids: ids, out: make([]runtime.Retried, len(ids))}
	if err := s.do(ctx, verbRetry, len(ids), a); err != nil {
		return nil, err
	}
	return a.out, nil
}

// cancel works request by request: cancels are rare, and two of one task must
// see each other.
func (t *tick) cancel(args []*cancelArg) error {
	for _, a := range args {
		for i, q := range a.in {
			a.out[i] = runtime.Cancelled{}
			if err := t.cancelOne(q, &a.out[i]); err != nil {
				return fmt.Errorf("cancel task: %w", err)
			}
		}
	}
	return nil
}

func (t *tick) cancelOne(q runtime.CancelRequest, out *runtime.Cancelled) error {
	// Another node may move the task between two of the statements.
	for {
		if err := t.tryCancel(q, out); err != nil || out.Err != nil || out.Task.State.Terminal() || out.Token != 0 {
			return err
		}
	}
}

func (t *tick) tryCancel(q runtime.CancelRequest, out *runtime.Cancelled) error {
	task := &out.Task
	found, waits := false, 0
	now := max(q.Now, 1)
	err := t.query(`UPDATE tasks SET state = 'cancelled', ready = 0, held = 0, finished_at = $1, reason = $2, event_seq = event_seq + 1, version = version + 1
		WHERE id = $3 AND state IN ('scheduled', 'queued', 'retrying', 'waiting') RETURNING `+taskColumns+`, event_seq, node, token, dependents, waits`,
		func(r Row) error {
			found = true
			var seq int64
			var needed bool
			if err := scanTask(r, task, &seq, &out.Node, &out.Token, &needed, &waits); err != nil {
				return err
			}
			t.ended = append(t.ended, ended{*task, needed, q.Force})
			data, err := json.Marshal(map[string]string{"reason": q.Reason})
			if err != nil {
				return err
			}
			t.event(task, seq, sdk.EventCancelled, now, string(data))
			t.changed(task, seq)
			return nil
		}, int64(now), q.Reason, q.ID)
	if err != nil {
		return err
	}
	if found {
		return t.unpark(q, out, waits)
	}
	mark := 1
	if q.Force {
		mark = 2
	}
	err = t.query(`UPDATE tasks SET cancel_reason = CASE WHEN cancel = 0 THEN $1 ELSE cancel_reason END,
			cancel = CASE WHEN cancel < $2 THEN $2 ELSE cancel END, version = version + 1
		WHERE id = $3 AND state = 'running' RETURNING `+taskColumns+`, node, token`,
		func(r Row) error { found = true; return scanTask(r, task, &out.Node, &out.Token) }, q.Reason, mark, q.ID)
	if err != nil {
		return err
	}
	if found {
		t.out.Cancels = append(t.out.Cancels, runtime.Told{Task: q.ID, Token: out.Token, Force: mark == 2, Reason: q.Reason})
		return t.cancelChildren(q.ID, q.Force)
	}
	err = t.query(`SELECT `+taskColumns+` FROM tasks WHERE id = $1`,
		func(r Row) error { found = true; return scanTask(r, task) }, q.ID)
	if err == nil && !found {
		out.Err = noTask(q.ID)
	}
	return err
}

// unpark tells the node of a cancelled task, if its attempt is parked on one, and
// ends its waiting.
func (t *tick) unpark(q runtime.CancelRequest, out *runtime.Cancelled, waits int) error {
	if waits > 0 {
		if err := t.stopWaiting([]string{q.ID}); err != nil {
			return err
		}
	}
	if out.Node == "" {
		out.Token = 0
		return nil
	}
	t.out.Cancels = append(t.out.Cancels, runtime.Told{Task: q.ID, Token: out.Token, Force: q.Force, Reason: q.Reason})
	_, err := t.exec(`UPDATE tasks SET node = '' WHERE id = $1`, q.ID)
	return err
}

// cancelChildren cancels what a cancelled task had started.
func (t *tick) cancelChildren(parent string, force bool) error {
	var ids []string
	err := t.query(`SELECT id FROM tasks WHERE parent = $1 AND parent <> '' AND finished_at = 0 ORDER BY id`, func(r Row) error {
		var id string
		err := r.Scan(&id)
		ids = append(ids, id)
		return err
	}, parent)
	if err != nil {
		return err
	}
	for _, id := range ids {
		var out runtime.Cancelled
		q := runtime.CancelRequest{ID: id, Now: t.now, Force: force, Reason: "its parent " + parent + " was cancelled"}
		if err := t.cancelOne(q, &out); err != nil {
			return err
		}
	}
	return nil
}

func (t *tick) retry(args []*retryArg) error {
	for _, a := range args {
		for i, id := range a.ids {
			a.out[i] = runtime.Retried{}
			if err := t.retryOne(id, &a.out[i]); err != nil {
				return fmt.Errorf("retry task: %w", err)
			}
		}
	}
	return nil
}

func (t *tick) retryOne(id string, out *runtime.Retried) error {
	found := false
	err := t.query(`UPDATE tasks SET state = 'queued', ready = CASE WHEN concurrency_key <> '' THEN 0 ELSE 1 END, line = priority, replay = 0, waits = 0, key_shared = 0, held_keys = '',
			deadline = CASE WHEN deadline > $1 THEN deadline ELSE 0 END, ends_by = CASE WHEN deadline > $1 THEN deadline ELSE 0 END, life = life + 1, attempt = 0, result = NULL, error = NULL, progress = NULL,
			reason = '', run_at = $1, started_at = 0, finished_at = 0, plugin = '', plugin_version = '', node = '',
			cancel = 0, cancel_reason = '', event_seq = event_seq + 1, version = version + 1
		WHERE id = $2 AND state IN ('failed', 'cancelled')
			AND (unique_key IS NULL OR NOT EXISTS (SELECT 1 FROM tasks AS o WHERE o.unique_key = tasks.unique_key AND o.finished_at = 0)) RETURNING `+taskColumns+`, event_seq`,
		func(r Row) error {
			found = true
			var seq int64
			if err := scanTask(r, &out.Task, &seq); err != nil {
				return err
			}
			t.event(&out.Task, seq, sdk.EventQueued, t.now, `{}`)
			t.changed(&out.Task, seq)
			return nil
		}, int64(t.now), id)
	if err != nil || found {
		return err
	}
	state, unique := sdk.State(""), sql.NullString{}
	err = t.query(`SELECT state, unique_key FROM tasks WHERE id = $1`, func(r Row) error { return r.Scan(&state, &unique) }, id)
	switch {
	case err != nil:
		return err
	case state == "":
		out.Err = noTask(id)
	case (state == sdk.StateFailed || state == sdk.StateCancelled) && !unique.Valid:
		return fmt.Errorf("task %s ended on another node just now: %w", id, errAgain)
	case state == sdk.StateFailed || state == sdk.StateCancelled:
		out.Err = sdk.Errorf(sdk.CodeConflict, "another task with unique %q lives; wait for its end", unique.String)
	default:
		out.Err = sdk.Errorf(sdk.CodeConflict, "task %s is %s; only failed and cancelled tasks can be retried", id, state)
	}
	return nil
}
