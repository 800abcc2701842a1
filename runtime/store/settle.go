package store

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/nagatha/nagatha-runtime/runtime"
	"github.com/nagatha/nagatha-runtime/sdk"
)

// resumeLine is the place in the queue of what goes on after it waited: before
// every priority.
const resumeLine = 1000

// end notes a task whose life ended. needed is its column dependents: whether
// somebody other than its parent may care.
func (t *tick) end(k *sdk.Task, needed bool) {
	if k.Parent != "" || needed || k.State == sdk.StateCancelled {
		t.ended = append(t.ended, ended{Task: *k, needed: needed})
	}
}

type ended struct {
	sdk.Task
	needed bool
	force  bool // its children get no grace
}

// settle does what ends bring about: answers for those who wait, a start or a
// failure for those who are held back, the end of a cancelled task's children. Those
// ends are settled in turn.
func (t *tick) settle() error {
	for len(t.ended) > 0 || len(t.keys) > 0 {
		if len(t.ended) == 0 {
			if err := t.gate(); err != nil {
				return err
			}
			continue
		}
		set := t.ended
		t.ended = nil
		if err := t.answerEnds(set); err != nil {
			return fmt.Errorf("answer who waits: %w", err)
		}
		if err := t.release(set); err != nil {
			return fmt.Errorf("release what was held back: %w", err)
		}
		for i := range set {
			if set[i].State == sdk.StateCancelled {
				if err := t.cancelChildren(set[i].ID, set[i].force); err != nil {
					return fmt.Errorf("cancel children: %w", err)
				}
			}
		}
	}
	return nil
}

// answerEnds answers the operations that wait for these tasks.
func (t *tick) answerEnds(set []ended) error {
	var table [][]any
	for i := range set {
		if k := &set[i]; k.Parent != "" || k.needed {
			table = append(table, []any{k.ID, string(outcome(&k.Task))})
		}
	}
	if len(table) == 0 {
		return nil
	}
	woken := map[string]int{}
	err := t.over(`id_ TEXT, answer_ TEXT`, table,
		`UPDATE operations SET answered = {1}, answer = r.answer_ FROM r
		WHERE operations.child = r.id_ AND child <> '' AND answered = 0 RETURNING task, waiting`,
		func(r Row) error { return countWaiting(r, woken) }, int64(max(t.now, 1)))
	if err != nil {
		return err
	}
	return t.wake(woken)
}

func countWaiting(r Row, woken map[string]int) error {
	var task string
	var waiting int
	err := r.Scan(&task, &waiting)
	if waiting == 1 {
		woken[task]++
	}
	return err
}

// wake takes answers off what tasks wait for. One that waits for nothing more may
// go on: on the node where it is parked, or from the top.
func (t *tick) wake(woken map[string]int) error {
	if len(woken) == 0 {
		return nil
	}
	var table [][]any
	for _, id := range slices.Sorted(maps.Keys(woken)) {
		table = append(table, []any{id, woken[id]})
	}
	const all, gone = `waits = r.n AND state || '' = 'waiting'`, `waits = r.n AND state || '' = 'waiting' AND node || '' = ''`
	return t.over(`id_ TEXT, n BIGINT`, table, `UPDATE tasks SET waits = waits - r.n,
			ready     = CASE WHEN `+all+` THEN 1 ELSE ready END,
			line      = CASE WHEN `+all+` THEN {1} ELSE line END,
			replay    = CASE WHEN `+gone+` THEN 1 ELSE replay END,
			reason    = CASE WHEN `+gone+` THEN '' ELSE reason END,
			event_seq = event_seq + CASE WHEN `+gone+` THEN 1 ELSE 0 END,
			state     = CASE WHEN `+gone+` THEN 'queued' ELSE state END,
			version   = version + 1
		FROM r WHERE tasks.id = r.id_ AND waits >= r.n
		RETURNING `+taskColumns+`, event_seq, ready, token, node`,
		func(r Row) error {
			var k sdk.Task
			var seq, token int64
			var ready int
			var node string
			if err := scanTask(r, &k, &seq, &ready, &token, &node); err != nil {
				return err
			}
			switch {
			case k.State == sdk.StateQueued:
				t.event(&k, seq, sdk.EventResumed, t.now, `{}`)
				t.changed(&k, seq)
			case ready == 1:
				t.ready(k.Queue)
			case node != "":
				t.out.Answered = append(t.out.Answered, runtime.Fence{Task: k.ID, Token: token})
			}
			return nil
		}, resumeLine)
}

// release starts tasks that were held back by these, or fails them.
func (t *tick) release(set []ended) error {
	for i := range set {
		k := &set[i]
		if !k.needed {
			continue
		}
		var held [][]any
		err := t.query(`DELETE FROM held WHERE needs = $1 RETURNING task`, func(r Row) error {
			var id string
			err := r.Scan(&id)
			held = append(held, []any{id})
			return err
		}, k.ID)
		if err != nil {
			return err
		}
		slices.SortFunc(held, func(a, b []any) int {
			if a[0].(string) < b[0].(string) {
				return -1
			}
			return 1
		})
		if k.State == sdk.StateCompleted {
			err = t.unhold(held)
		} else {
			err = t.failHeld(held, k)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// unhold takes a completed task off what holds others back.
func (t *tick) unhold(held [][]any) error {
	if len(held) == 0 {
		return nil
	}
	const free = `held = 1 AND run_at <= {1}`
	return t.over(`id_ TEXT`, held, `UPDATE tasks SET
			state     = CASE WHEN `+free+` THEN 'queued' ELSE state END,
			ready     = CASE WHEN `+free+` THEN `+readyNow+` ELSE ready END,
			reason    = CASE WHEN held = 1 THEN '' ELSE reason END,
			event_seq = event_seq + CASE WHEN `+free+` THEN 1 ELSE 0 END,
			held      = held - 1, version = version + 1
		FROM r WHERE tasks.id = r.id_ AND state || '' = 'scheduled' AND held > 0
		RETURNING `+taskColumns+`, event_seq, held`,
		func(r Row) error {
			var k sdk.Task
			var seq int64
			var left int
			if err := scanTask(r, &k, &seq, &left); err != nil {
				return err
			}
			if k.State == sdk.StateQueued {
				t.event(&k, seq, sdk.EventQueued, t.now, `{}`)
				t.changed(&k, seq)
			} else if left == 0 {
				t.changed(&k, seq) // due later
			}
			return nil
		}, int64(t.now))
}

// failHeld ends tasks that can never start.
func (t *tick) failHeld(held [][]any, needs *ended) error {
	if len(held) == 0 {
		return nil
	}
	fault := dependencyFailed(needs.ID, needs.State)
	b, data, err := failure(fault)
	if err != nil {
		return err
	}
	return t.over(`id_ TEXT`, held, `UPDATE tasks SET state = 'failed', error = {1}, reason = '', held = 0, ready = 0, finished_at = {2},
			event_seq = event_seq + 1, version = version + 1
		FROM r WHERE tasks.id = r.id_ AND state || '' = 'scheduled' AND held > 0
		RETURNING `+taskColumns+`, event_seq, dependents`,
		func(r Row) error {
			var k sdk.Task
			var seq int64
			var needed bool
			if err := scanTask(r, &k, &seq, &needed); err != nil {
				return err
			}
			t.event(&k, seq, sdk.EventFailed, t.now, data)
			t.changed(&k, seq)
			t.end(&k, needed)
			return nil
		}, b, int64(max(t.now, 1)))
}

func dependencyFailed(id string, state sdk.State) *sdk.Error {
	return sdk.Errorf(sdk.CodeDependencyFailed, "task %s, which must complete first, is %s", id, state)
}

// failure is an error as its column has it, and the data of the event.
func failure(e *sdk.Error) (column, data string, err error) {
	b, err := json.Marshal(e)
	if err != nil {
		return "", "", err
	}
	return string(b), `{"error":` + string(b) + `}`, nil
}
