package store

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"path/filepath"

	"github.com/nagatha/nagatha-runtime/runtime"
	"github.com/nagatha/nagatha-runtime/sdk"
)

type pruneArg struct {
	req runtime.PruneRequest
	n   int
}

// Prune implements runtime.Store.
func (s *Store) Prune(ctx context.Context, req runtime.PruneRequest) (int, error) {
	a := &pruneArg{req: req}
	if err := s.do(ctx, verbPrune, 1, a); err != nil {
		return 0, err
	}
	return a.n, nil
}

func (t *tick) prune(a *pruneArg) error {
	a.n = 0
	q := a.req
	var ids [][]any
	for _, old := range []struct {
		state  sdk.State
		before sdk.Time
	}{{sdk.StateCompleted, q.CompletedBefore}, {sdk.StateCancelled, q.CompletedBefore}, {sdk.StateFailed, q.FailedBefore}} {
		err := t.query(`SELECT id FROM tasks WHERE state = $1 AND finished_at > 0 AND finished_at < $2
			ORDER BY finished_at LIMIT $3`+t.dialect.lock, // another node may be opening a new life
			func(r Row) error {
				var id string
				err := r.Scan(&id)
				ids = append(ids, []any{id})
				return err
			}, string(old.state), int64(old.before), q.Limit-len(ids))
		if err != nil {
			return fmt.Errorf("find old tasks: %w", err)
		}
	}
	pruned, n, err := t.remove(ids)
	if err != nil {
		return err
	}
	a.n += n
	highest := func(r Row) error {
		var pos int64
		err := r.Scan(&pos)
		pruned = max(pruned, pos)
		a.n++
		return err
	}
	if err := t.query(`DELETE FROM events WHERE `+t.dialect.among(`pos`, `SELECT pos FROM events WHERE task IS NULL AND time < $1 ORDER BY time LIMIT $2`)+` RETURNING pos`,
		highest, int64(q.EventsBefore), q.Limit); err != nil {
		return fmt.Errorf("delete old events: %w", err)
	}
	for _, d := range []struct {
		text string
		at   int64
	}{
		{`DELETE FROM deliveries WHERE ` + t.dialect.among(`mark`, `SELECT mark FROM deliveries WHERE created < $1 LIMIT $2`), int64(q.EventsBefore)},
		{`DELETE FROM data WHERE ` + t.dialect.among(`id`, `SELECT id FROM data WHERE expires_at > 0 AND expires_at <= $1 LIMIT $2`), int64(q.Now.Add(-keptExpired))},
	} {
		n, err := t.exec(d.text, d.at, q.Limit)
		if err != nil {
			return fmt.Errorf("delete what has expired: %w", err)
		}
		a.n += int(n)
	}
	// A rate whose time has come allows a whole burst, as one that is not known does.
	rates, err := t.exec(`DELETE FROM rates WHERE key <> '' AND due = 0 AND tat < $1 AND `+t.dialect.among(`key`, `SELECT key FROM rates WHERE key <> '' AND due = 0 AND tat < $1 LIMIT $2`),
		micros(q.Now), q.Limit)
	if err != nil {
		return fmt.Errorf("forget idle rates: %w", err)
	}
	a.n += int(rates)
	t.pruned = max(t.pruned, pruned)
	return nil
}

// notePruned says up to where the log has holes. It holds the head of the log, so what
// all nodes must wait for, and comes as late as that.
func (t *tick) notePruned() error {
	if t.pruned == 0 {
		return nil
	}
	if _, err := t.exec(`UPDATE log_head SET pruned = $1 WHERE id = 1 AND pruned < $1`, t.pruned); err != nil {
		return fmt.Errorf("note what was pruned: %w", err)
	}
	return nil
}

// remove deletes tasks with all that belongs to them. It returns the highest
// position of the log that it deleted, and how many rows of tasks and events.
func (t *tick) remove(ids [][]any) (pruned int64, n int, err error) {
	if len(ids) == 0 {
		return 0, 0, nil
	}
	highest := func(r Row) error {
		var pos int64
		err := r.Scan(&pos)
		pruned = max(pruned, pos)
		n++
		return err
	}
	if err := t.over("id_ TEXT", ids, `DELETE FROM events WHERE `+t.dialect.among(`task`, `SELECT id_ FROM r`)+` RETURNING pos`, highest); err != nil {
		return 0, 0, fmt.Errorf("delete events of old tasks: %w", err)
	}
	for _, table := range []string{"operations", "signals", "approvals", "held", "aliases"} {
		if err := t.over("id_ TEXT", ids, `DELETE FROM `+table+` WHERE `+t.dialect.among(`task`, `SELECT id_ FROM r`), nil); err != nil {
			return 0, 0, fmt.Errorf("delete what old tasks had recorded: %w", err)
		}
	}
	gone := func(Row) error { n++; return nil }
	if err := t.over("id_ TEXT", ids, `DELETE FROM tasks WHERE `+t.dialect.among(`id`, `SELECT id_ FROM r`)+` RETURNING id`, gone); err != nil {
		return 0, 0, fmt.Errorf("delete old tasks: %w", err)
	}
	return pruned, n, nil
}

type deleteArg struct {
	ids []string
	n   int
}

// Delete implements runtime.Store.
func (s *Store) Delete(ctx context.Context, ids []string) (int, error) {
	a := &deleteArg{ids: ids}
	if err := s.do(ctx, verbDelete, max(1, len(ids)), a); err != nil {
		return 0, err
	}
	return a.n, nil
}

func (t *tick) delete(a *deleteArg) error {
	a.n = 0
	var table, ended [][]any
	for _, id := range a.ids {
		table = append(table, []any{id})
	}
	err := t.over("id_ TEXT", table, `SELECT id FROM tasks WHERE `+t.dialect.among(`id`, `SELECT id_ FROM r`)+` AND finished_at > 0`+t.dialect.hold, func(r Row) error {
		var id string
		err := r.Scan(&id)
		ended = append(ended, []any{id})
		return err
	})
	if err != nil {
		return fmt.Errorf("find ended tasks: %w", err)
	}
	pruned, _, err := t.remove(ended)
	if err != nil {
		return err
	}
	a.n = len(ended)
	t.pruned = max(t.pruned, pruned)
	return nil
}

// Backup implements runtime.Store. The copy is compact, and is complete when it
// has its name.
func (s *Store) Backup(ctx context.Context, path string) error {
	if _, err := os.Stat(path); err == nil {
		return fmt.Errorf("back up: %s exists already", path)
	}
	part := path + ".part"
	_ = os.Remove(part) // of a backup that was cut
	defer os.Remove(part)
	if err := private(part); err != nil {
		return fmt.Errorf("back up: %w", err)
	}
	// The readers' connections refuse to write anything, the copy included.
	db, err := sql.Open("sqlite3", dsn(s.cfg.Path, "mode=ro"))
	if err != nil {
		return fmt.Errorf("back up: %w", err)
	}
	defer db.Close()
	if _, err := db.ExecContext(ctx, `VACUUM INTO $1`, part); err != nil {
		return fmt.Errorf("back up: %w", err)
	}
	if err := newHistory(ctx, part); err != nil {
		return fmt.Errorf("back up: %w", err)
	}
	if err := syncFile(part); err != nil {
		return fmt.Errorf("back up: %w", err)
	}
	if err := os.Rename(part, path); err != nil {
		return fmt.Errorf("back up: %w", err)
	}
	return syncFile(filepath.Dir(path))
}

// newHistory gives a copy an epoch of its own: cursors of the original do not
// hold in what the copy will become.
func newHistory(ctx context.Context, path string) error {
	db, err := sql.Open("sqlite3", dsn(path, "_synchronous=FULL&_journal_mode=DELETE"))
	if err != nil {
		return err
	}
	defer db.Close()
	_, err = db.ExecContext(ctx, `UPDATE log_head SET epoch = $1`, newEpoch())
	return err
}

func syncFile(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}
