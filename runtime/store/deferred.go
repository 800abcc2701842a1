package store

import (
	"fmt"

	"github.com/nagatha/nagatha-runtime/runtime"
	"github.com/nagatha/nagatha-runtime/sdk"
)

// Most tasks that are submitted while a slot is free start in the transaction that
// stores them. Where a set has claims, the insert of tasks that nothing can meet or look
// for before is put off until they have chosen: what starts at once is written once,
// running, instead of queued and then changed.

// Offer implements runtime.Store.
func (s *Store) Offer(o runtime.Offer) {
	if o == nil {
		s.offers.Store(nil)
		return
	}
	s.offers.Store(&o)
}

// ask asks for free slots, so that what is ready starts at once. Those of attempts that
// have ended in this transaction are among them: a queue that is full would otherwise need
// a second transaction for each task.
func (t *tick) ask() {
	o := t.offers.Load()
	for _, n := range t.deferred {
		t.news.Ready[n.Task.Queue] = true
	}
	if o == nil || !t.news.Anywhere && len(t.news.Ready) == 0 && len(t.news.Ending) == 0 {
		return
	}
	if req, ok := (*o).Free(t.news); ok {
		t.free, t.slots = &claimArg{asked: req}, *o
	}
}

// hand hands over what was claimed for slots that were offered, drop gives them back.
func (t *tick) hand() {
	if t.free != nil {
		t.slots.Take(t.free.out)
	}
}

func (t *tick) drop() {
	if t.free != nil {
		t.slots.Take(nil)
	}
}

// claimAll runs the claims of a set, once everything before them is settled.
func (t *tick) claimAll(all []*claimArg) error {
	if err := t.settle(); err != nil {
		return err
	}
	if len(all) == 0 {
		if t.ask(); t.free != nil {
			all = append(all, t.free)
		}
	}
	for _, a := range all {
		a.req = a.asked
		if a.req.Again != nil && len(t.news.Ending) > 0 {
			a.req = a.req.Again(t.news.Ending)
		}
		if err := t.claim(a); err != nil {
			return err
		}
	}
	return t.insertDeferred()
}

// simple reports whether the insert of a task can be put off: it can have no double, is
// ready as it comes, and no other verb of the set can ask for it.
func (n *newcomer) simple() bool {
	k := &n.Task
	return !n.rare() && n.IdempotencyKey == "" && n.Delivery == "" && len(n.After) == 0 &&
		k.State == sdk.StateQueued && k.Parent == "" && k.Schedule == ""
}

const (
	simpleColumns = `id TEXT, kind TEXT, queue TEXT, priority INTEGER, payload TEXT, max_attempts INTEGER, created_at BIGINT, run_at BIGINT,
		timeout_ms BIGINT, labels TEXT, owner TEXT, hops INTEGER, traceparent TEXT`
	simpleNames = `id, kind, queue, priority, payload, max_attempts, created_at, run_at, timeout_ms, labels, owner, hops, traceparent`
)

// simpleRow is a simple task as its insert takes it.
func (n *newcomer) simpleRow() ([]any, error) {
	k := &n.Task
	labels, err := n.labels()
	if err != nil {
		return nil, err
	}
	return append(make([]any, 0, 15), k.ID, k.Kind, k.Queue, k.Priority, string(k.Payload), k.MaxAttempts, int64(k.CreatedAt), int64(k.RunAt),
		k.Timeout.Std().Milliseconds(), labels, k.Owner, n.Hops, n.TraceParent), nil
}

// waiting adds the tasks of a lane that are not inserted yet to what a claim found.
func (t *tick) waiting(lane runtime.Lane, found []candidate) []candidate {
	if len(t.deferred) == 0 {
		return found
	}
	kinds := make(map[string]bool, len(lane.Kinds))
	for _, k := range lane.Kinds {
		kinds[k.Kind] = true
	}
	for _, n := range t.deferred {
		k := &n.Task
		if k.Queue == lane.Queue && kinds[k.Kind] && !n.begun {
			found = append(found, candidate{id: k.ID, kind: k.Kind, line: k.Priority, runAt: k.RunAt, fresh: n})
		}
	}
	return found
}

// begin inserts tasks that a claim has chosen before they were inserted.
func (t *tick) begin(a *claimArg, chosen []start, seqs map[string]int64, now sdk.Time) error {
	if len(chosen) == 0 {
		return nil
	}
	table := make([][]any, len(chosen))
	for i, c := range chosen {
		n := c.fresh
		row, err := n.simpleRow()
		if err != nil {
			return err
		}
		table[i] = append(row, c.by.Plugin, c.by.PluginVersion)
		n.begun = true
		k := n.Task
		k.State, k.Life, k.Attempt, k.Version, k.StartedAt = sdk.StateRunning, 1, 1, 2, now
		if k.Labels == nil {
			k.Labels = map[string]string{}
		}
		k.Plugin, k.PluginVersion = c.by.Plugin, c.by.PluginVersion
		a.out = append(a.out, runtime.Claimed{Task: k, Token: 1, Hops: n.Hops, TraceParent: n.TraceParent})
		seqs[k.ID] = 3
	}
	return t.over(simpleColumns+`, plugin TEXT, plugin_version TEXT`, table, `INSERT INTO tasks (`+simpleNames+`, plugin, plugin_version,
			state, ready, node, line, life, attempt, token, version, event_seq, started_at)
		SELECT `+simpleNames+`, plugin, plugin_version, 'running', 0, {1}, priority, 1, 1, 1, 2, 3, {2} FROM r`, nil, a.req.Node, int64(now))
}

// insertDeferred inserts what no claim has chosen.
func (t *tick) insertDeferred() error {
	var table [][]any
	for _, n := range t.deferred {
		if n.begun {
			continue
		}
		row, err := n.simpleRow()
		if err != nil {
			return err
		}
		table = append(table, row)
		k := n.Task
		k.Life, k.Version = 1, 1
		t.changed(&k, 2)
	}
	t.deferred = nil
	err := t.over(simpleColumns, table, `INSERT INTO tasks (`+simpleNames+`, state, ready, line, life, attempt, version, event_seq)
		SELECT `+simpleNames+`, 'queued', 1, priority, 1, 0, 1, 2 FROM r`, nil)
	if err != nil {
		return fmt.Errorf("insert tasks: %w", err)
	}
	return nil
}
