package store

import (
	"context"
	"fmt"
	"slices"

	"github.com/nagatha/nagatha-runtime/runtime"
	"github.com/nagatha/nagatha-runtime/sdk"
)

type promoteArg struct {
	now   sdk.Time
	limit int
	n     int
	next  sdk.Time
}

type recoverArg struct {
	req runtime.RecoverRequest
	n   int
}

// Promote implements runtime.Store.
func (s *Store) Promote(ctx context.Context, now sdk.Time, limit int) (int, sdk.Time, error) {
	a := &promoteArg{now: now, limit: limit}
	if err := s.do(ctx, verbPromote, 1, a); err != nil {
		return 0, 0, err
	}
	return a.n, a.next, nil
}

// Recover implements runtime.Store.
func (s *Store) Recover(ctx context.Context, req runtime.RecoverRequest) (int, error) {
	a := &recoverArg{req: req}
	if err := s.do(ctx, verbRecover, 1, a); err != nil {
		return 0, err
	}
	return a.n, nil
}

func (t *tick) promote(a *promoteArg) error {
	a.n, a.next = 0, 0
	// A task of the future keeps its run_at as its place in the queue: what was
	// due first starts first.
	err := t.query(`UPDATE tasks SET state = 'queued', ready = `+readyNow+`, event_seq = event_seq + 1, version = version + 1
		WHERE `+t.dialect.among(`id`, `SELECT id FROM tasks WHERE state IN ('scheduled', 'retrying') AND held = 0 AND run_at <= $1 ORDER BY run_at, id LIMIT $2`+t.dialect.lock)+`
		RETURNING `+taskColumns+`, event_seq`,
		func(r Row) error {
			var k sdk.Task
			var seq int64
			if err := scanTask(r, &k, &seq); err != nil {
				return err
			}
			a.n++
			t.event(&k, seq, sdk.EventQueued, t.now, `{}`)
			t.changed(&k, seq)
			return nil
		}, int64(a.now), a.limit)
	if err != nil {
		return fmt.Errorf("queue what is due: %w", err)
	}
	err = t.query(`SELECT run_at FROM tasks WHERE state IN ('scheduled', 'retrying') AND held = 0 ORDER BY run_at, id LIMIT 1`,
		func(r Row) error { return r.Scan(&a.next) })
	if err != nil {
		return fmt.Errorf("find what is due next: %w", err)
	}
	late, next, err := t.overdue(a.now, a.limit)
	if err != nil {
		return err
	}
	expired, ends, err := t.expire(a.now, a.limit)
	if err != nil {
		return err
	}
	again, keys, err := t.dueKeys(a.now, a.limit)
	if err != nil {
		return fmt.Errorf("look at keys again: %w", err)
	}
	a.n = max(a.n, late, expired, again) // any may have more
	for _, at := range []sdk.Time{next, ends, keys} {
		if at != 0 && (a.next == 0 || at < a.next) {
			a.next = at
		}
	}
	return nil
}

// recover ends attempts of dead nodes the way that their own node would have: it
// writes them as failed attempts, under their own tokens.
func (t *tick) recover(a *recoverArg) error {
	a.n = 0
	for _, node := range a.req.Dead {
		gone, err := t.exec(`DELETE FROM nodes WHERE id = $1`, node)
		if err == nil && gone > 0 {
			err = t.tell(runtime.NodeLost(a.req.Self, node))
		}
		if err != nil {
			return fmt.Errorf("forget a dead node: %w", err)
		}
	}
	dead := func(node string) bool {
		return node != a.req.Self && (a.req.AllOthers || slices.Contains(a.req.Dead, node))
	}
	if err := t.evictNodes(dead); err != nil {
		return err
	}
	var lost []*attemptWrite
	err := t.query(`SELECT id, token, node, attempt, max_attempts FROM tasks WHERE node <> '' AND state || '' = 'running'`, func(r Row) error {
		var node string
		var attempt, most int
		w := &attemptWrite{out: new(error)}
		if err := r.Scan(&w.Task, &w.Token, &node, &attempt, &most); err != nil {
			return err
		}
		if !dead(node) {
			return nil
		}
		w.Now, w.RunAt = t.now, t.now
		w.State = sdk.StateRetrying
		if attempt >= most {
			w.State = sdk.StateFailed
		}
		w.Error = sdk.Errorf(sdk.CodeNodeLost, "the runtime that ran it (%s) died", node)
		lost = append(lost, w)
		return nil
	})
	if err != nil {
		return fmt.Errorf("find lost attempts: %w", err)
	}
	a.n = len(lost)
	if err := t.cancelLost(lost); err != nil {
		return err
	}
	for chunk := range slices.Chunk(lost, maxSet) {
		if err := t.attempts(chunk); err != nil {
			return err
		}
	}
	return nil
}

// cancelLost turns the last attempts of tasks whose cancel was asked for into
// cancelled ones: a failed end would hide that somebody wanted it gone.
func (t *tick) cancelLost(lost []*attemptWrite) error {
	asked := map[string]string{}
	err := t.query(`SELECT id, cancel_reason FROM tasks WHERE node <> '' AND state || '' = 'running' AND cancel > 0`, func(r Row) error {
		var id, reason string
		err := r.Scan(&id, &reason)
		asked[id] = reason
		return err
	})
	if err != nil {
		return fmt.Errorf("find cancelled attempts: %w", err)
	}
	for _, w := range lost {
		if reason, ok := asked[w.Task]; ok {
			w.State, w.Reason, w.Error = sdk.StateCancelled, reason, nil
		}
	}
	return nil
}
