package client

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"iter"
	"slices"

	"github.com/nagatha/nagatha-runtime/sdk"
)

// SubscribeRequest says what to hear, and from where.
type SubscribeRequest struct {
	Task   string   `json:"task,omitempty"`   // either a task,
	Topics []string `json:"topics,omitempty"` // or topics: task.<id>, kind.<kind>, queue.<name>, event.<type>, system.<…>

	// From is "start", "now" or a cursor; "" means start for a task and now for
	// topics. Last, where not 0, asks for the last events instead.
	From string `json:"from,omitempty"`
	Last int    `json:"last,omitempty"`

	Types    []string `json:"types,omitempty"`    // exact event types; empty: all
	Coalesce bool     `json:"coalesce,omitempty"` // the server may merge progress and output
}

// ends are the types of a life's last event.
var ends = []string{sdk.EventCompleted, sdk.EventFailed, sdk.EventCancelled}

// state is where a subscription stands towards the server.
type state int

const (
	detached  state = iota // wants to be opened on the next link
	attaching              // was asked for on the present link
	attached               // open on the present link
	paused                 // closed at the server until the queue has room
	finished               // over; err says why
)

// Subscription is a stream of notifications that survives reconnects: each event
// comes once, in order per task. A snapshot comes first for a task, and again
// only after a gap.
type Subscription struct {
	conn *Conn
	req  SubscribeRequest
	wake chan struct{} // has room for one: the queue or the state changed
	open chan struct{} // closed when the server has accepted it, or it is finished

	// Guarded by Conn.mu.
	state     state
	id        string // at the server, on the present link
	opened    bool   // it was accepted once
	queue     []Notification
	cursor    string // of the last event that reached the queue
	taken     string // of the last event that Next returned
	err       error  // why it is finished; io.EOF for a task that ended
	snapshot  bool   // was delivered
	live      bool   // was delivered
	life      int    // the task's latest life, as far as is known
	endSeen   bool   // the end event of that life, or a snapshot after it
	alone     bool   // was refused a place though no other has one
	checking  bool   // the server was asked whether it was the last life
	lastSeq   int64  // of a task
	recent    map[string]bool
	recentKey []string // recent's keys, oldest first
}

// Subscribe opens a subscription. It returns when the server has accepted it: ctx bounds
// that, not the subscription. A server allows 1,000 of them on a connection unless its
// configuration says otherwise; one more is CodeLimitExceeded. Close it when done.
func (c *Conn) Subscribe(ctx context.Context, req SubscribeRequest) (*Subscription, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s := &Subscription{conn: c, req: req, wake: make(chan struct{}, 1), open: make(chan struct{}),
		recent: make(map[string]bool)}
	if req.From != "" && req.From != "start" && req.From != "now" {
		s.cursor, s.taken = req.From, req.From
	}
	c.mu.Lock()
	if c.err != nil {
		c.mu.Unlock()
		return nil, c.err
	}
	c.subs[s] = struct{}{}
	if c.link != nil {
		s.attach()
	}
	c.mu.Unlock()

	select {
	case <-s.open:
	case <-ctx.Done():
		return nil, errors.Join(ctx.Err(), s.Close())
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !s.opened {
		return nil, s.err
	}
	return s, nil
}

// Next returns the next notification, waiting for it if need be. After the last
// event of a task that has ended it returns [io.EOF]; when the connection is
// gone for good, a *[LostError]. What is queued is returned first. It is for one
// goroutine.
func (s *Subscription) Next(ctx context.Context) (Notification, error) {
	for {
		if n, ok, err := s.pop(); ok || err != nil {
			return n, err
		}
		select {
		case <-s.wake:
		case <-ctx.Done():
			return Notification{}, ctx.Err()
		}
	}
}

// All returns the notifications until the task has ended, or an error, which
// comes last.
func (s *Subscription) All(ctx context.Context) iter.Seq2[Notification, error] {
	return func(yield func(Notification, error) bool) {
		for {
			n, err := s.Next(ctx)
			if errors.Is(err, io.EOF) {
				return
			}
			if !yield(n, err) || err != nil {
				return
			}
		}
	}
}

// Cursor is the place after the last event that Next returned, or where the
// subscription began. Another Subscribe can go on from it.
func (s *Subscription) Cursor() string {
	s.conn.mu.Lock()
	defer s.conn.mu.Unlock()
	return s.taken
}

// Close ends the subscription; Next then returns [ErrClosed]. It may be called
// twice and from any goroutine.
func (s *Subscription) Close() error {
	c := s.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	if s.state == attached {
		s.unsubscribe()
	}
	s.queue = nil
	s.finish(ErrClosed)
	return nil
}

func (s *Subscription) pop() (n Notification, ok bool, err error) {
	c := s.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(s.queue) == 0 {
		return n, false, s.err
	}
	n = s.queue[0]
	s.queue[0] = Notification{} // let its memory go
	s.queue = s.queue[1:]
	if n.Method == MethodEvent {
		s.taken = n.Cursor
	}
	if s.state == paused && len(s.queue) <= c.cfg.Buffer/2 {
		s.state = detached
		if c.link != nil {
			s.attach()
		}
	}
	return n, true, nil
}

// push queues a notification. Conn.mu is held, as in all that follows.
func (s *Subscription) push(n Notification) {
	s.queue = append(s.queue, n)
	s.signal()
}

func (s *Subscription) signal() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// finish ends the subscription; what is queued can still be read.
func (s *Subscription) finish(err error) {
	if s.state == finished {
		return
	}
	s.state, s.err = finished, err
	delete(s.conn.subs, s)
	if s.conn.link != nil && s.id != "" {
		delete(s.conn.link.subs, s.id)
	}
	if !s.opened {
		close(s.open)
	}
	s.signal()
}

// detach notes that the link is gone.
func (s *Subscription) detach() {
	s.id, s.checking = "", false
	if s.state == attaching || s.state == attached {
		s.state = detached
	}
}

// attach opens the subscription on the present link, after the last event that
// was queued.
func (s *Subscription) attach() {
	c, l := s.conn, s.conn.link
	restoring := !l.proven
	if restoring {
		l.restoring++
	}
	p := s.req
	if s.cursor != "" {
		p.From, p.Last = s.cursor, 0
	}
	if p.Task != "" && len(p.Types) > 0 {
		// The end must be heard, or nobody would know of it; receive drops it.
		p.Types = slices.Clone(p.Types)
		for _, t := range ends {
			if !slices.Contains(p.Types, t) {
				p.Types = append(p.Types, t)
			}
		}
	}
	s.state = attaching
	c.bound("subscribe", p, func(result json.RawMessage, err error) {
		if restoring {
			defer c.restored(l)
		}
		s.answered(l, result, err)
	})
}

// answered takes the reply to attach.
func (s *Subscription) answered(l *link, result json.RawMessage, err error) {
	var r struct {
		Subscription string `json:"subscription"`
		Cursor       string `json:"cursor"` // where it begins, from servers that say so
	}
	if err == nil && json.Unmarshal(result, &r) != nil {
		err = sdk.Errorf(sdk.CodeInternal, "reply to subscribe cannot be read")
	}
	coded := sdk.AsError(err)
	switch {
	case s.state == finished:
		if err == nil {
			s.id = r.Subscription
			s.unsubscribe()
		}
	case err != nil && s.opened && (coded.Retryable || coded.Code == sdk.CodeUnavailable || coded.Code == sdk.CodeRateLimited):
		l.abandon(err) // not now: come back as after any other break
	case err != nil && s.opened && coded.Code == sdk.CodeLimitExceeded && (len(l.subs) > 0 || !s.alone):
		// Others have its place: unsubscribe gives it another. The last of them may have
		// left after it was refused.
		s.state = detached
		if s.alone = len(l.subs) == 0; s.alone {
			s.attach()
		}
	case err != nil:
		s.finish(err)
	default:
		s.state, s.id, s.alone = attached, r.Subscription, false
		l.subs[s.id] = s
		if s.opened && s.cursor == "" && s.fromNow() {
			s.push(Notification{Method: MethodGap,
				Reason: "the connection broke before the first event gave a place to go on from; what happened meanwhile was not heard"})
			s.snapshot, s.live = false, false
		}
		if s.cursor == "" {
			s.cursor, s.taken = r.Cursor, r.Cursor
		}
		if !s.opened {
			s.opened = true
			close(s.open)
		}
	}
}

// fromNow reports whether the subscription began at a moment that only the
// server knew.
func (s *Subscription) fromNow() bool {
	return s.req.From == "now" || s.req.From == "" && s.req.Task == "" && s.req.Last == 0
}

func (s *Subscription) unsubscribe() {
	c := s.conn
	if c.link == nil || s.id == "" {
		return
	}
	delete(c.link.subs, s.id)
	c.bound("unsubscribe", map[string]string{"subscription": s.id}, func(json.RawMessage, error) {})
	s.id = ""
	for other := range c.subs {
		if other != s && other.state == detached { // it waits for a place
			other.attach()
			return
		}
	}
}
