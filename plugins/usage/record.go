package main

import (
	"context"
	"encoding/json"
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/nagatha/nagatha-runtime/sdk"
)

// call is what is said about one call of a model.
type call struct {
	Model    string `json:"model"`
	Provider string `json:"provider"` // "": whose model it evidently is
	tokens
	Session string `json:"session"`
	Task    string `json:"task"`
	Kind    string `json:"kind"` // of the task
}

// record is a call as it is kept.
type record struct {
	ID   string   `json:"id"`
	Time sdk.Time `json:"time"`
	Day  string   `json:"day"` // of the configured zone
	call
	Period int     `json:"period"`         // grows with each reset
	Cost   *int64  `json:"cost_micro_usd"` // null: no price is known
	USD    *usd    `json:"cost_usd"`       // the same in dollars
	Price  *priced `json:"price"`          // where it comes from
}

// price gives the record a cost; nil: none is known.
func (r *record) price(cost *int64, from *priced) {
	r.Cost, r.USD, r.Price = cost, (*usd)(cost), from
}

// The keys of the plugin's namespace.
const (
	recordKeys   = "record/"   // + id: a record
	unpricedKeys = "unpriced/" // + id: true, for a record without a price
	cellKeys     = "cell/"     // + period, day, digest: a cell of a session
	wholeKeys    = "whole/"    // the same of all sessions
	spentKeys    = "spent/"    // + "day/" and a day, or "session/" and a digest: what is spent
	holdKeys     = "hold/"     // + id: a hold
	budgetKeys   = "budget/"   // + "day", "session", or "session/" and a digest: a limit
	periodKey    = "period"
	overviewKey  = "overview" // true: every cell is counted in the row of all sessions
)

// maxID bounds a record's id in bytes, so that a key can hold it.
const maxID = 400

// recording is the payload of usage.record: a call with its id, or the event that
// tells of one.
type recording struct {
	ID   string   `json:"id"`
	Time sdk.Time `json:"time"`
	call
	Reservation string     `json:"reservation"`
	Event       *sdk.Event `json:"event"`
}

// fromEvent takes the call out of a usage.recorded event. What it does not know there
// is left alone: the publisher may be newer.
func (in recording) fromEvent() (recording, error) {
	e := in.Event
	in.Event = nil
	if len(e.Data) == 0 || string(e.Data) == "null" {
		return in, sdk.Errorf(sdk.CodeInvalidPayload, "the event %s has no data; want at least model, input_tokens and output_tokens", e.ID)
	}
	in.Input, in.Output = math.MinInt64, math.MinInt64 // not said
	if err := json.Unmarshal(e.Data, &in); err != nil {
		return in, sdk.Errorf(sdk.CodeInvalidPayload, "the data of event %s: %v", e.ID, err)
	}
	if in.Model == "" || in.Input == math.MinInt64 || in.Output == math.MinInt64 {
		return in, sdk.Errorf(sdk.CodeInvalidPayload, "the data of event %s: want model, input_tokens and output_tokens", e.ID)
	}
	if in.ID == "" {
		in.ID = e.ID
	}
	if in.Time == 0 {
		in.Time = e.Time
	}
	return in, nil
}

// record keeps a call and adds it to the totals, in one transaction and once for each
// id.
func (u *usage) record(ctx context.Context, host sdk.Host, in recording) (any, error) {
	if in.Event != nil {
		var err error
		if in, err = in.fromEvent(); err != nil {
			return nil, err
		}
	}
	task := sdk.TaskFrom(ctx)
	if in.ID == "" {
		in.ID = task.ID
	}
	if in.Time == 0 {
		in.Time = task.CreatedAt // the same for every attempt
	}
	if len(in.ID) > maxID {
		return nil, sdk.Invalid("id", "want at most %d bytes", maxID)
	}
	if err := in.check(); err != nil {
		return nil, err
	}
	w := &wanted{record: record{ID: in.ID, Time: in.Time, Day: u.day(in.Time), call: in.call}, reservation: in.Reservation, done: make(chan verdict, 1)}
	w.price(u.quote(in.Provider, in.Model, in.tokens, in.Time))
	if err := u.join(ctx, host, w); err != nil {
		return nil, err
	}
	created := strconv.FormatBool(w.created)
	return json.RawMessage(slices.Concat([]byte(`{"record":`), w.doc, []byte(`,"created":`+created+`}`))), nil
}

// enter adds a wanted record to a change, with all that it changes. An error that is
// the record's own is kept there.
func (u *usage) enter(c *change, w *wanted) error {
	w.created, w.err = false, nil
	key := recordKeys + w.ID
	if c.again || c.rows[key] != nil { // at first it is taken to be new
		old, there, err := at[record](c, key)
		if err != nil {
			return err
		}
		if there {
			if old.call != w.call {
				w.err = sdk.Errorf(sdk.CodeConflict, "the id %.80q is recorded with another call, and a record never changes: use another id", w.ID)
				return nil
			}
			w.doc, err = json.Marshal(old)
			return err
		}
	}
	// All is read before anything is altered.
	period, _, err := at[period](c, periodKey)
	if err != nil {
		return err
	}
	w.Period = period.Number
	tally, err := c.tally(w.record)
	if err != nil {
		return err
	}
	account, err := u.account(c, w.record, w.reservation)
	if err != nil {
		return err
	}
	if w.doc, err = json.Marshal(w.record); err != nil {
		return err
	}
	w.created = true
	c.put(periodKey, 0) // so that no reset comes in between
	c.create(key, &w.record, w.doc, u.keep)
	if w.Cost == nil {
		c.create(unpricedKeys+w.ID, nil, json.RawMessage("true"), u.keep)
	}
	tally.put(c, func(a *cell) { a.add(w.record) })
	account.settle(c, w.Cost)
	return nil
}

// day is the day of a moment in the configured zone.
func (u *usage) day(t sdk.Time) string { return t.Time().In(u.zone).Format(time.DateOnly) }
