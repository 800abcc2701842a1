package main

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/nagatha/nagatha-runtime/sdk"
)

// firing is the outcome of reminders.fire.
type firing struct {
	Fired  bool      `json:"fired"`
	Reason string    `json:"reason"` // why not
	Event  *dueEvent `json:"event"`
}

// dueEvent is the data of a reminder.due event, and of its webhooks.
type dueEvent struct {
	ID         string   `json:"id"`
	Text       string   `json:"text"`
	DueAt      sdk.Time `json:"due_at"`
	FiredAt    sdk.Time `json:"fired_at"`
	Occurrence int      `json:"occurrence"` // from 1
	Missed     int      `json:"missed"`     // further ones that passed while nothing ran, made up for by this one
	Recurrence string   `json:"recurrence"`
	NextAt     sdk.Time `json:"next_at"` // null: it was the last
	Zone       string   `json:"zone"`
	Channels   []string `json:"channels"`
	Todo       string   `json:"todo"`
}

// eventID is the same however often an occurrence is tried.
func eventID(id string, occurrence int) string { return fmt.Sprintf("%s_%d", id, occurrence) }

// fire is what a timer does. One that is not the reminder's present timer is old: the
// reminder was changed since, or has been due already.
func (p *reminders) fire(ctx context.Context, host sdk.Host, in timer) (any, error) {
	return p.occur(ctx, host, in.ID, func(r *reminder) bool { return r.Timer == in.Timer })
}

// occur makes a reminder due, if it is time and it is wanted.
func (p *reminders) occur(ctx context.Context, host sdk.Host, id string, wanted func(r *reminder) bool) (out firing, err error) {
	err = again(func() error {
		r, err := loadReminder(ctx, host, id)
		switch {
		case err != nil:
			return err
		case r == nil:
			out = firing{Reason: "it was deleted"}
			return nil
		case r.Status != pending || !wanted(r):
			out = firing{Reason: "it was changed, or has been due already"}
			return nil
		}
		t, err := now(ctx, host)
		if err != nil {
			return err
		}
		var c sdk.Transaction
		if t < r.DueAt {
			// The timer could not be set so far ahead.
			task, err := p.timer(r, t)
			if err != nil {
				return err
			}
			out = firing{Reason: "it is not due yet"}
			err = commit(ctx, host, sdk.Transaction{Tasks: []sdk.Submission{task}})
			return err
		}
		if out, err = p.move(ctx, host, r, t, &c); err != nil {
			return err
		}
		err = commit(ctx, host, c)
		return err
	})
	return out, err
}

// move takes a reminder past its occurrence: everything that belongs to it goes into
// one transaction.
func (p *reminders) move(ctx context.Context, host sdk.Host, r *reminder, now sdk.Time, c *sdk.Transaction) (firing, error) {
	if r.Todo != "" {
		d, err := loadTodo(ctx, host, r.Todo)
		if err != nil {
			return firing{}, err
		}
		if d == nil || !d.open() {
			r.finish(now)
			return firing{Reason: "its to-do is done"}, p.save(c, r, now)
		}
	}
	rule, err := r.rule()
	if err != nil {
		return firing{}, err
	}
	e := dueEvent{ID: r.ID, Text: r.Text, DueAt: r.DueAt, FiredAt: now, Occurrence: r.Occurrence + 1, Recurrence: r.Recurrence,
		Zone: r.Zone, Channels: r.Channels, Todo: r.Todo}
	start := r.StartAt.Time()
	if rule.name != "" {
		e.Missed = rule.missed(start, r.DueAt.Time(), now.Time())
		e.NextAt = sdk.TimeOf(rule.next(start, now.Time()))
	}
	r.Occurrence, r.LastDueAt, r.DueAt = e.Occurrence, r.DueAt, e.NextAt
	if r.DueAt == 0 {
		r.Status = due
	}
	if err := p.save(c, r, now); err != nil {
		return firing{}, err
	}
	data, err := json.Marshal(e)
	if err != nil {
		return firing{}, err
	}
	id := eventID(r.ID, e.Occurrence)
	c.Events = append(c.Events, sdk.Event{Type: "reminder.due", ID: id, Subject: r.ID, Time: now, Data: data})
	if err := p.note(c, delivery{Reminder: r.ID, Occurrence: e.Occurrence, Channel: eventChannel, Status: delivered, Message: id,
		DueAt: e.DueAt, FirstAt: now, At: now}); err != nil {
		return firing{}, err
	}
	return firing{Fired: true, Event: &e}, p.announce(c, e, data, id)
}

// announce submits a task for each webhook, with a line in the delivery log.
func (p *reminders) announce(c *sdk.Transaction, e dueEvent, data json.RawMessage, id string) error {
	for _, name := range e.Channels {
		if name == eventChannel {
			continue
		}
		d := delivery{Reminder: e.ID, Occurrence: e.Occurrence, Channel: name, Status: waiting, Message: id, DueAt: e.DueAt, FirstAt: e.FiredAt, At: e.FiredAt}
		if err := p.note(c, d); err != nil {
			return err
		}
		payload, err := json.Marshal(deliverRequest{Reminder: e.ID, Occurrence: e.Occurrence, Channel: name, Data: data})
		if err != nil {
			return err
		}
		c.Tasks = append(c.Tasks, sdk.Submission{Kind: "reminders.deliver", Payload: payload, Queue: p.queue, Labels: map[string]string{"reminder": e.ID}})
	}
	return nil
}
