package sdk

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
)

// AppendJSON appends the request to b as JSON, as [json.Marshal] would write it, but
// takes its values for the JSON that they are: marshalling would read every byte of
// them once more, which in a wasm guest costs as much as all the rest of a small task.
// A plugin that has no use for the reply can hand the bytes to Host.Call itself. It must
// know then that its values are JSON: what is not could end the request early and go on
// as another one. [KV.Apply] and [Commit] look.
func (r KVApply) AppendJSON(b []byte) []byte {
	o := object{b: append(b, '{')}
	o.writes(r.Writes)
	return append(o.b, '}')
}

// AppendJSON appends the request to b as JSON: see [KVApply.AppendJSON].
func (t Transaction) AppendJSON(b []byte) []byte {
	o := object{b: append(b, '{')}
	if len(t.Writes) > 0 {
		o.writes(t.Writes)
	}
	if len(t.Events) > 0 {
		list(&o, "events", t.Events, Event.append)
	}
	if len(t.Tasks) > 0 {
		list(&o, "tasks", t.Tasks, Submission.append)
	}
	return append(o.b, '}')
}

// areJSON refuses values, data and payloads that are not JSON, which AppendJSON would
// take as they are.
func areJSON(writes []KVWrite, events []Event, tasks []Submission) error {
	bad := func(doc json.RawMessage) bool { return len(doc) > 0 && !json.Valid(doc) }
	for i, w := range writes {
		if w.Set != nil && bad(w.Set.Value) {
			return Invalid(fmt.Sprintf("writes.%d.set.value", i), "is not JSON")
		}
	}
	for i, e := range events {
		if bad(e.Data) {
			return Invalid(fmt.Sprintf("events.%d.data", i), "is not JSON")
		}
	}
	for i, t := range tasks {
		if bad(t.Payload) {
			return Invalid(fmt.Sprintf("tasks.%d.payload", i), "is not JSON")
		}
	}
	return nil
}

// object is JSON in the making. Its methods add a member each and leave out what is
// empty, except for raw and always.
type object struct {
	b    []byte
	more bool // a comma is due
}

func (o *object) name(name string) {
	if o.more {
		o.b = append(o.b, ',')
	}
	o.more = true
	o.b = append(append(append(o.b, '"'), name...), `":`...)
}

func (o *object) always(name, s string) {
	o.name(name)
	o.b = appendText(o.b, s)
}

func (o *object) text(name, s string) {
	if s != "" {
		o.always(name, s)
	}
}

func (o *object) number(name string, n int64) {
	if n != 0 {
		o.name(name)
		o.b = strconv.AppendInt(o.b, n, 10)
	}
}

func (o *object) time(name string, t Time) {
	if t != 0 {
		o.always(name, t.String())
	}
}

func (o *object) duration(name string, d Duration) {
	if d != 0 {
		o.always(name, d.String())
	}
}

func (o *object) raw(name string, doc json.RawMessage) {
	o.name(name)
	if len(doc) == 0 {
		doc = json.RawMessage("null")
	}
	o.b = append(o.b, doc...)
}

func (o *object) version(name string, v *int64) {
	if v != nil {
		o.name(name)
		o.b = strconv.AppendInt(o.b, *v, 10)
	}
}

func (o *object) writes(writes []KVWrite) { list(o, "writes", writes, KVWrite.append) }

func (o *object) texts(name string, m map[string]string) {
	if len(m) == 0 {
		return
	}
	o.name(name)
	inner := object{b: append(o.b, '{')}
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	for i, k := range keys {
		if i > 0 {
			inner.b = append(inner.b, ',')
		}
		inner.b = appendText(inner.b, k)
		inner.b = append(inner.b, ':')
		inner.b = appendText(inner.b, m[k])
	}
	o.b = append(inner.b, '}')
}

func list[T any](o *object, name string, all []T, add func(T, []byte) []byte) {
	o.name(name)
	o.b = append(o.b, '[')
	for i, v := range all {
		if i > 0 {
			o.b = append(o.b, ',')
		}
		o.b = add(v, o.b)
	}
	o.b = append(o.b, ']')
}

func (w KVWrite) append(b []byte) []byte {
	o := object{b: append(b, '{')}
	if s := w.Set; s != nil {
		o.name("set")
		in := object{b: append(o.b, '{')}
		in.always("key", s.Key)
		in.raw("value", s.Value)
		in.text("text", s.Text)
		in.duration("ttl", s.TTL)
		in.version("if_version", s.IfVersion)
		if s.As != nil {
			doc, _ := json.Marshal(s.As) // numbers and times: cannot fail
			in.raw("as", doc)
		}
		o.b = append(in.b, '}')
	}
	if d := w.Delete; d != nil {
		o.name("delete")
		in := object{b: append(o.b, '{')}
		in.always("key", d.Key)
		in.version("if_version", d.IfVersion)
		o.b = append(in.b, '}')
	}
	return append(o.b, '}')
}

func (e Event) append(b []byte) []byte {
	o := object{b: append(b, '{')}
	o.always("id", e.ID)
	o.always("source", e.Source)
	o.always("type", e.Type)
	o.text("subject", e.Subject)
	if e.Time == 0 {
		o.raw("time", nil)
	}
	o.time("time", e.Time)
	if len(e.Data) > 0 {
		o.raw("data", e.Data)
	}
	o.texts("extensions", e.Extensions)
	return append(o.b, '}')
}

func (s Submission) append(b []byte) []byte {
	o := object{b: append(b, '{')}
	o.always("kind", s.Kind)
	if len(s.Payload) > 0 {
		o.raw("payload", s.Payload)
	}
	o.text("queue", s.Queue)
	o.number("priority", int64(s.Priority))
	o.time("run_at", s.RunAt)
	o.duration("delay", s.Delay)
	o.duration("timeout", s.Timeout)
	o.time("deadline", s.Deadline)
	o.time("expires", s.Expires)
	o.number("max_attempts", int64(s.MaxAttempts))
	o.text("idempotency_key", s.IdempotencyKey)
	o.text("unique", s.Unique)
	o.text("concurrency_key", s.ConcurrencyKey)
	o.texts("labels", s.Labels)
	if len(s.After) > 0 {
		o.name("after")
		o.b = append(o.b, '[')
		for i, id := range s.After {
			if i > 0 {
				o.b = append(o.b, ',')
			}
			o.b = appendText(o.b, id)
		}
		o.b = append(o.b, ']')
	}
	return append(o.b, '}')
}

// appendText appends s in quotes. Most texts need nothing else.
func appendText(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c >= 0x7f || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&' {
			doc, _ := json.Marshal(s) // a string: cannot fail
			return append(b, doc...)
		}
	}
	return append(append(append(b, '"'), s...), '"')
}
