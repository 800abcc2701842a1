package store

import (
	"database/sql"
	"fmt"

	"github.com/nagatha/nagatha-runtime/sdk"
)

// doubles finds out, before a set is inserted, which of it will not take what others of
// the set could have: a place in a queue with a cap, or a unique. Whom the insert meets
// decides about the rest; if another node changes that in between, the set is run again.
func (t *tick) doubles(all []*newcomer) error {
	var keys, uniques, befores [][]any
	for i, n := range all {
		n.double, n.unmet, n.stillborn = false, "", false
		if n.out.Duplicate || n.Unique == "" && t.limitsOf(n.Task.Queue).Depth == 0 {
			continue
		}
		if n.IdempotencyKey != "" {
			keys = append(keys, []any{i, n.Task.Owner, n.IdempotencyKey})
		}
		if n.Unique == "" {
			continue
		}
		uniques = append(uniques, []any{i, n.Unique})
		for _, id := range n.After {
			befores = append(befores, []any{i, id})
		}
	}
	double := func(r Row) error {
		var i int
		var id sql.NullString
		err := r.Scan(&i, &id)
		all[i].double = all[i].double || id.Valid
		return err
	}
	if err := t.over("i BIGINT, owner_ TEXT, key_ TEXT", keys,
		`SELECT i, COALESCE((SELECT id FROM tasks WHERE owner = r.owner_ AND idempotency_key = r.key_),
			(SELECT task FROM aliases WHERE owner = r.owner_ AND idempotency_key = r.key_)) FROM r`, double); err != nil {
		return fmt.Errorf("find doubles by idempotency key: %w", err)
	}
	if err := t.over("i BIGINT, unique_ TEXT", uniques,
		`SELECT i, (SELECT id FROM tasks WHERE unique_key = r.unique_ AND unique_key IS NOT NULL AND finished_at = 0) FROM r`, double); err != nil {
		return fmt.Errorf("find doubles by unique: %w", err)
	}
	err := t.over("i BIGINT, id_ TEXT", befores, `SELECT i, id_, (SELECT state FROM tasks WHERE id = r.id_) FROM r`, func(r Row) error {
		var i int
		var id string
		var state sql.NullString
		err := r.Scan(&i, &id, &state)
		switch sdk.State(state.String) {
		case "":
			all[i].unmet = id
		case sdk.StateFailed, sdk.StateCancelled:
			all[i].stillborn = true
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("look at what comes before: %w", err)
	}
	return nil
}
