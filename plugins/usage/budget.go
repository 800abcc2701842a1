package main

import (
	"context"
	"fmt"
	"time"

	"github.com/nagatha/nagatha-runtime/sdk"
)

// spent is what a day or a session has spent, and what is reserved in it. It is kept
// whether or not there is a budget, so that a budget set later counts all of it. A
// reset leaves it alone: money that is spent stays spent.
type spent struct {
	Session string              `json:"session,omitempty"`
	Cost    int64               `json:"cost_micro_usd"`
	Holds   map[string]reserved `json:"holds,omitempty"`
}

type reserved struct {
	Cost  int64    `json:"cost_micro_usd"`
	Until sdk.Time `json:"until"`
}

// maxHolds bounds the reservations that one day or session has at once.
const maxHolds = 1000

// held sums what is reserved, and forgets what has expired.
func (s *spent) held(now sdk.Time) (sum int64) {
	for id, h := range s.Holds {
		if h.Until <= now {
			delete(s.Holds, id)
			continue
		}
		sum += h.Cost
	}
	return sum
}

// scope is a day or a session, which money is spent in.
type scope struct{ day, session string }

func (s scope) String() string {
	if s.session != "" {
		return fmt.Sprintf("session %.80q", s.session)
	}
	return "day " + s.day
}

func (s scope) key() string {
	if s.session != "" {
		return spentKeys + "session/" + digest(s.session)
	}
	return spentKeys + "day/" + s.day
}

// scopes are those that a call at a moment belongs to.
func (u *usage) scopes(day, session string) []scope {
	if session == "" {
		return []scope{{day: day}}
	}
	return []scope{{day: day}, {session: session}}
}

// keepSpent is how long a day's or session's spending is kept after its last change.
const keepSpent = 400 * 24 * time.Hour

// load reads what was spent in a scope.
func (c *change) load(s scope) (*spent, error) {
	at := &spent{}
	_, err := c.get(s.key(), at)
	at.Session = s.session
	if at.Holds == nil {
		at.Holds = map[string]reserved{}
	}
	return at, err
}

// hold is a reservation, by its id.
type hold struct {
	Day     string `json:"day"`
	Session string `json:"session"`
	Model   string `json:"model"`
	reserved
}

// settle adds a record's cost to its day and session, and ends its reservation, which
// may have been made the day before.
func (u *usage) settle(c *change, r record, reservation string) error {
	now := sdk.Now()
	touched := u.scopes(r.Day, r.Session)
	own := len(touched)
	if reservation != "" {
		var h hold
		there, err := c.get(holdKeys+reservation, &h)
		if err != nil {
			return err
		}
		if there {
			if err := c.remove(holdKeys + reservation); err != nil {
				return err
			}
			for _, s := range u.scopes(h.Day, h.Session) {
				if s != touched[0] && s != touched[own-1] {
					touched = append(touched, s)
				}
			}
		}
	}
	for i, s := range touched {
		at, err := c.load(s)
		if err != nil {
			return err
		}
		delete(at.Holds, reservation)
		at.held(now)
		if i < own && r.Cost != nil {
			at.Cost += *r.Cost
		}
		if err := c.set(s.key(), at, keepSpent); err != nil {
			return err
		}
	}
	return nil
}

// limit is a budget that was set by usage.set_budget.
type limit struct {
	Session string `json:"session,omitempty"`
	USD     usd    `json:"usd"`
}

// anySession is no session's name: it has the budget that all sessions have.
const anySession = "\x00"

// limit finds the budget of a scope: what was set for that session, for all sessions
// or for days, and then what config.hcl says. Nil is none.
func (u *usage) limit(c *change, s scope) (*usd, error) {
	keys, otherwise := []string{budgetKeys + "day"}, u.budgets.Day
	if s.session != "" {
		keys, otherwise = []string{budgetKeys + "session/" + digest(s.session), budgetKeys + "session"}, u.budgets.Session
	}
	for _, key := range keys {
		var l limit
		if there, err := c.get(key, &l); there || err != nil {
			return &l.USD, err
		}
	}
	return otherwise, nil
}

func (u *usage) setBudget(ctx context.Context, host sdk.Host, in struct {
	Scope   string `json:"scope"`
	Session string `json:"session"`
	USD     *usd   `json:"usd"`
}) (any, error) {
	key := budgetKeys + in.Scope
	switch {
	case in.USD != nil && *in.USD < 0:
		return nil, sdk.Invalid("usd", "must not be negative; null removes the budget")
	case in.Scope == "day" && in.Session != "":
		return nil, sdk.Invalid("session", "belongs to the scope \"session\"")
	case in.Session != "":
		key += "/" + digest(in.Session)
	}
	err := u.change(ctx, host, func(c *change) error {
		if _, err := c.get(key, new(limit)); err != nil {
			return err
		}
		if in.USD == nil {
			return c.remove(key)
		}
		return c.set(key, limit{in.Session, *in.USD}, 0)
	})
	if err != nil {
		return nil, err
	}
	return u.budget(ctx, host, struct {
		Session string `json:"session"`
	}{in.Session})
}

// standing is a budget with what is left of it; null budget and left: there is none.
type standing struct {
	Budget   *usd `json:"budget_usd"`
	Spent    usd  `json:"spent_usd"`
	Reserved usd  `json:"reserved_usd"`
	Left     *usd `json:"left_usd"`
}

func (u *usage) standing(c *change, s scope) (standing, *spent, error) {
	at, err := c.load(s)
	if err != nil {
		return standing{}, nil, err
	}
	out := standing{Spent: usd(at.Cost), Reserved: usd(at.held(sdk.Now()))}
	if out.Budget, err = u.limit(c, s); err != nil || out.Budget == nil {
		return out, at, err
	}
	left := max(*out.Budget-out.Spent-out.Reserved, 0)
	out.Left = &left
	return out, at, nil
}

func (u *usage) budget(ctx context.Context, host sdk.Host, in struct {
	Session string `json:"session"`
}) (any, error) {
	c := &change{ctx: ctx, kv: sdk.NewKV(host), items: map[string]*sdk.Item{}}
	out := map[string]any{"zone": u.zone.String(), "session": nil}
	every, err := u.limit(c, scope{session: anySession})
	if err != nil {
		return nil, err
	}
	out["every_session_usd"] = every
	for _, s := range u.scopes(u.day(sdk.Now()), in.Session) {
		at, _, err := u.standing(c, s)
		if err != nil {
			return nil, err
		}
		if s.session != "" {
			out["session"] = at
		} else {
			out["date"], out["day"] = s.day, at
		}
	}
	return out, nil
}
