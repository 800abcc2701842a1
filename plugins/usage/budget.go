package main

import (
	"context"
	"fmt"
	"slices"
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
func (c *change) load(s scope) (*spent, error) { return c.loadKey(s, s.key()) }

func (c *change) loadKey(s scope, key string) (*spent, error) {
	sp, _, err := at[spent](c, key)
	if err != nil {
		return nil, err
	}
	sp.Session = s.session
	if sp.Holds == nil {
		sp.Holds = map[string]reserved{}
	}
	return sp, nil
}

// hold is a reservation, by its id.
type hold struct {
	Day     string `json:"day"`
	Session string `json:"session"`
	Model   string `json:"model"`
	reserved
}

// account is what a record changes besides itself and its cells: its day and session,
// its reservation, and where that was made, which may be the day before.
type account struct {
	keys        []string
	spent       []*spent
	own         int // so many of them are the record's day and session
	reservation string
	held        bool
}

// account reads it.
func (u *usage) account(c *change, r record, reservation string) (*account, error) {
	a := &account{reservation: reservation}
	read := func(scopes []scope) error {
		for _, s := range scopes {
			key := s.key()
			if slices.Contains(a.keys, key) {
				continue
			}
			sp, err := c.loadKey(s, key)
			if err != nil {
				return err
			}
			a.keys, a.spent = append(a.keys, key), append(a.spent, sp)
		}
		return nil
	}
	err := read(u.scopes(r.Day, r.Session))
	if a.own = len(a.keys); err != nil || reservation == "" {
		return a, err
	}
	h, there, err := at[hold](c, holdKeys+reservation)
	if a.held = there; err != nil || !there {
		return a, err
	}
	return a, read(u.scopes(h.Day, h.Session))
}

// settle adds a cost to its day and session, and ends its reservation.
func (a *account) settle(c *change, cost *int64) {
	now := sdk.Now()
	for i, sp := range a.spent {
		delete(sp.Holds, a.reservation)
		sp.held(now)
		if i < a.own && cost != nil {
			sp.Cost += *cost
		}
		c.put(a.keys[i], keepSpent)
	}
	if a.held {
		c.remove(holdKeys + a.reservation)
	}
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
		l, there, err := at[limit](c, key)
		if err != nil {
			return nil, err
		}
		if there {
			return &l.USD, nil
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
		l, _, err := at[limit](c, key)
		if err != nil {
			return err
		}
		if in.USD == nil {
			c.remove(key)
			return nil
		}
		*l = limit{in.Session, *in.USD}
		c.put(key, 0)
		return nil
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
	sp, err := c.load(s)
	if err != nil {
		return standing{}, nil, err
	}
	out := standing{Spent: usd(sp.Cost), Reserved: usd(sp.held(sdk.Now()))}
	if out.Budget, err = u.limit(c, s); err != nil || out.Budget == nil {
		return out, sp, err
	}
	left := max(*out.Budget-out.Spent-out.Reserved, 0)
	out.Left = &left
	return out, sp, nil
}

func (u *usage) budget(ctx context.Context, host sdk.Host, in struct {
	Session string `json:"session"`
}) (any, error) {
	c := fresh(ctx, host)
	out := map[string]any{"zone": u.zone.String(), "session": nil}
	every, err := u.limit(c, scope{session: anySession})
	if err != nil {
		return nil, err
	}
	out["every_session_usd"] = every
	for _, s := range u.scopes(u.day(sdk.Now()), in.Session) {
		st, _, err := u.standing(c, s)
		if err != nil {
			return nil, err
		}
		if s.session != "" {
			out["session"] = st
		} else {
			out["date"], out["day"] = s.day, st
		}
	}
	return out, nil
}
