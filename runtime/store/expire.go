package store

import (
	"fmt"

	"github.com/nagatha/nagatha-runtime/runtime"
	"github.com/nagatha/nagatha-runtime/sdk"
)

// maxExpire is how many tasks one step ends: each takes statements of its own. The rest
// is due at once.
const maxExpire = 200

// expire fails tasks that did not start or end in time. A running attempt knows its
// deadline by itself; if it is over in another way, the task comes by here.
func (t *tick) expire(now sdk.Time, limit int) (n int, next sdk.Time, err error) {
	limit = min(limit, maxExpire)
	type late struct {
		id       string
		deadline sdk.Time
	}
	var all []late
	err = t.query(`SELECT id, deadline FROM tasks WHERE ends_by > 0 AND finished_at = 0 AND ends_by <= $1 AND state || '' <> 'running' ORDER BY ends_by, id LIMIT $2`+t.dialect.lock,
		func(r Row) error {
			var l late
			err := r.Scan(&l.id, &l.deadline)
			all = append(all, l)
			return err
		}, int64(now), limit)
	if err != nil {
		return 0, 0, fmt.Errorf("find what is too late: %w", err)
	}
	for _, l := range all {
		what := "it did not start before its expires"
		if l.deadline > 0 && l.deadline <= now {
			what = "it did not end before its deadline"
		}
		if err := t.expireOne(l.id, sdk.Errorf(sdk.CodeExpired, "%s", what)); err != nil {
			return 0, 0, fmt.Errorf("expire a task: %w", err)
		}
	}
	err = t.query(`SELECT ends_by FROM tasks WHERE ends_by > 0 AND finished_at = 0 AND state || '' <> 'running' ORDER BY ends_by, id LIMIT 1`,
		func(r Row) error { return r.Scan(&next) })
	return len(all), next, err
}

func (t *tick) expireOne(id string, fault *sdk.Error) error {
	column, data, err := failure(fault)
	if err != nil {
		return err
	}
	out := runtime.Cancelled{}
	waits := 0
	err = t.query(`UPDATE tasks SET state = 'failed', error = $1, reason = '', ready = 0, held = 0, finished_at = $2, event_seq = event_seq + 1, version = version + 1
		WHERE id = $3 RETURNING `+taskColumns+`, event_seq, node, token, dependents, waits`,
		func(r Row) error {
			var seq int64
			var needed bool
			if err := scanTask(r, &out.Task, &seq, &out.Node, &out.Token, &needed, &waits); err != nil {
				return err
			}
			t.event(&out.Task, seq, sdk.EventFailed, t.now, data)
			t.changed(&out.Task, seq)
			t.end(&out.Task, needed)
			return nil
		}, column, int64(max(t.now, 1)), id)
	if err != nil {
		return err
	}
	return t.unpark(runtime.CancelRequest{ID: id, Reason: fault.Message}, &out, waits)
}
