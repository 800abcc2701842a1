package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/nagatha/nagatha-runtime/sdk"
)

// totals are sums over records. Cost is that of the priced ones.
type totals struct {
	Requests int64 `json:"requests"`
	Unpriced int64 `json:"unpriced_requests"`
	Input    int64 `json:"input_tokens"`
	Output   int64 `json:"output_tokens"`
	Cached   int64 `json:"cached_tokens"`
	Cost     int64 `json:"cost_micro_usd"`
}

func (t *totals) add(r record) {
	t.Requests++
	t.Input += r.Input
	t.Output += r.Output
	t.Cached += r.Cached
	if r.Cost == nil {
		t.Unpriced++
	} else {
		t.Cost += *r.Cost
	}
}

func (t *totals) merge(o totals) {
	t.Requests += o.Requests
	t.Unpriced += o.Unpriced
	t.Input += o.Input
	t.Output += o.Output
	t.Cached += o.Cached
	t.Cost += o.Cost
}

// cost is null when nothing that was counted has a price.
func (t totals) cost() *int64 {
	if t.Requests > 0 && t.Unpriced == t.Requests {
		return nil
	}
	return &t.Cost
}

// shown is how clients see totals: with the cost in dollars as well.
func (t totals) shown() map[string]any {
	return map[string]any{"requests": t.Requests, "unpriced_requests": t.Unpriced, "input_tokens": t.Input, "output_tokens": t.Output,
		"cached_tokens": t.Cached, "cost_micro_usd": t.cost(), "cost_usd": (*usd)(t.cost())}
}

// cell is the totals of one day, model, session and kind; or of one day, model and kind
// over all sessions, which may be many. Every report is a sum of cells.
type cell struct {
	Day      string `json:"day"`
	Provider string `json:"provider"`
	Model    string `json:"model"`
	Session  string `json:"session"`
	Kind     string `json:"kind"`
	totals
	LastUsed sdk.Time `json:"last_used"`
}

func (a *cell) add(r record) {
	a.totals.add(r)
	a.LastUsed = max(a.LastUsed, r.Time)
}

// cells are the keys of the cells that the record is counted in.
func (r record) cells() []string {
	return []string{
		cellDay(cellKeys, r.Period, r.Day) + digest(r.Provider, r.Model, r.Session, r.Kind),
		cellDay(wholeKeys, r.Period, r.Day) + digest(r.Provider, r.Model, r.Kind),
	}
}

func cellPeriod(keys string, period int) string { return fmt.Sprintf("%s%06d/", keys, period) }

func cellDay(keys string, period int, day string) string { return cellPeriod(keys, period) + day + "/" }

// tally is the cells that a record is counted in, while a change is made.
type tally struct {
	keys  []string
	cells []*cell
}

// tally reads them.
func (c *change) tally(r record) (tally, error) {
	t := tally{keys: r.cells()}
	for i, key := range t.keys {
		a, _, err := at[cell](c, key)
		if err != nil {
			return t, err
		}
		a.Day, a.Provider, a.Model, a.Kind = r.Day, r.Provider, r.Model, r.Kind
		if i == 0 {
			a.Session = r.Session
		}
		t.cells = append(t.cells, a)
	}
	return t, nil
}

// put writes them as f leaves them.
func (t tally) put(c *change, f func(a *cell)) {
	for i, key := range t.keys {
		f(t.cells[i])
		c.put(key, 0)
	}
}

// digest stands for texts of any length in a key.
func digest(texts ...string) string {
	b, _ := json.Marshal(texts)
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:16])
}

// cells hands the cells of a period to f, by session or of all sessions, those of the
// days from…to, "" being open.
func cells(ctx context.Context, host sdk.Host, keys string, period int, from, to string, f func(cell)) error {
	prefix := cellPeriod(keys, period)
	after := ""
	if from != "" {
		after = prefix + from
	}
	err := each(ctx, host, prefix, after, func(key string, value json.RawMessage) error {
		if to != "" && strings.TrimPrefix(key, prefix) > to+"/~" {
			return errEnough
		}
		var a cell
		if err := json.Unmarshal(value, &a); err != nil {
			return fmt.Errorf("%s: %w", key, err)
		}
		f(a)
		return nil
	})
	if err == errEnough { //nolint:errorlint // it is never wrapped
		return nil
	}
	return err
}

var errEnough = fmt.Errorf("the rest is not wanted")

// period is a stretch of counting between two resets.
type period struct {
	Number  int      `json:"number"` // from 0: how often it was reset
	ResetAt sdk.Time `json:"reset_at"`
	By      string   `json:"by"` // the task and life that reset it last
}

func currentPeriod(ctx context.Context, host sdk.Host) (period, error) {
	p, _, err := at[period](fresh(ctx, host), periodKey)
	if err != nil {
		return period{}, err
	}
	return *p, nil
}
