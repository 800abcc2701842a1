package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/nagatha/nagatha-runtime/sdk"
)

// The command /memory: what plugin memory answers, in a person's words. What cannot be
// read as its answer is shown as it came: another plugin may go by that name.

const (
	longEntry = 200      // bytes of a value in a list
	longText  = 32 << 10 // bytes of what is shown at once
)

// recall shows what is remembered about something.
func (t *turn) recall(ctx context.Context, query string) (string, error) {
	result, err := t.answer(ctx, "memory.recall", map[string]any{"query": query})
	if err != nil {
		return "", err
	}
	var found struct {
		Facts []memoryRef `json:"facts"`
	}
	if err := json.Unmarshal(result, &found); err != nil {
		return "", err
	}
	var b strings.Builder
	for _, f := range found.Facts {
		fmt.Fprintf(&b, "%s [%s, noted %s] %s\n", f.Fact, cmp.Or(f.Source, "unknown source"), f.RecordedAt.Time().Format(time.DateOnly), f.ID)
	}
	if b.Len() == 0 {
		return "Nothing is remembered about that.", nil
	}
	return strings.TrimRight(b.String(), "\n"), nil
}

func (t *turn) memoryCommand(ctx context.Context, rest string) (string, error) {
	verb, tail := firstWord(rest)
	want := map[string]string{"remember": "FACT", "forget": "ID", "recall": "QUERY", "search": "QUERY", "list": "SECTION", "get": "SECTION KEY", "set": "SECTION KEY VALUE", "delete": "SECTION KEY"}[verb]
	if len(strings.Fields(tail)) < len(strings.Fields(want)) {
		return "", sdk.Invalid("message", "want /memory %s %s", verb, want)
	}
	switch verb {
	case "":
		return tell(ctx, t, "memory.stats", map[string]any{}, (*memoryStats).text)
	case "remember":
		return tell(ctx, t, "memory.remember", map[string]any{"fact": tail, "source": "user"}, (*remembered).text)
	case "forget":
		return tell(ctx, t, "memory.forget", map[string]any{"id": tail}, (*forgotten).text)
	case "recall":
		return t.recall(ctx, tail)
	case "search":
		return tell(ctx, t, "memory.search", map[string]any{"query": tail}, (*entries).text)
	case "list":
		return tell(ctx, t, "memory.list", t.inSection(tail), (*entries).text)
	case "get", "set", "delete":
		return t.entryCommand(ctx, verb, tail)
	}
	return t.recall(ctx, rest)
}

// entryCommand concerns one entry.
func (t *turn) entryCommand(ctx context.Context, verb, tail string) (string, error) {
	section, key := firstWord(tail)
	payload := t.inSection(section)
	if verb == "set" {
		var value string
		key, value = firstWord(key)
		var v any = value
		if json.Valid([]byte(value)) {
			v = json.RawMessage(value)
		}
		payload["value"] = v
	}
	payload["key"] = key
	return tell(ctx, t, "memory."+verb, payload, func(e *entryChange) string { return e.text(section, key) })
}

// inSection names a section, and of session_state the session that the command was said
// in.
func (t *turn) inSection(section string) map[string]any {
	payload := map[string]any{"section": section}
	if section == "session_state" && t.in.Session != "" {
		payload["session"] = t.place()
	}
	return payload
}

// tell runs a kind of plugin memory and puts its result into words. No words are none:
// then the result is no answer that is known.
func tell[T any](ctx context.Context, t *turn, kind string, payload map[string]any, words func(*T) string) (string, error) {
	result, err := t.answer(ctx, kind, payload)
	if err != nil {
		return "", err
	}
	text := ""
	var v T
	if json.Unmarshal(result, &v) == nil {
		text = words(&v)
	}
	return cut(cmp.Or(text, string(result)), longText, ""), nil
}

// remembered is what memory.remember answers.
type remembered struct {
	Fact       memoryRef `json:"fact"`
	Created    bool      `json:"created"`
	Superseded *string   `json:"superseded"`
}

func (r *remembered) text() string {
	switch {
	case r.Fact.ID == "":
		return ""
	case !r.Created:
		return fmt.Sprintf("I knew that already: %q (%s).", r.Fact.Fact, r.Fact.ID)
	case r.Superseded != nil:
		return fmt.Sprintf("I will remember %q (%s) and no longer believe %s.", r.Fact.Fact, r.Fact.ID, *r.Superseded)
	}
	return fmt.Sprintf("I will remember %q (%s).", r.Fact.Fact, r.Fact.ID)
}

// forgotten is what memory.forget answers.
type forgotten struct {
	Forgotten *int `json:"forgotten"`
}

func (f *forgotten) text() string {
	switch {
	case f.Forgotten == nil:
		return ""
	case *f.Forgotten == 0:
		return "There is no such fact to forget; /memory QUERY shows facts with their ids."
	}
	return "Forgotten."
}

// entry is an entry of the memory.
type entry struct {
	Section string          `json:"section"`
	Key     string          `json:"key"`
	Value   json.RawMessage `json:"value"`
}

// value is a text as it is, and anything else as JSON.
func (e *entry) value() string {
	var text string
	if json.Unmarshal(e.Value, &text) == nil && string(e.Value) != "null" {
		return text
	}
	return string(e.Value)
}

// entryChange is what memory.get, set and delete answer.
type entryChange struct {
	Entry   *entry `json:"entry"`
	Created *bool  `json:"created"`
	Deleted *bool  `json:"deleted"`
	Found   *bool  `json:"found"`
}

func (c *entryChange) text(section, key string) string {
	where := section + " " + key
	switch {
	case c.Deleted != nil && *c.Deleted:
		return "Deleted " + where + "."
	case c.Deleted != nil, c.Found != nil && c.Entry == nil:
		return "There is nothing under " + where + "."
	case c.Entry == nil:
		return ""
	case c.Created != nil && *c.Created:
		return "Noted " + where + ": " + c.Entry.value()
	case c.Created != nil:
		return "Changed " + where + ": " + c.Entry.value()
	}
	return c.Entry.value()
}

// entries are what memory.list and memory.search answer.
type entries struct {
	Entries []entry `json:"entries"`
	Results []struct {
		Entry entry `json:"entry"`
	} `json:"results"`
	Next string `json:"next_cursor"`
}

func (p *entries) text() string {
	var b strings.Builder
	for _, e := range p.Entries {
		fmt.Fprintf(&b, "%s: %s\n", e.Key, clip(e.value(), longEntry))
	}
	for _, r := range p.Results {
		fmt.Fprintf(&b, "%s %s: %s\n", r.Entry.Section, r.Entry.Key, clip(r.Entry.value(), longEntry))
	}
	switch {
	case p.Entries == nil && p.Results == nil:
		return ""
	case b.Len() == 0:
		return "Nothing is there."
	case p.Next != "":
		b.WriteString("There are more: ask for memory.list.\n")
	}
	return strings.TrimRight(b.String(), "\n")
}

// memoryStats is what memory.stats answers.
type memoryStats struct {
	Total    *int64 `json:"total_entries"`
	Bytes    int64  `json:"total_bytes"`
	Sections map[string]struct {
		Entries int64 `json:"entries"`
		Session int64 `json:"session_entries"`
	} `json:"sections"`
	Superseded int64 `json:"superseded_facts"`
	Most       int64 `json:"max_entries"`
	MostBytes  int64 `json:"max_bytes"`
}

func (s *memoryStats) text() string {
	if s.Total == nil {
		return ""
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%d entries of at most %d, %d bytes of at most %d.", *s.Total, s.Most, s.Bytes, s.MostBytes)
	for _, name := range slices.Sorted(maps.Keys(s.Sections)) {
		one := s.Sections[name]
		fmt.Fprintf(&b, "\n%s: %d", name, one.Entries)
		if one.Session > 0 {
			fmt.Fprintf(&b, ", %d of them of sessions", one.Session)
		}
	}
	if s.Superseded > 0 {
		fmt.Fprintf(&b, "\nfacts that are no longer believed: %d", s.Superseded)
	}
	return b.String()
}
