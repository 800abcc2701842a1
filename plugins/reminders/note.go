package main

import (
	"context"
	"encoding/json"
	"slices"

	"github.com/nagatha/nagatha-runtime/sdk"
)

// note is the record of a note, under note/ID. A list shows the beginning of a long
// content, and says so.
type note struct {
	ID        string   `json:"id"`
	Title     string   `json:"title"`
	Content   string   `json:"content"`
	Truncated bool     `json:"truncated"`
	Tags      []string `json:"tags"`
	CreatedAt sdk.Time `json:"created_at"`
	UpdatedAt sdk.Time `json:"updated_at"`
}

func noteKey(id string) string { return "note/" + id }

func noNote(id string) error {
	return sdk.Errorf(sdk.CodeNotFound, "there is no note %.80q; reminders.note_search shows those that there are", id)
}

// put stores a note where it has the version.
func (n *note) put(ctx context.Context, host sdk.Host, version int64) error {
	b, err := json.Marshal(n)
	if err != nil {
		return err
	}
	_, err = sdk.NewKV(host).Put(ctx, sdk.KVSet{Key: noteKey(n.ID), Value: b, IfVersion: &version, Text: words(n.Title, n.Content, n.Tags)})
	return err
}

func (p *reminders) noteAdd(ctx context.Context, host sdk.Host, in struct {
	Title   string   `json:"title"`
	Content string   `json:"content"`
	Tags    []string `json:"tags"`
}) (any, error) {
	task := sdk.TaskFrom(ctx)
	t, err := now(ctx, host)
	if err != nil {
		return nil, err
	}
	n := &note{ID: newID("note_", task), Content: in.Content, Tags: distinct(in.Tags), CreatedAt: task.CreatedAt, UpdatedAt: t}
	if n.Title, err = cleanText("title", in.Title); err != nil {
		return nil, err
	}
	if err = n.put(ctx, host, 0); sdk.CodeOf(err) == sdk.CodeConflict { // an earlier attempt has done it
		return p.noteGet(ctx, host, idRequest{n.ID})
	}
	return map[string]any{"note": n}, err
}

func (p *reminders) noteGet(ctx context.Context, host sdk.Host, in idRequest) (any, error) {
	n, _, err := load[note](ctx, host, noteKey(in.ID))
	if err == nil && n == nil {
		err = noNote(in.ID)
	}
	return map[string]any{"note": n}, err
}

func (p *reminders) noteUpdate(ctx context.Context, host sdk.Host, in struct {
	ID      string             `json:"id"`
	Title   string             `json:"title"`
	Content optional[string]   `json:"content"`
	Tags    optional[[]string] `json:"tags"`
}) (any, error) {
	var n *note
	err := again(func() error {
		var version int64
		var err error
		if n, version, err = load[note](ctx, host, noteKey(in.ID)); err != nil {
			return err
		}
		if n == nil {
			return noNote(in.ID)
		}
		if in.Title != "" {
			if n.Title, err = cleanText("title", in.Title); err != nil {
				return err
			}
		}
		in.Content.put(&n.Content)
		in.Tags.value = distinct(in.Tags.value)
		in.Tags.put(&n.Tags)
		if n.UpdatedAt, err = now(ctx, host); err != nil {
			return err
		}
		return n.put(ctx, host, version)
	})
	return map[string]any{"note": n}, err
}

func (p *reminders) noteDelete(ctx context.Context, host sdk.Host, in idRequest) (any, error) {
	deleted, err := sdk.NewKV(host).Delete(ctx, noteKey(in.ID))
	return map[string]bool{"deleted": deleted}, err
}

// maxExcerpt is how many characters of a content a list shows.
const maxExcerpt = 1000

// noteSearch finds notes by words, best first, or lists them as they were made.
func (p *reminders) noteSearch(ctx context.Context, host sdk.Host, in struct {
	Query  string `json:"query"`
	Tag    string `json:"tag"`
	Limit  int    `json:"limit"`
	Cursor string `json:"cursor"`
}) (any, error) {
	keep := decoded(func(n *note) bool {
		if text := []rune(n.Content); len(text) > maxExcerpt {
			n.Content, n.Truncated = string(text[:maxExcerpt])+"…", true
		}
		return in.Tag == "" || slices.Contains(n.Tags, in.Tag)
	})
	if in.Query != "" {
		list, err := found(ctx, host, in.Query, "note/", in.Limit, keep)
		return map[string]any{"notes": list, "next_cursor": ""}, err
	}
	list, next, err := pageOf(ctx, host, "note/", in.Cursor, in.Limit, keep)
	return map[string]any{"notes": list, "next_cursor": next}, err
}
