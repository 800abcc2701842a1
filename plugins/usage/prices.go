package main

import (
	"context"
	"strings"

	"github.com/nagatha/nagatha-runtime/sdk"
)

// prices shows a model's prices at a moment, or which models and providers there are.
func (u *usage) prices(_ context.Context, _ sdk.Host, in struct {
	Provider string   `json:"provider"`
	Model    string   `json:"model"`
	Time     sdk.Time `json:"time"`
}) (any, error) {
	if in.Time == 0 {
		in.Time = sdk.Now()
	}
	provider := strings.ToLower(strings.TrimSpace(in.Provider))
	published.open()
	out := map[string]any{"version": published.version}
	switch {
	case strings.TrimSpace(in.Model) != "":
		out["price"] = nil
		if r, from := u.find(provider, in.Model, in.Time); r != nil {
			out["price"] = map[string]any{"usd_per_million_tokens": r, "source": from}
		}
	case provider != "":
		p := published.provider(provider, "")
		if p == nil {
			return nil, sdk.Errorf(sdk.CodeNotFound, "no provider %.80q in the price table; usage.prices without one lists them", in.Provider)
		}
		names := []string{}
		for _, m := range p.open() {
			names = append(names, m.ID)
		}
		out["provider"], out["models"] = p.ID, names
	default:
		names, own := []string{}, []string{}
		for _, p := range published.providers {
			names = append(names, p.ID)
		}
		for _, o := range u.own {
			own = append(own, o.provider+"/"+o.model)
		}
		out["providers"], out["own"] = names, own
	}
	return out, nil
}
