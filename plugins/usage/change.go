package main

import (
	"context"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/nagatha/nagatha-runtime/sdk"
)

// change is one all-or-none change of the store: what it writes was read before, and
// is written only if nobody has written it since.
type change struct {
	ctx    context.Context
	kv     sdk.KV
	items  map[string]*sdk.Item // as read; nil: there is none
	writes []sdk.KVWrite
}

// tries bounds how often a change is made anew. Each time somebody else's change was
// made, so all of them together always get on.
const tries = 200

// change runs f on what is stored and writes what f sets. Where another change came
// between, f runs again on what is stored then; it must begin from nothing each time.
func (u *usage) change(ctx context.Context, host sdk.Host, f func(c *change) error) error {
	// Within one process the changes take turns: they would only undo each other.
	select {
	case u.turn <- struct{}{}:
		defer func() { <-u.turn }()
	case <-ctx.Done():
		return ctx.Err()
	}
	for n := range tries {
		c := &change{ctx: ctx, kv: sdk.NewKV(host), items: map[string]*sdk.Item{}}
		if err := f(c); err != nil || len(c.writes) == 0 {
			return err
		}
		_, err := c.kv.Apply(ctx, c.writes...)
		if sdk.CodeOf(err) != sdk.CodeConflict {
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

// get reads an item into v and reports whether there is one.
func (c *change) get(key string, v any) (bool, error) {
	it, known := c.items[key]
	if !known {
		var err error
		if it, err = c.kv.Get(c.ctx, key); err != nil {
			return false, err
		}
		c.items[key] = it
	}
	if it == nil {
		return false, nil
	}
	return true, json.Unmarshal(it.Value, v)
}

// set writes an item that was read with get, if it is still as it was.
func (c *change) set(key string, v any, ttl time.Duration) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	version, err := c.version(key)
	c.writes = append(c.writes, sdk.KVWrite{Set: &sdk.KVSet{Key: key, Value: b, TTL: sdk.Duration(ttl), IfVersion: version}})
	return err
}

// remove deletes an item that was read with get.
func (c *change) remove(key string) error {
	version, err := c.version(key)
	c.writes = append(c.writes, sdk.KVWrite{Delete: &sdk.KVDelete{Key: key, IfVersion: version}})
	return err
}

func (c *change) version(key string) (*int64, error) {
	it, known := c.items[key]
	if !known {
		return nil, errors.New("wrote " + key + " without having read it")
	}
	version := int64(0)
	if it != nil {
		version = it.Version
	}
	return &version, nil
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
