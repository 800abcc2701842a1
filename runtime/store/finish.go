package store

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/nagatha/nagatha-runtime/runtime"
	"github.com/nagatha/nagatha-runtime/sdk"
)

type appendArg struct {
	in  []runtime.AppendRequest
	out []error
}

type finishArg struct {
	in  []runtime.FinishRequest
	out []error
}

// Append implements runtime.Store.
func (s *Store) Append(ctx context.Context, reqs []runtime.AppendRequest) ([]error, error) {
	a := &appendArg{in: reqs, out: make([]error, len(reqs))}
	if err := s.do(ctx, verbAppend, len(reqs), a); err != nil {
		return nil, err
	}
	return a.out, nil
}

// Finish implements runtime.Store.
func (s *Store) Finish(ctx context.Context, reqs []runtime.FinishRequest) ([]error, error) {
	a := &finishArg{in: reqs, out: make([]error, len(reqs))}
	if err := s.do(ctx, verbFinish, len(reqs), a); err != nil {
		return nil, err
	}
	return a.out, nil
}

// attemptWrite is one write of an attempt: events, and perhaps the end.
type attemptWrite struct {
	runtime.FinishRequest // State "" means that the attempt goes on
	out                   *error
}

func (t *tick) appendEvents(args []*appendArg) error {
	var all []*attemptWrite
	for _, a := range args {
		for i, q := range a.in {
			all = append(all, &attemptWrite{runtime.FinishRequest{AppendRequest: q}, &a.out[i]})
		}
	}
	return t.attempts(all)
}

func (t *tick) finish(args []*finishArg) error {
	var all []*attemptWrite
	for _, a := range args {
		for i, q := range a.in {
			all = append(all, &attemptWrite{q, &a.out[i]})
		}
	}
	return t.attempts(all)
}

// attempts writes a set in waves in which each task stands once.
func (t *tick) attempts(all []*attemptWrite) error {
	for len(all) > 0 {
		seen := make(map[string]bool, len(all))
		var wave, rest []*attemptWrite
		for _, w := range all {
			if seen[w.Task] {
				rest = append(rest, w)
				continue
			}
			seen[w.Task] = true
			wave = append(wave, w)
		}
		if err := t.wave(wave); err != nil {
			return err
		}
		all = rest
	}
	return nil
}

// wave writes what one set of attempts, each of another task, has to say.
func (t *tick) wave(all []*attemptWrite) error {
	byTask := make(map[string]*attemptWrite, len(all))
	var plain, other [][]any
	for _, w := range all {
		*w.out = runtime.ErrFenced // unless the row comes back
		byTask[w.Task] = w
		bytes := 0
		for _, e := range w.Events {
			bytes += len(e.Data)
		}
		if w.State == sdk.StateCompleted && w.Progress == nil {
			plain = append(plain, []any{w.Task, w.Token, string(w.Result), len(w.Events), bytes})
			continue
		}
		// A delay counts from the event that tells of it: the end may have waited to be
		// written, for its turn or for space on a disk.
		if w.State == sdk.StateRetrying && w.RunAt >= w.Now && w.Now > 0 {
			w.RunAt += max(0, t.now-w.Now)
		}
		row, err := t.attemptRow(w, bytes)
		if err != nil {
			return err
		}
		other = append(other, row)
	}
	var waited []string // attempts that end although they wait for something
	scan := func(r Row) error {
		var k sdk.Task
		var seq int64
		var cancel, waits int
		var needed bool
		if err := r.Scan(&k.ID, &k.Kind, &k.Queue, &k.State, &k.Life, &k.Attempt, &k.Reason, &k.RunAt, &k.Deadline, &k.Parent, &k.ConcurrencyKey,
			&seq, &cancel, &needed, &waits); err != nil {
			return err
		}
		w := byTask[k.ID]
		if k.State.Terminal() {
			k.Result, k.Error = w.Result, w.Error
			t.end(&k, needed)
		}
		*w.out = nil
		if w.State != "" {
			t.news.Ending = append(t.news.Ending, w.Fence)
			if waits > 0 {
				waited = append(waited, k.ID)
			}
		}
		return t.attemptEvents(w, &k, seq, cancel > 0)
	}
	// The checks of id and token are the fence; the caps hold only for events
	// before the end, which itself is exempt.
	fenced := `FROM r WHERE tasks.id = r.id_ AND token = r.token_ AND node || '' <> ''
			AND (r.n = 0 OR event_seq + r.n <= {2} AND event_bytes + r.bytes <= {3})
		RETURNING id, kind, queue, state, life, attempt, reason, run_at, deadline, parent, concurrency_key, event_seq, cancel, dependents, waits`
	// Most attempts simply complete, and every column costs them time.
	err := t.over(`id_ TEXT, token_ BIGINT, result_ TEXT, n BIGINT, bytes BIGINT`, plain, `UPDATE tasks SET
			state = 'completed', result = r.result_, error = NULL, reason = '', finished_at = {1}, node = '', ready = 0, replay = 0,
			event_seq = event_seq + r.n + 1, event_bytes = event_bytes + r.bytes, version = version + 1
		`+fenced, scan, int64(t.now), t.cfg.MaxEvents, t.cfg.MaxBytes)
	if err != nil {
		return fmt.Errorf("complete tasks: %w", err)
	}
	err = t.over(attemptColumns, other, `UPDATE tasks SET
			state = CASE WHEN r.s = '' THEN state WHEN r.s IN ('retrying', 'queued') AND cancel > 0 THEN 'cancelled'
				WHEN r.s = 'retrying' AND r.at <= {1} THEN 'queued' ELSE r.s END,
			attempt     = CASE WHEN r.s = 'queued' AND cancel = 0 THEN attempt - 1 ELSE attempt END,
			result      = CASE WHEN r.s = 'completed' THEN r.result_ ELSE result END,
			error       = CASE WHEN r.s = 'completed' THEN NULL WHEN r.error_ IS NOT NULL THEN r.error_ ELSE error END,
			progress    = CASE WHEN r.progress_ IS NOT NULL THEN r.progress_ ELSE progress END,
			reason      = CASE WHEN r.s IN ('retrying', 'queued') AND cancel > 0 THEN cancel_reason WHEN r.s = '' THEN reason ELSE r.reason_ END,
			run_at      = CASE WHEN r.s = 'retrying' AND cancel = 0 AND r.at > {1} THEN r.at ELSE run_at END,
			finished_at = CASE WHEN r.s IN ('completed', 'failed', 'cancelled') OR r.s <> '' AND cancel > 0 THEN {1} ELSE 0 END,
			node        = CASE WHEN r.s = '' THEN node ELSE '' END,
			ready       = CASE WHEN r.s = '' THEN ready WHEN cancel = 0 AND (r.s = 'queued' OR r.s = 'retrying' AND r.at <= {1}) THEN 1 ELSE 0 END,
			replay      = CASE WHEN r.s = '' THEN replay ELSE 0 END,
			line        = CASE WHEN r.s = '' THEN line ELSE priority END,
			event_seq   = event_seq + r.n + CASE WHEN r.s = '' THEN 0 WHEN r.s = 'retrying' AND cancel = 0 AND r.at <= {1} THEN 2 ELSE 1 END,
			event_bytes = event_bytes + r.bytes,
			version     = version + 1
		`+fenced, scan, int64(t.now), t.cfg.MaxEvents, t.cfg.MaxBytes)
	if err != nil {
		return fmt.Errorf("write attempts: %w", err)
	}
	if err := t.stopWaiting(waited); err != nil {
		return err
	}
	return t.explainRefusals(all)
}

// stopWaiting ends the waiting of tasks whose attempt has ended. What they waited
// for stays recorded, and is answered when it comes.
func (t *tick) stopWaiting(ids []string) error {
	if len(ids) == 0 {
		return nil
	}
	table := make([][]any, len(ids))
	for i, id := range ids {
		table[i] = []any{id}
	}
	err := t.over("id_ TEXT", table, `UPDATE operations SET waiting = 0 WHERE `+t.dialect.among(`task`, `SELECT id_ FROM r`)+` AND answered = 0`, nil)
	if err == nil {
		err = t.over("id_ TEXT", table, `UPDATE tasks SET waits = 0 WHERE `+t.dialect.among(`id`, `SELECT id_ FROM r`), nil)
	}
	if err != nil {
		return fmt.Errorf("stop waiting: %w", err)
	}
	return nil
}

// attemptColumns are those of attemptRow.
const attemptColumns = `id_ TEXT, token_ BIGINT, n BIGINT, bytes BIGINT, progress_ TEXT, s TEXT, result_ TEXT, error_ TEXT, at BIGINT, reason_ TEXT`

func (t *tick) attemptRow(w *attemptWrite, bytes int) ([]any, error) {
	var progress, result, fault any
	if w.Progress != nil {
		b, err := json.Marshal(w.Progress)
		if err != nil {
			return nil, err
		}
		progress = string(b)
	}
	if w.Error != nil {
		b, err := json.Marshal(w.Error)
		if err != nil {
			return nil, err
		}
		fault = string(b)
	}
	if w.State == sdk.StateCompleted {
		result = string(w.Result)
	}
	return []any{w.Task, w.Token, len(w.Events), bytes, progress, string(w.State), result, fault, int64(w.RunAt), w.Reason}, nil
}

// attemptEvents logs what a write did to its task, which ended up as k with seq
// events.
func (t *tick) attemptEvents(w *attemptWrite, k *sdk.Task, seq int64, cancelled bool) error {
	ends := int64(0)
	if w.State != "" {
		ends = 1
		if w.State == sdk.StateRetrying && k.State == sdk.StateQueued {
			ends = 2
		}
	}
	during := *k // the events carry the attempt that they belong to
	if w.State == sdk.StateQueued && !cancelled {
		during.Attempt++
	}
	n := seq - int64(len(w.Events)) - ends
	for _, e := range w.Events {
		n++
		t.event(&during, n, e.Type, e.Time, string(e.Data))
	}
	if w.State == "" {
		t.changed(k, seq)
		return nil
	}
	n++
	if k.State == sdk.StateCompleted {
		t.event(&during, n, sdk.EventCompleted, t.now, `{"result":`+string(w.Result)+`}`)
		t.changed(k, seq)
		return nil
	}
	var data any
	var typ string
	switch {
	case k.State == sdk.StateCancelled:
		typ, data = sdk.EventCancelled, map[string]any{"reason": k.Reason}
	case w.State == sdk.StateFailed:
		typ, data = sdk.EventFailed, map[string]any{"error": w.Error}
	case w.State == sdk.StateRetrying:
		typ, data = sdk.EventRetrying, map[string]any{"error": w.Error, "run_at": w.RunAt}
	default:
		typ, data = sdk.EventQueued, map[string]any{"reason": w.Reason}
	}
	b, err := json.Marshal(data)
	if err != nil {
		return err
	}
	t.event(&during, n, typ, t.now, string(b))
	if ends == 2 {
		t.event(&during, n+1, sdk.EventQueued, t.now, `{}`)
	}
	t.changed(k, seq)
	return nil
}

// explainRefusals tells writes beyond the caps from those of attempts that no
// longer count.
func (t *tick) explainRefusals(all []*attemptWrite) error {
	for _, w := range all {
		if *w.out == nil || len(w.Events) == 0 {
			continue
		}
		err := t.query(`SELECT event_seq, event_bytes FROM tasks WHERE id = $1 AND token = $2 AND node <> ''`, func(r Row) error {
			var seq, bytes int64
			err := r.Scan(&seq, &bytes)
			if seq+int64(len(w.Events)) > t.cfg.MaxEvents {
				*w.out = sdk.Errorf(sdk.CodeLimitExceeded, "the task has more events than limits.events_per_task allows, %d", t.cfg.MaxEvents)
			} else {
				*w.out = sdk.Errorf(sdk.CodeLimitExceeded, "the task's events have more bytes than limits.bytes_per_task allows, %d", t.cfg.MaxBytes)
			}
			return err
		}, w.Task, w.Token)
		if err != nil {
			return err
		}
	}
	return nil
}
