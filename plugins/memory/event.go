package main

import (
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

// publish tells others of a change. The change itself is made: without the grant
// to publish, nobody is told, and that is no failure.
func publish(ctx context.Context, host sdk.Host, what string, a address, version int64) error {
	data := map[string]any{"section": a.Section, "key": a.Key, "session": a.Session}
	if version > 0 {
		data["version"] = version
	}
	b, err := json.Marshal(data)
	if err != nil {
		return err
	}
	subject := a.Section + "/" + a.Key
	if len(subject) > maxSubject {
		subject = strings.ToValidUTF8(subject[:maxSubject], "")
	}
	_, err = sdk.Publish(ctx, host, sdk.Event{Type: "memory.entry." + what, Subject: subject, Data: b})
	if errors.Is(err, &sdk.Error{Code: sdk.CodeCapabilityDenied}) {
		return nil
	}
	return err
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
