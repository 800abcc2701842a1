package main

import (
	"cmp"
	"context"
	"encoding/csv"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/nagatha/nagatha-runtime/sdk"
)

// row is one line of a report.
type row struct {
	key, provider string
	totals
}

func (r row) shown(by string) map[string]any {
	m := r.totals.shown()
	m["key"], m[by] = r.key, r.key
	if by == "model" {
		m["provider"] = r.provider
	}
	return m
}

type query struct {
	From    string `json:"from"`
	To      string `json:"to"`
	GroupBy string `json:"group_by"`
	Session string `json:"session"`
	Model   string `json:"model"`
	Kind    string `json:"kind"`
	Period  *int   `json:"period"`
	Limit   int    `json:"limit"`
	Format  string `json:"format"`
}

// report sums the cells that a query is about.
func (u *usage) report(ctx context.Context, host sdk.Host, in query) (any, error) {
	by, limit := cmp.Or(in.GroupBy, "day"), cmp.Or(in.Limit, 100)
	from, err := u.dayOf("from", in.From, false)
	if err != nil {
		return nil, err
	}
	to, err := u.dayOf("to", in.To, true)
	if err != nil {
		return nil, err
	}
	p, err := currentPeriod(ctx, host)
	if err != nil {
		return nil, err
	}
	number := p.Number
	if in.Period != nil {
		if number = *in.Period; number < 0 || number > p.Number {
			return nil, sdk.Invalid("period", "there are the periods 0 to %d, not %d", p.Number, number)
		}
	}
	rows, unpriced := map[[2]string]*row{}, map[[2]string]*row{}
	var total totals
	keys := wholeKeys
	if by == "session" || in.Session != "" {
		keys = cellKeys
	} else if err := u.complete(ctx, host); err != nil {
		return nil, err
	}
	err = cells(ctx, host, keys, number, from, to, func(a cell) {
		if in.Session != "" && a.Session != in.Session || in.Model != "" && a.Model != in.Model || in.Kind != "" && a.Kind != in.Kind {
			return
		}
		count(rows, a.key(by), a.totals)
		total.merge(a.totals)
		if a.Unpriced > 0 {
			count(unpriced, a.key("model"), a.totals)
		}
	})
	if err != nil {
		return nil, err
	}
	sorted := sortRows(rows, by)
	out := map[string]any{"group_by": by, "from": from, "to": to, "zone": u.zone.String(), "period": number, "total": total.shown(),
		"rows_left_out": max(len(sorted)-limit, 0)}
	sorted = sorted[:min(limit, len(sorted))]
	if in.Format == "csv" {
		out["csv"], err = rowsCSV(by, sorted)
		return out, err
	}
	list, without := make([]any, len(sorted)), []any{}
	for i, r := range sorted {
		list[i] = r.shown(by)
	}
	for _, r := range sortRows(unpriced, "model")[:min(limit, len(unpriced))] {
		without = append(without, map[string]any{"provider": r.provider, "model": r.key, "requests": r.Unpriced})
	}
	out["rows"], out["unpriced"] = list, without
	return out, nil
}

// key is what a cell is counted under: a name, and the provider of a model.
func (a cell) key(by string) [2]string {
	switch by {
	case "model":
		return [2]string{a.Model, a.Provider}
	case "session":
		return [2]string{a.Session}
	case "kind":
		return [2]string{a.Kind}
	}
	return [2]string{a.Day}
}

func count(rows map[[2]string]*row, key [2]string, t totals) {
	r := rows[key]
	if r == nil {
		r = &row{key: key[0], provider: key[1]}
		rows[key] = r
	}
	r.merge(t)
}

// sortRows orders days by date, and all else by cost, the dearest first.
func sortRows(rows map[[2]string]*row, by string) []*row {
	return slices.SortedFunc(maps.Values(rows), func(a, b *row) int {
		names := cmp.Or(strings.Compare(a.key, b.key), strings.Compare(a.provider, b.provider))
		if by == "day" {
			return names
		}
		return cmp.Or(cmp.Compare(b.Cost, a.Cost), cmp.Compare(b.Requests, a.Requests), names)
	})
}

// dayOf reads one end of a range: a day, or the midnight that begins one. A midnight
// as the end leaves its own day out.
func (u *usage) dayOf(field, text string, end bool) (string, error) {
	if text == "" {
		return "", nil
	}
	if _, err := time.Parse(time.DateOnly, text); err == nil {
		return text, nil
	}
	at, err := time.Parse(time.RFC3339, text)
	at = at.In(u.zone)
	if err != nil || at.Format(time.TimeOnly) != "00:00:00" {
		return "", sdk.Invalid(field, "want a day such as \"2026-01-31\", not %.40q: totals are kept by day, in the zone %s", text, u.zone)
	}
	if end {
		at = at.AddDate(0, 0, -1)
	}
	return at.Format(time.DateOnly), nil
}

func rowsCSV(by string, rows []*row) (string, error) {
	var b strings.Builder
	w := csv.NewWriter(&b)
	_ = w.Write([]string{by, "provider", "requests", "unpriced_requests", "input_tokens", "output_tokens", "cached_tokens", "cost_usd"})
	for _, r := range rows {
		_ = w.Write([]string{plain(r.key), plain(r.provider), fmt.Sprint(r.Requests), fmt.Sprint(r.Unpriced), fmt.Sprint(r.Input), fmt.Sprint(r.Output),
			fmt.Sprint(r.Cached), dollars(r.cost())})
	}
	w.Flush()
	return b.String(), w.Error()
}

// dollars is an amount in a CSV; none is an empty field.
func dollars(micro *int64) string {
	if micro == nil {
		return ""
	}
	return usd(*micro).String()
}

// plain keeps a spreadsheet from taking a text that a stranger chose for a formula.
func plain(s string) string {
	if s != "" && strings.ContainsRune("=+-@\t\r", rune(s[0])) {
		return "'" + s
	}
	return s
}
