package store

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/nagatha/nagatha-runtime/runtime"
	"github.com/nagatha/nagatha-runtime/sdk"
)

type claimArg struct {
	asked runtime.ClaimRequest
	req   runtime.ClaimRequest // what holds in this transaction
	out   []runtime.Claimed
}

// Claim implements runtime.Store.
func (s *Store) Claim(ctx context.Context, req runtime.ClaimRequest) ([]runtime.Claimed, error) {
	n := 0
	for _, l := range req.Lanes {
		n += l.Limit
	}
	if n == 0 {
		return nil, nil
	}
	a := &claimArg{asked: req}
	// Claims are not cut short: a claim that commits after its caller has gone
	// would be an attempt that nobody runs.
	if err := s.do(context.WithoutCancel(ctx), verbClaim, min(n, maxSet/4), a); err != nil {
		return nil, err
	}
	return a.out, nil
}

// What tasks.replay says of the attempt that a claim starts, or started.
const (
	replayNone  = 0 // it is a new attempt
	replayAgain = 1 // it is the last one, which begins again with its recorded operations
	replayLive  = 2 // it is the last one, which was parked and goes on
)

// candidate is a queued task that a lane could take.
type candidate struct {
	id, kind string
	line     int
	runAt    sdk.Time
	key      string    // whose slot it needs, or ""
	fresh    *newcomer // it is not inserted yet
}

// start is a candidate that was chosen, and what will run it.
type start struct {
	candidate
	by runtime.KindSlots
}

func (t *tick) claim(a *claimArg) error {
	a.out = nil
	chosen, err := t.choose(a)
	if err != nil || len(chosen) == 0 {
		return err
	}
	order := make(map[string]int, len(chosen))
	var inserts []start
	var fresh, others [][]any
	for i, c := range chosen {
		order[c.id] = i
		switch {
		case c.fresh != nil:
			inserts = append(inserts, c)
		case t.fresh[c.id] != nil:
			fresh = append(fresh, []any{c.id, c.by.Plugin, c.by.PluginVersion})
		default:
			others = append(others, []any{c.id, c.by.Plugin, c.by.PluginVersion})
		}
	}
	now := max(t.now, 1)
	a.out = make([]runtime.Claimed, 0, len(chosen))
	seqs := make(map[string]int64, len(chosen))
	if err := t.begin(a, inserts, seqs, now); err != nil {
		return fmt.Errorf("insert tasks that start: %w", err)
	}
	if err := t.claimFresh(a, fresh, seqs, now); err != nil {
		return fmt.Errorf("claim new tasks: %w", err)
	}
	if err := t.claimOthers(a, others, seqs, now); err != nil {
		return fmt.Errorf("claim tasks: %w", err)
	}
	// The database returns them in any order; the best start first.
	slices.SortFunc(a.out, func(x, y runtime.Claimed) int { return order[x.Task.ID] - order[y.Task.ID] })
	return t.logStarts(a, seqs, now)
}

// choose picks what a claim starts, the best first, within every limit.
func (t *tick) choose(a *claimArg) (chosen []start, err error) {
	taken, plugins := map[string]int{}, map[string]int{}
	// Rates come first: their rows make other nodes wait, which is no harm before
	// this one holds any tasks.
	var paid []*toll
	tolls := make([]*toll, len(a.req.Lanes))
	for i := range a.req.Lanes {
		if t.Paused(a.req.Lanes[i].Queue) {
			continue
		}
		if tolls[i], err = t.rateOf(&a.req.Lanes[i]); err != nil {
			return nil, err
		}
		if tolls[i].cell.interval > 0 {
			paid = append(paid, tolls[i])
		}
	}
	known := slots{}
	for i, lane := range a.req.Lanes {
		if tolls[i] == nil {
			continue
		}
		found, err := t.candidates(lane, a.req.Node)
		if err != nil {
			return nil, fmt.Errorf("look for tasks: %w", err)
		}
		if err := t.learn(known, found); err != nil {
			return nil, fmt.Errorf("concurrency keys: %w", err)
		}
		slots := make(map[string]runtime.KindSlots, len(lane.Kinds))
		for _, k := range lane.Kinds {
			slots[k.Kind] = k
		}
		free := lane.Limit
		t.arrange(lane.Queue, found)
		for _, c := range found {
			k := slots[c.kind]
			most, limited := a.req.Plugins[k.Plugin]
			if free == 0 {
				break
			}
			if taken[c.kind] >= k.Limit || limited && plugins[k.Plugin] >= most || !tolls[i].affords(c.line) {
				continue
			}
			if c.key != "" {
				if ok, err := t.take(known, lane.Queue, c.key); err != nil {
					return nil, fmt.Errorf("concurrency key %q: %w", c.key, err)
				} else if !ok {
					continue
				}
				t.keys[c.key] = true
			}
			tolls[i].pay(c.line)
			t.turnsOf(lane.Queue, c.line).serve(c.kind)
			free--
			taken[c.kind]++
			plugins[k.Plugin]++
			chosen = append(chosen, start{c, k})
		}
	}
	return chosen, t.payRates(paid)
}

// logStarts logs what a claim has started, or resumed.
func (t *tick) logStarts(a *claimArg, seqs map[string]int64, now sdk.Time) error {
	started := map[[3]string]string{} // data of events
	for i := range a.out {
		k := &a.out[i].Task
		if a.out[i].Live {
			t.event(k, seqs[k.ID], sdk.EventResumed, now, `{}`)
			t.changed(k, seqs[k.ID])
			continue
		}
		of := [3]string{k.Plugin, k.PluginVersion, strconv.FormatBool(a.out[i].Replay)}
		data, ok := started[of]
		if !ok {
			b, err := json.Marshal(struct {
				Plugin  string `json:"plugin"`
				Version string `json:"plugin_version"`
				Node    string `json:"node"`
				Replay  bool   `json:"replay,omitempty"`
			}{k.Plugin, k.PluginVersion, a.req.Node, a.out[i].Replay})
			if err != nil {
				return err
			}
			data = string(b)
			started[of] = data
		}
		t.event(k, seqs[k.ID], sdk.EventStarted, now, data)
		t.changed(k, seqs[k.ID])
	}
	return nil
}

// claimFresh starts tasks that this transaction has inserted. What they are is known,
// and every column that the database returns costs time.
func (t *tick) claimFresh(a *claimArg, table [][]any, seqs map[string]int64, now sdk.Time) error {
	plugins := make(map[string][]any, len(table))
	for _, row := range table {
		plugins[row[0].(string)] = row
	}
	return t.over("id_ TEXT, plugin_ TEXT, version_ TEXT", table,
		`UPDATE tasks SET state = 'running', ready = 0, node = {1}, ends_by = deadline, attempt = 1, token = token + 1, started_at = {2},
			plugin = r.plugin_, plugin_version = r.version_, reason = '', event_seq = event_seq + 1, version = version + 1
		FROM r WHERE tasks.id = r.id_ AND ready + 0 = 1
		RETURNING id, token, version, event_seq`,
		func(r Row) error {
			var id string
			var token, version, seq int64
			if err := r.Scan(&id, &token, &version, &seq); err != nil {
				return err
			}
			n := t.fresh[id]
			k := n.Task
			k.State, k.Life, k.Attempt, k.Version, k.Reason, k.StartedAt = sdk.StateRunning, 1, 1, version, "", now
			if k.Labels == nil {
				k.Labels = map[string]string{}
			}
			k.Plugin, k.PluginVersion = plugins[id][1].(string), plugins[id][2].(string)
			a.out = append(a.out, runtime.Claimed{Task: k, Token: token, Hops: n.Hops, TraceParent: n.TraceParent})
			seqs[id] = seq
			return nil
		}, a.req.Node, int64(now))
}

// claimOthers starts, or resumes, tasks that were there before.
func (t *tick) claimOthers(a *claimArg, table [][]any, seqs map[string]int64, now sdk.Time) error {
	return t.over("id_ TEXT, plugin_ TEXT, version_ TEXT", table,
		`UPDATE tasks SET state = 'running', ready = 0, node = {1}, ends_by = deadline,
			attempt        = CASE WHEN state || '' = 'waiting' OR replay = 1 THEN attempt ELSE attempt + 1 END,
			token          = CASE WHEN state || '' = 'waiting' THEN token ELSE token + 1 END,
			started_at     = CASE WHEN state || '' = 'waiting' THEN started_at ELSE {2} END,
			plugin         = CASE WHEN state || '' = 'waiting' THEN plugin ELSE r.plugin_ END,
			plugin_version = CASE WHEN state || '' = 'waiting' THEN plugin_version ELSE r.version_ END,
			progress       = CASE WHEN state || '' = 'waiting' OR replay = 1 THEN progress ELSE NULL END,
			replay         = CASE WHEN state || '' = 'waiting' THEN {3} ELSE replay END,
			reason = '', line = priority, event_seq = event_seq + 1, version = version + 1
		FROM r WHERE tasks.id = r.id_ AND ready + 0 = 1 AND node IN ('', {1})
		RETURNING `+taskColumns+`, token, hops, traceparent, event_seq, replay`,
		func(r Row) error {
			var c runtime.Claimed
			var seq int64
			var how int
			err := scanTask(r, &c.Task, &c.Token, &c.Hops, &c.TraceParent, &seq, &how)
			c.Live, c.Replay = how == replayLive, how == replayAgain
			a.out = append(a.out, c)
			seqs[c.Task.ID] = seq
			return err
		}, a.req.Node, int64(now), replayLive)
}

// candidates returns the best queued tasks of a lane, best first. It looks at the
// head of each kind's own stretch of the index, so tasks of kinds that nobody
// handles cost nothing however many there are.
func (t *tick) candidates(lane runtime.Lane, node string) ([]candidate, error) {
	table := make([][]any, len(lane.Kinds))
	for i, k := range lane.Kinds {
		table[i] = []any{k.Kind}
	}
	var out []candidate
	scan := func(r Row) error {
		var c candidate
		err := r.Scan(&c.id, &c.kind, &c.line, &c.runAt, &c.key)
		out = append(out, c)
		return err
	}
	if t.dialect.kinds == "" {
		if err := t.over("kind_ TEXT", table, t.dialect.candidates, scan, lane.Queue, node, lane.Limit); err != nil {
			return nil, err
		}
	} else {
		var some [][]any
		err := t.over("kind_ TEXT", table, t.dialect.kinds, func(r Row) error {
			var kind string
			err := r.Scan(&kind)
			some = append(some, []any{kind})
			return err
		}, lane.Queue)
		if err != nil {
			return nil, err
		}
		for i := range some {
			if err := t.over("kind_ TEXT", some[i:i+1], t.dialect.candidates, scan, lane.Queue, node, lane.Limit); err != nil {
				return nil, err
			}
		}
	}
	out = t.waiting(lane, out)
	slices.SortFunc(out, func(x, y candidate) int {
		switch {
		case x.line != y.line:
			return y.line - x.line
		case x.runAt != y.runAt:
			return int(min(max(x.runAt-y.runAt, -1), 1))
		}
		return strings.Compare(x.id, y.id)
	})
	return out, nil
}
