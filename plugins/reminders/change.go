package main

import (
	"context"
	"encoding/json"
	"time"

	"github.com/nagatha/nagatha-runtime/sdk"
)

// optional is a field that may be left out, which leaves things as they are, or null,
// which clears them.
type optional[T any] struct {
	given bool
	value T // zero where null was given
}

// UnmarshalJSON is called for null too.
func (o *optional[T]) UnmarshalJSON(b []byte) error {
	o.given = true
	return json.Unmarshal(b, &o.value)
}

func (o optional[T]) put(to *T) {
	if o.given {
		*to = o.value
	}
}

type updateRequest struct {
	ID         string             `json:"id"`
	Text       string             `json:"text"`
	At         string             `json:"at"`
	In         string             `json:"in"`
	Recurrence optional[string]   `json:"recurrence"`
	Zone       string             `json:"zone"`
	Channels   optional[[]string] `json:"channels"`
}

func (p *reminders) update(ctx context.Context, host sdk.Host, in updateRequest) (any, error) {
	said := said(sdk.TaskFrom(ctx))
	in.Channels.value = distinct(in.Channels.value)
	if err := p.ready(ctx, host, in.Channels.value); err != nil {
		return nil, err
	}
	return p.change(ctx, host, in.ID, func(r *reminder, now sdk.Time) error {
		if in.Text != "" {
			text, err := cleanText("text", in.Text)
			if err != nil {
				return err
			}
			r.Text = text
		}
		in.Channels.put(&r.Channels)
		if in.Zone != "" {
			r.Zone = in.Zone
		}
		in.Recurrence.put(&r.Recurrence)
		rule, err := r.rule()
		if err != nil {
			return err
		}
		at := r.DueAt.Time()
		switch {
		case in.At != "" && in.In != "":
			return sdk.Invalid("at", "give one of at and in, not both")
		case in.At != "":
			at, err = parseTime("at", in.At, said, rule.zone)
		case in.In != "":
			at, err = parseSpan("in", in.In, said, rule.zone)
		case !in.Recurrence.given && in.Zone == "":
			return nil
		case rule.cron != nil:
			at = now.Time().Add(time.Millisecond)
		case r.DueAt == 0 && r.Recurrence != "":
			return sdk.Invalid("at", "say when: the reminder is over")
		case r.DueAt == 0:
			return nil
		}
		if err != nil {
			return err
		}
		if in.At != "" || in.In != "" {
			r.Before = ""
		}
		return r.begin(at)
	})
}

// snooze makes the reminder due once more after a while. A series goes on after it.
func (p *reminders) snooze(ctx context.Context, host sdk.Host, in struct {
	ID  string `json:"id"`
	For string `json:"for"`
}) (any, error) {
	said := said(sdk.TaskFrom(ctx))
	return p.change(ctx, host, in.ID, func(r *reminder, _ sdk.Time) error {
		rule, err := r.rule()
		if err != nil {
			return err
		}
		if r.Status == completed {
			return sdk.Errorf(sdk.CodeInvalid, "reminder %s is completed; give it a new time with reminders.update", r.ID)
		}
		at, err := parseSpan("for", in.For, said, rule.zone)
		if err != nil {
			return err
		}
		r.DueAt, r.Status = sdk.TimeOf(at), pending
		return nil
	})
}

type idRequest struct {
	ID string `json:"id"`
}

// complete ends a reminder, a series as a whole. Doing it twice is no error.
func (p *reminders) complete(ctx context.Context, host sdk.Host, in idRequest) (any, error) {
	return p.change(ctx, host, in.ID, func(r *reminder, now sdk.Time) error {
		if r.Status != completed {
			r.finish(now)
		}
		return nil
	})
}

func (r *reminder) finish(now sdk.Time) {
	r.DueAt, r.Status, r.CompletedAt = 0, completed, now
}

func (p *reminders) delete(ctx context.Context, host sdk.Host, in idRequest) (any, error) {
	deleted := false
	err := again(func() error {
		r, err := loadReminder(ctx, host, in.ID)
		if err != nil || r == nil {
			return err
		}
		var c sdk.Transaction
		r.drop(&c)
		err = commit(ctx, host, c)
		deleted = err == nil
		return err
	})
	return map[string]bool{"deleted": deleted}, err
}
