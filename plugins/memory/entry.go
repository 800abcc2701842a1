package main

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"

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
	Fact      *provenance     `json:"fact,omitempty"` // of the section facts
}

// The sections with rules of their own.
const (
	facts     = "facts"
	history   = "command_history"
	sessions  = "session_state"
	temporary = "temporary"
	// past holds superseded facts. No section has such a name, so that nothing shows
	// them but recall, export and the counts.
	past = "~facts"
)

// An item's key is section/session/key. Section and session have no "/" (a
// session is encoded), so the three cannot run into each other, and the entries of
// one section and session are neighbours in key order.
func itemKey(section, session, key string) string { return prefix(section, session) + key }

func prefix(section, session string) string {
	return section + "/" + base64.RawURLEncoding.EncodeToString([]byte(session)) + "/"
}

// scopeOf is the prefix of one session's part of a section, or with "" of all of it.
func scopeOf(section, session string) string {
	if session == "" {
		return section + "/"
	}
	return prefix(section, session)
}

func splitKey(item string) (address, error) {
	parts := strings.SplitN(item, "/", 3)
	if len(parts) != 3 {
		return address{}, fmt.Errorf("item %q is no entry", item)
	}
	session, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return address{}, fmt.Errorf("item %q: %w", item, err)
	}
	return address{parts[0], parts[2], string(session)}, nil
}

func toEntry(it sdk.Item) (entry, error) {
	a, err := splitKey(it.Key)
	if err != nil {
		return entry{}, err
	}
	e := entry{Section: a.Section, Session: a.Session, Key: a.Key, Value: it.Value, Version: it.Version,
		CreatedAt: it.CreatedAt, UpdatedAt: it.UpdatedAt, ExpiresAt: it.ExpiresAt}
	if a.Section == facts {
		f, err := toFact(it)
		if err != nil {
			return entry{}, err
		}
		e.Value, e.Fact = f.Fact, &f.provenance
	}
	return e, nil
}

// address is the section, key and session that most payloads begin with.
type address struct {
	Section string `json:"section"`
	Key     string `json:"key"`
	Session string `json:"session"`
}

// maxKey is the store's limit on an item's key.
const maxKey = 512

func (a address) check() error {
	switch {
	case a.Section == sessions && a.Session == "":
		return sdk.Invalid("session", "is required in the section session_state, whose entries belong to a session")
	case len(a.item()) > maxKey:
		return sdk.Invalid("key", "is too long: section, session and key are %d bytes together, at most %d", len(a.item()), maxKey)
	case strings.Contains(a.Key+a.Session, "\x00"):
		return sdk.Invalid("key", "must not contain NUL")
	}
	return nil
}

func (a address) item() string { return itemKey(a.Section, a.Session, a.Key) }

// pageBytes is how much a page of a result holds, well below what a result may have.
const pageBytes = 160 << 10

// room counts the bytes of a page of results.
type room int

// takes reports whether one more result fits. The first always does.
func (r *room) takes(v any) bool {
	b, err := json.Marshal(v)
	if err != nil {
		return true // it fails again, with its error, when the result is sent
	}
	if *r > 0 && int(*r)+len(b) > pageBytes {
		return false
	}
	*r += room(len(b) + 1)
	return true
}

func encodeCursor(item string) string { return base64.RawURLEncoding.EncodeToString([]byte(item)) }

func decodeCursor(cursor string) (string, error) {
	b, err := base64.RawURLEncoding.DecodeString(cursor)
	if err != nil {
		return "", sdk.Invalid("cursor", "is none of this list: send the next_cursor of the page before")
	}
	return string(b), nil
}
