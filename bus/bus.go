// Package bus carries events between the runtime, its plugins and other systems,
// over Watermill.
//
//	backend := bus.NewSQL(store)
//	b, err := bus.New(bus.Config{Subscriber: backend.Subscriber(…), Handle: runtime.Deliver})
//	err = b.Run(ctx)
//
// # Why
//
// There is one topic, since Watermill has no wildcards, and one handler, which
// matches types against subscriptions. Of Watermill's parts only the Router, the
// Recoverer, CorrelationID and the two interfaces are used: its Retry,
// Deduplicator, CircuitBreaker and delays lose messages or spin when a handler
// fails. Here a message whose handler fails is nacked, and the backend brings it
// back after a growing delay.
package bus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/message/router/middleware"

	"github.com/nagatha/nagatha-runtime/sdk"
)

// Topic is the one topic that events travel on.
const Topic = "events"

// Config is what a [Bus] is made of.
type Config struct {
	Subscriber message.Subscriber
	// Handle gets each event at least once. After an error it comes again.
	Handle func(ctx context.Context, e sdk.Event) error
	Logger *slog.Logger
}

// Bus is the way in: it hands what arrives on [Topic] to one func.
type Bus struct {
	cfg    Config
	router *message.Router
}

// New makes a Bus that does not run yet.
func New(cfg Config) (*Bus, error) {
	if cfg.Subscriber == nil || cfg.Handle == nil {
		return nil, errors.New("bus: Config.Subscriber and Config.Handle are required")
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	router, err := message.NewRouter(message.RouterConfig{CloseTimeout: closeTimeout}, watermill.NewSlogLogger(quiet(cfg.Logger)))
	if err != nil {
		return nil, fmt.Errorf("make the router: %w", err)
	}
	b := &Bus{cfg: cfg, router: router}
	router.AddMiddleware(middleware.CorrelationID, middleware.Recoverer)
	router.AddConsumerHandler("deliver", Topic, cfg.Subscriber, b.handle)
	return b, nil
}

// closeTimeout bounds how long a delivery may take once the bus is closed.
const closeTimeout = 10 * time.Second

// Run hands on events until ctx ends. It can be called once.
func (b *Bus) Run(ctx context.Context) error {
	if err := b.router.Run(ctx); err != nil {
		return fmt.Errorf("run the bus: %w", err)
	}
	return nil
}

// Running is closed once events are being handed on.
func (b *Bus) Running() <-chan struct{} { return b.router.Running() }

func (b *Bus) handle(m *message.Message) error {
	e, err := Unmarshal(m)
	if err != nil {
		// It will be no better the next time: handing it back would go round for
		// ever.
		b.cfg.Logger.Warn("dropped a message that is no event", "uuid", m.UUID, "error", err)
		return nil
	}
	// Closing the router ends the message's context at once; a delivery that has
	// begun should end well.
	if err := b.cfg.Handle(context.WithoutCancel(m.Context()), e); err != nil {
		return fmt.Errorf("event %s of type %s could not be delivered and will come again: %w", e.ID, e.Type, err) // the router logs it
	}
	return nil
}

// quiet keeps Watermill's chatter out of the log; what matters is logged here.
func quiet(l *slog.Logger) *slog.Logger { return slog.New(atLeast{l.Handler(), slog.LevelWarn}) }

type atLeast struct {
	slog.Handler
	level slog.Level
}

func (h atLeast) Enabled(ctx context.Context, l slog.Level) bool {
	return l >= h.level && h.Handler.Enabled(ctx, l)
}

// WithAttrs and WithGroup keep the level: the router logs most of its chatter through a
// logger that it has made with With.
func (h atLeast) WithAttrs(attrs []slog.Attr) slog.Handler {
	return atLeast{h.Handler.WithAttrs(attrs), h.level}
}

func (h atLeast) WithGroup(name string) slog.Handler {
	return atLeast{h.Handler.WithGroup(name), h.level}
}
