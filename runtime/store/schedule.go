package store

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/nagatha/nagatha-runtime/runtime"
	"github.com/nagatha/nagatha-runtime/sdk"
)

const scheduleColumns = `id, name, source, cron, zone, every_ms, once_at, since, kind, payload, queue, priority, timeout_ms,
	max_attempts, missed, overlap, jitter_ms, paused, next_at, last_at, last_task, fault, owner, version`

func scanSchedule(r Row, s *runtime.Schedule) error {
	var payload string
	var every, timeout, jitter int64
	var paused int
	err := r.Scan(&s.ID, &s.Name, &s.Source, &s.Cron, &s.Zone, &every, &s.At, &s.Since, &s.Kind, &payload, &s.Queue, &s.Priority, &timeout,
		&s.MaxAttempts, &s.Missed, &s.Overlap, &jitter, &paused, &s.NextAt, &s.LastAt, &s.LastTask, &s.Error, &s.Owner, &s.Version)
	s.Payload, s.Paused = json.RawMessage(payload), paused != 0
	s.Every, s.Timeout, s.Jitter = milliseconds(every), milliseconds(timeout), milliseconds(jitter)
	return err
}

func milliseconds(n int64) sdk.Duration { return sdk.Duration(time.Duration(n) * time.Millisecond) }

// scheduleValues are scheduleColumns without the version.
func scheduleValues(s *runtime.Schedule) []any {
	paused := 0
	if s.Paused {
		paused = 1
	}
	return []any{s.ID, s.Name, string(s.Source), s.Cron, s.Zone, s.Every.Std().Milliseconds(), int64(s.At), int64(s.Since), s.Kind,
		string(s.Payload), s.Queue, s.Priority, s.Timeout.Std().Milliseconds(), s.MaxAttempts, string(s.Missed), string(s.Overlap),
		s.Jitter.Std().Milliseconds(), paused, int64(s.NextAt), int64(s.LastAt), s.LastTask, s.Error, s.Owner}
}

// Schedules implements runtime.Store.
func (s *Store) Schedules(ctx context.Context, f runtime.ScheduleFilter) ([]runtime.Schedule, error) {
	var w where
	order := `id`
	if f.ID != "" {
		id := w.arg(f.ID)
		w.add(`(id = ` + id + ` OR name = ` + id + `)`)
		order = `source DESC, id` // of two with a name, the configuration's
	}
	if f.Source != "" {
		w.add(`source = ` + w.arg(string(f.Source)))
	}
	if f.After != "" {
		w.add(`id > ` + w.arg(f.After))
	}
	text := `SELECT ` + scheduleColumns + ` FROM schedules` + w.text() + ` ORDER BY ` + order
	if f.Limit > 0 {
		text += ` LIMIT ` + w.arg(f.Limit)
	}
	return s.schedules(ctx, text, w.args...)
}

func (s *Store) schedules(ctx context.Context, text string, args ...any) ([]runtime.Schedule, error) {
	out := []runtime.Schedule{}
	err := s.read(ctx, text, func(r Row) error {
		var one runtime.Schedule
		err := scanSchedule(r, &one)
		out = append(out, one)
		return err
	}, args...)
	if err != nil {
		return nil, fmt.Errorf("list schedules: %w", err)
	}
	return out, nil
}

// DueSchedules implements runtime.Store.
func (s *Store) DueSchedules(ctx context.Context, now sdk.Time, limit int) (due []runtime.Schedule, next sdk.Time, err error) {
	list, err := s.schedules(ctx, `SELECT `+scheduleColumns+` FROM schedules WHERE next_at > 0 ORDER BY next_at, id LIMIT $1`, limit+1)
	if err != nil {
		return nil, 0, err
	}
	for i := range list {
		if i == limit || list[i].NextAt > now {
			return list[:i], list[i].NextAt, nil
		}
	}
	return list, 0, nil
}

type scheduleArg struct {
	in     runtime.Schedule
	remove bool
	ok     bool
	err    error
}

// PutSchedule implements runtime.Store.
func (s *Store) PutSchedule(ctx context.Context, in runtime.Schedule) (bool, error) {
	a := &scheduleArg{in: in}
	if err := s.do(ctx, verbSchedule, 1, a); err != nil {
		return false, err
	}
	return a.ok, a.err
}

// DeleteSchedule implements runtime.Store.
func (s *Store) DeleteSchedule(ctx context.Context, id string) error {
	return s.do(ctx, verbSchedule, 1, &scheduleArg{in: runtime.Schedule{Schedule: sdk.Schedule{ID: id}}, remove: true})
}

func (t *tick) putSchedule(a *scheduleArg) error {
	a.ok, a.err = false, nil
	if a.remove {
		if _, err := t.exec(`DELETE FROM schedules WHERE id = $1`, a.in.ID); err != nil {
			return fmt.Errorf("delete a schedule: %w", err)
		}
		return nil
	}
	if a.in.Source == sdk.SourceAPI {
		if err := t.refuseSchedule(a); err != nil || a.err != nil {
			return err
		}
	}
	values := scheduleValues(&a.in)
	names := strings.Split(scheduleColumns, ",")
	holders, sets := make([]string, len(values)), make([]string, len(values))
	for i := range values {
		names[i] = strings.TrimSpace(names[i])
		holders[i] = fmt.Sprintf("$%d", i+1)
		sets[i] = names[i] + " = " + holders[i]
	}
	text := `INSERT INTO schedules (` + strings.Join(names[:len(values)], ", ") + `, version) VALUES (` + strings.Join(holders, ", ") + `, 1) ON CONFLICT DO NOTHING`
	if a.in.Version > 0 {
		// The id comes first, where SQLite counts it, and stays what it is.
		text = fmt.Sprintf(`UPDATE schedules SET %s, version = version + 1 WHERE id = $1 AND version = $%d`, strings.Join(sets, ", "), len(values)+1)
		values = append(values, a.in.Version)
	}
	n, err := t.exec(text, values...)
	if err != nil {
		return fmt.Errorf("write a schedule: %w", err)
	}
	a.ok = n > 0
	return nil
}

// refuseSchedule says what speaks against a schedule of the api's.
func (t *tick) refuseSchedule(a *scheduleArg) error {
	taken, n := "", 0
	err := t.query(`SELECT id FROM schedules WHERE name = $1 AND id <> $2`, func(r Row) error { return r.Scan(&taken) }, a.in.Name, a.in.ID)
	if err == nil && a.in.Version == 0 {
		err = t.query(`SELECT count(*) FROM schedules WHERE source = 'api'`, func(r Row) error { return r.Scan(&n) })
	}
	if err != nil {
		return fmt.Errorf("look for other schedules: %w", err)
	}
	switch {
	case taken != "":
		a.err = &sdk.Error{Code: sdk.CodeConflict, Message: fmt.Sprintf("there is a schedule %q already, %s; choose another name", a.in.Name, taken),
			Fields: []sdk.Field{{Field: "name", Message: "is in use"}}}
	case n >= runtime.MaxSchedules:
		a.err = sdk.Errorf(sdk.CodeLimitExceeded, "there are %d schedules, as many as there can be; delete some", n)
	}
	return nil
}

type tickArg struct {
	in  runtime.TickRequest
	out runtime.Ticked
}

// Tick implements runtime.Store.
func (s *Store) Tick(ctx context.Context, req runtime.TickRequest) (runtime.Ticked, error) {
	a := &tickArg{in: req}
	if err := s.do(ctx, verbTick, 1+len(req.Tasks), a); err != nil {
		return runtime.Ticked{}, err
	}
	return a.out, nil
}

// fire moves a schedule on. The condition on its version lets one caller win, on
// whatever node; the others wait for that one's transaction and then find another
// version.
func (t *tick) fire(a *tickArg) error {
	a.out = runtime.Ticked{}
	q := a.in
	n, err := t.exec(`UPDATE schedules SET next_at = $1, fault = $2, version = version + 1 WHERE id = $3 AND version = $4`,
		int64(q.Next), q.Error, q.ID, q.Version)
	if err != nil {
		return fmt.Errorf("move a schedule on: %w", err)
	}
	if n == 0 {
		return nil
	}
	a.out.Won = true
	if len(q.Tasks) == 0 {
		return nil
	}
	if err := t.overlap(a); err != nil || a.out.Skipped {
		return err
	}
	sub := &submitArg{in: q.Tasks, out: make([]runtime.Submitted, len(q.Tasks))}
	if err := t.submit([]*submitArg{sub}); err != nil {
		return err
	}
	for i := range sub.out {
		fault := sub.out[i].Err
		switch {
		case fault == nil:
			a.out.Tasks = append(a.out.Tasks, sub.out[i].Task)
		case q.Last == 0 || fault.Code != sdk.CodeLimitExceeded:
			return fault
		default:
			a.out.Refused = fault
		}
	}
	if a.out.Refused != nil {
		next := q.Next
		if next == 0 {
			next = q.Now.Add(runtime.TickAgain)
		}
		if _, err := t.exec(`UPDATE schedules SET next_at = $1, fault = $2 WHERE id = $3`, int64(next), a.out.Refused.Error(), q.ID); err != nil {
			return fmt.Errorf("note why a tick was skipped: %w", err)
		}
		if len(a.out.Tasks) == 0 {
			return nil
		}
	}
	if _, err := t.exec(`UPDATE schedules SET last_at = CASE WHEN CAST($1 AS BIGINT) > 0 THEN CAST($1 AS BIGINT) ELSE last_at END, last_task = $2 WHERE id = $3`,
		int64(q.Last), a.out.Tasks[len(a.out.Tasks)-1].ID, q.ID); err != nil {
		return fmt.Errorf("note a schedule's last task: %w", err)
	}
	return nil
}

// overlap does what the schedule wants done about its tasks that have not ended.
func (t *tick) overlap(a *tickArg) error {
	if a.in.Overlap == sdk.OverlapAllow {
		return nil
	}
	var ids []string
	err := t.query(`SELECT id FROM tasks WHERE schedule = $1 AND schedule <> '' AND finished_at = 0 ORDER BY id`, func(r Row) error {
		var id string
		err := r.Scan(&id)
		ids = append(ids, id)
		return err
	}, a.in.ID)
	if err != nil {
		return fmt.Errorf("find the tasks of earlier ticks: %w", err)
	}
	if a.in.Overlap == sdk.OverlapSkip {
		a.out.Skipped = len(ids) > 0
		return nil
	}
	for _, id := range ids {
		var out runtime.Cancelled
		q := runtime.CancelRequest{ID: id, Now: a.in.Now, Reason: "the next tick of schedule " + a.in.ID + " came"}
		if err := t.cancelOne(q, &out); err != nil {
			return fmt.Errorf("cancel the task of an earlier tick: %w", err)
		}
	}
	return nil
}
