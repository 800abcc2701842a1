package store

import (
	"context"
	"fmt"

	"github.com/nagatha/nagatha-runtime/runtime"
)

type beatArg struct {
	node    runtime.NodeBeat
	leaving bool
}

// Beat implements runtime.Store.
func (s *Store) Beat(ctx context.Context, node runtime.NodeBeat) error {
	return s.do(ctx, verbBeat, 1, &beatArg{node: node})
}

// Leave implements runtime.Store.
func (s *Store) Leave(ctx context.Context, node string) error {
	return s.do(ctx, verbBeat, 1, &beatArg{node: runtime.NodeBeat{ID: node}, leaving: true})
}

func (t *tick) beat(a *beatArg) (err error) {
	if a.leaving {
		_, err = t.exec(`DELETE FROM nodes WHERE id = $1`, a.node.ID)
	} else {
		_, err = t.exec(`INSERT INTO nodes (id, beat, started, running) VALUES ($1, 1, $2, $3)
			ON CONFLICT (id) DO UPDATE SET beat = nodes.beat + 1, running = excluded.running`, a.node.ID, int64(a.node.Started), a.node.Running)
	}
	if err != nil {
		return fmt.Errorf("beat: %w", err)
	}
	return nil
}

// Nodes implements runtime.Store.
func (s *Store) Nodes(ctx context.Context) ([]runtime.NodeBeat, error) {
	var out []runtime.NodeBeat
	err := s.read(ctx, `SELECT id, beat, started, running FROM nodes ORDER BY id`, func(r Row) error {
		var n runtime.NodeBeat
		err := r.Scan(&n.ID, &n.Beat, &n.Started, &n.Running)
		out = append(out, n)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read the nodes: %w", err)
	}
	return out, nil
}

// Held implements runtime.Store.
func (s *Store) Held(ctx context.Context, node string) ([]runtime.Held, error) {
	var out []runtime.Held
	err := s.read(ctx, `SELECT id, token, cancel, cancel_reason FROM tasks WHERE node <> '' AND node = $1`, func(r Row) error {
		var h runtime.Held
		var cancel int
		err := r.Scan(&h.Task, &h.Token, &cancel, &h.Reason)
		h.Cancelled, h.Force = cancel > 0, cancel > 1
		out = append(out, h)
		return err
	}, node)
	if err != nil {
		return nil, fmt.Errorf("read the attempts of a node: %w", err)
	}
	return out, nil
}
