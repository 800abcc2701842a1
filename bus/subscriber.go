package bus

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/nagatha/nagatha-runtime/sdk"
)

// SubscriberConfig says how a group reads. Zero is a default.
type SubscriberConfig struct {
	// Group names the readers among whom messages are shared; each group gets
	// every message once it is known. Default "runtime".
	Group string
	// InFlight is how many messages may be unacknowledged at once. 1 keeps them in
	// order: a message that is nacked comes again before the next. Default 64.
	InFlight int
	// Lease is how long a message is held without a sign of life; it is renewed
	// while its handler works. Default 30s.
	Lease time.Duration
	// Backoff is the delay after the first nack; it doubles up to MaxBackoff.
	// Defaults 100ms and 1m.
	Backoff, MaxBackoff time.Duration
	// Alone says that no other process reads for this group, so that what a dead
	// one held is free at once.
	Alone  bool
	Logger *slog.Logger
}

func (c SubscriberConfig) withDefaults() SubscriberConfig {
	if c.Group == "" {
		c.Group = "runtime"
	}
	if c.InFlight <= 0 {
		c.InFlight = 64
	}
	def := func(v *time.Duration, d time.Duration) {
		if *v <= 0 {
			*v = d
		}
	}
	def(&c.Lease, 30*time.Second)
	def(&c.Backoff, 100*time.Millisecond)
	def(&c.MaxBackoff, time.Minute)
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

// Subscriber reads for one group. It implements message.Subscriber.
type Subscriber struct {
	bus *SQL
	cfg SubscriberConfig

	life context.Context // ends with Close
	end  context.CancelFunc
	mu   sync.Mutex // orders Subscribe and Close
	subs sync.WaitGroup
}

// Subscriber makes a reader.
func (s *SQL) Subscriber(cfg SubscriberConfig) *Subscriber {
	sub := &Subscriber{bus: s, cfg: cfg.withDefaults()}
	sub.life, sub.end = context.WithCancel(context.Background())
	return sub
}

// SubscribeInitialize makes the group known for a topic: what is published from
// then on waits for it.
func (s *Subscriber) SubscribeInitialize(topic string) error {
	return s.initialize(topic, false)
}

func (s *Subscriber) initialize(topic string, release bool) error {
	err := s.bus.db.Write(context.Background(), verbSubscribe, &subscribing{topic, s.cfg.Group, release})
	if err != nil {
		return fmt.Errorf("subscribe to %s: %w", topic, err)
	}
	return nil
}

// Subscribe implements message.Subscriber. The channel is closed when ctx ends or
// the subscriber is closed; messages not acknowledged by then come again.
func (s *Subscriber) Subscribe(ctx context.Context, topic string) (<-chan *message.Message, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.life.Err() != nil {
		return nil, errClosed
	}
	if err := s.initialize(topic, s.cfg.Alone); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	sub := &subscription{Subscriber: s, topic: topic, out: make(chan *message.Message), ctx: ctx,
		held: map[int64]*hold{}, free: make(chan struct{}, 1)}
	s.subs.Go(func() {
		defer close(sub.out)
		defer cancel()
		defer context.AfterFunc(s.life, cancel)()
		sub.run()
	})
	return sub.out, nil
}

// Close implements message.Subscriber. It returns when every channel is closed.
func (s *Subscriber) Close() error {
	s.mu.Lock()
	s.end()
	s.mu.Unlock()
	s.subs.Wait()
	return nil
}

// subscription is one call of Subscribe.
type subscription struct {
	*Subscriber
	topic string
	out   chan *message.Message
	ctx   context.Context

	mu    sync.Mutex
	held  map[int64]*hold
	free  chan struct{} // capacity 1: a message was settled
	hands sync.WaitGroup
}

// hold is a message that is under way.
type hold struct {
	id     int64
	lease  string
	cancel context.CancelFunc
}

const (
	sweep = 30 * time.Second // covers a lost wake-up
	pause = time.Second      // after the store failed
)

// run claims what is due whenever there is room, and sleeps otherwise.
func (s *subscription) run() {
	defer s.hands.Wait()
	renewal := time.NewTicker(s.cfg.Lease / 3)
	defer renewal.Stop()
	wait := time.NewTimer(0)
	defer wait.Stop()
	for {
		news := s.bus.signal()
		d := s.fill()
		wait.Reset(d)
	sleep:
		for {
			select {
			case <-s.ctx.Done():
				return
			case <-news:
				break sleep
			case <-s.free:
				break sleep
			case <-wait.C:
				break sleep
			case <-renewal.C:
				s.renew()
			}
		}
	}
}

// fill claims for the free slots and returns how long to sleep if nothing happens.
func (s *subscription) fill() time.Duration {
	s.mu.Lock()
	room := s.cfg.InFlight - len(s.held)
	s.mu.Unlock()
	if room <= 0 || s.ctx.Err() != nil {
		return sweep
	}
	now := sdk.Now()
	req := &claiming{topic: s.topic, group: s.cfg.Group, limit: room, ordered: s.cfg.InFlight == 1,
		lease: newLease(), now: int64(now), until: int64(now.Add(s.cfg.Lease))}
	if err := s.bus.db.Write(context.WithoutCancel(s.ctx), verbClaim, req); err != nil {
		s.cfg.Logger.Error("cannot claim messages; trying again", "topic", s.topic, "error", err, "after", pause)
		return pause
	}
	for _, c := range req.got {
		s.hand(c, req.lease)
	}
	if len(req.got) == room {
		return sweep // full; settling one wakes
	}
	looking, cancel := context.WithTimeout(s.ctx, sweep)
	defer cancel()
	due, err := nextDue(looking, s.bus.db.Reader(), s.topic, s.cfg.Group, req.ordered)
	switch {
	case err != nil && s.ctx.Err() == nil:
		s.cfg.Logger.Error("cannot look for messages; trying again", "topic", s.topic, "error", err, "after", pause)
		return pause
	case due == 0:
		return sweep
	}
	return min(sweep, max(due.Sub(sdk.Now()), time.Millisecond))
}

func newLease() string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

// hand gives a message to the reader and sees to its acknowledgement.
func (s *subscription) hand(c claimed, lease string) {
	m, err := c.message()
	if err != nil {
		s.cfg.Logger.Error("dropped a message that cannot be read", "error", err)
		s.settle(c.id, lease, ack, 0)
		return
	}
	ctx, cancel := context.WithCancel(s.ctx)
	m.SetContext(ctx)
	s.mu.Lock()
	s.held[c.id] = &hold{c.id, lease, cancel}
	s.mu.Unlock()
	s.hands.Go(func() {
		defer cancel()
		what, at := s.outcome(m, c.attempts)
		s.settle(c.id, lease, what, at)
		s.mu.Lock()
		delete(s.held, c.id)
		s.mu.Unlock()
		select {
		case s.free <- struct{}{}:
		default:
		}
	})
}

// outcome waits for what becomes of a message. One that is cut by the end is free
// at once for the next reader.
func (s *subscription) outcome(m *message.Message, attempts int) (settlement, sdk.Time) {
	select {
	case s.out <- m:
	case <-s.ctx.Done():
		return nack, 0
	}
	select {
	case <-m.Acked():
		return ack, 0
	case <-m.Nacked():
		return nack, sdk.Now().Add(s.backoff(attempts))
	case <-s.ctx.Done():
	}
	select { // both may be ready
	case <-m.Acked():
		return ack, 0
	default:
		return nack, 0
	}
}

func (s *subscription) backoff(attempts int) time.Duration {
	d := s.cfg.Backoff
	for range attempts - 1 {
		if d *= 2; d >= s.cfg.MaxBackoff {
			return s.cfg.MaxBackoff
		}
	}
	return d
}

// settle writes what became of a message, until the store takes it.
func (s *subscription) settle(id int64, lease string, what settlement, at sdk.Time) {
	req := &settling{topic: s.topic, group: s.cfg.Group, message: id, lease: lease, what: what, at: int64(at)}
	for {
		err := s.bus.db.Write(context.Background(), verbSettle, req)
		if err == nil {
			break
		}
		s.cfg.Logger.Error("cannot settle a message; trying again", "error", err, "after", pause)
		select {
		case <-s.ctx.Done():
			return // its lease runs out
		case <-time.After(pause):
		}
	}
	if what == nack {
		s.bus.Wake() // others of the group may wait for it
	}
}

// renew prolongs every hold, before a third of its time is left.
func (s *subscription) renew() {
	s.mu.Lock()
	holds := make([]*hold, 0, len(s.held))
	for _, h := range s.held {
		holds = append(holds, h)
	}
	s.mu.Unlock()
	until := sdk.Now().Add(s.cfg.Lease)
	var wg sync.WaitGroup
	for _, h := range holds {
		wg.Go(func() {
			err := s.bus.db.Write(context.WithoutCancel(s.ctx), verbSettle, &settling{topic: s.topic, group: s.cfg.Group,
				message: h.id, lease: h.lease, what: renew, at: int64(until)})
			if err != nil {
				s.cfg.Logger.Error("cannot keep hold of a message", "error", err)
				h.cancel()
			}
		})
	}
	wg.Wait()
}
