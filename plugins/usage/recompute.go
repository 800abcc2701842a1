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
	if marked, err := c.get(unpricedKeys+id, new(bool)); err != nil || !marked {
		return nil, true, err
	}
	var r record
	there, err := c.get(recordKeys+id, &r)
	if err != nil {
		return nil, false, err
	}
	if !there || r.Cost != nil { // its record has expired
		return nil, true, c.remove(unpricedKeys + id)
	}
	if model != "" && r.Model != model {
		return nil, true, nil
	}
	r.Cost, r.Price = u.quote(r.Provider, r.Model, r.tokens, r.Time)
	if r.Cost == nil {
		return nil, false, nil
	}
	if err := c.set(recordKeys+id, r, u.keep); err != nil {
		return nil, false, err
	}
	if err := c.remove(unpricedKeys + id); err != nil {
		return nil, false, err
	}
	var at cell
	key := r.cell()
	if _, err := c.get(key, &at); err != nil {
		return nil, false, err
	}
	at.Unpriced--
	at.Cost += *r.Cost
	if err := c.set(key, at, 0); err != nil {
		return nil, false, err
	}
	return r.Cost, false, u.settle(c, r, "")
}
