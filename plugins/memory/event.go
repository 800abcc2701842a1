package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"strings"
	"sync"

	"github.com/nagatha/nagatha-runtime/sdk"
)

// change is a write of an entry.
type change struct {
	address
	version          int64
	created, expired bool // expired: it is in place of one that had expired
}

// tell publishes what a write was.
func tell(ctx context.Context, host sdk.Host, c change) error {
	if c.expired {
		if err := publish(ctx, host, "expired", c.address, 0); err != nil {
			return err
		}
	}
	if c.created {
		return publish(ctx, host, "created", c.address, c.version)
	}
	return publish(ctx, host, "updated", c.address, c.version)
}

// write makes writes, of which the last is of the entry of a change, and tells what
// became of it, all in one transaction: what is stored and what is told cannot differ.
func write(ctx context.Context, host sdk.Host, c change, what string, writes ...sdk.KVWrite) (sdk.KVResult, error) {
	e, err := event(what, c.address, c.version)
	if err != nil {
		return sdk.KVResult{}, err
	}
	t := sdk.Transaction{Writes: writes, Events: []sdk.Event{e}}
	r, err := sdk.Commit(ctx, host, t)
	if errors.Is(err, &sdk.Error{Code: sdk.CodeCapabilityDenied}) { // without the grant to publish nobody is told
		t.Events = nil
		r, err = sdk.Commit(ctx, host, t)
	}
	if err != nil {
		return sdk.KVResult{}, err
	}
	done := r.Results[len(r.Results)-1]
	if done.Expired { // of one that had expired only the store knew
		err = publish(ctx, host, "expired", c.address, 0)
	}
	return done, err
}

// stored is what the store has after a set: its times are the store's. Somebody may
// have written again since, or it may have expired; then it is what was set, at a time.
func stored(ctx context.Context, kv sdk.KV, set sdk.KVSet, version int64, at sdk.Time) (sdk.Item, error) {
	it, err := kv.Get(ctx, set.Key)
	if err != nil || it != nil && it.Version == version {
		return *cmp.Or(it, &sdk.Item{}), err
	}
	was := sdk.Item{Key: set.Key, Value: set.Value, Version: version, CreatedAt: at, UpdatedAt: at}
	if set.TTL > 0 {
		was.ExpiresAt = at.Add(set.TTL.Std())
	}
	return was, nil
}

// publish tells others of a change. The change itself is made: without the grant
// to publish, nobody is told, and that is no failure.
func publish(ctx context.Context, host sdk.Host, what string, a address, version int64) error {
	e, err := event(what, a, version)
	if err != nil {
		return err
	}
	_, err = sdk.Publish(ctx, host, e)
	if errors.Is(err, &sdk.Error{Code: sdk.CodeCapabilityDenied}) {
		return nil
	}
	return err
}

func event(what string, a address, version int64) (sdk.Event, error) {
	data := map[string]any{"section": a.Section, "key": a.Key, "session": a.Session}
	if version > 0 {
		data["version"] = version
	}
	b, err := json.Marshal(data)
	subject := a.Section + "/" + a.Key
	if len(subject) > maxSubject {
		subject = strings.ToValidUTF8(subject[:maxSubject], "")
	}
	return sdk.Event{Type: "memory.entry." + what, Subject: subject, Data: b}, err
}

// maxSubject is how long an event's subject may be. The key is whole in its data.
const maxSubject = 256

// publishAll tells of many entries that went, by the keys of their items, a number of
// them at a time: the store commits together what comes together.
func publishAll(ctx context.Context, host sdk.Host, what string, items []string) error {
	return each(items, func(item string) error {
		a, err := splitKey(item)
		if err != nil || a.Section == past {
			return err
		}
		return publish(ctx, host, what, a, 0)
	})
}

// together is how many calls are under way at once where there are many to make.
const together = 64

// each calls f for all items, some at a time, and returns the first error.
func each[T any](items []T, f func(T) error) error {
	var (
		all   sync.WaitGroup
		mu    sync.Mutex
		first error
		slots = make(chan struct{}, together)
	)
	for _, item := range items {
		slots <- struct{}{}
		all.Go(func() {
			err := f(item)
			<-slots
			if err != nil {
				mu.Lock()
				defer mu.Unlock()
				if first == nil {
					first = err
				}
			}
		})
	}
	all.Wait()
	return first
}
