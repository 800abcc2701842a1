package main

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/nagatha/nagatha-runtime/sdk"
)

// todo is the record of a to-do, under todo/ID.
type todo struct {
	ID          string   `json:"id"`
	Title       string   `json:"title"`
	Description string   `json:"description"`
	Status      string   `json:"status"`
	Priority    string   `json:"priority"`
	DueAt       sdk.Time `json:"due_at"`
	Tags        []string `json:"tags"`
	Reminders   []string `json:"reminders"`  // ids
	NoticedAt   sdk.Time `json:"noticed_at"` // when todo.due was published
	CreatedAt   sdk.Time `json:"created_at"`
	UpdatedAt   sdk.Time `json:"updated_at"`
	CompletedAt sdk.Time `json:"completed_at"`

	version int64
	stored  sdk.Time // its place in the index; 0: it has none
}

// maxTodoReminders keeps a to-do and its reminders within one transaction.
const maxTodoReminders = 10

// open reports whether there is still something to do.
func (d *todo) open() bool { return d.Status == pending || d.Status == "in_progress" }

// indexed is when it will have to be noticed; 0: not any more.
func (d *todo) indexed() sdk.Time {
	if !d.open() || d.NoticedAt != 0 {
		return 0
	}
	return d.DueAt
}

func todoKey(id string) string { return "todo/" + id }

func noTodo(id string) error {
	return sdk.Errorf(sdk.CodeNotFound, "there is no to-do %.80q; reminders.todo_list shows those that there are", id)
}

func loadTodo(ctx context.Context, host sdk.Host, id string) (*todo, error) {
	d, version, err := load[todo](ctx, host, todoKey(id))
	if d != nil {
		d.version, d.stored = version, d.indexed()
	}
	return d, err
}

// saveTodo adds to a change what stores the record and its place in the index.
func (p *reminders) saveTodo(c *sdk.Transaction, d *todo, now sdk.Time) error {
	if at := d.indexed(); at != d.stored {
		if d.stored != 0 {
			c.Writes = append(c.Writes, remove(dueKey("tododue", d.stored, d.ID)))
		}
		if at != 0 {
			c.Writes = append(c.Writes, set(dueKey("tododue", at, d.ID), []byte("1"), nil, 0, ""))
		}
	}
	d.UpdatedAt = now
	b, err := json.Marshal(d)
	c.Writes = append(c.Writes, set(todoKey(d.ID), b, &d.version, 0, words(d.Title, d.Description, d.Tags)))
	return err
}

// words is what full-text search looks at.
func words(title, text string, tags []string) string {
	return strings.ReplaceAll(title+"\n"+text+"\n"+strings.Join(tags, " "), "\x00", " ")
}

// changeTodo alters a to-do and, with it, its reminders.
func (p *reminders) changeTodo(ctx context.Context, host sdk.Host, id string, f func(d *todo, own []*reminder, now sdk.Time) error) (any, error) {
	var d *todo
	err := again(func() (err error) {
		if d, err = loadTodo(ctx, host, id); err != nil {
			return err
		}
		if d == nil {
			return noTodo(id)
		}
		own, err := d.own(ctx, host)
		if err != nil {
			return err
		}
		t, err := now(ctx, host)
		if err != nil {
			return err
		}
		before := make([]reminder, len(own))
		for i, r := range own {
			before[i] = *r
		}
		if err := f(d, own, t); err != nil {
			return err
		}
		var c sdk.Transaction
		for i, r := range own {
			if r.DueAt == before[i].DueAt && r.Status == before[i].Status && r.Before == before[i].Before {
				continue
			}
			if err := p.save(&c, r, t); err != nil {
				return err
			}
		}
		if err := p.saveTodo(&c, d, t); err != nil {
			return err
		}
		err = commit(ctx, host, c)
		return err
	})
	if err != nil {
		return nil, err
	}
	return map[string]any{"todo": d}, nil
}

// own are the to-do's reminders; those that were deleted are forgotten.
func (d *todo) own(ctx context.Context, host sdk.Host) ([]*reminder, error) {
	var own []*reminder
	ids := []string{}
	for _, id := range d.Reminders {
		r, err := loadReminder(ctx, host, id)
		if err != nil {
			return nil, err
		}
		if r != nil {
			own, ids = append(own, r), append(ids, id)
		}
	}
	d.Reminders = ids
	return own, nil
}

func (p *reminders) todoAdd(ctx context.Context, host sdk.Host, in struct {
	Title       string   `json:"title"`
	Description string   `json:"description"`
	Priority    string   `json:"priority"`
	Due         string   `json:"due"`
	Remind      string   `json:"remind"`
	Zone        string   `json:"zone"`
	Tags        []string `json:"tags"`
}) (any, error) {
	task := sdk.TaskFrom(ctx)
	d := &todo{ID: newID("todo_", task), Description: in.Description, Status: pending, Priority: in.Priority, Tags: distinct(in.Tags),
		Reminders: []string{}, CreatedAt: task.CreatedAt}
	var err error
	if d.Title, err = cleanText("title", in.Title); err != nil {
		return nil, err
	}
	if d.Priority == "" {
		d.Priority = "medium"
	}
	zone, err := p.zoneOf(in.Zone)
	if err != nil {
		return nil, err
	}
	if in.Due != "" {
		at, err := parseTime("due", in.Due, said(task), zone)
		if err != nil {
			return nil, err
		}
		d.DueAt = sdk.TimeOf(at)
	}
	var c sdk.Transaction
	t, err := now(ctx, host)
	if err != nil {
		return nil, err
	}
	if in.Remind != "" {
		r := &reminder{ID: newID("rem_", task), Text: d.Title, Zone: zone.String(), Channels: distinct(p.standard), Todo: d.ID,
			Before: in.Remind, CreatedAt: task.CreatedAt}
		if err := r.follow(d, zone, said(task)); err != nil {
			return nil, err
		}
		if err := p.save(&c, r, t); err != nil {
			return nil, err
		}
		d.Reminders = append(d.Reminders, r.ID)
	}
	if err := p.saveTodo(&c, d, t); err != nil {
		return nil, err
	}
	if err = commit(ctx, host, c); sdk.CodeOf(err) == sdk.CodeConflict { // an earlier attempt has done it
		if d, err = loadTodo(ctx, host, d.ID); err == nil && d == nil {
			err = noTodo(newID("todo_", task))
		}
	}
	return map[string]any{"todo": d}, err
}

func (p *reminders) zoneOf(name string) (*time.Location, error) {
	if name == "" {
		return p.zone, nil
	}
	return loadZone(name)
}

// follow sets a reminder so long before its to-do is due as it says.
func (r *reminder) follow(d *todo, zone *time.Location, said time.Time) error {
	if d.DueAt == 0 {
		return sdk.Invalid("remind", "needs due")
	}
	at, rest, ok := scanSpan(strings.Fields(r.Before), d.DueAt.Time(), zone, -1)
	if !ok || len(rest) > 0 {
		return sdk.Invalid("remind", "%.80q is no span: %s", r.Before, spanGrammar)
	}
	if err := ahead("remind", at, said); err != nil {
		return err
	}
	return r.begin(at)
}

func (p *reminders) todoUpdate(ctx context.Context, host sdk.Host, in struct {
	ID          string             `json:"id"`
	Title       string             `json:"title"`
	Description optional[string]   `json:"description"`
	Status      string             `json:"status"`
	Priority    optional[string]   `json:"priority"`
	Due         optional[string]   `json:"due"`
	Zone        string             `json:"zone"`
	Tags        optional[[]string] `json:"tags"`
}) (any, error) {
	said := said(sdk.TaskFrom(ctx))
	zone, err := p.zoneOf(in.Zone)
	if err != nil {
		return nil, err
	}
	return p.changeTodo(ctx, host, in.ID, func(d *todo, own []*reminder, now sdk.Time) error {
		if in.Title != "" {
			if d.Title, err = cleanText("title", in.Title); err != nil {
				return err
			}
		}
		in.Description.put(&d.Description)
		in.Tags.value = distinct(in.Tags.value)
		in.Tags.put(&d.Tags)
		if in.Priority.put(&d.Priority); d.Priority == "" {
			d.Priority = "medium"
		}
		if in.Due.given {
			d.DueAt = 0
			if in.Due.value != "" {
				at, err := parseTime("due", in.Due.value, said, zone)
				if err != nil {
					return err
				}
				d.DueAt = sdk.TimeOf(at)
			}
			d.NoticedAt = 0
			for _, r := range own {
				switch {
				case r.Before == "" || r.Status == completed:
				case d.DueAt == 0:
					r.finish(now)
				default:
					zone, err := loadZone(r.Zone)
					if err != nil {
						return err
					}
					if err := r.follow(d, zone, said); err != nil {
						return err
					}
				}
			}
		}
		if in.Status != "" {
			d.become(in.Status, own, now)
		}
		return nil
	})
}

// become gives a to-do another status. Its reminders end with it.
func (d *todo) become(status string, own []*reminder, now sdk.Time) {
	if d.Status = status; d.open() {
		d.CompletedAt = 0
		return
	}
	if d.CompletedAt == 0 && status == completed {
		d.CompletedAt = now
	}
	for _, r := range own {
		if r.Status != completed {
			r.finish(now)
		}
	}
}

func (p *reminders) todoComplete(ctx context.Context, host sdk.Host, in idRequest) (any, error) {
	return p.changeTodo(ctx, host, in.ID, func(d *todo, own []*reminder, now sdk.Time) error {
		d.become(completed, own, now)
		return nil
	})
}

func (p *reminders) todoDelete(ctx context.Context, host sdk.Host, in idRequest) (any, error) {
	deleted := false
	err := again(func() error {
		d, err := loadTodo(ctx, host, in.ID)
		if err != nil || d == nil {
			return err
		}
		own, err := d.own(ctx, host)
		if err != nil {
			return err
		}
		var c sdk.Transaction
		for _, r := range own {
			r.drop(&c)
		}
		if d.stored != 0 {
			c.Writes = append(c.Writes, remove(dueKey("tododue", d.stored, d.ID)))
		}
		c.Writes = append(c.Writes, sdk.KVWrite{Delete: &sdk.KVDelete{Key: todoKey(d.ID), IfVersion: &d.version}})
		err = commit(ctx, host, c)
		deleted = err == nil
		return err
	})
	return map[string]bool{"deleted": deleted}, err
}

func (p *reminders) todoGet(ctx context.Context, host sdk.Host, in idRequest) (any, error) {
	d, err := loadTodo(ctx, host, in.ID)
	if err == nil && d == nil {
		err = noTodo(in.ID)
	}
	return map[string]any{"todo": d}, err
}

func (p *reminders) todoList(ctx context.Context, host sdk.Host, in struct {
	Status   string `json:"status"`
	Priority string `json:"priority"`
	Tag      string `json:"tag"`
	Query    string `json:"query"`
	Due      string `json:"due_before"`
	Limit    int    `json:"limit"`
	Cursor   string `json:"cursor"`
}) (any, error) {
	var before sdk.Time
	if in.Due != "" {
		at, rest, ok := scanTime(strings.Fields(in.Due), said(sdk.TaskFrom(ctx)), p.zone)
		if !ok || len(rest) > 0 {
			return nil, sdk.Invalid("due_before", "%.80q is no time: %s", in.Due, timeGrammar)
		}
		before = sdk.TimeOf(at)
	}
	keep := decoded(func(d *todo) bool {
		return (in.Status == "all" || d.Status == in.Status || (in.Status == "" || in.Status == "open") && d.open()) &&
			(in.Priority == "" || d.Priority == in.Priority) && (in.Tag == "" || slices.Contains(d.Tags, in.Tag)) &&
			(before == 0 || d.DueAt != 0 && d.DueAt < before)
	})
	if in.Query != "" {
		list, err := found(ctx, host, in.Query, "todo/", in.Limit, keep)
		return map[string]any{"todos": list, "next_cursor": ""}, err
	}
	list, next, err := pageOf(ctx, host, "todo/", in.Cursor, in.Limit, keep)
	return map[string]any{"todos": list, "next_cursor": next}, err
}
