package store

import (
	"context"
	"fmt"
	"maps"
	"time"

	"github.com/nagatha/nagatha-runtime/runtime"
	"github.com/nagatha/nagatha-runtime/sdk"
)

type pauseArg struct {
	queue  string
	paused bool
}

// SetQueues implements runtime.Store.
func (s *Store) SetQueues(queues []runtime.QueueLimits) {
	m := make(map[string]runtime.QueueLimits, len(queues))
	for _, q := range queues {
		m[q.Name] = q
	}
	s.limits.Store(&m)
}

func (s *Store) limitsOf(queue string) runtime.QueueLimits {
	q := runtime.QueueLimits{Name: queue}
	if m := s.limits.Load(); m != nil {
		if known, ok := (*m)[queue]; ok {
			q = known
		}
	}
	if q.KeyConcurrency == 0 {
		q.KeyConcurrency = 1
	}
	return q
}

// Pause implements runtime.Store.
func (s *Store) Pause(ctx context.Context, queue string, paused bool) error {
	return s.do(ctx, verbPause, 1, &pauseArg{queue, paused})
}

// Paused implements runtime.Store.
func (s *Store) Paused(queue string) bool {
	m := s.paused.Load()
	return m != nil && (*m)[queue]
}

func (t *tick) pause(a *pauseArg) error {
	paused := 0
	if a.paused {
		paused = 1
	}
	_, err := t.exec(`INSERT INTO queues (name, paused) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET paused = excluded.paused`, a.queue, paused)
	if err != nil {
		return fmt.Errorf("pause a queue: %w", err)
	}
	t.out.Queues = true
	t.somewhere()
	now := map[string]bool{}
	if m := t.paused.Load(); m != nil {
		maps.Copy(now, *m)
	}
	now[a.queue] = a.paused
	t.pausing = now
	return nil
}

// loadPaused reads which queues are paused.
func (s *Store) loadPaused(ctx context.Context) error {
	m := map[string]bool{}
	err := s.read(ctx, `SELECT name, paused FROM queues`, func(r Row) error {
		var name string
		var paused int
		err := r.Scan(&name, &paused)
		m[name] = paused == 1
		return err
	})
	if err != nil {
		return fmt.Errorf("read which queues are paused: %w", err)
	}
	s.paused.Store(&m)
	return nil
}

// QueueCounts implements runtime.Store.
func (s *Store) QueueCounts(ctx context.Context) (map[string]runtime.QueueCount, error) {
	out := map[string]runtime.QueueCount{}
	for _, q := range []string{
		`SELECT queue, count(*), 0, 0, 0 FROM tasks WHERE node <> '' AND state || '' = 'running' GROUP BY queue`,
		`SELECT queue, 0, count(*), 0, min(run_at) FROM tasks WHERE ready = 1 GROUP BY queue`,
		`SELECT queue, 0, count(*), 0, min(run_at) FROM tasks WHERE concurrency_key <> '' AND state = 'queued' AND ready = 0 GROUP BY queue`,
		`SELECT queue, 0, 0, count(*), 0 FROM tasks WHERE state IN ('scheduled', 'retrying') AND held = 0 GROUP BY queue`,
		`SELECT queue, 0, 0, count(*), 0 FROM tasks WHERE held > 0 GROUP BY queue`,
	} {
		err := s.read(ctx, q, func(r Row) error {
			var name string
			var c runtime.QueueCount
			err := r.Scan(&name, &c.Running, &c.Queued, &c.Scheduled, &c.Oldest)
			sum := out[name]
			sum.Running += c.Running
			sum.Queued += c.Queued
			sum.Scheduled += c.Scheduled
			if c.Oldest != 0 && (sum.Oldest == 0 || c.Oldest < sum.Oldest) {
				sum.Oldest = c.Oldest
			}
			out[name] = sum
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("count queues: %w", err)
		}
	}
	return out, nil
}

// depth is what is known of how full a queue with a cap is. Counting is as expensive
// as the queue is deep, so it is done once for as many submits as there is room for:
// tasks that leave the queue meanwhile only make more. A queue that was found full, or
// is dear to count, is not counted again for a while, the longer the longer it took, so
// that a writer with a deep queue does not spend its time on counts; meanwhile it may be
// called full although some have left. Room is forgotten after a while too: other nodes
// take it, and what is retried by hand. So a cap is exceeded by no more than what these
// do at the same moment.
type depth struct {
	room  int       // submits that need no new count
	until time.Time // so long
	next  time.Time // no new count before
}

const (
	recount      = 5 * time.Millisecond
	roomFor      = 50 * time.Millisecond
	deep         = 10_000 // caps beyond it are dear to count
	recountShare = 20     // of the time, one part may go into counting
)

// depthCounts count a queue's tasks, each by an index that has no ended ones.
var depthCounts = []string{
	`ready = 1 AND state = 'queued'`,
	`concurrency_key <> '' AND state = 'queued' AND ready = 0`,
	`state IN ('scheduled', 'retrying') AND held = 0`,
	`held > 0`,
}

// admit reports whether a queue takes one more task. pending counts those that were
// admitted and are not inserted yet.
func (t *tick) admit(queue string, pending map[string]int) (bool, error) {
	limit := t.limitsOf(queue).Depth
	if limit == 0 {
		return true, nil
	}
	d := t.depths[queue]
	if d == nil {
		d = &depth{}
		t.depths[queue] = d
	}
	begin := time.Now()
	if d.room > 0 && begin.After(d.until) && !begin.Before(d.next) {
		d.room = 0
	}
	if d.room == 0 {
		if begin.Before(d.next) {
			return false, nil
		}
		n := pending[queue]
		for _, d := range t.deferred {
			if d.Task.Queue == queue {
				n++
			}
		}
		for _, part := range depthCounts {
			if n >= limit {
				break
			}
			err := t.query(`SELECT count(*) FROM (SELECT 1 FROM tasks WHERE queue = $1 AND `+part+` LIMIT $2) AS c`, func(r Row) error {
				var some int
				err := r.Scan(&some)
				n += some
				return err
			}, queue, limit-n)
			if err != nil {
				return false, fmt.Errorf("count a queue: %w", err)
			}
		}
		took := time.Since(begin)
		if d.room = max(0, limit-n); d.room == 0 || limit > deep {
			d.next = time.Now().Add(max(recount, recountShare*took))
		}
		d.until = time.Now().Add(max(roomFor, recountShare*took))
		if d.room == 0 {
			return false, nil
		}
		if t.Shared() {
			d.room = (d.room + 1) / 2 // the other nodes take some too
		}
	}
	d.room--
	pending[queue]++
	return true, nil
}

func queueFull(queue string, limit int) *sdk.Error {
	return &sdk.Error{Code: sdk.CodeLimitExceeded, Retryable: true,
		Message: fmt.Sprintf("queue %q has as many tasks as its depth in config.hcl allows, %d; submit again later", queue, limit),
		Fields:  []sdk.Field{{Field: "queue", Message: fmt.Sprintf("%q is full", queue)}}}
}
