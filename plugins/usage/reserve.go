package main

import (
	"context"
	"fmt"
	"time"

	"github.com/nagatha/nagatha-runtime/sdk"
)

// reserve sets money aside for a call that is about to be made, in its day and its
// session, or refuses. The reservation ends when the call is recorded, when it is
// released, and by itself when it expires.
func (u *usage) reserve(ctx context.Context, host sdk.Host, in struct {
	ID       string       `json:"id"`
	Model    string       `json:"model"`
	Provider string       `json:"provider"`
	Session  string       `json:"session"`
	Input    int64        `json:"input_tokens"`
	Output   int64        `json:"output_tokens"`
	TTL      sdk.Duration `json:"ttl"`
}) (any, error) {
	if len(in.ID) > maxID {
		return nil, sdk.Invalid("id", "want at most %d bytes", maxID)
	}
	use := tokens{Input: in.Input, Output: in.Output}
	if err := use.check(); err != nil {
		return nil, err
	}
	ttl := in.TTL.Std()
	if ttl == 0 {
		ttl = u.reservation
	}
	if ttl < time.Second || ttl > 24*time.Hour {
		return nil, sdk.Invalid("ttl", "want 1s to 24h, not %s", in.TTL)
	}
	var h hold
	var known bool
	err := u.change(ctx, host, func(c *change) error {
		now := sdk.Now()
		old, there, err := at[hold](c, holdKeys+in.ID)
		if err != nil {
			return err
		}
		if there && old.Until > now {
			h, known = *old, true // asked for again: the same answer
			return nil
		}
		cost, _ := u.quote(in.Provider, in.Model, use, now)
		known = cost != nil
		h = hold{Day: u.day(now), Session: in.Session, Model: in.Model, reserved: reserved{Until: now.Add(ttl)}}
		if known {
			h.Cost = *cost
		}
		for _, s := range u.scopes(h.Day, h.Session) {
			st, sp, err := u.standing(c, s)
			if err != nil {
				return err
			}
			if st.Budget != nil && st.Spent+st.Reserved+usd(h.Cost) > *st.Budget {
				return sdk.Errorf(sdk.CodeBudgetExceeded, "the budget of %s is $%s: $%s are spent and $%s reserved, and this call may cost $%s; "+
					"raise it with usage.set_budget, or use a cheaper model", s, *st.Budget, st.Spent, st.Reserved, usd(h.Cost))
			}
			if len(sp.Holds) >= maxHolds {
				return sdk.Errorf(sdk.CodeLimitExceeded, "%s has %d reservations; record or release some", s, maxHolds)
			}
			if known { // else there is nothing to set aside: the call may be made
				sp.Holds[in.ID] = h.reserved
				c.put(s.key(), keepSpent)
			}
		}
		if known {
			*old = h
			c.put(holdKeys+in.ID, ttl)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if !known {
		return map[string]any{"reserved_usd": nil, "expires_at": nil}, nil
	}
	return map[string]any{"reserved_usd": usd(h.Cost), "expires_at": h.Until}, nil
}

// release gives back what was reserved for a call that is not made.
func (u *usage) release(ctx context.Context, host sdk.Host, in struct {
	ID string `json:"id"`
}) (any, error) {
	if len(in.ID) > maxID {
		return nil, sdk.Invalid("id", "want at most %d bytes", maxID)
	}
	released := false
	err := u.change(ctx, host, func(c *change) error {
		h, there, err := at[hold](c, holdKeys+in.ID)
		if released = there; err != nil || !there {
			return err
		}
		for _, s := range u.scopes(h.Day, h.Session) {
			sp, err := c.load(s)
			if err != nil {
				return err
			}
			delete(sp.Holds, in.ID)
			c.put(s.key(), keepSpent)
		}
		c.remove(holdKeys + in.ID)
		return nil
	})
	return map[string]bool{"released": released}, err
}

// cost prices calls without recording them.
func (u *usage) cost(_ context.Context, _ sdk.Host, in struct {
	Calls []struct {
		Model    string   `json:"model"`
		Provider string   `json:"provider"`
		Time     sdk.Time `json:"time"`
		tokens
	} `json:"calls"`
}) (any, error) {
	costs := make([]*usd, len(in.Calls))
	total := new(usd)
	for i, call := range in.Calls {
		if err := call.check(); err != nil {
			e := sdk.AsError(err) // which says the field, and not of which call
			return nil, sdk.Invalid(fmt.Sprintf("calls.%d.%s", i, e.Fields[0].Field), "%s", e.Fields[0].Message)
		}
		if call.Time == 0 {
			call.Time = sdk.Now()
		}
		micro, _ := u.quote(call.Provider, call.Model, call.tokens, call.Time)
		costs[i] = (*usd)(micro)
		switch {
		case micro == nil:
			total = nil
		case total != nil:
			*total += usd(*micro)
		}
	}
	return map[string]any{"cost_usd": total, "costs": costs}, nil
}
