package store

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/nagatha/nagatha-runtime/runtime"
	"github.com/nagatha/nagatha-runtime/sdk"
)

type signalArg struct {
	req runtime.SignalRequest
	err error
}

// Signal implements runtime.Store.
func (s *Store) Signal(ctx context.Context, req runtime.SignalRequest) error {
	a := &signalArg{req: req}
	if err := s.do(ctx, verbSignal, 1, a); err != nil {
		return err
	}
	return a.err
}

func (t *tick) signal(a *signalArg) error {
	a.err = nil
	q := a.req
	name, err := json.Marshal(map[string]string{"name": q.Name})
	if err != nil {
		return err
	}
	var k sdk.Task
	var seq int64
	err = t.query(`UPDATE tasks SET event_seq = event_seq + 1, event_bytes = event_bytes + $1, version = version + 1
		WHERE id = $2 AND finished_at = 0 AND event_seq < $3 AND event_bytes + $1 <= $4 RETURNING `+taskColumns+`, event_seq`,
		func(r Row) error { return scanTask(r, &k, &seq) }, len(name)+len(q.Data)+opWeight, q.Task, t.cfg.MaxEvents, t.cfg.MaxBytes)
	if err != nil {
		return fmt.Errorf("signal: %w", err)
	}
	if k.ID == "" {
		a.err, err = t.whyNoSignal(q.Task)
		return err
	}
	t.event(&k, seq, sdk.EventSignalled, max(q.Now, 1), string(name))
	t.changed(&k, seq)
	// The operation that has waited longest for it gets it; nobody: it is kept.
	opName, occurrence := "", 0
	err = t.query(`SELECT name, occurrence FROM operations WHERE task = $1 AND target = $2 AND op = 'await' AND waiting = 1 AND answered = 0
		AND life = $3 ORDER BY created, name, occurrence LIMIT 1`,
		func(r Row) error { return r.Scan(&opName, &occurrence) }, k.ID, q.Name, k.Life)
	if err != nil {
		return fmt.Errorf("find who waits for a signal: %w", err)
	}
	if opName == "" {
		_, err := t.exec(`INSERT INTO signals (task, seq, name, data) VALUES ($1, $2, $3, $4)`, k.ID, seq, q.Name, string(q.Data))
		if err != nil {
			return fmt.Errorf("keep a signal: %w", err)
		}
		return nil
	}
	answer, err := signalAnswer(string(q.Data))
	if err != nil {
		return err
	}
	return t.answer(k.ID, k.Life, opName, occurrence, answer)
}

func (t *tick) whyNoSignal(task string) (refusal, err error) {
	var k sdk.Task
	err = t.query(`SELECT `+taskColumns+` FROM tasks WHERE id = $1`, func(r Row) error { return scanTask(r, &k) }, task)
	switch {
	case err != nil:
		return nil, err
	case k.ID == "":
		return noTask(task), nil
	case k.State.Terminal():
		return sdk.Errorf(sdk.CodeConflict, "task %s is %s; only a task that has not ended can be signalled", task, k.State), nil
	}
	return sdk.Errorf(sdk.CodeLimitExceeded, "the task has as many events and signals as limits.events_per_task and limits.bytes_per_task allow"), nil
}

func signalAnswer(data string) (json.RawMessage, error) {
	return json.Marshal(sdk.AwaitReply{Data: json.RawMessage(data)})
}

// takeSignal returns the answer that the oldest kept signal of a name makes, or nil.
func (t *tick) takeSignal(task, name string) (json.RawMessage, error) {
	data, found := "", false
	err := t.query(`DELETE FROM signals WHERE task = $1 AND seq = (SELECT min(seq) FROM signals WHERE task = $1 AND name = $2) RETURNING data`,
		func(r Row) error { found = true; return r.Scan(&data) }, task, name)
	if err != nil || !found {
		return nil, err
	}
	return signalAnswer(data)
}

// answer answers one operation, and wakes its task if that waits for it.
func (t *tick) answer(task string, life int, name string, occurrence int, answer json.RawMessage) error {
	woken := map[string]int{}
	err := t.query(`UPDATE operations SET answered = $1, answer = $2 WHERE task = $3 AND life = $4 AND name = $5 AND occurrence = $6 AND answered = 0
		RETURNING task, waiting`, func(r Row) error { return countWaiting(r, woken) },
		int64(max(t.now, 1)), string(answer), task, life, name, occurrence)
	if err != nil {
		return fmt.Errorf("answer an operation: %w", err)
	}
	return t.wake(woken)
}

// overdue answers operations that have waited long enough, and says when the next
// will have.
func (t *tick) overdue(now sdk.Time, limit int) (n int, next sdk.Time, err error) {
	type late struct {
		task, name, op   string
		life, occurrence int
	}
	var all []late
	err = t.query(`SELECT task, life, name, occurrence, op FROM operations WHERE due > 0 AND answered = 0 AND due <= $1 ORDER BY due LIMIT $2`,
		func(r Row) error {
			var l late
			err := r.Scan(&l.task, &l.life, &l.name, &l.occurrence, &l.op)
			all = append(all, l)
			return err
		}, int64(now), limit)
	if err != nil {
		return 0, 0, fmt.Errorf("find what waited long enough: %w", err)
	}
	for _, l := range all {
		var answer any = sdk.AwaitReply{TimedOut: true}
		if l.op == sdk.OpApprove {
			answer = sdk.Decision{Expired: true}
			if err := t.expireApproval(l.task, l.life, l.name, l.occurrence); err != nil {
				return 0, 0, err
			}
		}
		b, err := json.Marshal(answer)
		if err != nil {
			return 0, 0, err
		}
		if err := t.answer(l.task, l.life, l.name, l.occurrence, b); err != nil {
			return 0, 0, err
		}
	}
	err = t.query(`SELECT due FROM operations WHERE due > 0 AND answered = 0 ORDER BY due LIMIT 1`, func(r Row) error { return r.Scan(&next) })
	return len(all), next, err
}
