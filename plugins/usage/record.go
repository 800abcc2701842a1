package main

import (
	"context"
	"encoding/json"
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
	Period int     `json:"period"`             // grows with each reset
	Cost   *int64  `json:"cost_micro_usd"`     // null: no price is known
	Price  *priced `json:"price"`              // where it comes from
	USD    *usd    `json:"cost_usd,omitempty"` // Cost in dollars; filled in when it is shown
}

func (r record) shown() record {
	r.USD = (*usd)(r.Cost)
	return r
}

// The keys of the plugin's namespace.
const (
	recordKeys   = "record/"   // + id: a record
	unpricedKeys = "unpriced/" // + id: true, for a record without a price
	cellKeys     = "cell/"     // + period, day, digest: a cell
	spentKeys    = "spent/"    // + "day/" and a day, or "session/" and a digest: what is spent
	holdKeys     = "hold/"     // + id: a hold
	budgetKeys   = "budget/"   // + "day", "session", or "session/" and a digest: a limit
	periodKey    = "period"
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
	var need struct {
		Input  *int64 `json:"input_tokens"`
		Output *int64 `json:"output_tokens"`
	}
	if err := json.Unmarshal(e.Data, &in); err != nil {
		return in, sdk.Errorf(sdk.CodeInvalidPayload, "the data of event %s: %v", e.ID, err)
	}
	_ = json.Unmarshal(e.Data, &need)
	if in.Model == "" || need.Input == nil || need.Output == nil {
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
	var r record
	created := false
	err := u.change(ctx, host, func(c *change) error {
		created = false
		there, err := c.get(recordKeys+in.ID, &r)
		if err != nil {
			return err
		}
		if there {
			if r.call != in.call {
				return sdk.Errorf(sdk.CodeConflict, "the id %.80q is recorded with another call, and a record never changes: use another id", in.ID)
			}
			return nil
		}
		period, err := c.period()
		if err != nil {
			return err
		}
		r = record{ID: in.ID, Time: in.Time, Day: u.day(in.Time), call: in.call, Period: period.Number}
		r.Cost, r.Price = u.quote(in.Provider, in.Model, in.tokens, in.Time)
		created = true
		return u.add(c, r, in.Reservation)
	})
	if err != nil {
		return nil, err
	}
	return map[string]any{"record": r.shown(), "created": created}, nil
}

// add writes a new record with all that it changes.
func (u *usage) add(c *change, r record, reservation string) error {
	if err := c.set(recordKeys+r.ID, r, u.keep); err != nil {
		return err
	}
	if r.Cost == nil {
		if _, err := c.get(unpricedKeys+r.ID, new(bool)); err != nil {
			return err
		}
		if err := c.set(unpricedKeys+r.ID, true, u.keep); err != nil {
			return err
		}
	}
	var at cell
	key := r.cell()
	if _, err := c.get(key, &at); err != nil {
		return err
	}
	at.label(r)
	at.add(r)
	if err := c.set(key, at, 0); err != nil {
		return err
	}
	return u.settle(c, r, reservation)
}

// day is the day of a moment in the configured zone.
func (u *usage) day(t sdk.Time) string { return t.Time().In(u.zone).Format(time.DateOnly) }
