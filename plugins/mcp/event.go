package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"sync"

	"github.com/nagatha/nagatha-runtime/sdk"
)

// journal holds events until there is an attempt that can publish them: a server
// comes and goes at any time, but only an attempt has a host. Each attempt of the
// plugin publishes what has gathered; at the latest it is the scheduled health
// check. An event keeps the time at which it happened.
type journal struct {
	mu     sync.Mutex
	events []sdk.Event
}

// maxJournal is the most events that are kept; the oldest go first.
const maxJournal = 1000

// add notes an event about a server.
func (j *journal) add(typ, server string, data map[string]any) {
	data["server"] = server
	b, err := json.Marshal(data)
	if err != nil {
		return // of texts and numbers: cannot happen
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.events = append(j.events, sdk.Event{ID: "mcp-" + rand.Text(), Type: typ, Subject: server, Time: sdk.Now(), Data: b})
	j.trim()
}

func (j *journal) trim() { j.events = j.events[max(0, len(j.events)-maxJournal):] }

// publish publishes what has gathered. What cannot be published now is kept; the id
// of an event makes a repetition harmless.
func (j *journal) publish(ctx context.Context, host sdk.Host) {
	j.mu.Lock()
	events := j.events
	j.events = nil
	j.mu.Unlock()
	for i, e := range events {
		if ctx.Err() != nil {
			j.keep(events[i:])
			return
		}
		_, err := sdk.Publish(ctx, host, e)
		if errors.Is(err, &sdk.Error{Code: sdk.CodeCapabilityDenied}) {
			host.Log(4, "events about MCP servers are not published; they need a grant", "error", err)
			return
		}
		if err != nil {
			j.keep(events[i:])
			return
		}
	}
}

func (j *journal) keep(events []sdk.Event) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.events = append(append([]sdk.Event(nil), events...), j.events...)
	j.trim()
}

// telling makes a handler publish the events that have gathered once it is done.
func telling[In any](p *pool, f func(context.Context, sdk.Host, In) (any, error)) func(context.Context, sdk.Host, In) (any, error) {
	return func(ctx context.Context, host sdk.Host, in In) (any, error) {
		out, err := f(ctx, host, in)
		p.news.publish(ctx, host)
		return out, err
	}
}
