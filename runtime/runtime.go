// Package runtime is the engine: it takes tasks in, runs each attempt on the
// plugin that handles its kind, and writes what happens to the log that every
// client reads.
//
//	rt, err := runtime.New(runtime.Config{Store: store, Queues: queues})
//	…
//	rt.SetPlugin(runtime.Plugin{Name: "memory", Plugin: p})
//	err = rt.Run(ctx) // until ctx ends, then drains
//
// One noun a file: submit, dispatch, attempt, retry, cancel, schedule, watch, publish.
//
// # Why
//
// The store is the truth. The engine keeps only what it can lose: which
// attempts run here, who watches, which plugins are ready. A wake-up tells it
// to look; a slow sweep covers a wake-up that was lost. Everything that waits
// for a commit waits in the store's writer, which commits sets, so the engine
// runs many small goroutines and never batches by itself, with one exception:
// the events of running attempts (append.go).
package runtime

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/nagatha/nagatha-runtime/sdk"
)

// Config is what a [Runtime] is made of. Store is required; the zero of
// everything else is a sensible default.
type Config struct {
	Store  Store
	Logger *slog.Logger

	Version string // of the program, for Status
	Node    string // this boot's name; default: random
	// StoreName and BusName are shown by Status.
	StoreName, BusName string

	Queues []Queue // default: one, "default", concurrency 16
	Limits Limits
	Retry  RetryDefaults
	// Retention of ended tasks and published events.
	Retention Retention
	// Drain is how long Run waits for running attempts after its context has
	// ended, before it gives them back. Default 30s.
	Drain time.Duration

	// Plugins names the configured plugins, so that manifests of others that
	// were once loaded are forgotten.
	Plugins []string

	// Schedules are those of the configuration; what an earlier one had and this
	// one has not is forgotten. nil leaves them as they are.
	Schedules []sdk.Schedule
}

// Queue is a named lane with its own concurrency.
type Queue struct {
	Name        string
	Concurrency int // of each node

	// These hold over all nodes; see [QueueLimits].
	Depth, KeyConcurrency int
	Rate, KeyRate         Rate
}

// Limits are the caps of design § 5, in bytes unless they say otherwise.
type Limits struct {
	Payload     int // default 256 KiB
	Result      int // default 256 KiB
	LogLine     int // default 16 KiB
	OutputChunk int // default 64 KiB
}

// RetryDefaults hold for kinds that declare nothing.
type RetryDefaults struct {
	Timeout     time.Duration // of an attempt; default 1m
	MaxAttempts int           // default 5
	Backoff     time.Duration // default 1s
	MaxBackoff  time.Duration // default 5m
}

// Retention is how long ended tasks and published events are kept.
type Retention struct {
	Completed time.Duration // and cancelled; default 7 days
	Failed    time.Duration // default 30 days
	Events    time.Duration // default 7 days
}

const day = 24 * time.Hour

func (c Config) withDefaults() Config {
	def := func(v *time.Duration, d time.Duration) {
		if *v == 0 {
			*v = d
		}
	}
	num := func(v *int, d int) {
		if *v == 0 {
			*v = d
		}
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Node == "" {
		var b [6]byte
		_, _ = rand.Read(b[:]) // never fails
		c.Node = "node-" + hex.EncodeToString(b[:])
	}
	if len(c.Queues) == 0 {
		c.Queues = []Queue{{Name: DefaultQueue, Concurrency: 16}}
	}
	num(&c.Limits.Payload, 256<<10)
	num(&c.Limits.Result, 256<<10)
	num(&c.Limits.LogLine, 16<<10)
	num(&c.Limits.OutputChunk, 64<<10)
	def(&c.Retry.Timeout, time.Minute)
	num(&c.Retry.MaxAttempts, 5)
	def(&c.Retry.Backoff, time.Second)
	def(&c.Retry.MaxBackoff, 5*time.Minute)
	def(&c.Retention.Completed, 7*day)
	def(&c.Retention.Failed, 30*day)
	def(&c.Retention.Events, 7*day)
	def(&c.Drain, 30*time.Second)
	return c
}

// DefaultQueue is the queue of a submission that names none.
const DefaultQueue = "default"

func (c Config) validate() error {
	if c.Store == nil {
		return errors.New("runtime: Config.Store is missing")
	}
	seen := map[string]bool{}
	for _, q := range c.Queues {
		if q.Name == "" || q.Concurrency < 1 || seen[q.Name] {
			return fmt.Errorf("runtime: queue %q: want a name of its own and a concurrency of at least 1", q.Name)
		}
		seen[q.Name] = true
	}
	if !seen[DefaultQueue] {
		return fmt.Errorf("runtime: there is no queue %q", DefaultQueue)
	}
	return nil
}

// Runtime is the engine. All methods are safe for concurrent use.
type Runtime struct {
	cfg     Config
	store   Store
	log     *slog.Logger
	started sdk.Time
	began   time.Time // the same moment on the monotonic clock

	registry registry
	hub      hub
	dispatch dispatcher
	appender appender
	pulses   pulses

	onPublish func([]sdk.Event)
	draining  chan struct{}
	drained   sync.Once
	ready     readiness

	facts       chan sdk.Event
	rescheduled chan struct{} // capacity 1: schedules have changed
}

// New checks cfg and makes a Runtime that is not running yet. The store must
// have been opened with [Runtime.Committed] or a func that calls it as its
// commit hook; see [Hook] for how to tie that knot.
func New(cfg Config) (*Runtime, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	r := &Runtime{
		cfg: cfg, store: cfg.Store, log: cfg.Logger, started: sdk.Now(), began: time.Now(),
		draining: make(chan struct{}), facts: make(chan sdk.Event, maxFacts), rescheduled: make(chan struct{}, 1),
	}
	limits := make([]QueueLimits, len(cfg.Queues))
	for i, q := range cfg.Queues {
		limits[i] = QueueLimits{q.Name, q.Depth, q.KeyConcurrency, q.Rate, q.KeyRate}
	}
	r.store.SetQueues(limits)
	r.registry.init()
	if err := r.linkSystem(); err != nil {
		return nil, err
	}
	r.hub.init()
	r.dispatch.init(cfg.Queues)
	r.appender.init()
	return r, nil
}

// Run recovers what an earlier boot left, dispatches tasks until ctx ends, and
// then drains: nothing new starts, running attempts get Config.Drain to end,
// and what still runs then is given back to its queue uncounted.
func (r *Runtime) Run(ctx context.Context) error {
	start := context.WithoutCancel(ctx) // short, and half of it is none
	if err := r.loadManifests(start); err != nil {
		return err
	}
	if err := r.recoverEarlier(start); err != nil {
		return err
	}
	if err := r.syncSchedules(start); err != nil {
		return err
	}

	r.Tell(factNodeJoined, r.cfg.Node, map[string]any{"node": r.cfg.Node, "version": r.cfg.Version, "started_at": r.started})
	r.log.Info("the engine runs", "node", r.cfg.Node, "store", r.cfg.StoreName)

	// The loops outlive ctx by the drain, so they have a context of their own.
	loops, stop := context.WithCancel(context.WithoutCancel(ctx))
	var wg sync.WaitGroup
	wg.Go(func() { r.appendLoop(loops) })
	wg.Go(func() { r.factLoop(loops) })
	wg.Go(func() { r.promoteLoop(ctx) })
	wg.Go(func() { r.pruneLoop(ctx) })
	wg.Go(func() { r.scheduleLoop(ctx) })
	wg.Go(func() { r.nodeLoop(loops) })
	r.dispatchLoop(ctx) // returns when ctx has ended

	r.drained.Do(func() { close(r.draining) })
	r.drain()
	r.Tell(factNodeLeft, r.cfg.Node, map[string]any{"node": r.cfg.Node})
	stop()
	wg.Wait()
	if r.store.Shared() {
		if err := r.store.Leave(start, r.cfg.Node); err != nil {
			r.log.Warn("cannot say goodbye; the others will call this node dead", "error", err)
		}
	}
	return nil
}

// Draining is closed when shutting down has begun; submits are refused then.
func (r *Runtime) Draining() <-chan struct{} { return r.draining }

// BeginDrain refuses submits from now on. Run's context ending does the same.
func (r *Runtime) BeginDrain() { r.drained.Do(func() { close(r.draining) }) }

// Limits returns the caps in force.
func (r *Runtime) Limits() Limits { return r.cfg.Limits }

// Hook ties a store, which wants a commit hook when it is opened, to a Runtime,
// which wants an open store: hand Hook.Committed to the store, then set Hook.To.
// Commits before that wake nobody, which nobody misses.
type Hook struct {
	mu   sync.RWMutex
	to   func(Commit)
	ends func() []string
}

// Committed is the store's commit hook.
func (h *Hook) Committed(c Commit) {
	h.mu.RLock()
	defer h.mu.RUnlock()
	if h.to != nil {
		h.to(c)
	}
}

// Ends is what the store asks for the end events that somebody subscribes to.
func (h *Hook) Ends() []string {
	h.mu.RLock()
	defer h.mu.RUnlock()
	if h.ends == nil {
		return nil
	}
	return h.ends()
}

// EndsFrom sets who knows them: [Runtime.WantedEnds].
func (h *Hook) EndsFrom(f func() []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ends = f
}

// To sets who hears of commits.
func (h *Hook) To(f func(Commit)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.to = f
}

// Committed hears of a commit: it wakes watchers and the dispatcher. It never
// blocks.
func (r *Runtime) Committed(c Commit) {
	r.hub.committed(c)
	if c.Queued {
		r.dispatch.wake()
	}
	if c.NextDue != 0 {
		r.dispatch.due(c.NextDue)
	}
	r.answered(c)
	if len(c.Ends) > 0 && r.onPublish != nil {
		r.onPublish(c.Ends)
	}
	for _, told := range c.Cancels {
		r.told(told)
	}
}
