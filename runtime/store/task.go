package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nagatha/nagatha-runtime/runtime"
	"github.com/nagatha/nagatha-runtime/sdk"
)

const taskColumns = `id, kind, queue, state, priority, payload, result, error, progress, life, attempt, max_attempts,
	plugin, plugin_version,
	CASE WHEN state = 'queued' AND ready = 0 AND concurrency_key <> '' THEN 'concurrency key "' || concurrency_key || '" is busy' ELSE reason END,
	created_at, run_at, started_at, finished_at, deadline, timeout_ms,
	parent, schedule, labels, owner, version, concurrency_key`

// scanTask reads taskColumns, and after them whatever more points to.
func scanTask(r Row, t *sdk.Task, more ...any) error {
	var payload, labels string
	var result, fault, progress sql.NullString
	var timeout int64
	dest := append([]any{&t.ID, &t.Kind, &t.Queue, &t.State, &t.Priority, &payload, &result, &fault, &progress,
		&t.Life, &t.Attempt, &t.MaxAttempts, &t.Plugin, &t.PluginVersion, &t.Reason,
		&t.CreatedAt, &t.RunAt, &t.StartedAt, &t.FinishedAt, &t.Deadline, &timeout,
		&t.Parent, &t.Schedule, &labels, &t.Owner, &t.Version, &t.ConcurrencyKey}, more...)
	if err := r.Scan(dest...); err != nil {
		return err
	}
	t.Payload = json.RawMessage(payload)
	t.Timeout = sdk.Duration(time.Duration(timeout) * time.Millisecond)
	if result.Valid {
		t.Result = json.RawMessage(result.String)
	}
	if fault.Valid {
		t.Error = &sdk.Error{}
		if err := json.Unmarshal([]byte(fault.String), t.Error); err != nil {
			return fmt.Errorf("error of task %s: %w", t.ID, err)
		}
	}
	if progress.Valid {
		t.Progress = &sdk.Progress{}
		if err := json.Unmarshal([]byte(progress.String), t.Progress); err != nil {
			return fmt.Errorf("progress of task %s: %w", t.ID, err)
		}
	}
	t.Labels = map[string]string{}
	if labels != "{}" {
		return json.Unmarshal([]byte(labels), &t.Labels)
	}
	return nil
}

func noTask(id string) *sdk.Error {
	return sdk.Errorf(sdk.CodeNotFound, "there is no task %.80q", id)
}

// Task implements runtime.Store.
func (s *Store) Task(ctx context.Context, id string) (sdk.Task, error) {
	var t sdk.Task
	found := false
	err := s.read(ctx, `SELECT `+taskColumns+` FROM tasks WHERE id = $1`, func(r Row) error {
		found = true
		return scanTask(r, &t)
	}, id)
	if err != nil {
		return t, fmt.Errorf("read task: %w", err)
	}
	if !found {
		return t, noTask(id)
	}
	return t, nil
}

// Tasks implements runtime.Store.
func (s *Store) Tasks(ctx context.Context, f runtime.TaskFilter) (runtime.TaskPage, error) {
	w, err := s.where(f)
	if err != nil {
		return runtime.TaskPage{}, err
	}
	var page runtime.TaskPage
	text := `SELECT ` + taskColumns + ` FROM tasks` + w.text() + ` ORDER BY id DESC LIMIT ` + w.arg(f.Limit+1)
	err = s.read(ctx, text, func(r Row) error {
		var t sdk.Task
		err := scanTask(r, &t)
		page.Tasks = append(page.Tasks, t)
		return err
	}, w.args...)
	if err != nil {
		return runtime.TaskPage{}, fmt.Errorf("list tasks: %w", err)
	}
	if len(page.Tasks) > f.Limit {
		page.Tasks = page.Tasks[:f.Limit]
		page.Next = page.Tasks[f.Limit-1].ID
	}
	return page, nil
}

// TaskIDs implements runtime.Store.
func (s *Store) TaskIDs(ctx context.Context, f runtime.TaskFilter) ([]string, error) {
	w, err := s.where(f)
	if err != nil {
		return nil, err
	}
	var ids []string
	err = s.read(ctx, `SELECT id FROM tasks`+w.text()+` ORDER BY id DESC LIMIT `+w.arg(f.Limit), func(r Row) error {
		var id string
		err := r.Scan(&id)
		ids = append(ids, id)
		return err
	}, w.args...)
	if err != nil {
		return nil, fmt.Errorf("list tasks: %w", err)
	}
	return ids, nil
}

// The conditions of indexes, as a query must repeat them.
const (
	unsuccessful = `state IN ('failed', 'cancelled')`
	later        = `state IN ('scheduled', 'retrying', 'waiting')`
)

// where is the condition of a filter.
func (s *Store) where(f runtime.TaskFilter) (w where, err error) {
	if f.Cursor != "" {
		if !strings.HasPrefix(f.Cursor, "tsk_") {
			return w, sdk.Errorf(sdk.CodeBadCursor, "%.80q is no cursor: send the next_cursor of the page before", f.Cursor)
		}
		w.add(`id < ` + w.arg(f.Cursor))
	}
	if len(f.States) > 0 {
		list := make([]string, len(f.States))
		for i, st := range f.States {
			list[i] = w.arg(string(st))
		}
		w.add(`state IN (` + strings.Join(list, ", ") + `)`)
		for _, all := range []string{unsuccessful, later} {
			if !slices.ContainsFunc(f.States, func(st sdk.State) bool { return !strings.Contains(all, `'`+string(st)+`'`) }) {
				w.add(all)
			}
		}
		if len(f.States) == 1 && f.States[0] == sdk.StateRunning {
			w.add(`id IN (SELECT id FROM tasks WHERE node <> '')`)
		}
	}
	if len(f.Kinds) > 0 {
		list := make([]string, len(f.Kinds))
		for i, k := range f.Kinds {
			if prefix, ok := strings.CutSuffix(k, "*"); ok {
				list[i] = `kind LIKE ` + w.arg(likePrefix(prefix)) + ` ESCAPE '\'`
			} else {
				list[i] = `kind = ` + w.arg(k)
			}
		}
		w.add(`(` + strings.Join(list, " OR ") + `)`)
	}
	for _, is := range []struct{ column, value string }{{"queue", f.Queue}, {"parent", f.Parent}, {"schedule", f.Schedule}} {
		if is.value != "" {
			w.add(is.column + ` = ` + w.arg(is.value) + ` AND ` + is.column + ` <> ''`)
		}
	}
	for _, l := range f.Labels {
		k, v, _ := strings.Cut(l, "=")
		w.add(s.dialect.label(w.arg(k), w.arg(v)))
	}
	if f.Query != "" {
		// Errors and labels are JSON, so it is looked for as it stands there. Both sides
		// lose their case in the database: SQLite knows of ASCII's alone.
		text, err := json.Marshal(f.Query)
		if err != nil {
			return w, err
		}
		pattern := w.arg("%" + likePrefix(string(text[1:len(text)-1])))
		var terms []string
		for _, column := range []string{"id", "kind", "error", "labels"} {
			terms = append(terms, s.dialect.contains(column, pattern))
		}
		w.add(`(` + strings.Join(terms, ` OR `) + `)`)
	}
	return w, nil
}

// where collects conditions with their parameters, numbered as they come.
type where struct {
	terms []string
	args  []any
}

func (w *where) arg(v any) string {
	w.args = append(w.args, v)
	return fmt.Sprintf("$%d", len(w.args))
}

func (w *where) add(term string) { w.terms = append(w.terms, term) }

func (w *where) text() string {
	if len(w.terms) == 0 {
		return ""
	}
	return ` WHERE ` + strings.Join(w.terms, ` AND `)
}

// likePrefix is a LIKE pattern for what begins with s, whatever s contains.
func likePrefix(s string) string {
	return strings.NewReplacer(`\`, `\\`, `%`, `\%`, `_`, `\_`).Replace(s) + "%"
}

// Counts implements runtime.Store.
func (s *Store) Counts(ctx context.Context) (map[sdk.State]int64, error) {
	out := map[sdk.State]int64{}
	// Each part is counted in an index that has no more than it.
	err := s.read(ctx, `SELECT state, count(*) FROM tasks WHERE finished_at > 0 GROUP BY state
		UNION ALL SELECT state, count(*) FROM tasks WHERE `+later+` GROUP BY state
		UNION ALL SELECT 'running', count(*) FROM tasks WHERE node <> '' AND state || '' = 'running'
		UNION ALL SELECT 'queued', count(*) FROM tasks WHERE ready = 1 AND node = ''
		UNION ALL SELECT 'queued', count(*) FROM tasks WHERE `+inLine, func(r Row) error {
		var st sdk.State
		var n int64
		err := r.Scan(&st, &n)
		out[st] += n
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("count tasks: %w", err)
	}
	return out, nil
}
