package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// own are the operator's prices, in the order in which they are looked at: the most
// exact name first.
type own []offer

type offer struct {
	provider, model string // in lower case; "*" as the provider is any, at the model's end any rest
	version         string
	prices          []rates
}

// configured reads the prices of config.hcl: "provider/model" to one set of rates, or
// to a list of them with from dates.
func configured(config map[string]json.RawMessage) (own, error) {
	var out own
	for _, name := range slices.Sorted(maps.Keys(config)) {
		doc := config[name]
		provider, model, ok := strings.Cut(strings.ToLower(name), "/")
		if !ok || provider == "" || model == "" {
			return nil, fmt.Errorf("prices: %q: want \"provider/model\", such as \"openai/gpt-5\" or \"local/*\"", name)
		}
		if !bytes.HasPrefix(doc, []byte("[")) {
			doc = slices.Concat([]byte("["), doc, []byte("]"))
		}
		dec := json.NewDecoder(bytes.NewReader(doc))
		dec.DisallowUnknownFields()
		var prices []rates
		if err := dec.Decode(&prices); err != nil {
			return nil, fmt.Errorf("prices: %q: %w", name, err)
		}
		for _, r := range prices {
			if err := r.check(); err != nil {
				return nil, fmt.Errorf("prices: %q: %w", name, err)
			}
		}
		slices.SortStableFunc(prices, func(a, b rates) int { return strings.Compare(a.From, b.From) })
		digest := sha256.Sum256(append([]byte(name), doc...))
		out = append(out, offer{provider, model, "config " + hex.EncodeToString(digest[:4]), prices})
	}
	slices.SortStableFunc(out, func(a, b offer) int {
		if d := b.exactness() - a.exactness(); d != 0 {
			return d
		}
		return strings.Compare(a.provider+"/"+a.model, b.provider+"/"+b.model)
	})
	return out, nil
}

func (r rates) check() error {
	if r.From != "" {
		if _, err := time.Parse(time.DateOnly, r.From); err != nil {
			return fmt.Errorf("from: want a day such as \"2026-03-13\", not %q", r.From)
		}
	}
	if (r.Start == "") != (r.End == "") {
		return fmt.Errorf("start and end: want both times of the day, or none")
	}
	for _, clock := range []string{r.Start, r.End} {
		if _, err := time.Parse("15:04", clock); clock != "" && err != nil {
			return fmt.Errorf("start and end: want times of the day in UTC such as \"16:30\", not %q", clock)
		}
	}
	return nil
}

func (o offer) exactness() int {
	n := len(o.model)
	if o.provider != "*" {
		n += 1000
	}
	if !strings.HasSuffix(o.model, "*") {
		n += 10000
	}
	return n
}

// find returns nil where no price is set, or none yet at that moment.
func (own own) find(provider, model string, at time.Time) (*rates, *priced) {
	for _, o := range own {
		prefix, open := strings.CutSuffix(o.model, "*")
		if o.provider != "*" && o.provider != provider || !(o.model == model || open && strings.HasPrefix(model, prefix)) {
			continue
		}
		r := current(o.prices, at)
		if r == nil || r.From != "" && at.UTC().Format(time.DateOnly) < r.From {
			continue
		}
		return r, &priced{o.version, o.provider, o.model}
	}
	return nil, nil
}
