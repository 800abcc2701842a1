// Package bustest is the suite that every store under the sql backend passes: it
// runs Watermill's own tests of a Pub/Sub, and ours of what those leave out.
//
//	func TestBus(t *testing.T) { bustest.Run(t, open) }
package bustest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/pubsub/tests"

	"github.com/nagatha/nagatha-runtime/bus"
	"github.com/nagatha/nagatha-runtime/sdk"
)

// Open opens an empty database that has been given bus.Verbs and bus.Migrations,
// and is closed when the test ends.
type Open func(t *testing.T) bus.DB

// Run runs the whole suite.
func Run(t *testing.T, open Open) {
	for name, inFlight := range map[string]int{"Ordered": 1, "Parallel": 16} {
		t.Run("Watermill"+name, func(t *testing.T) { testWatermill(t, open(t), inFlight) })
	}
	t.Run("NackBacksOff", func(t *testing.T) { testNack(t, open(t)) })
	t.Run("LeaseIsRenewed", func(t *testing.T) { testLease(t, open(t)) })
	t.Run("DeadReaderIsReplaced", func(t *testing.T) { testDead(t, open(t)) })
	t.Run("Binary", func(t *testing.T) { testBinary(t, open(t)) })
	t.Run("NothingIsLeftBehind", func(t *testing.T) { testEmpty(t, open(t)) })
	t.Run("Bus", func(t *testing.T) { testBus(t, open(t)) })
}

// testWatermill runs Watermill's suite. Of its features:
//
//   - ConsumerGroups and Persistent hold.
//   - GuaranteedOrder holds with one message in flight; with more, a nacked
//     message lets others pass, which is what bounded parallelism is for.
//   - ExactlyOnceDelivery is false: a handler that was cut sees its message again.
//   - RequireSingleInstance is false: readers of a group share its messages.
//   - NewSubscriberReceivesOldMessages is false: a group gets what was published
//     since it was first known, and a message that no group wants is not stored.
//   - ContextPreserved is false: a message crosses a database.
//   - GenerateTopicFunc and RestartServiceCommand do not apply: topics are plain
//     values, and there is no service.
func testWatermill(t *testing.T, db bus.DB, inFlight int) {
	backend := bus.NewSQL(db)
	var mu sync.Mutex
	var all []*bus.Subscriber // the suite does not close every one
	t.Cleanup(func() {
		for _, s := range all {
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		}
	})
	pubSub := func(group string) (message.Publisher, message.Subscriber) {
		s := backend.Subscriber(bus.SubscriberConfig{Group: group, InFlight: inFlight,
			Backoff: time.Millisecond, MaxBackoff: 5 * time.Millisecond})
		mu.Lock()
		defer mu.Unlock()
		all = append(all, s)
		return backend.Publisher(), s
	}
	tests.TestPubSub(t, tests.Features{
		ConsumerGroups:                      true,
		Persistent:                          true,
		GuaranteedOrder:                     inFlight == 1,
		GuaranteedOrderWithSingleSubscriber: inFlight == 1,
	}, func(t *testing.T) (message.Publisher, message.Subscriber) { return pubSub("test") },
		func(t *testing.T, group string) (message.Publisher, message.Subscriber) { return pubSub(group) })
}

func subscribe(t *testing.T, s *bus.Subscriber, topic string) <-chan *message.Message {
	t.Helper()
	ch, err := s.Subscribe(t.Context(), topic)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return ch
}

func publish(t *testing.T, p message.Publisher, topic string, payloads ...string) {
	t.Helper()
	for _, s := range payloads {
		if err := p.Publish(topic, message.NewMessage(watermill.NewUUID(), []byte(s))); err != nil {
			t.Fatal(err)
		}
	}
}

func next(t *testing.T, ch <-chan *message.Message) *message.Message {
	t.Helper()
	select {
	case m, ok := <-ch:
		if !ok {
			t.Fatal("the channel is closed")
		}
		return m
	case <-time.After(time.Minute):
		t.Fatal("no message")
		return nil
	}
}

func testNack(t *testing.T, db bus.DB) {
	b := bus.NewSQL(db)
	ch := subscribe(t, b.Subscriber(bus.SubscriberConfig{Backoff: 40 * time.Millisecond}), "t")
	publish(t, b.Publisher(), "t", "x")
	var at []time.Time
	for range 3 {
		m := next(t, ch)
		at = append(at, time.Now())
		m.Nack()
	}
	next(t, ch).Ack()
	at = append(at, time.Now())
	for i, least := range []time.Duration{40, 80, 160} {
		if d := at[i+1].Sub(at[i]); d < (least-1)*time.Millisecond { // times are kept in milliseconds
			t.Errorf("it came again %v after nack %d, want at least %dms", d, i+1, least)
		}
	}
}

func testLease(t *testing.T, db bus.DB) {
	b := bus.NewSQL(db)
	cfg := bus.SubscriberConfig{Lease: 1500 * time.Millisecond}
	ch := subscribe(t, b.Subscriber(cfg), "t")
	other := subscribe(t, b.Subscriber(cfg), "t")
	publish(t, b.Publisher(), "t", "x")
	var m *message.Message
	select {
	case m = <-ch:
	case m = <-other:
	}
	select { // a handler that takes longer than two leases
	case <-ch:
		t.Error("it was delivered twice")
	case <-other:
		t.Error("it was delivered twice")
	case <-m.Context().Done():
		t.Error("its context ended")
	case <-time.After(3500 * time.Millisecond):
	}
	m.Ack()
}

// testDead lets a reader hold a message for ever, as one that died does.
func testDead(t *testing.T, db bus.DB) {
	dead := bus.NewSQL(db)
	reader := dead.Subscriber(bus.SubscriberConfig{Lease: time.Hour, InFlight: 1})
	old := subscribe(t, reader, "t")
	publish(t, dead.Publisher(), "t", "x")
	stale := next(t, old)

	// A reader that is alone takes it back at once, and then it is its own.
	ch := subscribe(t, bus.NewSQL(db).Subscriber(bus.SubscriberConfig{Alone: true, Lease: time.Hour, InFlight: 1}), "t")
	m := next(t, ch)
	if string(m.Payload) != "x" {
		t.Errorf("got %q", m.Payload)
	}
	stale.Ack()
	if err := reader.Close(); err != nil { // it has said its word, and claims no more
		t.Fatal(err)
	}
	again := subscribe(t, bus.NewSQL(db).Subscriber(bus.SubscriberConfig{Alone: true}), "t")
	next(t, again).Ack() // the late word of the first reader settled nothing
	m.Ack()
}

func testBinary(t *testing.T, db bus.DB) {
	b := bus.NewSQL(db)
	ch := subscribe(t, b.Subscriber(bus.SubscriberConfig{InFlight: 1}), "t")
	for _, payload := range []string{"", "plain", "ünïcode \"quoted\"", "\x00\x01\xff", "line\nline"} {
		publish(t, b.Publisher(), "t", payload)
		m := next(t, ch)
		if string(m.Payload) != payload {
			t.Errorf("%q came out as %q", payload, m.Payload)
		}
		m.Ack()
	}
}

func testEmpty(t *testing.T, db bus.DB) {
	b := bus.NewSQL(db)
	publish(t, b.Publisher(), "t", "nobody wants it")
	first := subscribe(t, b.Subscriber(bus.SubscriberConfig{Group: "a"}), "t")
	second := subscribe(t, b.Subscriber(bus.SubscriberConfig{Group: "b"}), "t")
	publish(t, b.Publisher(), "t", "both")
	for _, ch := range []<-chan *message.Message{first, second} {
		m := next(t, ch)
		if string(m.Payload) != "both" {
			t.Errorf("got %q", m.Payload)
		}
		m.Ack()
	}
	for end := time.Now().Add(time.Minute); ; {
		var n int
		if err := db.Reader().QueryRow(`SELECT (SELECT count(*) FROM bus_messages) + (SELECT count(*) FROM bus_deliveries)`).Scan(&n); err != nil {
			t.Fatal(err)
		}
		if n == 0 {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%d rows are left after the last acknowledgement", n)
		}
	}
}

// testBus runs the whole way: events in, a handler that fails at first, and a
// message that is no event in between.
func testBus(t *testing.T, db bus.DB) {
	backend := bus.NewSQL(db)
	var mu sync.Mutex
	var got []string
	failed, panicked := false, false
	all := make(chan struct{})
	b, err := bus.New(bus.Config{
		Subscriber: backend.Subscriber(bus.SubscriberConfig{Backoff: time.Millisecond}),
		Handle: func(_ context.Context, e sdk.Event) error {
			mu.Lock()
			defer mu.Unlock()
			if e.ID == "3" && !failed {
				failed = true
				return errors.New("not yet")
			}
			if e.ID == "4" && !panicked {
				panicked = true
				panic("the router must survive this, and bring it again")
			}
			got = append(got, e.ID)
			if len(got) == 5 {
				close(all)
			}
			return nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- b.Run(ctx) }()
	<-b.Running()
	publish(t, backend.Publisher(), bus.Topic, "no event at all")
	for i := range 5 {
		e := sdk.Event{ID: fmt.Sprint(i), Source: "test", Type: "demo.ping", Time: sdk.Now(), Data: []byte(`{"n":1}`)}
		if err := backend.Publisher().Publish(bus.Topic, bus.Marshal(e)); err != nil {
			t.Fatal(err)
		}
	}
	select {
	case <-all:
	case <-time.After(time.Minute):
		t.Error("not every event arrived")
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	slices.Sort(got)
	if !slices.Equal(got, []string{"0", "1", "2", "3", "4"}) {
		t.Errorf("got %v", got)
	}
}
