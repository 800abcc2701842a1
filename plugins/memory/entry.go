package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nagatha/nagatha-runtime/sdk"
)

// entry is one remembered value.
type entry struct {
	Section   string          `json:"section"`
	Key       string          `json:"key"`
	Value     json.RawMessage `json:"value"`
	Session   string          `json:"session"` // "": of all sessions
	Version   int64           `json:"version"`
	CreatedAt sdk.Time        `json:"created_at"`
	UpdatedAt sdk.Time        `json:"updated_at"`
	ExpiresAt sdk.Time        `json:"expires_at"`
}

// An item's key is section/session/key. Section and session have no "/" (a
// session is encoded), so the three cannot run into each other, and the entries of
// one section and session are neighbours in key order.
func itemKey(section, session, key string) string { return prefix(section, session) + key }

func prefix(section, session string) string {
	return section + "/" + base64.RawURLEncoding.EncodeToString([]byte(session)) + "/"
}

func toEntry(it sdk.Item) (entry, error) {
	parts := strings.SplitN(it.Key, "/", 3)
	if len(parts) != 3 {
		return entry{}, fmt.Errorf("item %q is no entry", it.Key)
	}
	session, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return entry{}, fmt.Errorf("item %q: %w", it.Key, err)
	}
	return entry{Section: parts[0], Session: string(session), Key: parts[2], Value: it.Value, Version: it.Version,
		CreatedAt: it.CreatedAt, UpdatedAt: it.UpdatedAt, ExpiresAt: it.ExpiresAt}, nil
}

// address is the section, session and key that most payloads begin with.
type address struct {
	Section string `json:"section"`
	Key     string `json:"key"`
	Session string `json:"session"`
}

func (a address) check() error {
	if a.Section == "session_state" && a.Session == "" {
		return sdk.Invalid("session", "is required in the section session_state, whose entries belong to a session")
	}
	return nil
}

func (a address) item() string { return itemKey(a.Section, a.Session, a.Key) }

// temporaryTTL is how long entries of the section temporary live by default.
const temporaryTTL = time.Hour

func (m *memory) set(ctx context.Context, host sdk.Host, in struct {
	address
	Value     json.RawMessage `json:"value"`
	TTL       *sdk.Duration   `json:"ttl"`
	IfVersion *int64          `json:"if_version"`
}) (any, error) {
	if err := in.check(); err != nil {
		return nil, err
	}
	req := sdk.KVSet{Key: in.item(), Value: in.Value, Text: words(in.Key, in.Value), IfVersion: in.IfVersion}
	switch {
	case in.TTL != nil && *in.TTL < 0:
		return nil, sdk.Invalid("ttl", "must not be negative; 0s keeps the entry")
	case in.TTL != nil:
		req.TTL = *in.TTL
	case permanent(in.Section):
	case in.Section == "temporary":
		req.TTL = sdk.Duration(temporaryTTL)
	default:
		req.TTL = sdk.Duration(m.defaultTTL)
	}
	r, err := sdk.NewKV(host).Put(ctx, req)
	if err != nil {
		return nil, err
	}
	e, err := toEntry(r.Item)
	if err != nil {
		return nil, err
	}
	if r.Created {
		err = publish(ctx, host, "created", e)
	} else {
		err = publish(ctx, host, "updated", e)
	}
	return map[string]any{"entry": e, "created": r.Created}, err
}

// permanent sections keep their entries unless a ttl is given.
func permanent(section string) bool {
	return section == "user_preferences" || section == "facts" || section == "command_history"
}

// publish tells others of a change. The change itself is made: without the grant
// to publish, nobody is told, and that is no failure.
func publish(ctx context.Context, host sdk.Host, what string, e entry) error {
	data, err := json.Marshal(map[string]any{"section": e.Section, "key": e.Key, "session": e.Session, "version": e.Version})
	if err != nil {
		return err
	}
	_, err = sdk.Publish(ctx, host, sdk.Event{Type: "memory.entry." + what, Subject: e.Section + "/" + e.Key, Data: data})
	if errors.Is(err, &sdk.Error{Code: sdk.CodeCapabilityDenied}) {
		return nil
	}
	return err
}

func (m *memory) get(ctx context.Context, host sdk.Host, in struct {
	address
	Fallback bool `json:"fallback"`
}) (any, error) {
	if err := in.check(); err != nil {
		return nil, err
	}
	it, err := sdk.NewKV(host).Get(ctx, in.item())
	if err == nil && it == nil && in.Fallback && in.Session != "" {
		it, err = sdk.NewKV(host).Get(ctx, itemKey(in.Section, "", in.Key))
	}
	if err != nil || it == nil {
		return map[string]any{"found": false, "entry": nil}, err
	}
	e, err := toEntry(*it)
	return map[string]any{"found": true, "entry": e}, err
}

func (m *memory) delete(ctx context.Context, host sdk.Host, in address) (any, error) {
	if err := in.check(); err != nil {
		return nil, err
	}
	deleted, err := sdk.NewKV(host).Delete(ctx, in.item())
	if err == nil && deleted {
		err = publish(ctx, host, "deleted", entry{Section: in.Section, Key: in.Key, Session: in.Session})
	}
	return map[string]bool{"deleted": deleted}, err
}

func (m *memory) list(ctx context.Context, host sdk.Host, in struct {
	Section string `json:"section"`
	Session string `json:"session"`
	Prefix  string `json:"prefix"`
	Limit   int    `json:"limit"`
	Cursor  string `json:"cursor"`
}) (any, error) {
	if err := (address{Section: in.Section, Session: in.Session}).check(); err != nil {
		return nil, err
	}
	req := sdk.KVList{Prefix: itemKey(in.Section, in.Session, in.Prefix), Limit: in.Limit}
	if in.Cursor != "" {
		after, err := base64.RawURLEncoding.DecodeString(in.Cursor)
		if err != nil || !strings.HasPrefix(string(after), prefix(in.Section, in.Session)) {
			return nil, sdk.Invalid("cursor", "is none of this section: send the next_cursor of the page before")
		}
		req.After = string(after)
	}
	page, err := sdk.NewKV(host).List(ctx, req)
	if err != nil {
		return nil, err
	}
	entries := make([]entry, 0, len(page.Items))
	for _, it := range page.Items {
		e, err := toEntry(it)
		if err != nil {
			return nil, err
		}
		entries = append(entries, e)
	}
	return map[string]any{"entries": entries, "next_cursor": base64.RawURLEncoding.EncodeToString([]byte(page.Next))}, nil
}

type result struct {
	Entry entry   `json:"entry"`
	Score float64 `json:"score"`
}

func (m *memory) search(ctx context.Context, host sdk.Host, in struct {
	Query   string `json:"query"`
	Section string `json:"section"`
	Session string `json:"session"`
	Limit   int    `json:"limit"`
}) (any, error) {
	limit := in.Limit
	if limit == 0 {
		limit = 10
	}
	results := []result{}
	// With a session, its own entries are found beside those of all; other
	// sessions' never are.
	scopes := []string{""}
	if in.Session != "" {
		scopes = append(scopes, in.Session)
	}
	for _, req := range searches(in.Query, in.Section, scopes) {
		hits, err := sdk.NewKV(host).Search(ctx, req)
		if err != nil {
			return nil, err
		}
		for _, h := range hits {
			e, err := toEntry(h.Item)
			if err != nil {
				return nil, err
			}
			if slices.Contains(scopes, e.Session) {
				results = append(results, result{e, h.Score})
			}
		}
	}
	slices.SortStableFunc(results, func(a, b result) int {
		switch {
		case a.Score > b.Score:
			return -1
		case a.Score < b.Score:
			return 1
		}
		return 0
	})
	return map[string]any{"results": results[:min(limit, len(results))]}, nil
}

// searches are the requests that cover the scopes: one for each within a section;
// over all sections one, whose hits are chosen from.
func searches(query, section string, scopes []string) []sdk.KVSearch {
	if section == "" {
		return []sdk.KVSearch{{Query: query, Limit: 1000}}
	}
	var out []sdk.KVSearch
	for _, s := range scopes {
		out = append(out, sdk.KVSearch{Query: query, Prefix: prefix(section, s), Limit: 100})
	}
	return out
}

// words is the text that search looks at: the key, and every text and number in
// the value with the names of its members.
func words(key string, value json.RawMessage) string {
	var b strings.Builder
	b.WriteString(strings.NewReplacer("_", " ", "-", " ", ".", " ").Replace(key))
	var v any
	if json.Unmarshal(value, &v) == nil {
		collect(&b, v)
	}
	return b.String()
}

func collect(b *strings.Builder, v any) {
	switch v := v.(type) {
	case string:
		b.WriteString(" " + strings.ReplaceAll(v, "\x00", " "))
	case float64:
		fmt.Fprintf(b, " %v", v)
	case []any:
		for _, item := range v {
			collect(b, item)
		}
	case map[string]any:
		names := make([]string, 0, len(v))
		for name := range v {
			names = append(names, name)
		}
		slices.Sort(names)
		for _, name := range names {
			b.WriteString(" " + name)
			collect(b, v[name])
		}
	}
}
