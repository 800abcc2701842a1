package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nagatha/nagatha-runtime/sdk"
)

// reminder is the record of one, under reminder/ID.
type reminder struct {
	ID          string   `json:"id"`
	Text        string   `json:"text"`
	Status      string   `json:"status"`
	DueAt       sdk.Time `json:"due_at"`     // of the next occurrence; null: there is none
	Recurrence  string   `json:"recurrence"` // "": once
	Zone        string   `json:"zone"`
	Channels    []string `json:"channels"`   // webhooks beside the event
	Todo        string   `json:"todo"`       // the to-do it belongs to, or ""
	Before      string   `json:"before"`     // so long before that to-do is due, or ""
	StartAt     sdk.Time `json:"start_at"`   // the series is reckoned from here
	Occurrence  int      `json:"occurrence"` // how often it has been due
	LastDueAt   sdk.Time `json:"last_due_at"`
	CreatedAt   sdk.Time `json:"created_at"`
	UpdatedAt   sdk.Time `json:"updated_at"`
	CompletedAt sdk.Time `json:"completed_at"`
	Timer       int64    `json:"timer"` // number of its present timer; others are old

	version int64           // of the stored item; 0: not stored yet
	stored  sdk.Time        // its place among what is due, 0: it has none
	over    string          // its status among what is over; "": it is pending
	doc     json.RawMessage // as it was saved last
}

// shown is the result of a change.
func (r *reminder) shown() (any, error) {
	doc := r.doc
	if doc == nil {
		var err error
		if doc, err = json.Marshal(r); err != nil {
			return nil, err
		}
	}
	return json.RawMessage(`{"reminder":` + string(doc) + `}`), nil
}

const (
	pending   = "pending"   // its next occurrence is ahead
	due       = "due"       // it has been due for the last time, and nobody has said "done"
	completed = "completed" // done
)

// ended is the status of one that is not pending, or "".
func (r *reminder) ended() string {
	if r.Status == pending {
		return ""
	}
	return r.Status
}

// overKeys begins the index of those that are over, by status and then id: those that
// are pending may be many.
const overKeys = "over/"

func overKey(status, id string) string { return overKeys + status + "/" + id }

func reminderKey(id string) string { return "reminder/" + id }

// dueKey stands in an index by time: what is due next comes first.
func dueKey(what string, at sdk.Time, id string) string {
	return fmt.Sprintf("%s/%013d/%s", what, int64(at), id)
}

// load reads a record; nil: there is none.
func load[T any](ctx context.Context, host sdk.Host, key string) (*T, int64, error) {
	item, err := sdk.NewKV(host).Get(ctx, key)
	if err != nil || item == nil {
		return nil, 0, err
	}
	v := new(T)
	if err := json.Unmarshal(item.Value, v); err != nil {
		return nil, 0, fmt.Errorf("record %s: %w", key, err)
	}
	return v, item.Version, nil
}

func loadReminder(ctx context.Context, host sdk.Host, id string) (*reminder, error) {
	r, version, err := load[reminder](ctx, host, reminderKey(id))
	if r != nil {
		r.version, r.stored, r.over = version, r.DueAt, r.ended()
	}
	return r, err
}

func noReminder(id string) error {
	return sdk.Errorf(sdk.CodeNotFound, "there is no reminder %.80q; reminders.list shows those that there are", id)
}

// rule is the reminder's recurrence in its zone.
func (r *reminder) rule() (recurrence, error) {
	zone, err := loadZone(r.Zone)
	if err != nil {
		return recurrence{}, err
	}
	return parseRecurrence(r.Recurrence, zone)
}

// begin makes the reminder's series start at a time, where the rule allows it.
func (r *reminder) begin(at time.Time) error {
	rule, err := r.rule()
	if err != nil {
		return err
	}
	first := rule.first(at)
	if first.IsZero() || first.Sub(at) > maxAhead {
		return sdk.Invalid("recurrence", "%q has no occurrence within 9 years", r.Recurrence)
	}
	r.StartAt, r.DueAt, r.Status, r.CompletedAt = sdk.TimeOf(first), sdk.TimeOf(first), pending, 0
	return nil
}

// timer is the payload of reminders.fire.
type timer struct {
	ID    string `json:"id"`
	Timer int64  `json:"timer"`
}

// farthest is how far ahead a timer is set; a later one is set again on the way.
const farthest = 9 * 365 * 24 * time.Hour

// timer is the task that wakes the reminder when it is due.
func (p *reminders) timer(r *reminder, now sdk.Time) (sdk.Submission, error) {
	payload, err := json.Marshal(timer{r.ID, r.Timer})
	return sdk.Submission{Kind: "reminders.fire", Payload: payload, Queue: p.queue, Priority: 50,
		RunAt: min(r.DueAt, now.Add(farthest)), Labels: map[string]string{"reminder": r.ID}}, err
}

// save adds to a change what stores the record: its place among what is due, and a
// new timer, where it is due at another time than before.
func (p *reminders) save(c *sdk.Transaction, r *reminder, now sdk.Time) error {
	if r.DueAt != r.stored {
		r.Timer++
		if r.stored != 0 {
			c.Writes = append(c.Writes, remove(dueKey("due", r.stored, r.ID)))
		}
		if r.DueAt != 0 {
			task, err := p.timer(r, now)
			if err != nil {
				return err
			}
			c.Tasks = append(c.Tasks, task)
			c.Writes = append(c.Writes, set(dueKey("due", r.DueAt, r.ID), []byte("1"), nil, 0, ""))
		}
	}
	r.UpdatedAt = now
	ttl := time.Duration(0)
	if r.over != "" && r.over != r.ended() {
		c.Writes = append(c.Writes, remove(overKey(r.over, r.ID)))
	}
	if r.Status != pending {
		ttl = p.keep
		c.Writes = append(c.Writes, set(overKey(r.Status, r.ID), []byte("1"), nil, ttl, ""))
	}
	var err error
	r.doc, err = json.Marshal(r)
	c.Writes = append(c.Writes, set(reminderKey(r.ID), r.doc, &r.version, ttl, ""))
	return err
}

// commit makes a transaction. Its reply says nothing that matters here, and to read it
// would be a good part of a small task.
func commit(ctx context.Context, host sdk.Host, c sdk.Transaction) error {
	_, err := host.Call(ctx, sdk.OpCommit, c.AppendJSON(nil))
	return err
}

// drop adds to a change what deletes the record.
func (r *reminder) drop(c *sdk.Transaction) {
	if r.stored != 0 {
		c.Writes = append(c.Writes, remove(dueKey("due", r.stored, r.ID)))
	}
	if r.over != "" {
		c.Writes = append(c.Writes, remove(overKey(r.over, r.ID)))
	}
	c.Writes = append(c.Writes, sdk.KVWrite{Delete: &sdk.KVDelete{Key: reminderKey(r.ID), IfVersion: &r.version}})
}

func set(key string, value []byte, version *int64, ttl time.Duration, text string) sdk.KVWrite {
	return sdk.KVWrite{Set: &sdk.KVSet{Key: key, Value: value, IfVersion: version, TTL: sdk.Duration(ttl), Text: text}}
}

func remove(key string) sdk.KVWrite { return sdk.KVWrite{Delete: &sdk.KVDelete{Key: key}} }

// again runs f until no other change comes in between.
func again(f func() error) error {
	var err error
	for range 20 {
		if err = f(); !errors.Is(err, &sdk.Error{Code: sdk.CodeConflict}) {
			return err
		}
	}
	return err
}

// change alters a reminder: f says what is to be done, on what is stored now.
func (p *reminders) change(ctx context.Context, host sdk.Host, id string, f func(r *reminder, now sdk.Time) error) (any, error) {
	var r *reminder
	err := again(func() (err error) {
		if r, err = loadReminder(ctx, host, id); err != nil {
			return err
		}
		if r == nil {
			return noReminder(id)
		}
		t, err := now(ctx, host)
		if err != nil {
			return err
		}
		if err := f(r, t); err != nil {
			return err
		}
		var c sdk.Transaction
		if err := p.save(&c, r, t); err != nil {
			return err
		}
		err = commit(ctx, host, c)
		return err
	})
	if err != nil {
		return nil, err
	}
	return r.shown()
}

// cleanText trims what a person wrote, and refuses what says nothing.
func cleanText(field, text string) (string, error) {
	text = strings.TrimSpace(text)
	if text == "" || strings.ContainsRune(text, 0) {
		return "", sdk.Invalid(field, "want a text")
	}
	return text, nil
}

// distinct drops what is there twice, and makes null an empty list.
func distinct(list []string) []string {
	out := []string{}
	for _, s := range list {
		if s = strings.TrimSpace(s); s != "" && !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	return out
}
