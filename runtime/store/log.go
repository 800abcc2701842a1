package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"

	"github.com/nagatha/nagatha-runtime/runtime"
	"github.com/nagatha/nagatha-runtime/sdk"
)

// event adds an event of a task to the transaction's part of the log. seq is the
// task's own count, which the caller has just advanced.
func (t *tick) event(task *sdk.Task, seq int64, typ string, at sdk.Time, data string) {
	t.log = append(t.log, logRow{
		task: task.ID, kind: task.Kind, queue: task.Queue, seq: seq, typ: typ,
		life: task.Life, attempt: task.Attempt, time: at, data: data,
		end: ends(typ),
	})
}

// changed notes a task whose log grew, for the commit hook.
func (t *tick) changed(task *sdk.Task, seq int64) {
	c := runtime.Change{ID: task.ID, Kind: task.Kind, Queue: task.Queue, State: task.State, Seq: seq}
	switch task.State {
	case sdk.StateQueued:
		t.ready(task.Queue)
	case sdk.StateScheduled, sdk.StateRetrying: // what is held back is not due, which does no harm
		if t.out.NextDue == 0 || task.RunAt < t.out.NextDue {
			t.out.NextDue = task.RunAt
		}
	}
	if task.ConcurrencyKey != "" && task.State != sdk.StateRunning {
		t.keys[task.ConcurrencyKey] = true
		if task.State.Terminal() {
			t.heirs = append(t.heirs, heir{task.ID, task.ConcurrencyKey})
		}
	}
	if task.Deadline > 0 && !task.State.Terminal() && (t.out.NextDue == 0 || task.Deadline < t.out.NextDue) {
		t.out.NextDue = task.Deadline
	}
	if i, ok := t.changes[task.ID]; ok {
		t.out.Tasks[i] = c
		return
	}
	t.changes[task.ID] = len(t.out.Tasks)
	t.out.Tasks = append(t.out.Tasks, c)
}

// ready notes that a task of a queue may be claimed now.
func (t *tick) ready(queue string) { t.out.Queued, t.news.Ready[queue] = true, true }

// somewhere notes that tasks of any queue may be claimed now.
func (t *tick) somewhere() { t.out.Queued, t.news.Anywhere = true, true }

// appendLog is the last step of a transaction: it advances the head once and
// writes all events at the positions that it got.
func (t *tick) appendLog() error {
	if len(t.log) == 0 {
		return nil
	}
	if err := t.later(`UPDATE log_head SET pos = pos + $1 WHERE id = 1 RETURNING pos`,
		func(r Row) error { return r.Scan(&t.out.Head) }, len(t.log)); err != nil {
		return fmt.Errorf("advance the log: %w", err)
	}
	pos := -int64(len(t.log)) // from the head, which the server knows
	all, next := runs(t.log)
	table := make([][]any, len(all))
	for i, r := range all {
		pos += int64(r.n)
		e := &t.log[r.last]
		var task any
		if e.task != "" {
			task = e.task
		}
		end := 0
		if e.end {
			end = 1
		}
		typ, data := e.typ, e.data
		if r.n > 1 {
			typ, data = "", string(appendRun(make([]byte, 0, r.bytes+r.n*80), t.log, next, r.first))
		}
		table[i] = []any{pos, task, e.seq, typ, e.life, e.attempt, int64(e.time), data, end, e.kind, e.queue}
	}
	err := t.over("back BIGINT, task TEXT, seq BIGINT, type TEXT, life INTEGER, attempt INTEGER, time BIGINT, data TEXT, is_end INTEGER, kind TEXT, queue TEXT", table,
		`INSERT INTO events (pos, task, seq, type, life, attempt, time, data, is_end, kind, queue)
		SELECT (SELECT pos FROM log_head WHERE id = 1) + back, task, seq, type, life, attempt, time, data, is_end, kind, queue FROM r`, nil)
	if err != nil {
		return fmt.Errorf("append to the log: %w", err)
	}
	return nil
}

const entryColumns = `pos, task, seq, type, life, attempt, time, data, is_end, kind, queue`

// scanEntries appends what a row of the log holds: one entry, or those of a run.
func scanEntries(out []runtime.LogEntry, r Row) ([]runtime.LogEntry, error) {
	var e runtime.LogEntry
	var ev sdk.TaskEvent
	var task sql.NullString
	var data string
	if err := r.Scan(&e.Pos, &task, &ev.Seq, &ev.Type, &ev.Life, &ev.Attempt, &ev.Time, &data, &ev.End, &e.Kind, &e.Queue); err != nil {
		return out, err
	}
	switch {
	case !task.Valid:
		var logged loggedEvent
		err := json.Unmarshal([]byte(data), &logged)
		logged.TraceParent, e.Event = logged.Trace, &logged.Event
		return append(out, e), err
	case ev.Type == "":
		ev.Task, e.Task = task.String, &ev
		return unpack(out, e, data)
	default:
		ev.Task, ev.Data, e.Task = task.String, json.RawMessage(data), &ev
		return append(out, e), nil
	}
}

// TaskEvents implements runtime.Store.
func (s *Store) TaskEvents(ctx context.Context, task string, after int64, limit int) ([]runtime.LogEntry, error) {
	return s.entries(ctx, after, limit, func(e *runtime.LogEntry) int64 { return e.Task.Seq },
		`SELECT `+entryColumns+` FROM events WHERE seq > $1 AND task = $2 ORDER BY seq LIMIT $3`, task)
}

// Log implements runtime.Store.
func (s *Store) Log(ctx context.Context, after int64, limit int) ([]runtime.LogEntry, error) {
	return s.entries(ctx, after, limit, func(e *runtime.LogEntry) int64 { return e.Pos },
		`SELECT `+entryColumns+` FROM events WHERE pos > $1 ORDER BY pos LIMIT $2`)
}

// Published implements runtime.Store.
func (s *Store) Published(ctx context.Context, after int64, limit int) ([]runtime.LogEntry, error) {
	return s.entries(ctx, after, limit, func(e *runtime.LogEntry) int64 { return e.Pos },
		`SELECT `+entryColumns+` FROM events WHERE pos > $1 AND task IS NULL ORDER BY pos LIMIT $2`)
}

// entries returns at most limit entries whose place is after after. The query takes
// that, then args, then how many rows. A row may be a run, which begins before the
// place or goes on after the limit, so rows are asked for in parts: as many as there
// are entries to come would be many times what is wanted.
func (s *Store) entries(ctx context.Context, after int64, limit int, place func(*runtime.LogEntry) int64, text string, args ...any) ([]runtime.LogEntry, error) {
	var out, some []runtime.LogEntry
	for part := max(8, limit/8); len(out) < limit; part *= 4 {
		asked, rows := min(part, limit-len(out)), 0
		err := s.read(ctx, text, func(r Row) (err error) {
			if rows++; len(out) >= limit {
				return nil
			}
			if some, err = scanEntries(some[:0], r); err != nil {
				return err
			}
			for i := range some {
				if at := place(&some[i]); len(out) < limit && at > after {
					out, after = append(out, some[i]), at
				}
			}
			return nil
		}, append(append([]any{after}, args...), asked)...)
		if err != nil {
			return nil, fmt.Errorf("read the log: %w", err)
		}
		if rows < asked {
			break
		}
	}
	return out, nil
}

// Head implements runtime.Store.
func (s *Store) Head(ctx context.Context) (runtime.Head, error) {
	var h runtime.Head
	err := s.read(ctx, `SELECT epoch, pos, pruned FROM log_head WHERE id = 1`, func(r Row) error {
		return r.Scan(&h.Epoch, &h.Pos, &h.Pruned)
	})
	if err != nil {
		return h, fmt.Errorf("read the log's head: %w", err)
	}
	return h, nil
}

// read runs a query on a reader and hands each row to scan. A database that cannot be
// read at present is sdk.CodeUnavailable.
func (s *Store) read(ctx context.Context, text string, scan func(Row) error, args ...any) error {
	patient, cancel := s.patient(ctx)
	defer cancel()
	rs, err := s.r.QueryContext(patient, text, args...)
	if err != nil {
		return s.outage(ctx, err)
	}
	defer rs.Close()
	for rs.Next() {
		if err := scan(rs); err != nil {
			return s.outage(ctx, err)
		}
	}
	return s.outage(ctx, rs.Err())
}

// lost logs that the database does not answer: once, until it has been written again,
// since all that waits for it asks again each second.
func (s *Store) lost(what string, err error) {
	if !s.down.Swap(true) {
		s.cfg.Logger.Warn(what, "error", err)
	}
}

// outage tells a database that does not answer from what is wrong with a read, or
// with its caller.
func (s *Store) outage(ctx context.Context, err error) error {
	if err == nil || sdk.CodeOf(err) != "" || ctx.Err() != nil {
		return err
	}
	switch s.trouble(err) {
	case noServer, noSpace:
		// The cause names hosts, users and paths: it is not for clients.
		s.lost("the database cannot be read", err)
		return sdk.Errorf(sdk.CodeUnavailable, "the database does not answer at present")
	}
	return err
}
