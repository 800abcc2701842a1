package store

import (
	"fmt"
	"slices"
	"strings"

	"github.com/nagatha/nagatha-runtime/sdk"
)

// hold looks at what new tasks come after, once their rows are there. A task all of
// whose dependencies have completed starts as it would have; one that waits for some
// is held back; one of which some ended otherwise has failed; one of which some are
// unknown is taken out again.
func (t *tick) hold(all []*newcomer) error {
	var table [][]any
	seen := map[string]bool{}
	for _, n := range all {
		for _, id := range n.After {
			if !seen[id] {
				seen[id] = true
				table = append(table, []any{id})
			}
		}
	}
	if len(table) == 0 {
		return nil
	}
	slices.SortFunc(table, func(a, b []any) int { return strings.Compare(a[0].(string), b[0].(string)) })
	// Marking them first keeps another node from ending them unseen.
	states := map[string]sdk.State{}
	err := t.over(`id_ TEXT`, table, `UPDATE tasks SET dependents = 1 WHERE `+t.dialect.among(`id`, `SELECT id_ FROM r`)+` RETURNING id, state`,
		func(r Row) error {
			var id string
			var s sdk.State
			err := r.Scan(&id, &s)
			states[id] = s
			return err
		})
	if err != nil {
		return fmt.Errorf("find what tasks come after: %w", err)
	}
	var edges [][]any
	for _, n := range all {
		if len(n.After) == 0 {
			continue
		}
		more, err := t.holdOne(n, states)
		if err != nil {
			return err
		}
		edges = append(edges, more...)
	}
	if len(edges) == 0 {
		return nil
	}
	err = t.over(`needs TEXT, task TEXT`, edges, `INSERT INTO held (needs, task) SELECT needs, task FROM r WHERE true ON CONFLICT DO NOTHING`, nil)
	if err != nil {
		return fmt.Errorf("hold tasks back: %w", err)
	}
	return nil
}

func (t *tick) holdOne(n *newcomer, states map[string]sdk.State) (edges [][]any, err error) {
	k := &n.Task
	var open []string
	for _, id := range n.After {
		switch s, ok := states[id]; {
		case !ok || id == k.ID:
			n.new = false
			n.out.Err = noneBefore(id)
			if _, err := t.exec(`DELETE FROM tasks WHERE id = $1`, k.ID); err != nil {
				return nil, err
			}
			return nil, nil
		case s == sdk.StateFailed || s == sdk.StateCancelled:
			k.State, k.FinishedAt, k.Error = sdk.StateFailed, max(t.now, 1), dependencyFailed(id, s)
		case s != sdk.StateCompleted && !slices.Contains(open, id):
			open = append(open, id)
		}
	}
	if k.Error != nil {
		fault, _, err := failure(k.Error)
		if err != nil {
			return nil, err
		}
		_, err = t.exec(`UPDATE tasks SET state = 'failed', ready = 0, error = $1, finished_at = $2 WHERE id = $3`, fault, int64(k.FinishedAt), k.ID)
		return nil, err
	}
	if n.stillborn {
		return nil, errAgain // another node has opened a new life of what it comes after
	}
	if len(open) == 0 {
		return nil, nil
	}
	k.State = sdk.StateScheduled
	k.Reason = "waiting for " + strings.Join(open[:min(len(open), 3)], ", ")
	if n := len(open) - 3; n > 0 {
		k.Reason += fmt.Sprintf(" and %d more", n)
	}
	if _, err := t.exec(`UPDATE tasks SET state = 'scheduled', ready = 0, held = $1, reason = $2 WHERE id = $3`, len(open), k.Reason, k.ID); err != nil {
		return nil, err
	}
	for _, id := range open {
		edges = append(edges, []any{id, k.ID})
	}
	return edges, nil
}

func noneBefore(id string) *sdk.Error { return sdk.Invalid("after", "there is no task %.80q", id) }
