package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nagatha/nagatha-runtime/sdk"
)

// tokens is what a call used. Input is all of the input: what was read from and
// written to a cache is part of it, as reasoning is part of the output.
type tokens struct {
	Input        int64 `json:"input_tokens"`
	Output       int64 `json:"output_tokens"`
	Cached       int64 `json:"cached_tokens"`
	CacheWrite   int64 `json:"cache_write_tokens,omitempty"`
	CacheWrite1h int64 `json:"cache_write_1h_tokens,omitempty"` // part of CacheWrite
	Reasoning    int64 `json:"reasoning_tokens,omitempty"`
}

// maxTokens bounds what one call can have used.
const maxTokens = 1_000_000_000

func (t tokens) check() error {
	for _, f := range []struct {
		name  string
		n     int64
		whole string
		most  int64
	}{
		{"input_tokens", t.Input, "", maxTokens},
		{"output_tokens", t.Output, "", maxTokens},
		{"cached_tokens", t.Cached, "input_tokens", t.Input},
		{"cache_write_tokens", t.CacheWrite, "input_tokens without cached_tokens", t.Input - t.Cached},
		{"cache_write_1h_tokens", t.CacheWrite1h, "cache_write_tokens", t.CacheWrite},
		{"reasoning_tokens", t.Reasoning, "output_tokens", t.Output},
	} {
		switch {
		case f.n < 0:
			return sdk.Invalid(f.name, "must not be negative: %d", f.n)
		case f.n > f.most && f.whole != "":
			return sdk.Invalid(f.name, "%d is more than %s, %d, which it is part of", f.n, f.whole, f.most)
		case f.n > f.most:
			return sdk.Invalid(f.name, "%d is more than %d", f.n, f.most)
		}
	}
	return nil
}

// price is a rate, or one that depends on how large the input is: the tier with the
// highest start below the input's size holds for the whole call.
type price struct {
	Base  rate
	Tiers []tier // in the order of their starts
}

type tier struct {
	start int64 // input tokens; it holds for more than these
	rate  rate
}

// UnmarshalJSON reads a number of dollars per million tokens, or
// {"base": n, "tiers": [{"start": tokens, "price": n}]}.
func (p *price) UnmarshalJSON(b []byte) error {
	var n json.Number
	if json.Unmarshal(b, &n) == nil {
		var err error
		p.Base, err = rateOf(n)
		return err
	}
	var t struct {
		Base  json.Number `json:"base"`
		Tiers []struct {
			Start int64       `json:"start"`
			Price json.Number `json:"price"`
		} `json:"tiers"`
	}
	err := json.Unmarshal(b, &t)
	if err != nil {
		return fmt.Errorf("want a number, or { base = 1.25, tiers = [{ start = 200000, price = 2.5 }] }: %w", err)
	}
	if p.Base, err = rateOf(t.Base); err != nil {
		return err
	}
	for _, x := range t.Tiers {
		r, err := rateOf(x.Price)
		if err != nil {
			return err
		}
		p.Tiers = append(p.Tiers, tier{x.Start, r})
	}
	slices.SortFunc(p.Tiers, func(a, b tier) int { return cmp.Compare(a.start, b.start) })
	return nil
}

func (p *price) at(input int64) rate {
	r := p.Base
	for _, t := range p.Tiers {
		if input > t.start {
			r = t.rate
		}
	}
	return r
}

// rates are the prices of a model from a day on, or at a time of the day, in US
// dollars for a million tokens. None at all means that it is free.
type rates struct {
	Input        *price `json:"input,omitempty"`
	Output       *price `json:"output,omitempty"`
	Cached       *price `json:"cached,omitempty"`         // else as Input
	CacheWrite   *price `json:"cache_write,omitempty"`    // else as Input
	CacheWrite1h *price `json:"cache_write_1h,omitempty"` // else as CacheWrite
	Reasoning    *price `json:"reasoning,omitempty"`      // else as Output
	Request      *price `json:"request,omitempty"`        // dollars for a thousand calls, besides the tokens

	From  string `json:"from,omitempty"`  // a day: "2026-03-13"
	Start string `json:"start,omitempty"` // from this time of the day in UTC, "16:30",
	End   string `json:"end,omitempty"`   // to before this one
	Other bool   `json:"other,omitempty"` // sold by something else than tokens
}

// cost is what a call costs, or ok false where these prices do not say.
func (r *rates) cost(t tokens) (micro int64, ok bool) {
	if r.Other {
		return 0, false
	}
	if r.Request == nil && r.Input == nil && r.Output == nil {
		return 0, true
	}
	if t.Input > 0 && r.Input == nil || t.Output > 0 && r.Output == nil && r.Reasoning == nil {
		return 0, false
	}
	var s sum
	add := func(n int64, prices ...*price) {
		for _, p := range prices {
			if p != nil {
				s.add(n, p.at(t.Input))
				return
			}
		}
	}
	add(t.Input-t.Cached-t.CacheWrite, r.Input)
	add(t.Cached, r.Cached, r.Input)
	add(t.CacheWrite-t.CacheWrite1h, r.CacheWrite, r.Input)
	add(t.CacheWrite1h, r.CacheWrite1h, r.CacheWrite, r.Input)
	add(t.Output-t.Reasoning, r.Output)
	add(t.Reasoning, r.Reasoning, r.Output)
	if r.Request != nil {
		s.add(1000, r.Request.at(t.Input)) // dollars for a thousand are a thousand micro-USD for one
	}
	return s.micro(), true
}

// current picks the prices that hold at a moment: the last of them whose condition is
// met. The first is the one before all conditions.
func current(all []rates, at time.Time) *rates {
	at = at.UTC()
	clock := at.Format("15:04")
	for i := len(all) - 1; i >= 0; i-- {
		r := &all[i]
		switch {
		case r.From != "" && at.Format(time.DateOnly) < r.From:
		case r.Start == "":
			return r
		case r.Start <= r.End && r.Start <= clock && clock < r.End:
			return r
		case r.Start > r.End && (clock >= r.Start || clock < r.End):
			return r
		}
	}
	if len(all) == 0 {
		return nil
	}
	return &all[0]
}

// priced says where a cost comes from.
type priced struct {
	Version  string `json:"version"` // "genai-prices 0.1.8", or "config" and a digest
	Provider string `json:"provider"`
	Model    string `json:"model"`
}

// find returns the prices of a model at a moment, or nil: the operator's own first, then
// those of the embedded table. A server on one's own machine ("local") that passes on or
// plays a model of those whose format it speaks costs what that model does there, unless
// the operator sets a price of "local".
func (u *usage) find(provider, model string, at sdk.Time) (*rates, *priced) {
	provider, model = strings.ToLower(strings.TrimSpace(provider)), strings.ToLower(strings.TrimSpace(model))
	sellers := []string{provider}
	if provider == "local" {
		sellers = append(sellers, "openai", "anthropic")
	}
	for _, seller := range sellers {
		if r, from := u.own.find(seller, model, at.Time()); r != nil {
			return r, from
		}
		if r, from := published.find(seller, model, at.Time()); r != nil {
			return r, from
		}
	}
	return nil, nil
}

// quote prices a call. An unknown model, or one that is not sold by the token, has no
// price: nil.
func (u *usage) quote(provider, model string, t tokens, at sdk.Time) (*int64, *priced) {
	r, from := u.find(provider, model, at)
	if r == nil {
		return nil, nil
	}
	micro, ok := r.cost(t)
	if !ok {
		return nil, nil
	}
	return &micro, from
}

// MarshalJSON writes what UnmarshalJSON reads.
func (p *price) MarshalJSON() ([]byte, error) {
	if len(p.Tiers) == 0 {
		return json.Marshal(p.Base.dollars())
	}
	tiers := make([]map[string]any, len(p.Tiers))
	for i, t := range p.Tiers {
		tiers[i] = map[string]any{"start": t.start, "price": t.rate.dollars()}
	}
	return json.Marshal(map[string]any{"base": p.Base.dollars(), "tiers": tiers})
}

func (r rate) dollars() float64 { return float64(r) / perMicro }
