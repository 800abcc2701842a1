package store

import (
	"context"
	"errors"
	"fmt"

	"github.com/nagatha/nagatha-runtime/runtime"
	"github.com/nagatha/nagatha-runtime/sdk"
)

// owners answers submissions whose idempotency key, or unique, belongs to an earlier
// task.
func (t *tick) owners(all []*newcomer) error {
	for _, n := range all {
		if n.new || n.out.Duplicate || n.out.Err != nil {
			continue
		}
		if err := t.owner(n); err != nil {
			return err
		}
	}
	return nil
}

func (t *tick) owner(n *newcomer) error {
	var hash string
	scan := func(r Row) error { return scanTask(r, &n.out.Task, &hash) }
	if n.IdempotencyKey != "" {
		err := t.query(keyedTask, scan, n.Task.Owner, n.IdempotencyKey)
		if err != nil {
			return fmt.Errorf("find the task of an idempotency key: %w", err)
		}
		if n.out.Task.ID != "" {
			if n.out.Duplicate = true; hash != n.BodyHash {
				*n.out = runtime.Submitted{Err: runtime.KeyConflict(n.IdempotencyKey)}
			}
			return nil
		}
	}
	if n.unmet != "" {
		n.out.Err = noneBefore(n.unmet)
		return nil
	}
	if n.Unique != "" {
		err := t.query(`SELECT `+taskColumns+`, body_hash FROM tasks WHERE unique_key = $1 AND unique_key IS NOT NULL AND finished_at = 0`, scan, n.Unique)
		if err != nil {
			return fmt.Errorf("find a unique task: %w", err)
		}
		if n.out.Task.ID != "" {
			n.out.Duplicate = true
			return t.alias(n)
		}
	}
	if n.full {
		n.out.Err = queueFull(n.Task.Queue, t.limitsOf(n.Task.Queue).Depth)
		return nil
	}
	// What it met has ended on another node in between.
	return fmt.Errorf("task %s was not inserted: %w", n.Task.ID, errAgain)
}

// alias notes that a submit was answered by another task than its own, so that it is
// answered by the same one when it comes again, and that one has ended.
func (t *tick) alias(n *newcomer) error {
	if n.IdempotencyKey == "" {
		return nil
	}
	_, err := t.exec(`INSERT INTO aliases (owner, idempotency_key, body_hash, task) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING`,
		n.Task.Owner, n.IdempotencyKey, n.BodyHash, n.out.Task.ID)
	if err != nil {
		return fmt.Errorf("note an idempotency key: %w", err)
	}
	return nil
}

// keyedTask finds the task of an idempotency key of an owner, and the body that the key
// was used with.
const keyedTask = `SELECT ` + taskColumns + `, COALESCE((SELECT k.body_hash FROM tasks AS k WHERE k.owner = $1 AND k.idempotency_key = $2),
		(SELECT aliases.body_hash FROM aliases WHERE owner = $1 AND idempotency_key = $2))
	FROM tasks WHERE id = COALESCE((SELECT id FROM tasks WHERE owner = $1 AND idempotency_key = $2),
		(SELECT task FROM aliases WHERE owner = $1 AND idempotency_key = $2))`

// Keyed implements runtime.Store.
func (s *Store) Keyed(ctx context.Context, owner, key string) (task sdk.Task, bodyHash string, err error) {
	if !clean(owner) || !clean(key) {
		return task, "", nil
	}
	err = s.read(ctx, keyedTask, func(r Row) error { return scanTask(r, &task, &bodyHash) }, owner, key)
	return task, bodyHash, err
}

// errAgain asks for the set to be run again.
var errAgain = errors.New("another node was in the way")
