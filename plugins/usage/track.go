package main

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/nagatha/nagatha-runtime/sdk"
)

// The shape of the old track_usage_metrics.

type usedTokens struct {
	Prompt     int64 `json:"prompt_tokens"`
	Completion int64 `json:"completion_tokens"`
	Cost       *usd  `json:"cost_usd"`
	Requests   int64 `json:"requests"`
}

type usedModel struct {
	usedTokens
	LastUsed sdk.Time              `json:"last_used"`
	Daily    map[string]usedTokens `json:"daily_usage"`

	days map[string]*totals
	sum  totals
}

func used(t totals) usedTokens {
	return usedTokens{Prompt: t.Input, Completion: t.Output, Cost: (*usd)(t.cost()), Requests: t.Requests}
}

const (
	trackedModels = 200 // shown by track, the dearest first
	trackedDays   = 7   // of each of them
)

type resetInfo struct {
	At    sdk.Time `json:"reset_timestamp"`
	Count int      `json:"reset_count"`
}

// track sums up the present period in the shape of the old system's result.
func (u *usage) track(ctx context.Context, host sdk.Host, _ struct{}) (any, error) {
	if err := u.complete(ctx, host); err != nil {
		return nil, err
	}
	p, err := currentPeriod(ctx, host)
	if err != nil {
		return nil, err
	}
	now := sdk.Now()
	today := u.day(now)
	oldest := now.Time().In(u.zone).AddDate(0, 0, 1-trackedDays).Format(time.DateOnly)
	models := map[string]*usedModel{}
	var total totals
	err = cells(ctx, host, wholeKeys, p.Number, "", "", func(a cell) {
		m := models[a.Model]
		if m == nil {
			m = &usedModel{days: map[string]*totals{}, Daily: map[string]usedTokens{}}
			models[a.Model] = m
		}
		m.sum.merge(a.totals)
		m.LastUsed = max(m.LastUsed, a.LastUsed)
		total.merge(a.totals)
		if a.Day >= oldest {
			day := m.days[a.Day]
			if day == nil {
				day = &totals{}
				m.days[a.Day] = day
			}
			day.merge(a.totals)
		}
	})
	if err != nil {
		return nil, err
	}
	names := slices.SortedFunc(maps.Keys(models), func(a, b string) int {
		return cmp.Or(cmp.Compare(models[b].sum.Cost, models[a].sum.Cost), cmp.Compare(models[b].sum.Requests, models[a].sum.Requests), cmp.Compare(a, b))
	})
	data, daily := map[string]*usedModel{}, map[string]usedTokens{}
	for _, name := range names[:min(trackedModels, len(names))] {
		m := models[name]
		m.usedTokens = used(m.sum)
		for day, t := range m.days {
			m.Daily[day] = used(*t)
		}
		data[name] = m
		if t := m.days[today]; t != nil {
			daily[name] = used(*t)
		}
	}
	return map[string]any{"success": true, "usage_data": data, "daily_totals": daily, "total_cost": usd(total.Cost), "total_requests": total.Requests,
		"unpriced_requests": total.Unpriced, "models_left_out": len(names) - len(data),
		"reset_info": resetInfo{p.ResetAt, p.Number}, "timestamp": now}, nil
}

// reset begins a new period. What was counted stays readable under the old one's
// number.
func (u *usage) reset(ctx context.Context, host sdk.Host, _ struct{}) (any, error) {
	task := sdk.TaskFrom(ctx)
	by := fmt.Sprintf("%s/%d", task.ID, task.Life)
	var now period
	err := u.change(ctx, host, func(c *change) error {
		p, _, err := at[period](c, periodKey)
		if err != nil {
			return err
		}
		if p.By != by { // else an earlier attempt of this task has done it
			*p = period{Number: p.Number + 1, ResetAt: sdk.Now(), By: by}
			c.put(periodKey, 0)
		}
		now = *p
		return nil
	})
	if err != nil {
		return nil, err
	}
	if err := u.complete(ctx, host); err != nil {
		return nil, err
	}
	var archived totals
	err = cells(ctx, host, wholeKeys, now.Number-1, "", "", func(a cell) { archived.merge(a.totals) })
	return map[string]any{"period": now.Number, "reset_info": resetInfo{now.ResetAt, now.Number},
		"archived": map[string]any{"period": now.Number - 1, "total": archived.shown()}}, err
}
