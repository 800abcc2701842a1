package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/nagatha/nagatha-runtime/sdk"
)

// change is one all-or-none change of the store: each row that it writes was read
// before, or is taken to be new, and is written only if nobody has written it since.
type change struct {
	ctx   context.Context
	host  sdk.Host
	again bool // others changed something since the first try
	rows  map[string]*item
	dirty []*item
}

// item is one of the store as a change sees it, and may have altered it.
type item struct {
	key     string
	version int64           // 0: there is none
	value   any             // a pointer; zero where there is none
	doc     json.RawMessage // the value's JSON, where it is known
	ttl     time.Duration
	state   int
}

const (
	untouched = iota
	written
	removed
)

// fresh is what only looks at the store.
func fresh(ctx context.Context, host sdk.Host) *change {
	return &change{ctx: ctx, host: host, rows: map[string]*item{}}
}

// tries bounds how often a change is made anew. Each time somebody else's change was
// made, so all of them together always get on.
const tries = 200

// change runs f on what is stored and writes what f puts. Where another change came
// between, f runs again on what is stored then; it must begin from nothing each time.
func (u *usage) change(ctx context.Context, host sdk.Host, f func(c *change) error) error {
	select {
	case u.turn <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-u.turn }()
	clear(u.rows) // f may decide by what it reads, and write nothing
	return u.attempt(ctx, host, f)
}

// attempt is change for one who has the turn, and whose f writes every row that it
// goes by: it may find rows as they were a while ago.
func (u *usage) attempt(ctx context.Context, host sdk.Host, f func(c *change) error) error {
	for n := range tries {
		c := &change{ctx: ctx, host: host, rows: u.rows, again: n > 0}
		err := f(c)
		if err == nil && len(c.dirty) > 0 {
			err = c.apply()
			if err == nil {
				c.settled()
				return nil
			}
			if sdk.CodeOf(err) == sdk.CodeConflict {
				err = errChanged
			}
		}
		clear(u.rows)          // what f altered was not written, or somebody else wrote
		if err != errChanged { //nolint:errorlint // it is never wrapped
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if n > 2 { // step aside, each for another while
			select {
			case <-time.After(rand.N(time.Duration(min(n, 10)) * time.Millisecond)): //nolint:gosec // no secret
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}
	return sdk.RetryAfter(sdk.Errorf(sdk.CodeUnavailable, "others changed the same totals %d times in a row", tries), time.Second)
}

var errChanged = errors.New("somebody else has changed it")

// at reads a row: the value, which the change may alter and then put, and whether
// there is one.
func at[T any](c *change, key string) (*T, bool, error) {
	if r := c.rows[key]; r != nil {
		return r.value.(*T), r.state == written || r.version > 0 && r.state != removed, nil
	}
	it, err := sdk.NewKV(c.host).Get(c.ctx, key)
	if err != nil {
		return nil, false, err
	}
	v := new(T)
	r := &item{key: key, value: v}
	if it != nil {
		if err := json.Unmarshal(it.Value, v); err != nil {
			return nil, false, fmt.Errorf("%s: %w", key, err)
		}
		r.version = it.Version
	}
	c.rows[key] = r
	return v, it != nil, nil
}

// create adds a row. Where there is one already, the change is made anew.
func (c *change) create(key string, value any, doc json.RawMessage, ttl time.Duration) {
	r := c.rows[key]
	if r == nil {
		r = &item{key: key}
		c.rows[key] = r
	}
	r.value, r.doc = value, doc
	c.put(key, ttl)
}

// put writes a row that was read.
func (c *change) put(key string, ttl time.Duration) { c.mark(key, written, ttl) }

// remove deletes a row that was read.
func (c *change) remove(key string) { c.mark(key, removed, 0) }

func (c *change) mark(key string, state int, ttl time.Duration) {
	r := c.rows[key]
	if r.state == untouched {
		c.dirty = append(c.dirty, r)
	}
	r.state, r.ttl = state, ttl
}

// apply writes all rows in one transaction.
func (c *change) apply() error {
	q := sdk.KVApply{Writes: make([]sdk.KVWrite, len(c.dirty))}
	for i, r := range c.dirty {
		version := r.version
		if r.state == removed {
			q.Writes[i].Delete = &sdk.KVDelete{Key: r.key, IfVersion: &version}
			continue
		}
		doc := r.doc
		if doc == nil {
			var err error
			if doc, err = json.Marshal(r.value); err != nil {
				return fmt.Errorf("%s: %w", r.key, err)
			}
		}
		q.Writes[i].Set = &sdk.KVSet{Key: r.key, Value: doc, TTL: sdk.Duration(r.ttl), IfVersion: &version}
	}
	// The reply says nothing new, and reading it would take long.
	_, err := c.host.Call(c.ctx, sdk.OpKVApply, q.AppendJSON(nil))
	return err
}

// maxKept bounds the rows that are kept between changes.
const maxKept = 200

// settled keeps the totals, which the next change will want too. Whoever else writes
// one of them gives it another version, and the next change then reads it.
func (c *change) settled() {
	for _, r := range c.dirty {
		r.version++ // each set adds one
		if r.state == removed {
			delete(c.rows, r.key)
		}
		r.state = untouched
	}
	for key := range c.rows {
		total := strings.HasPrefix(key, cellKeys) || strings.HasPrefix(key, wholeKeys) || strings.HasPrefix(key, spentKeys)
		if len(c.rows) > maxKept || !total && key != periodKey {
			delete(c.rows, key)
		}
	}
}

// each hands every item whose key begins with prefix, and comes after the key after,
// to f, in the order of their keys.
func each(ctx context.Context, host sdk.Host, prefix, after string, f func(key string, value json.RawMessage) error) error {
	for {
		page, err := sdk.NewKV(host).List(ctx, sdk.KVList{Prefix: prefix, After: after, Limit: 500})
		if err != nil {
			return err
		}
		for _, it := range page.Items {
			if err := f(it.Key, it.Value); err != nil {
				return err
			}
		}
		if page.Next == "" {
			return nil
		}
		after = page.Next
	}
}
