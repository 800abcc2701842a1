package store

import (
	"context"
	"fmt"

	"github.com/nagatha/nagatha-runtime/runtime"
	"github.com/nagatha/nagatha-runtime/sdk"
)

type evictArg struct {
	parked []runtime.Fence
	out    []bool
}

// Evict implements runtime.Store.
func (s *Store) Evict(ctx context.Context, parked []runtime.Fence) ([]bool, error) {
	a := &evictArg{parked: parked, out: make([]bool, len(parked))}
	if err := s.do(context.WithoutCancel(ctx), verbEvict, max(1, len(parked)), a); err != nil {
		return nil, err
	}
	return a.out, nil
}

// evict takes parked attempts off their nodes. The new token fences what is left of
// the old run. One whose last answer has come is queued.
func (t *tick) evict(a *evictArg) error {
	clear(a.out)
	if len(a.parked) == 0 {
		return nil
	}
	table := make([][]any, len(a.parked))
	place := make(map[string]int, len(a.parked))
	for i, f := range a.parked {
		table[i] = []any{f.Task, f.Token}
		place[f.Task] = i
	}
	err := t.over(`id_ TEXT, token_ BIGINT`, table, `UPDATE tasks SET node = '', token = token + 1, replay = 1,
			reason    = CASE WHEN ready = 1 THEN '' ELSE reason END,
			event_seq = event_seq + ready,
			state     = CASE WHEN ready = 1 THEN 'queued' ELSE state END,
			version   = version + 1
		FROM r WHERE tasks.id = r.id_ AND token = r.token_ AND state || '' = 'waiting' AND node || '' <> ''
		RETURNING `+taskColumns+`, event_seq`,
		func(r Row) error {
			var k sdk.Task
			var seq int64
			if err := scanTask(r, &k, &seq); err != nil {
				return err
			}
			a.out[place[k.ID]] = true
			if k.State == sdk.StateQueued {
				t.event(&k, seq, sdk.EventResumed, t.now, `{}`)
				t.changed(&k, seq)
			}
			return nil
		})
	if err != nil {
		return fmt.Errorf("evict parked attempts: %w", err)
	}
	return nil
}

// evictNodes evicts what is parked on nodes that are dead.
func (t *tick) evictNodes(dead func(node string) bool) error {
	a := &evictArg{}
	err := t.query(`SELECT id, token, node FROM tasks WHERE node <> '' AND state || '' = 'waiting'`, func(r Row) error {
		var f runtime.Fence
		var node string
		err := r.Scan(&f.Task, &f.Token, &node)
		if dead(node) {
			a.parked = append(a.parked, f)
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("find what is parked on dead nodes: %w", err)
	}
	a.out = make([]bool, len(a.parked))
	return t.evict(a)
}
