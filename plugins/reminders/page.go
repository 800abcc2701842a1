package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/nagatha/nagatha-runtime/sdk"
)

const (
	// maxPage is how many bytes of records a page holds at the most, so that it fits
	// a task's result.
	maxPage = 160 << 10
	// maxScan is how many records one call looks at; the cursor goes on from there.
	maxScan = 5000
)

// pageOf lists records whose keys begin with prefix, in the order of the keys, those
// that keep wants.
func pageOf[T any](ctx context.Context, host sdk.Host, prefix, cursor string, limit int, keep func(it sdk.Item) (*T, error)) ([]*T, string, error) {
	after, err := base64.RawURLEncoding.DecodeString(cursor)
	if err != nil || cursor != "" && !strings.HasPrefix(string(after), prefix) {
		return nil, "", sdk.Invalid("cursor", "is none of this list: send the next_cursor of the page before")
	}
	if limit == 0 {
		limit = 50
	}
	out, size := []*T{}, 0
	req := sdk.KVList{Prefix: prefix, After: string(after), Limit: min(100, 2*limit)}
	for seen := 0; seen < maxScan; seen += req.Limit {
		page, err := sdk.NewKV(host).List(ctx, req)
		if err != nil {
			return nil, "", err
		}
		for i, it := range page.Items {
			v, err := keep(it)
			if err != nil {
				return nil, "", fmt.Errorf("record %q: %w", it.Key, err)
			}
			if v != nil {
				b, err := json.Marshal(v)
				if err != nil {
					return nil, "", err
				}
				if size += len(b); size > maxPage && len(out) > 0 {
					return out, base64.RawURLEncoding.EncodeToString([]byte(req.After)), nil
				}
				out = append(out, v)
			}
			if req.After = it.Key; len(out) == limit && (page.Next != "" || i+1 < len(page.Items)) {
				return out, base64.RawURLEncoding.EncodeToString([]byte(it.Key)), nil
			}
		}
		if page.Next == "" {
			return out, "", nil
		}
	}
	return out, base64.RawURLEncoding.EncodeToString([]byte(req.After)), nil
}

// decoded reads a record and keeps it where want says so.
func decoded[T any](want func(v *T) bool) func(it sdk.Item) (*T, error) {
	return func(it sdk.Item) (*T, error) {
		v := new(T)
		if err := json.Unmarshal(it.Value, v); err != nil || !want(v) {
			return nil, err
		}
		return v, nil
	}
}

// found lists the records that a full-text search finds, best first.
func found[T any](ctx context.Context, host sdk.Host, query, prefix string, limit int, keep func(it sdk.Item) (*T, error)) ([]*T, error) {
	if limit == 0 {
		limit = 20
	}
	hits, err := sdk.NewKV(host).Search(ctx, sdk.KVSearch{Query: query, Prefix: prefix, Limit: min(1000, 5*limit)})
	if err != nil {
		return nil, err
	}
	out, size := []*T{}, 0
	for _, h := range hits {
		v, err := keep(h.Item)
		if err != nil {
			return nil, fmt.Errorf("record %q: %w", h.Key, err)
		}
		if v == nil {
			continue
		}
		b, err := json.Marshal(v)
		if err != nil {
			return nil, err
		}
		if size += len(b); len(out) == limit || size > maxPage && len(out) > 0 {
			break
		}
		out = append(out, v)
	}
	return out, nil
}

// get shows a reminder with its delivery log, newest first.
func (p *reminders) get(ctx context.Context, host sdk.Host, in idRequest) (any, error) {
	r, err := loadReminder(ctx, host, in.ID)
	if err != nil {
		return nil, err
	}
	if r == nil {
		return nil, noReminder(in.ID)
	}
	log, _, err := pageOf(ctx, host, "delivery/"+in.ID+"/", "", 50, decoded(func(*delivery) bool { return true }))
	return map[string]any{"reminder": r, "deliveries": log}, err
}

// list shows reminders: pending ones by what is due next, others as they were made. It
// reads no more than it shows, however many others there are.
func (p *reminders) list(ctx context.Context, host sdk.Host, in struct {
	Status string `json:"status"`
	Todo   string `json:"todo"`
	Limit  int    `json:"limit"`
	Cursor string `json:"cursor"`
}) (any, error) {
	if in.Status == "" {
		in.Status = pending
	}
	want := func(r *reminder) bool { return in.Status == "all" || r.Status == in.Status }
	if in.Todo != "" {
		list, err := ofTodo(ctx, host, in.Todo, want)
		return map[string]any{"reminders": list, "next_cursor": ""}, err
	}
	keep := func(it sdk.Item) (*reminder, error) {
		r, err := loadReminder(ctx, host, it.Key[strings.LastIndexByte(it.Key, '/')+1:])
		if err != nil || r == nil || !want(r) {
			return nil, err
		}
		return r, nil
	}
	prefix := overKeys + in.Status + "/"
	switch in.Status {
	case "all":
		prefix, keep = "reminder/", decoded(want)
	case pending:
		prefix = "due/"
	}
	list, next, err := pageOf(ctx, host, prefix, in.Cursor, in.Limit, keep)
	return map[string]any{"reminders": list, "next_cursor": next}, err
}

// ofTodo are the reminders of a to-do: they are few, and it knows them.
func ofTodo(ctx context.Context, host sdk.Host, id string, want func(r *reminder) bool) ([]*reminder, error) {
	list := []*reminder{}
	d, err := loadTodo(ctx, host, id)
	if err != nil || d == nil {
		return list, err
	}
	own, err := d.own(ctx, host)
	for _, r := range own {
		if want(r) {
			list = append(list, r)
		}
	}
	return list, err
}
