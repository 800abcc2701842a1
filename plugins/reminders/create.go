package main

import (
	"context"
	"slices"
	"time"

	"github.com/nagatha/nagatha-runtime/sdk"
)

type createRequest struct {
	Text       string    `json:"text"`
	At         string    `json:"at"`
	In         string    `json:"in"`
	Say        string    `json:"say"`
	Recurrence string    `json:"recurrence"`
	Zone       string    `json:"zone"`
	Channels   *[]string `json:"channels"`
	Todo       string    `json:"todo"`
}

func (p *reminders) create(ctx context.Context, host sdk.Host, in createRequest) (any, error) {
	task := sdk.TaskFrom(ctx)
	r, err := p.draft(ctx, host, in, task)
	if err != nil {
		return nil, err
	}
	if err := p.link(ctx, host, r, in); err != nil {
		return nil, err
	}
	if r, err = p.insert(ctx, host, r); err != nil {
		return nil, err
	}
	return r.shown()
}

// draft is the reminder that a request asks for, without the to-do.
func (p *reminders) draft(ctx context.Context, host sdk.Host, in createRequest, task *sdk.Task) (*reminder, error) {
	r := &reminder{ID: newID("rem_", task), Recurrence: in.Recurrence, Zone: in.Zone, Channels: p.standard, Todo: in.Todo, CreatedAt: task.CreatedAt}
	if r.Zone == "" {
		r.Zone = p.zone.String()
	}
	if in.Channels != nil {
		r.Channels = *in.Channels
	}
	r.Channels = distinct(r.Channels)
	if err := p.ready(ctx, host, r.Channels); err != nil {
		return nil, err
	}
	at, text, err := p.when(in, r, said(task))
	if err != nil {
		return nil, err
	}
	if at.IsZero() { // the to-do says when
		return r, nil
	}
	if r.Text = text; text == "" {
		if r.Text, err = cleanText("text", in.Text); err != nil {
			return nil, err
		}
	}
	return r, r.begin(at)
}

// when reads the one of at, in and say that is given. A cron line alone says when;
// so does a to-do, and the answer is zero.
func (p *reminders) when(in createRequest, r *reminder, said time.Time) (at time.Time, text string, err error) {
	rule, err := r.rule()
	if err != nil {
		return at, "", err
	}
	given := 0
	for _, s := range []string{in.At, in.In, in.Say} {
		if s != "" {
			given++
		}
	}
	switch {
	case given > 1:
		return at, "", sdk.Invalid("at", "give one of at, in and say, not several")
	case in.Say != "" && in.Text != "":
		return at, "", sdk.Invalid("say", "holds the time and the text; leave text out")
	case in.Say != "":
		return parseSaid(in.Say, said, rule.zone)
	case in.At != "":
		at, err = parseTime("at", in.At, said, rule.zone)
	case in.In != "":
		at, err = parseSpan("in", in.In, said, rule.zone)
	case rule.cron != nil:
		at = said.Add(time.Millisecond)
	case in.Todo == "":
		err = sdk.Invalid("at", "say when: at, in, say, or a recurrence that is a cron line; %s", timeGrammar)
	}
	return at, "", err
}

// ready looks, before it matters, whether webhooks can be signed.
func (p *reminders) ready(ctx context.Context, host sdk.Host, channels []string) error {
	if err := p.checkChannels("channels", channels); err != nil {
		return err
	}
	for _, name := range channels {
		if name == eventChannel {
			continue
		}
		if _, err := signingKey(ctx, host, p.channels[name]); err != nil {
			return sdk.Invalid("channels", "%q cannot be used: %v", name, err)
		}
	}
	return nil
}

// link joins the reminder with its to-do, whose title and time it takes where the
// request has none.
func (p *reminders) link(ctx context.Context, host sdk.Host, r *reminder, in createRequest) error {
	if r.Todo == "" {
		return nil
	}
	d, err := loadTodo(ctx, host, r.Todo)
	if err != nil {
		return err
	}
	switch {
	case d == nil:
		return noTodo(r.Todo)
	case !d.open():
		return sdk.Invalid("todo", "to-do %s is %s", d.ID, d.Status)
	}
	if r.DueAt != 0 {
		return nil
	}
	if d.DueAt == 0 {
		return sdk.Invalid("at", "say when: to-do %s is not due at any time", d.ID)
	}
	if r.Text = in.Text; r.Text == "" {
		r.Text = d.Title
	}
	if err := ahead("todo", d.DueAt.Time(), r.CreatedAt.Time()); err != nil {
		return err
	}
	r.Before = "0 minutes"
	return r.begin(d.DueAt.Time())
}

// insert stores a new reminder, and notes it in its to-do. An attempt that runs again
// finds it there already.
func (p *reminders) insert(ctx context.Context, host sdk.Host, draft *reminder) (r *reminder, err error) {
	err = again(func() error {
		one := *draft
		c := sdk.Transaction{}
		if err := p.save(&c, &one, one.CreatedAt); err != nil {
			return err
		}
		if one.Todo != "" {
			d, err := loadTodo(ctx, host, one.Todo)
			if err != nil {
				return err
			}
			if d == nil {
				return noTodo(one.Todo)
			}
			if !slices.Contains(d.Reminders, one.ID) {
				if len(d.Reminders) >= maxTodoReminders {
					return sdk.Errorf(sdk.CodeLimitExceeded, "to-do %s has %d reminders already", d.ID, len(d.Reminders))
				}
				d.Reminders = append(d.Reminders, one.ID)
				if err := p.saveTodo(&c, d, one.CreatedAt); err != nil {
					return err
				}
			}
		}
		r = &one
		err := commit(ctx, host, c)
		if sdk.CodeOf(err) == sdk.CodeConflict {
			if old, fault := loadReminder(ctx, host, draft.ID); old != nil || fault != nil {
				r = old
				return fault
			}
		}
		return err
	})
	return r, err
}
