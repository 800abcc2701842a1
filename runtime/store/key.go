package store

import (
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nagatha/nagatha-runtime/runtime"
	"github.com/nagatha/nagatha-runtime/sdk"
)

// Concurrency keys. A slot of a key belongs to a task that was claimed and has not
// ended: one that runs, waits, or was answered and is about to go on. Nothing counts
// slots, so none can leak: who holds them is read from the tasks themselves. A task
// whose ancestor holds the key runs under that slot.
//
// Claims never meet a long line. A task with a key is queued with ready = 0, and while
// a slot is free the first of its line is offered (ready = 1): the first of each queue
// and kind, since nobody here knows which of them may start. An offer holds nothing.
// The claim that takes one looks at the slots again, and the gate then withdraws the
// others.

// readyNow is the value of ready for a task that becomes queued: one that needs a slot
// is offered by the gate alone.
const readyNow = `CASE WHEN concurrency_key <> '' AND key_shared = 0 THEN 0 ELSE 1 END`

var (
	// going is the condition under which a task goes on after it waited. It has kept
	// its slot.
	going = `line >= ` + strconv.Itoa(resumeLine)
	// slotKey is the key whose slot a task needs to be claimed, or ''.
	slotKey = `CASE WHEN key_shared = 0 AND NOT ` + going + ` THEN concurrency_key ELSE '' END`
	// offered is the condition of tasks that are offered to claims. It names the
	// condition of the index tasks_key_held, and keeps planners off that of
	// tasks_ready, which would be read from end to end.
	offered = `concurrency_key <> '' AND key_shared = 0 AND (ready = 1 OR state IN ('running', 'waiting')) AND ready + 0 = 1 AND state = 'queued' AND NOT ` + going
)

// gate brings the offers of keys up to date.
func (t *tick) gate() error {
	if err := t.disinherit(); err != nil {
		return fmt.Errorf("children of who held a concurrency key: %w", err)
	}
	if len(t.keys) == 0 {
		return nil
	}
	keys := column(slices.Sorted(maps.Keys(t.keys)))
	clear(t.keys)
	if err := t.offer(keys); err != nil {
		return fmt.Errorf("offer slots of concurrency keys: %w", err)
	}
	return nil
}

// column is a table of one column.
func column(list []string) [][]any {
	out := make([][]any, len(list))
	for i, v := range list {
		out[i] = []any{v}
	}
	return out
}

// offer brings the offers of a set of keys, which are in order, up to date.
func (t *tick) offer(keys [][]any) error {
	if t.dialect.lockKeys != "" {
		if err := t.over("key_ TEXT", keys, t.dialect.lockKeys, func(Row) error { return nil }); err != nil {
			return err
		}
	}
	// What was offered stands in line again: a better one may have come.
	err := t.over("key_ TEXT", keys, `UPDATE tasks SET ready = 0 WHERE `+t.dialect.among(`concurrency_key`, `SELECT key_ FROM r`)+` AND `+offered, nil)
	if err != nil {
		return err
	}
	held, err := t.held(keys)
	if err != nil {
		return err
	}
	var single [][]any // lanes with one free slot, as most have
	for lanes, err := t.lanes("key_ TEXT", keys, `(`+laneOf+` ORDER BY queue, kind LIMIT 1)`); ; {
		if err != nil || len(lanes) == 0 {
			return errors.Join(err, t.offerSingle(single))
		}
		for _, l := range lanes {
			key, queue := l[0].(string), l[1].(string)
			limits := t.limitsOf(queue)
			free := limits.KeyConcurrency - held[key]
			if free > 0 && limits.KeyRate.N > 0 {
				allowed, err := t.keyRate(queue, key, limits.KeyRate, 0)
				if err != nil {
					return err
				}
				free = min(free, allowed)
			}
			if free == 1 {
				single = append(single, l)
			} else if free > 1 {
				if err := t.offerMany(l, free); err != nil {
					return err
				}
			}
		}
		lanes, err = t.lanes("key_ TEXT, queue_ TEXT, kind_ TEXT", lanes, `COALESCE((`+laneOf+` AND queue = r.queue_ AND kind > r.kind_ ORDER BY kind LIMIT 1),
			(`+laneOf+` AND queue > r.queue_ ORDER BY queue, kind LIMIT 1))`)
	}
}

const (
	inLine = `concurrency_key <> '' AND state = 'queued' AND ready = 0`
	// laneOf begins a query for queues and kinds of tasks that stand in line for
	// r's key. Neither name has a space.
	laneOf = `SELECT queue || ' ' || kind FROM tasks WHERE concurrency_key = r.key_ AND ` + inLine
)

// lanes finds, for each row of r, a queue and kind of which tasks stand in line for
// its key, if there is one.
func (t *tick) lanes(columns string, rows [][]any, lane string) (out [][]any, err error) {
	err = t.over(columns, rows, `SELECT key_, `+lane+` FROM r`, func(r Row) error {
		var key string
		var lane sql.NullString
		if err := r.Scan(&key, &lane); err != nil || !lane.Valid {
			return err
		}
		queue, kind, _ := strings.Cut(lane.String, " ")
		out = append(out, []any{key, queue, kind})
		return nil
	})
	return out, err
}

// offerSingle offers a slot to the first of each lane.
func (t *tick) offerSingle(lanes [][]any) error {
	if len(lanes) == 0 {
		return nil
	}
	var ids []string
	err := t.over("key_ TEXT, queue_ TEXT, kind_ TEXT", lanes, `SELECT (SELECT id FROM tasks WHERE concurrency_key = r.key_ AND queue = r.queue_ AND kind = r.kind_ AND `+inLine+`
			ORDER BY line DESC, run_at, id LIMIT 1) FROM r`, func(r Row) error {
		var id string
		err := r.Scan(&id)
		ids = append(ids, id)
		return err
	})
	if err != nil {
		return err
	}
	t.somewhere()
	return t.over("id_ TEXT", column(ids), `UPDATE tasks SET ready = 1 WHERE `+t.dialect.among(`id`, `SELECT id_ FROM r`), nil)
}

func (t *tick) offerMany(lane []any, free int) error {
	n, err := t.exec(`UPDATE tasks SET ready = 1 WHERE `+t.dialect.among(`id`, `SELECT id FROM tasks
		WHERE concurrency_key = $1 AND queue = $2 AND kind = $3 AND `+inLine+` ORDER BY line DESC, run_at, id LIMIT $4`), append(slices.Clone(lane), free)...)
	if n > 0 {
		t.somewhere()
	}
	return err
}

// held counts the slots of keys that are taken.
func (t *tick) held(keys [][]any) (map[string]int, error) {
	out := map[string]int{}
	err := t.over("key_ TEXT", keys, `SELECT concurrency_key, count(*) FROM tasks WHERE `+t.dialect.among(`concurrency_key`, `SELECT key_ FROM r`)+` AND concurrency_key <> '' AND key_shared = 0
			AND (ready = 1 OR state IN ('running', 'waiting')) AND (state <> 'queued' OR `+going+`) GROUP BY concurrency_key`, func(r Row) error {
		var key string
		var n int
		err := r.Scan(&key, &n)
		out[key] = n
		return err
	})
	return out, err
}

// slots is what a claim knows of the keys that it meets.
type slots map[string]*slot

type slot struct {
	held int
	busy bool // another node is deciding about it
}

// learn finds out about the keys of candidates.
func (t *tick) learn(known slots, found []candidate) error {
	news := map[string]bool{}
	for _, c := range found {
		if c.key != "" && known[c.key] == nil {
			news[c.key] = true
		}
	}
	if len(news) == 0 {
		return nil
	}
	keys := column(slices.Sorted(maps.Keys(news)))
	for key := range news {
		known[key] = &slot{}
	}
	if t.dialect.tryKeys != "" {
		var ours []string
		err := t.over("key_ TEXT", keys, t.dialect.tryKeys, func(r Row) error {
			var key string
			var ok bool
			err := r.Scan(&key, &ok)
			if known[key].busy = !ok; ok {
				ours = append(ours, key)
			} else {
				t.lookAgain(t.now.Add(busyAgain)) // waiting could be for a node that waits for this one
			}
			return err
		})
		if err != nil {
			return err
		}
		keys = column(ours)
	}
	held, err := t.held(keys)
	for key, n := range held {
		known[key].held = n
	}
	return err
}

// busyAgain is when to look again for tasks whose key another node was deciding
// about.
const busyAgain = 20 * time.Millisecond

// take reports whether a claim may start one more task of a queue with this key.
func (t *tick) take(known slots, queue, key string) (bool, error) {
	s, limits := known[key], t.limitsOf(queue)
	if s.busy || s.held >= limits.KeyConcurrency {
		return false, nil
	}
	if limits.KeyRate.N > 0 {
		if n, err := t.keyRate(queue, key, limits.KeyRate, 1); err != nil || n == 0 {
			t.keys[key] = true // withdraw the offer, and look at others
			t.somewhere()
			return false, err
		}
	}
	s.held++
	return true, nil
}

// lookAgain asks for a claim at that time.
func (t *tick) lookAgain(at sdk.Time) {
	if t.out.NextDue == 0 || at < t.out.NextDue {
		t.out.NextDue = at
	}
}

// keyRate says how many starts a key's rate allows, and takes as many of them. Where
// it allows none, the key is noted for dueKeys.
func (t *tick) keyRate(queue, key string, rate runtime.Rate, take int64) (allowed int, err error) {
	c := cellOf(rate)
	stored, err := t.rate(queue, key)
	if err != nil {
		return 0, err
	}
	now := micros(t.now)
	n, next := c.allows(stored, now)
	if n > 0 {
		if tat := c.after(stored, now, take); take > 0 || tat < stored {
			err = t.setRate(queue, key, tat, 0)
		}
		return int(n), err
	}
	due := millis(next)
	t.lookAgain(due)
	return 0, t.setRate(queue, key, c.settle(stored, now), due)
}

// dueKeys looks again at keys that their rate held back, at most limit of them, and
// says when the next may be.
func (t *tick) dueKeys(now sdk.Time, limit int) (n int, next sdk.Time, err error) {
	again := func(r Row) error {
		var key string
		err := r.Scan(&key)
		t.keys[key] = true
		n++
		return err
	}
	err = t.query(`UPDATE rates SET due = 0 WHERE due > 0 AND due <= $1 AND `+t.dialect.among(`due`, `SELECT due FROM rates WHERE due > 0 AND due <= $1 ORDER BY due LIMIT $2`)+` RETURNING key`,
		again, int64(now), limit)
	if err != nil {
		return n, 0, err
	}
	// After a clock that stepped back a due time lies further ahead than any rate
	// can put it.
	for _, q := range t.keyRates() {
		if err := t.query(`UPDATE rates SET due = 0 WHERE due > $1 AND due > 0 AND queue = $2 AND key <> '' RETURNING key`, again,
			int64(now)+cellOf(q.KeyRate).interval/1000+1, q.Name); err != nil {
			return n, 0, err
		}
	}
	err = t.query(`SELECT due FROM rates WHERE due > 0 ORDER BY due LIMIT 1`, func(r Row) error { return r.Scan(&next) })
	return n, next, err
}

// keyRates are the queues with a rate per key, in the order of their names: whoever
// changes rows of several takes them in the same order.
func (s *Store) keyRates() (out []runtime.QueueLimits) {
	if m := s.limits.Load(); m != nil {
		for _, name := range slices.Sorted(maps.Keys(*m)) {
			if q := (*m)[name]; q.KeyRate.N > 0 {
				out = append(out, q)
			}
		}
	}
	return out
}

// disinherit lets children whose slot has ended with its holder stand in line, or take
// a slot of their own where they run.
func (t *tick) disinherit() error {
	for len(t.heirs) > 0 {
		h := t.heirs[len(t.heirs)-1]
		t.heirs = t.heirs[:len(t.heirs)-1]
		type child struct {
			id, key string
			shared  bool
		}
		var children []child
		err := t.query(`SELECT id, concurrency_key, key_shared FROM tasks WHERE parent = $1 AND parent <> '' AND finished_at = 0 AND held_keys <> ''`,
			func(r Row) error {
				var c child
				err := r.Scan(&c.id, &c.key, &c.shared)
				children = append(children, c)
				return err
			}, h.id)
		if err != nil {
			return err
		}
		for _, c := range children {
			if !c.shared || c.key != h.key {
				t.heirs = append(t.heirs, heir{c.id, h.key}) // what it has started may
				continue
			}
			// What it has started in its turn runs under its slot from now on.
			if _, err := t.exec(`UPDATE tasks SET key_shared = 0, ready = CASE WHEN state = 'queued' AND NOT `+going+` THEN 0 ELSE ready END WHERE id = $1`, c.id); err != nil {
				return err
			}
			t.keys[h.key] = true
		}
	}
	return nil
}

// heir is a task that held a key, and has ended.
type heir struct{ id, key string }
