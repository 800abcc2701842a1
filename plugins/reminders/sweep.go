package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nagatha/nagatha-runtime/sdk"
)

// sweep is the result of reminders.process_due.
type sweep struct {
	DueTasks           int             `json:"due_tasks"`
	DueReminders       int             `json:"due_reminders"`
	ProcessedTasks     []processedTodo `json:"processed_tasks"`
	ProcessedReminders []dueEvent      `json:"processed_reminders"`
	Timestamp          sdk.Time        `json:"timestamp"`
}

type processedTodo struct {
	ID    string   `json:"id"`
	Title string   `json:"title"`
	DueAt sdk.Time `json:"due_at"`
}

const (
	// grace is how late a reminder is before its timer counts as lost.
	grace = 5 * time.Second
	// maxSwept bounds what one sweep does, and sweptBytes what its result holds of it; the
	// next goes on.
	maxSwept   = 500
	sweptBytes = 160 << 10
)

// processDue makes due what is due and whose timer is lost, and tells of to-dos that
// have become due. A timer that is only slow finds that it was done.
func (p *reminders) processDue(ctx context.Context, host sdk.Host, _ struct{}) (any, error) {
	t, err := now(ctx, host)
	if err != nil {
		return nil, err
	}
	out := sweep{ProcessedTasks: []processedTodo{}, ProcessedReminders: []dueEvent{}, Timestamp: t}
	late, room := t.Add(-grace), sweptBytes
	note := func(v any) {
		b, _ := json.Marshal(v) // of plain types
		room -= len(b) + 1
	}
	out.DueReminders, err = passed(ctx, host, "due", late, &room, func(at sdk.Time, id string) error {
		f, err := p.occur(ctx, host, id, func(r *reminder) bool { return r.DueAt == at })
		if err == nil && f.Fired {
			out.ProcessedReminders = append(out.ProcessedReminders, *f.Event)
			note(f.Event)
		}
		return err
	})
	var more error
	out.DueTasks, more = passed(ctx, host, "tododue", t, &room, func(at sdk.Time, id string) error {
		d, err := p.overdue(ctx, host, at, id, t)
		if d != nil {
			one := processedTodo{d.ID, d.Title, at}
			out.ProcessedTasks = append(out.ProcessedTasks, one)
			note(one)
		}
		return err
	})
	return out, errors.Join(err, more)
}

// passed calls f for what stands in an index before a time, while there is room. What
// goes wrong with one does not keep the others waiting.
func passed(ctx context.Context, host sdk.Host, index string, before sdk.Time, room *int, f func(at sdk.Time, id string) error) (int, error) {
	n, faults := 0, []error(nil)
	req := sdk.KVList{Prefix: index + "/", Limit: 1} // mostly nothing has passed, and one says so
	for n < maxSwept {
		page, err := sdk.NewKV(host).List(ctx, req)
		if err != nil {
			return n, err
		}
		for _, it := range page.Items {
			stamp, id, _ := strings.Cut(strings.TrimPrefix(it.Key, index+"/"), "/")
			ms, err := strconv.ParseInt(stamp, 10, 64)
			if err != nil {
				return n, fmt.Errorf("index %q: %w", it.Key, err)
			}
			at := sdk.Time(ms)
			if at > before || *room <= 0 {
				return n, errors.Join(faults...)
			}
			n++
			if err := f(at, id); err != nil {
				if ctx.Err() != nil {
					return n, err
				}
				faults = append(faults, fmt.Errorf("%s: %w", id, err))
			}
		}
		if req.After, req.Limit = page.Next, 100; page.Next == "" {
			break
		}
	}
	return n, errors.Join(faults...)
}

// overdue tells once that a to-do is due; nil: it was changed in the meantime.
func (p *reminders) overdue(ctx context.Context, host sdk.Host, at sdk.Time, id string, now sdk.Time) (d *todo, err error) {
	err = again(func() error {
		if d, err = loadTodo(ctx, host, id); err != nil || d == nil || d.DueAt != at || !d.open() {
			d = nil
			return err
		}
		d.NoticedAt = now
		var c sdk.Transaction
		if err := p.saveTodo(&c, d, now); err != nil {
			return err
		}
		data, err := json.Marshal(d)
		if err != nil {
			return err
		}
		c.Events = append(c.Events, sdk.Event{Type: "todo.due", ID: fmt.Sprintf("%s_%d", d.ID, at), Subject: d.ID, Data: data})
		err = commit(ctx, host, c)
		return err
	})
	return d, err
}
