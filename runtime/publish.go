package runtime

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/nagatha/nagatha-runtime/sdk"
)

// Publish puts events on the bus and returns their ids, in order. Either all
// are published or none. Type is required; ID, Source and Time are filled in
// when empty. Types that begin with task. or system. belong to the runtime.
func (r *Runtime) Publish(ctx context.Context, events []sdk.Event) ([]string, error) {
	select {
	case <-r.draining:
		return nil, sdk.Errorf(sdk.CodeUnavailable, "the runtime is shutting down; publish again when it is back")
	default:
	}
	if len(events) > maxSubmissions {
		return nil, sdk.Invalid("events", "at most %d in one call, not %d", maxSubmissions, len(events))
	}
	return r.publish(ctx, Fence{}, events)
}

// OnPublish sets who hears of published events after their commit. It is for buses
// that cannot join the store's transaction, is set before Run, and must not block: the
// ends of tasks come from the writer's goroutine.
func (r *Runtime) OnPublish(f func(events []sdk.Event)) { r.onPublish = f }

func (r *Runtime) publish(ctx context.Context, fence Fence, events []sdk.Event) ([]string, error) {
	checked, err := r.checkEvents(events)
	if err != nil {
		return nil, err
	}
	if err := r.store.Publish(ctx, fence, checked); err != nil {
		return nil, err
	}
	r.published(checked)
	ids := make([]string, len(events))
	for i, e := range checked {
		ids[i] = e.ID
	}
	return ids, nil
}

// checkEvents returns the events as they are published.
func (r *Runtime) checkEvents(events []sdk.Event) ([]sdk.Event, error) {
	checked := make([]sdk.Event, len(events))
	for i, e := range events {
		if err := r.checkEvent(&e); err != nil {
			if len(events) > 1 {
				err = inList(i, err)
			}
			return nil, err
		}
		checked[i] = e
	}
	return checked, nil
}

// published tells a bus of its own of events that are stored.
func (r *Runtime) published(events []sdk.Event) {
	if r.onPublish != nil && len(events) > 0 {
		r.onPublish(events)
	}
}

// inList says which event of several an error is about.
func inList(i int, err error) error {
	e := sdk.AsError(err)
	for j, f := range e.Fields {
		e.Fields[j].Field = fmt.Sprintf("%d.%s", i, f.Field)
	}
	e.Message = fmt.Sprintf("event %d: %s", i, e.Message)
	return e
}

func (r *Runtime) checkEvent(e *sdk.Event) error {
	root, _, _ := strings.Cut(e.Type, ".")
	switch {
	case e.Type == "":
		return sdk.Invalid("type", "is required, such as \"demo.ping\"")
	case !sdk.ValidPattern(e.Type) || strings.ContainsAny(e.Type, "*>") || !cleanText(e.Type) || len(e.Type) > maxKey:
		return sdk.Invalid("type", "%.80q is malformed: want dotted names such as \"demo.ping\"", e.Type)
	case root == "task" || root == "system":
		return sdk.Invalid("type", "%s.* belongs to the runtime", root)
	case e.Hops > sdk.MaxHops:
		return sdk.Errorf(sdk.CodeLimitExceeded, "this event is %d steps of events and tasks away from its origin, at most %d are allowed: is there a loop?",
			e.Hops, sdk.MaxHops)
	}
	for _, f := range []struct{ name, v string }{{"id", e.ID}, {"source", e.Source}, {"subject", e.Subject}, {"traceparent", e.TraceParent}} {
		if len(f.v) > maxKey || !cleanText(f.v) {
			return sdk.Invalid(f.name, "want at most %d characters of UTF-8 without NUL", maxKey)
		}
	}
	if len(e.Extensions) > maxLabels {
		return sdk.Invalid("extensions", "at most %d, not %d", maxLabels, len(e.Extensions))
	}
	for name, v := range e.Extensions {
		switch {
		case !validExtension(name) || slices.Contains(coreAttributes, name):
			return sdk.Invalid(name, "cannot be the name of a further attribute: want 1 to %d lower-case letters and digits, and none of CloudEvents' own", maxExtension)
		case len(v) > maxKey || !cleanText(v):
			return sdk.Invalid(name, "want at most %d characters of UTF-8 without NUL", maxKey)
		}
	}
	if len(e.Data) > r.cfg.Limits.Payload {
		return &sdk.Error{Code: sdk.CodeLimitExceeded, Message: "data is larger than limits.payload",
			Fields: []sdk.Field{{Field: "data", Message: sizeMessage(len(e.Data), r.cfg.Limits.Payload, "limits.payload")}}}
	}
	if len(e.Data) > 0 {
		var compact bytes.Buffer
		if !utf8.Valid(e.Data) {
			return sdk.Invalid("data", "is not UTF-8")
		}
		if err := json.Compact(&compact, e.Data); err != nil {
			return sdk.Invalid("data", "is not JSON: %v", err)
		}
		if tooDeep(e.Data) {
			return sdk.Invalid("data", "is nested more than %d deep", maxNesting)
		}
		e.Data = compact.Bytes()
	}
	if e.ID == "" {
		e.ID = newID("evt_")
	}
	if e.Source == "" {
		e.Source = "nagatha"
	}
	if e.Time == 0 {
		e.Time = sdk.Now()
	}
	return nil
}

// maxExtension is how long the name of an extension attribute may be, as the
// specification of CloudEvents advises.
const maxExtension = 20

var coreAttributes = []string{"id", "source", "type", "subject", "time", "data", "specversion", "datacontenttype", "traceparent", "tracestate"}

func validExtension(name string) bool {
	for _, c := range []byte(name) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') {
			return false
		}
	}
	return name != "" && len(name) <= maxExtension
}

// Deliver turns an event from the bus into one durable task for each
// subscription it matches, however often it is delivered. An error means that
// the bus must deliver it again.
func (r *Runtime) Deliver(ctx context.Context, e sdk.Event) error {
	if e.Hops > sdk.MaxHops {
		r.log.Warn("dropped an event that went round too often", "type", e.Type, "event", e.ID, "hops", e.Hops)
		return nil
	}
	if len(e.TraceParent) > maxKey || !cleanText(e.TraceParent) {
		e.TraceParent = "" // of another system's message; no trace is worth the event
	}
	now := sdk.Now()
	var tasks []NewTask
	for _, s := range r.registry.subscribers(e.Type) {
		payload, err := json.Marshal(map[string]sdk.Event{"event": e})
		if err != nil {
			return fmt.Errorf("event %s: %w", e.ID, err)
		}
		t, bad := r.newTask("", &sdk.Submission{Kind: s.Kind, Payload: payload}, now)
		if bad != nil {
			// It will not fit the next time either.
			r.log.Warn("an event does not fit the kind that subscribes to it", "type", e.Type, "event", e.ID,
				"kind", s.Kind, "error", bad)
			continue
		}
		sum := sha256.Sum256([]byte(e.Source + "\x00" + e.ID + "\x00" + s.Type + "\x00" + s.Kind))
		t.Delivery = hex.EncodeToString(sum[:16])
		t.Hops, t.TraceParent = e.Hops, e.TraceParent
		tasks = append(tasks, t)
	}
	if len(tasks) == 0 {
		return nil
	}
	done, err := r.store.Submit(ctx, tasks)
	if err != nil {
		return fmt.Errorf("deliver event %s: %w", e.ID, err)
	}
	for _, d := range done {
		if d.Err != nil {
			return fmt.Errorf("deliver event %s: %w", e.ID, d.Err)
		}
	}
	return nil
}

// subscribers returns the subscriptions that match, of every manifest known.
func (g *registry) subscribers(typ string) []sdk.Subscription {
	g.mu.RLock()
	defer g.mu.RUnlock()
	var out []sdk.Subscription
	for _, e := range g.plugins {
		for _, s := range e.info.Subscriptions {
			if sdk.MatchPattern(s.Type, typ) {
				out = append(out, s)
			}
		}
	}
	return out
}
