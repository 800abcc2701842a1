package main

import (
	"context"
	"encoding/json"
	"strings"

	"github.com/nagatha/nagatha-runtime/sdk"
)

// recompute prices the records that had no price when they were recorded, and adds
// their costs to every total that they are part of. A record that has a price keeps
// it.
func (u *usage) recompute(ctx context.Context, host sdk.Host, in struct {
	Model string `json:"model"`
}) (any, error) {
	recomputed, still := 0, 0
	gained := usd(0)
	err := each(ctx, host, unpricedKeys, "", func(key string, _ json.RawMessage) error {
		var cost *int64
		var skip bool
		err := u.change(ctx, host, func(c *change) error {
			var err error
			cost, skip, err = u.reprice(c, strings.TrimPrefix(key, unpricedKeys), in.Model)
			return err
		})
		switch {
		case err != nil || skip:
		case cost == nil:
			still++
		default:
			recomputed++
			gained += usd(*cost)
			host.Progress(float64(recomputed), 0, "priced")
		}
		return err
	})
	return map[string]any{"recomputed": recomputed, "still_unpriced": still, "cost_usd": gained}, err
}

// reprice prices one record. skip: it is not meant, or was priced meanwhile.
func (u *usage) reprice(c *change, id, model string) (cost *int64, skip bool, err error) {
	if _, marked, err := at[bool](c, unpricedKeys+id); err != nil || !marked {
		return nil, true, err
	}
	r, there, err := at[record](c, recordKeys+id)
	if err != nil {
		return nil, false, err
	}
	if !there || r.Cost != nil { // its record has expired
		c.remove(unpricedKeys + id)
		return nil, true, nil
	}
	if model != "" && r.Model != model {
		return nil, true, nil
	}
	cost, price := u.quote(r.Provider, r.Model, r.tokens, r.Time)
	if cost == nil {
		return nil, false, nil
	}
	tally, err := c.tally(*r)
	if err != nil {
		return nil, false, err
	}
	account, err := u.account(c, *r, "")
	if err != nil {
		return nil, false, err
	}
	r.price(cost, price)
	c.put(recordKeys+id, u.keep)
	c.remove(unpricedKeys + id)
	tally.put(c, func(a *cell) {
		a.Unpriced--
		a.Cost += *cost
	})
	account.settle(c, cost)
	return cost, false, nil
}
