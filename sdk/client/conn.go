package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/nagatha/nagatha-runtime/sdk"
)

// Conn is a connection that comes back by itself. Close it when done.
type Conn struct {
	client *Client
	cfg    Config
	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	over   chan struct{} // closed when the goroutine has ended
	slots  chan struct{}

	mu      sync.Mutex
	link    *link // nil while there is none
	lastID  uint64
	pending map[uint64]*call
	subs    map[*Subscription]struct{}
	err     error // set once: why there will be no more links
}

// Connect opens a connection. Only this first attempt fails at once, with a
// *[LostError]; a connection that breaks later is replaced until
// [Config.GiveUp]. ctx bounds the attempt, not the connection.
func (c *Client) Connect(ctx context.Context) (*Conn, error) {
	l, err := c.dial(ctx)
	if err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		lost := &LostError{Server: c.Server(), Never: true, Err: err}
		var h *handshakeError
		if errors.As(err, &h) {
			lost.refused = h.said
		}
		return nil, lost
	}
	life, cancel := context.WithCancel(context.WithoutCancel(ctx))
	conn := &Conn{client: c, cfg: c.cfg, ctx: life, cancel: cancel, over: make(chan struct{}), slots: make(chan struct{}, inFlight),
		pending: make(map[uint64]*call), subs: make(map[*Subscription]struct{})}
	go conn.run(life, l)
	return conn, nil
}

// Close ends the connection, its subscriptions and the requests in flight, and
// waits for its goroutines. It may be called twice.
func (c *Conn) Close() error {
	c.cancel()
	<-c.over
	return nil
}

// run serves one link after the other.
func (c *Conn) run(ctx context.Context, l *link) {
	defer close(c.over)
	var lostAt time.Time // when the last working link broke
	tries := 0
	for {
		err := c.serve(l)
		if l.proven || lostAt.IsZero() {
			lostAt, tries = time.Now(), 0
		}
		if c.ended(err) {
			return
		}
		if c.cfg.OnLink != nil {
			c.cfg.OnLink(false, err)
		}
		c.cfg.Logger.Info("connection lost", "server", c.client.Server(), "error", err)
		next, err := c.redial(ctx, err, l.retryAfter, lostAt, &tries)
		if err != nil {
			c.fail(err)
			return
		}
		l = next
	}
}

// ended reports whether there must be no other link, and if so fails the Conn.
func (c *Conn) ended(err error) bool {
	if c.ctx.Err() != nil {
		c.fail(ErrClosed)
		return true
	}
	if e := refusal(err); e != nil {
		if e.Code == sdk.CodeUnauthorized && c.cfg.Token == "" {
			err = fmt.Errorf("it wants a token: set Config.Token (%w)", err)
		}
		c.fail(&LostError{Server: c.client.Server(), Err: err, refused: e})
		return true
	}
	return false
}

// redial tries to get a link until it has one, is refused, or has spent GiveUp.
func (c *Conn) redial(ctx context.Context, cause error, after time.Duration, lostAt time.Time, tries *int) (*link, error) {
	end := lostAt.Add(c.cfg.GiveUp)
	dialCtx, cancel := context.WithDeadline(ctx, end)
	defer cancel()
	for {
		left := time.Until(end)
		if left < time.Millisecond {
			return nil, &LostError{Server: c.client.Server(), GaveUp: c.cfg.GiveUp, Err: cause}
		}
		delay := c.pause(*tries, after)
		*tries++
		// A server may ask for more patience than there is; try once before the end.
		delay = min(delay, left*9/10)
		select {
		case <-time.After(delay):
		case <-ctx.Done():
			return nil, ErrClosed
		}
		l, err := c.client.dial(dialCtx)
		if err == nil {
			return l, nil
		}
		if ctx.Err() != nil {
			return nil, ErrClosed
		}
		if e := refusal(err); e != nil {
			return nil, &LostError{Server: c.client.Server(), Err: err, refused: e}
		}
		// Running out of time is no news about the server.
		if !isTimeout(err) || time.Until(end) > writeTimeout {
			cause = err
		}
		after = 0
		var h *handshakeError
		if errors.As(err, &h) {
			after = h.after
		}
	}
}

// pause is how long to wait before attempt n: what the server asked for and a
// little more, or a random part of the exponential backoff. Many clients must
// not come back in the same moment.
func (c *Conn) pause(n int, after time.Duration) time.Duration {
	if after > 0 {
		return after + rand.N(after/5+1)
	}
	ceiling := c.cfg.MaxBackoff
	if n < 20 { // no overflow
		ceiling = min(ceiling, c.cfg.Backoff<<n)
	}
	return ceiling/4 + rand.N(ceiling*3/4+1)
}

// fail ends everything that waits, for good.
func (c *Conn) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.err = err
	for id, k := range c.pending {
		delete(c.pending, id)
		k.done(nil, err)
	}
	for s := range c.subs {
		s.finish(err)
	}
}

// restore makes a new link carry what the old one did: subscriptions first, then
// requests in their order. A ping proves that the link works. Conn.mu is held.
func (c *Conn) restore(l *link) {
	waiting := slices.Sorted(maps.Keys(c.pending))
	for s := range c.subs {
		if s.state == detached {
			s.attach()
		}
	}
	l.restoring++
	c.bound("ping", struct{}{}, func(json.RawMessage, error) { c.restored(l) })
	for _, id := range waiting {
		l.send(c.pending[id])
	}
}

// restored counts down what is missing before a link counts as working. Conn.mu
// is held.
func (c *Conn) restored(l *link) {
	l.restoring--
	if l.restoring == 0 && l.fault == nil && !l.proven {
		l.proven = true
		if c.cfg.OnLink != nil {
			c.cfg.OnLink(true, nil)
		}
	}
}

// handle takes one frame. Its error ends the link.
func (c *Conn) handle(l *link, frame []byte) error {
	var m message
	if err := json.Unmarshal(frame, &m); err != nil {
		return errors.New("the server sent what is no JSON-RPC message")
	}
	if m.Method != "" {
		return c.notify(l, m.Method, m.Params)
	}
	id, err := strconv.ParseUint(string(m.ID), 10, 64)
	if err != nil {
		if m.Error != nil {
			c.cfg.Logger.Warn("the server complains about a request", "error", m.Error.Message)
		}
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	k, ok := c.pending[id]
	if !ok {
		return nil // given up meanwhile
	}
	delete(c.pending, id)
	if m.Error != nil {
		k.done(nil, m.Error.coded())
	} else {
		k.done(m.Result, nil)
	}
	return nil
}
