package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"unicode"

	"github.com/nagatha/nagatha-runtime/sdk"
)

// session is the head of a conversation. Its messages are items of their own, so
// that a turn writes what it adds and no more.
type session struct {
	ID        string   `json:"id"` // its place, see owner.go
	Title     string   `json:"title"`
	CreatedAt sdk.Time `json:"created_at"`
	UpdatedAt sdk.Time `json:"updated_at"`
	Messages  int      `json:"messages"` // after the last turn that ended well

	// Used is when a turn last began here, which is its place among an owner's sessions.
	// 0: where it was created, also those of versions that knew no other.
	Used sdk.Time `json:"used,omitempty"`

	// Summary stands for the messages up to and including SummaryUpTo, which are kept.
	Summary     string `json:"summary,omitempty"`
	SummaryUpTo int    `json:"summary_up_to,omitempty"`

	// Turn is the task that speaks in the session now, or did when it was cut off;
	// its messages begin at TurnBase. Numbers of messages begin at 1.
	Turn     string `json:"turn,omitempty"`
	LastTurn string `json:"last_turn,omitempty"`
	TurnBase int    `json:"turn_base,omitempty"`
	Next     int    `json:"next"` // number of the next message, once no turn is under way

	// Firm is the task in Turn once another one counts on its end: it no longer gives way.
	Firm string `json:"firm,omitempty"`

	// Waiting are the tasks that wait until they may speak here.
	Waiting []string `json:"waiting,omitempty"`

	// Cleared is the task in Turn when somebody said /clear. Should it never end well, what
	// it has left is forgotten too.
	Cleared string `json:"cleared,omitempty"`

	// TokensPerByte is learnt from what the model server counts.
	TokensPerByte float64 `json:"tokens_per_byte,omitempty"`

	version int64
}

// Keys: s/PLACE is a head, m/PLACE/NUMBER a message, and n/TIME/PLACE or
// o/@OWNER/TIME/PLACE an index of an owner's sessions, those used last first.
func headKey(id string) string { return "s/" + id }

func indexKey(s *session) string {
	_, owner, _ := strings.Cut(s.ID, ownerMark)
	return fmt.Sprintf("%s%013d/%s", indexPrefix(owner), 9_999_999_999_999-int64(cmp.Or(s.Used, s.CreatedAt)), s.ID)
}

// use moves the session to the front of its owner's. Its writes belong to the next save.
func (s *session) use(now sdk.Time) (moves []sdk.KVWrite) {
	old := indexKey(s)
	if s.Used = now; s.version > 0 && indexKey(s) != old {
		moves = []sdk.KVWrite{{Delete: &sdk.KVDelete{Key: old}}, {Set: &sdk.KVSet{Key: indexKey(s), Value: json.RawMessage("null")}}}
	}
	return moves
}

// sessionPattern is what a client may call a session of its own.
const sessionPattern = `^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$`

// getSession reads a head, or returns nil.
func getSession(ctx context.Context, host sdk.Host, id string) (*session, error) {
	item, err := sdk.NewKV(host).Get(ctx, headKey(id))
	if err != nil || item == nil {
		return nil, err
	}
	s := &session{version: item.Version}
	return s, json.Unmarshal(item.Value, s)
}

func findSession(ctx context.Context, host sdk.Host, id string) (*session, error) {
	s, err := getSession(ctx, host, id)
	if err == nil && s == nil {
		err = sdk.Errorf(sdk.CodeNotFound, "there is no session %q; agent.sessions lists them", nameOf(id))
	}
	return s, err
}

// save writes a head, if nobody has since it was read, together with other writes.
func (s *session) save(ctx context.Context, host sdk.Host, also ...sdk.KVWrite) error {
	b, err := json.Marshal(s)
	if err != nil {
		return err
	}
	writes := append([]sdk.KVWrite{{Set: &sdk.KVSet{Key: headKey(s.ID), Value: b, Text: s.Title, IfVersion: &s.version}}}, also...)
	if s.version == 0 {
		writes = append(writes, sdk.KVWrite{Set: &sdk.KVSet{Key: indexKey(s), Value: json.RawMessage("null")}})
	}
	done, err := sdk.NewKV(host).Apply(ctx, writes...)
	if err == nil {
		s.version = done[0].Version
	}
	return err
}

// maxRaces is how often a write of a head is tried again after somebody else's.
const maxRaces = 20

// change edits a head, again if somebody else does at the same time.
func change(ctx context.Context, host sdk.Host, id string, edit func(*session) error) (*session, error) {
	for try := 1; ; try++ {
		s, err := findSession(ctx, host, id)
		if err != nil {
			return nil, err
		}
		if err := edit(s); err != nil {
			return nil, err
		}
		err = s.save(ctx, host)
		if err == nil || sdk.CodeOf(err) != sdk.CodeConflict || try == maxRaces {
			return s, err
		}
	}
}

// public is a session as clients see it.
func (s *session) public() map[string]any {
	return map[string]any{"session": s.name(), "title": s.Title, "created_at": s.CreatedAt, "updated_at": s.UpdatedAt,
		"messages": s.Messages, "summarized": s.SummaryUpTo}
}

const publicSession = `{"type":"object","required":["session","title","created_at","updated_at","messages"],"properties":{
	"session":{"type":"string"},"title":{"type":"string"},"created_at":{"type":"string"},"updated_at":{"type":"string"},
	"messages":{"type":"integer"},"summarized":{"type":"integer","description":"messages that a summary stands for"}}}`

func (a *agent) sessions(ctx context.Context, host sdk.Host, in struct {
	Limit  int    `json:"limit"`
	Cursor string `json:"cursor"`
}) (any, error) {
	found, next, err := listSessions(ctx, host, in.Cursor, cmp.Or(in.Limit, 50))
	if err != nil {
		return nil, err
	}
	list := []any{}
	for _, s := range found {
		list = append(list, s.public())
	}
	return map[string]any{"sessions": list, "next_cursor": next}, nil
}

// listSessions returns a page of the task's owner's sessions, those used last first.
func listSessions(ctx context.Context, host sdk.Host, after string, limit int) (list []*session, next string, err error) {
	prefix := indexPrefix(sdk.TaskFrom(ctx).Owner)
	page, err := sdk.NewKV(host).List(ctx, sdk.KVList{Prefix: prefix, After: after, Limit: limit})
	if err != nil {
		return nil, "", err
	}
	for _, item := range page.Items {
		_, id, _ := strings.Cut(strings.TrimPrefix(item.Key, prefix), "/")
		s, err := getSession(ctx, host, id)
		if err != nil {
			return nil, "", err
		}
		if s != nil {
			list = append(list, s)
		}
	}
	return list, page.Next, nil
}

func (a *agent) rename(ctx context.Context, host sdk.Host, in struct {
	Session string `json:"session"`
	Title   string `json:"title"`
}) (any, error) {
	s, err := change(ctx, host, placeFor(ctx, in.Session), func(s *session) error { s.Title = oneLine(in.Title); return nil })
	if err != nil {
		return nil, err
	}
	return s.public(), nil
}

// deleteSession removes the head first: from then on the session is gone, and what
// a crash leaves of its messages is found by deleting again.
func (a *agent) deleteSession(ctx context.Context, host sdk.Host, in struct {
	Session string `json:"session"`
}) (any, error) {
	at := placeFor(ctx, in.Session)
	s, err := deleteHead(ctx, host, at)
	if err != nil {
		return nil, err
	}
	a.transcripts.forget(at)
	n, err := deleteMessages(ctx, host, at, 0)
	if err != nil {
		return nil, err
	}
	// Others keep things of a session too. The id is the same when the task runs again.
	data, err := json.Marshal(map[string]string{"session": at})
	if err != nil {
		return nil, err
	}
	_, err = sdk.Publish(ctx, host, sdk.Event{ID: "deleted-" + at + "-" + sdk.TaskFrom(ctx).ID, Type: "agent.session.deleted", Subject: at, Data: data})
	if sdk.CodeOf(err) == sdk.CodeCapabilityDenied {
		host.Log(slog.LevelWarn, "nobody hears that the session is deleted", "error", err)
		err = nil
	}
	return map[string]any{"deleted": s != nil || n > 0, "messages": n}, err
}

// deleteHead deletes a head with its place among its owner's, and returns it; nil: there
// is none.
func deleteHead(ctx context.Context, host sdk.Host, at string) (*session, error) {
	for try := 1; ; try++ {
		s, err := getSession(ctx, host, at)
		if err != nil || s == nil {
			return nil, err
		}
		_, err = sdk.NewKV(host).Apply(ctx,
			sdk.KVWrite{Delete: &sdk.KVDelete{Key: headKey(s.ID), IfVersion: &s.version}},
			sdk.KVWrite{Delete: &sdk.KVDelete{Key: indexKey(s)}})
		if err == nil || sdk.CodeOf(err) != sdk.CodeConflict || try == maxRaces {
			return s, err
		}
	}
}

// titleOf makes a title of the first message.
func titleOf(text string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(text), "\n")
	return clip(strings.TrimSpace(oneLine(line)), 60)
}

// oneLine takes out of a title what is no text, such as NUL, which the store refuses in
// what is searched.
func oneLine(title string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, title)
}
