package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// What a reply may be at most; a model that goes on without end is cut.
const (
	maxReply = 8 << 20 // bytes of text, reasoning and arguments together
	maxCalls = 128
	maxName  = 256 // then the rest is left out
)

var errReplyTooLong = errors.New("the reply is longer than 8 MiB, or has more than 128 tool calls")

// replyBuilder puts a reply together from its pieces, and passes them on.
type replyBuilder struct {
	on      func(Delta)
	reply   Reply
	text    strings.Builder
	calls   []*callBuilder
	size    int
	started bool // a piece was passed on: the call must not be made again
}

type callBuilder struct {
	id, name  string
	arguments strings.Builder
}

func (b *replyBuilder) pass(d Delta) {
	b.started = true
	if b.on != nil {
		b.on(d)
	}
}

func (b *replyBuilder) grow(n int) error {
	if b.size += n; b.size > maxReply {
		return errReplyTooLong
	}
	return nil
}

func (b *replyBuilder) addText(s string) error {
	if s == "" {
		return nil
	}
	if err := b.grow(len(s)); err != nil {
		return err
	}
	b.text.WriteString(s)
	b.pass(Delta{Text: s})
	return nil
}

func (b *replyBuilder) addReasoning(s string) error {
	if s == "" {
		return nil
	}
	if err := b.grow(len(s)); err != nil {
		return err
	}
	b.pass(Delta{Reasoning: s})
	return nil
}

// addCall begins a call (i is the number of calls so far) or adds to one.
func (b *replyBuilder) addCall(i int, id, name, arguments string) error {
	begun := i == len(b.calls)
	if begun {
		if len(b.calls) == maxCalls {
			return errReplyTooLong
		}
		b.calls = append(b.calls, &callBuilder{})
	}
	if err := b.grow(len(id) + len(name) + len(arguments)); err != nil {
		return err
	}
	c := b.calls[i]
	if c.id == "" {
		c.id = id
	}
	// Some servers repeat the name with each piece; none is known to split it in
	// equal parts.
	if name != c.name && len(c.name) <= maxName {
		c.name += name
	}
	c.arguments.WriteString(arguments)
	if begun || id != "" || name != "" || arguments != "" {
		b.pass(Delta{Call: &ToolCall{ID: c.id, Name: c.name, Arguments: arguments}, Index: i})
	}
	return nil
}

// finish returns what there is. Calls without an id of their own get one, which
// tells them from those of other turns by the number of messages before.
func (b *replyBuilder) finish(messages int) Reply {
	r := b.reply
	r.Message.Text = b.text.String()
	taken := map[string]bool{}
	for i := range b.calls {
		c := b.calls[i]
		id := c.id
		for n := i; id == "" || taken[id]; n += len(b.calls) {
			id = fmt.Sprintf("call_%d_%d", messages, n)
		}
		taken[id] = true
		r.Message.Calls = append(r.Message.Calls, ToolCall{ID: id, Name: c.name, Arguments: c.arguments.String()})
	}
	if r.Stop == stopEnd && len(b.calls) > 0 {
		r.Stop = stopToolCalls // some servers say "stop" with calls too
	}
	if r.Usage != nil && *r.Usage == (Usage{}) {
		r.Usage = nil // no prompt has no tokens: nothing was counted
	}
	return r
}

// mostTokens is far more than any call has, and what plugin usage takes.
const mostTokens = 1_000_000_000

// possible reports whether a server's count can be true.
func (u *Usage) possible() bool {
	return u.InputTokens >= 0 && u.InputTokens <= mostTokens && u.OutputTokens >= 0 && u.OutputTokens <= mostTokens &&
		u.CachedTokens >= 0 && u.CachedTokens <= u.InputTokens
}

// objectArguments returns a call's arguments as a JSON object, for replaying it: a
// server may fail on anything else.
func objectArguments(arguments string) json.RawMessage {
	if !isObject(arguments) {
		return json.RawMessage("{}")
	}
	return json.RawMessage(strings.TrimSpace(arguments))
}

func isObject(arguments string) bool {
	b := bytes.TrimSpace([]byte(arguments))
	return len(b) > 0 && b[0] == '{' && json.Valid(b)
}

// objectSchema returns a tool's schema in the form that every server takes: an
// object, which says so, without alternatives at the top. What the alternatives
// would have refused the tool itself must refuse.
func objectSchema(schema json.RawMessage) json.RawMessage {
	var m map[string]json.RawMessage
	if json.Unmarshal(schema, &m) != nil || m == nil {
		m = map[string]json.RawMessage{}
	}
	if string(m["type"]) == `"object"` && m["properties"] != nil && m["anyOf"] == nil && m["oneOf"] == nil && m["allOf"] == nil {
		return schema
	}
	m["type"] = json.RawMessage(`"object"`)
	if m["properties"] == nil {
		m["properties"] = json.RawMessage("{}")
	}
	for _, k := range []string{"anyOf", "oneOf", "allOf"} {
		delete(m, k)
	}
	b, _ := json.Marshal(m) // its parts were JSON
	return b
}
