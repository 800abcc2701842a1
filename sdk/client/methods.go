package client

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/nagatha/nagatha-runtime/sdk"
)

// Submitted is the outcome of a submit.
type Submitted struct {
	Task         sdk.Task
	Deduplicated bool       // the task was there before: same idempotency key, or unique
	Err          *sdk.Error // SubmitMany only: this element was refused
}

// Submit makes a task, once: it gets an idempotency key unless it has one, and
// is sent again when the connection breaks before the reply. If ctx ends first
// the task may exist or not.
func (c *Conn) Submit(ctx context.Context, sub sdk.Submission) (Submitted, error) {
	own := sub.IdempotencyKey == ""
	if own {
		sub.IdempotencyKey = newKey()
	}
	if err := checkPayload(sub); err != nil {
		return Submitted{}, err
	}
	var r submitted
	if err := c.call(ctx, "task.submit", sub, true, &r); err != nil {
		return Submitted{}, err
	}
	return r.public(sub, own), nil
}

// SubmitMany makes tasks in one request, and so in one durable commit, for each
// [BatchSize] of them. Results are in order; one element's Err leaves the
// others. When a request fails as a whole, the results so far are returned with
// its error.
func (c *Conn) SubmitMany(ctx context.Context, subs []sdk.Submission) ([]Submitted, error) {
	out := make([]Submitted, 0, len(subs))
	for len(out) < len(subs) {
		rest := subs[len(out):]
		n, size := 1, len(rest[0].Payload)
		for n < len(rest) && n < BatchSize && size+len(rest[n].Payload) <= batchBytes {
			size += len(rest[n].Payload)
			n++
		}
		done, err := c.submitBatch(ctx, rest[:n])
		out = append(out, done...)
		if err != nil {
			return out, err
		}
	}
	return out, nil
}

// BatchSize is the most tasks that one request carries.
const BatchSize = 1000

// batchBytes bounds the payloads of one request, so that it fits into a frame of
// 4 MiB with everything around them.
const batchBytes = 2 << 20

func (c *Conn) submitBatch(ctx context.Context, subs []sdk.Submission) ([]Submitted, error) {
	keyed := make([]sdk.Submission, len(subs))
	for i, sub := range subs {
		keyed[i] = sub
		if sub.IdempotencyKey == "" {
			keyed[i].IdempotencyKey = newKey()
		}
		if err := checkPayload(sub); err != nil {
			return nil, fmt.Errorf("task %d: %w", i, err)
		}
	}
	var r struct {
		Results []submitted `json:"results"`
	}
	if err := c.call(ctx, "task.submit_many", map[string]any{"tasks": keyed}, true, &r); err != nil {
		return nil, err
	}
	if len(r.Results) != len(subs) {
		return nil, sdk.Errorf(sdk.CodeInternal, "task.submit_many: %d tasks were sent, %d results came back", len(subs), len(r.Results))
	}
	out := make([]Submitted, len(subs))
	for i := range r.Results {
		out[i] = r.Results[i].public(subs[i], subs[i].IdempotencyKey == "")
	}
	return out, nil
}

// submitted is a result as the wire has it.
type submitted struct {
	Task         sdk.Task   `json:"task"`
	Deduplicated bool       `json:"deduplicated"`
	Error        *sdk.Error `json:"error"`
}

// public hides the duplicate that only sending again has made: a key of our own
// was never used before.
func (r submitted) public(sub sdk.Submission, ownKey bool) Submitted {
	return Submitted{r.Task, r.Deduplicated && (!ownKey || sub.Unique != ""), r.Error}
}

func newKey() string { return "go-" + rand.Text() }

// checkPayload names the field; the encoder would only say that something is
// wrong somewhere.
func checkPayload(sub sdk.Submission) error {
	if len(sub.Payload) > 0 && !json.Valid(sub.Payload) {
		return sdk.Invalid("payload", "is not JSON")
	}
	return nil
}

type taskReply struct {
	Task sdk.Task `json:"task"`
}

// Get returns a task.
func (c *Conn) Get(ctx context.Context, id string) (sdk.Task, error) {
	var r taskReply
	err := c.call(ctx, "task.get", map[string]string{"id": id}, true, &r)
	return r.Task, err
}

// ListRequest filters tasks; the zero value lists the newest of all.
type ListRequest struct {
	States   []sdk.State `json:"state,omitempty"`
	Kinds    []string    `json:"kind,omitempty"` // exact, or "mcp.*"
	Queue    string      `json:"queue,omitempty"`
	Labels   []string    `json:"label,omitempty"` // "k=v", all must match
	Parent   string      `json:"parent,omitempty"`
	Schedule string      `json:"schedule,omitempty"`
	Query    string      `json:"q,omitempty"`      // text in id, kind, error or a label's value
	Limit    int         `json:"limit,omitempty"`  // default 50, at most 1,000
	Cursor   string      `json:"cursor,omitempty"` // from TaskPage.Next
}

// TaskPage is one page of tasks, newest first; Next is "" on the last.
type TaskPage struct {
	Tasks []sdk.Task `json:"tasks"`
	Next  string     `json:"next_cursor"`
}

// List returns one page of tasks.
func (c *Conn) List(ctx context.Context, req ListRequest) (TaskPage, error) {
	var p TaskPage
	err := c.call(ctx, "task.list", req, true, &p)
	return p, err
}

// CancelRequest says how to cancel.
type CancelRequest struct {
	Force  bool   // do not wait for the handler to stop by itself
	Reason string // shown with the task
}

// Cancel asks a task to stop, and returns it at once, perhaps still running. A
// task that has ended is returned as it is.
func (c *Conn) Cancel(ctx context.Context, id string, req CancelRequest) (sdk.Task, error) {
	p := map[string]string{"id": id}
	if req.Force {
		p["mode"] = "force"
	}
	if req.Reason != "" {
		p["reason"] = req.Reason
	}
	var r taskReply
	err := c.call(ctx, "task.cancel", p, true, &r)
	return r.Task, err
}

// Retry opens a new life of a failed or cancelled task; any other state is
// CodeConflict. Doing it twice would open two lives, so it is not sent again
// when the connection breaks: see [ErrNoReply].
func (c *Conn) Retry(ctx context.Context, id string) (sdk.Task, error) {
	var r taskReply
	err := c.call(ctx, "task.retry", map[string]string{"id": id}, false, &r)
	return r.Task, err
}

// Signal sends data, which may be empty, to a task that waits for it, or will.
// Doing it twice would be two signals, so it is not sent again when the connection
// breaks: see [ErrNoReply].
func (c *Conn) Signal(ctx context.Context, id, name string, data json.RawMessage) error {
	p := map[string]any{"id": id, "name": name}
	if len(data) > 0 {
		if !json.Valid(data) {
			return sdk.Invalid("data", "is not JSON")
		}
		p["data"] = data
	}
	return c.call(ctx, "task.signal", p, false, &struct{}{})
}

// Decide answers an approval. digest is that of the approval as it was read.
func (c *Conn) Decide(ctx context.Context, id string, approve bool, digest, comment string) error {
	p := map[string]any{"id": id, "decision": "reject", "digest": digest}
	if approve {
		p["decision"] = "approve"
	}
	if comment != "" {
		p["comment"] = comment
	}
	return c.call(ctx, "approval.decide", p, false, &struct{}{})
}

// attributes are an event's own, which an extension would overwrite.
var attributes = []string{"id", "source", "type", "subject", "time", "data"}

// Publish puts an event on the bus and returns its id, made here if it has none.
// When the connection breaks before the reply it is sent again with the same id:
// plugins hear it once, subscriptions may hear it twice.
func (c *Conn) Publish(ctx context.Context, e sdk.Event) (string, error) {
	if e.ID == "" {
		e.ID = "go-" + rand.Text()
	}
	p := map[string]any{"type": e.Type, "id": e.ID}
	if e.Source != "" {
		p["source"] = e.Source
	}
	if e.Subject != "" {
		p["subject"] = e.Subject
	}
	if e.Time != 0 {
		p["time"] = e.Time
	}
	for name, v := range e.Extensions {
		if slices.Contains(attributes, name) {
			return "", sdk.Invalid(name, "cannot be the name of a further attribute")
		}
		p[name] = v
	}
	if len(e.Data) > 0 {
		if !json.Valid(e.Data) {
			return "", sdk.Invalid("data", "is not JSON")
		}
		p["data"] = e.Data
	}
	var r struct {
		ID string `json:"id"`
	}
	err := c.call(ctx, "event.publish", p, true, &r)
	return r.ID, err
}
