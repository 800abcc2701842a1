package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"

	"github.com/gorilla/websocket"

	"github.com/nagatha/nagatha-runtime/runtime"
	"github.com/nagatha/nagatha-runtime/sdk"
)

// subscription is a cursor over the log that a connection follows. Its watch
// belongs to the writer.
type subscription struct {
	id    string
	watch *runtime.Watch
	batch int // how many notices a turn asks for; the writer's

	// under conn.mu
	active bool // its reply is queued
	queued bool // it waits for a turn
	gone   bool
}

// A turn is bounded twice: by notices, and by bytes as far as the sizes of the
// last turn foretell.
const (
	turnNotices = 64
	turnBytes   = 256 << 10
)

// reserve takes a subscription's place.
func (c *conn) reserve() (*subscription, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if limit := c.srv.cfg.Limits.Subscriptions; c.subCount >= limit {
		return nil, sdk.Errorf(sdk.CodeLimitExceeded,
			"this connection has %d subscriptions, as many as %ssubscriptions allows: unsubscribe, or subscribe to a pattern", c.subCount, settings)
	}
	c.subCount++
	c.lastSub++
	return &subscription{id: "s" + strconv.Itoa(c.lastSub), batch: turnNotices}, nil
}

// open opens the watch of a reserved subscription, or gives its place back.
func (c *conn) open(sub *subscription, req runtime.WatchRequest) error {
	watch, err := c.srv.rt.Watch(c.ctx, req, func() { c.rouse(sub) })
	if err != nil {
		c.release()
		return err
	}
	sub.watch = watch
	return nil
}

// release gives back a place that reserve took.
func (c *conn) release() {
	c.mu.Lock()
	c.subCount--
	c.mu.Unlock()
}

// activate lets a subscription speak. Its reply must be queued before.
func (c *conn) activate(sub *subscription) {
	c.mu.Lock()
	sub.active = true
	c.subs[sub.id] = sub
	c.mu.Unlock()
	c.srv.metrics.subscriptions.Inc()
	c.rouse(sub)
}

// rouse gives a subscription a turn. It is the watch's wake.
func (c *conn) rouse(sub *subscription) {
	c.mu.Lock()
	turn := sub.active && !sub.queued && !sub.gone
	if turn {
		sub.queued = true
		c.ready = append(c.ready, sub)
	}
	c.mu.Unlock()
	if turn {
		c.signal()
	}
}

// retire ends a subscription; the writer closes its watch.
func (c *conn) retire(id string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	sub, ok := c.subs[id]
	if !ok {
		return false
	}
	delete(c.subs, id)
	c.subCount--
	sub.gone = true
	for i, other := range c.ready {
		if other == sub {
			c.ready = append(c.ready[:i:i], c.ready[i+1:]...)
			break
		}
	}
	c.retired = append(c.retired, sub)
	c.srv.metrics.subscriptions.Dec()
	c.signal()
	return true
}

// closeSubscriptions closes what is left once the writer has ended, without the lock
// that the commits wait for which wake them.
func (c *conn) closeSubscriptions() {
	c.mu.Lock()
	left := c.retired
	for _, sub := range c.subs {
		sub.gone = true
		left = append(left, sub)
	}
	c.srv.metrics.subscriptions.Sub(float64(len(c.subs)))
	c.subs, c.retired, c.ready = nil, nil, nil
	c.mu.Unlock()
	for _, sub := range left {
		sub.watch.Close()
	}
}

// turn writes what a subscription has, up to one batch.
func (c *conn) turn(sub *subscription) error {
	notices, err := sub.watch.Next(c.ctx, sub.batch)
	text := c.text
	size := 0
	for i := range notices {
		var bad error
		if text, bad = appendNotice(text[:0], sub.id, &notices[i]); bad != nil {
			text, err = nil, fmt.Errorf("encode a notice: %w", bad)
			break
		}
		size += len(text)
		if err := c.send(text); err != nil {
			return err
		}
	}
	if c.text = text; cap(text) > chunk {
		c.text = nil // an idle connection keeps no large buffer
	}
	switch {
	case errors.Is(err, io.EOF):
		c.retire(sub.id)
	case errors.Is(err, context.Canceled):
	case err != nil:
		c.log.Error("read the log for a subscription", "error", err)
		c.close(websocket.CloseInternalServerErr, "the log cannot be read: reconnect with the last cursor")
	case len(notices) > 0:
		sub.batch = max(1, min(turnNotices, turnBytes/max(1, size/len(notices))))
		c.rouse(sub) // there may be more
	case sub.watch.More():
		c.rouse(sub)
		return c.sock.flush() // what is found comes later, replies wait now
	}
	return nil
}
