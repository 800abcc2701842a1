package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/nagatha/nagatha-runtime/sdk"
)

// journal holds events until they are published: by the loop, since a server comes and
// goes at any time, and at the end of each attempt, so that its end comes after what it
// caused. An event keeps the time at which it happened.
type journal struct {
	wake chan struct{} // capacity 1: there is something to publish

	mu     sync.Mutex
	events []sdk.Event
}

// retryAfter is when what could not be published is tried again.
const retryAfter = 5 * time.Second

// loop publishes what gathers until ctx ends.
func (j *journal) loop(ctx context.Context, host sdk.Host) {
	t := time.NewTimer(0)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-j.wake:
		case <-t.C:
		}
		j.publish(ctx, host)
		if j.left() {
			t.Reset(retryAfter)
		}
	}
}

func (j *journal) left() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return len(j.events) > 0
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
	select {
	case j.wake <- struct{}{}:
	default:
	}
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
			host.Log(slog.LevelWarn, "events about MCP servers are not published; they need a grant", "error", err)
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
