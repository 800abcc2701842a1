package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/nagatha/nagatha-runtime/bus"
	"github.com/nagatha/nagatha-runtime/runtime"
	"github.com/nagatha/nagatha-runtime/runtime/api"
	"github.com/nagatha/nagatha-runtime/runtime/config"
	"github.com/nagatha/nagatha-runtime/runtime/host"
	"github.com/nagatha/nagatha-runtime/runtime/store"
	"github.com/nagatha/nagatha-runtime/sdk"
	"github.com/nagatha/nagatha-runtime/sdk/process"
)

// rooms are the parts of a running daemon.
type rooms struct {
	cfg     *config.Config
	load    func() (*config.Config, error) // reads it again
	log     *slog.Logger
	store   *store.Store
	runtime *runtime.Runtime
	host    *host.Host
	api     *api.Server
	bus     *bus.Bus

	listener net.Listener
}

// serve wires the rooms together and runs them until ctx ends. What comes from hangup
// loads all plugins again, as load says that they are configured by then.
func serve(ctx context.Context, cfg *config.Config, load func() (*config.Config, error), hangup <-chan os.Signal, stdout, stderr io.Writer) error {
	log := newLogger(cfg.Log, stderr)
	if cfg.StoreURL == "" {
		if err := store.Check(); err != nil {
			return err
		}
	}
	// The address first: a runtime that cannot serve must not make a data directory.
	// Where there is one already, that it is in use is the better thing to say.
	listener, taken := api.Listen(ctx, cfg.Server.Listen)
	if taken == nil {
		defer listener.Close()
	} else if _, err := os.Stat(cfg.DataDir); errors.Is(err, os.ErrNotExist) {
		return taken
	}
	r, err := wire(ctx, cfg, load, log, listener)
	if err != nil && ctx.Err() != nil {
		log.Info("stopped while starting", "in", err)
		return nil // as it was asked to
	}
	if err != nil {
		return err
	}
	defer func() {
		if err := r.store.Close(); err != nil {
			log.Error("cannot close the database", "error", err)
		}
	}()
	if taken != nil {
		return taken
	}
	return r.run(ctx, hangup, stdout)
}

// wire makes every room; none runs yet.
func wire(ctx context.Context, cfg *config.Config, load func() (*config.Config, error), log *slog.Logger, listener net.Listener) (_ *rooms, err error) {
	r := &rooms{cfg: cfg, load: load, log: log, listener: listener}
	var hook runtime.Hook
	sc := store.Config{
		Path: filepath.Join(cfg.DataDir, "nagatha.db"), URL: cfg.StoreURL, OnCommit: hook.Committed,
		Verbs: bus.Verbs(), Migrations: []store.Migrations{{Name: "bus", FS: bus.Migrations()}},
		Ends:      hook.Ends,
		MaxEvents: cfg.Limits.EventsPerTask, MaxBytes: cfg.Limits.BytesPerTask, Logger: log,
	}
	if cfg.Bus == "sql" {
		sc.Outbox = bus.Outbox
	}
	if sc.URL != "" {
		sc.Path = ""
		// The store of a file makes its directory itself.
		if err := os.MkdirAll(cfg.DataDir, 0o700); err != nil {
			return nil, fmt.Errorf("make the data directory: %w; set data_dir to one that this user may write", err)
		}
	}
	if r.store, err = store.Open(ctx, sc); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, r.store.Close())
		}
	}()
	rc := runtime.Config{
		Store: r.store, Logger: log, Version: version, StoreName: cfg.Store, BusName: cfg.Bus, Drain: cfg.Limits.Drain,
		Limits:    runtime.Limits{Payload: cfg.Limits.Payload, Result: cfg.Limits.Result, LogLine: cfg.Limits.LogLine, OutputChunk: cfg.Limits.OutputChunk},
		Retention: runtime.Retention(cfg.Retention),
		Retry:     runtime.RetryDefaults{Timeout: cfg.Retry.Timeout, MaxAttempts: cfg.Retry.MaxAttempts, Backoff: cfg.Retry.Backoff, MaxBackoff: cfg.Retry.MaxBackoff},
		Plugins:   []string{},
		Schedules: schedules(cfg),
	}
	for _, q := range cfg.Queues {
		rc.Queues = append(rc.Queues, runtime.Queue{
			Name: q.Name, Concurrency: q.Concurrency, Depth: q.Depth, KeyConcurrency: q.KeyConcurrency,
			Rate: rate(q.Rate), KeyRate: rate(q.KeyRate),
		})
	}
	for _, p := range cfg.Plugins {
		rc.Plugins = append(rc.Plugins, p.Name)
	}
	if r.runtime, err = runtime.New(rc); err != nil {
		return nil, err
	}
	hook.EndsFrom(r.runtime.WantedEnds)
	if err = r.wireBus(&hook); err != nil {
		return nil, err
	}
	if err = r.wireHost(); err != nil {
		return nil, err
	}
	return r, r.wireAPI()
}

func schedules(cfg *config.Config) []sdk.Schedule {
	list := []sdk.Schedule{} // not nil: there may be old ones to forget
	for _, s := range cfg.Schedules {
		list = append(list, sdk.Schedule{Name: s.Name, Cron: s.Cron, Zone: s.Zone, Every: sdk.Duration(s.Every), At: sdk.TimeOf(s.At),
			Kind: s.Kind, Payload: s.Payload, Queue: s.Queue, Priority: s.Priority, Timeout: sdk.Duration(s.Timeout), MaxAttempts: s.MaxAttempts,
			Missed: sdk.MissedPolicy(s.Missed), Overlap: sdk.OverlapPolicy(s.Overlap), Jitter: sdk.Duration(s.Jitter), Paused: s.Paused})
	}
	return list
}

// wireBus connects the bus to the runtime, and the store's commits to both.
func (r *rooms) wireBus(hook *runtime.Hook) (err error) {
	var subscriber message.Subscriber
	switch r.cfg.Bus {
	case "sql":
		backend := bus.NewSQL(r.store)
		sub := backend.Subscriber(bus.SubscriberConfig{Alone: !r.store.Shared(), Logger: r.log})
		// Known from the first start on, so that events published while plugins
		// load wait for them.
		if err := sub.SubscribeInitialize(bus.Topic); err != nil {
			return err
		}
		subscriber = sub
		hook.To(func(c runtime.Commit) {
			r.runtime.Committed(c)
			if len(c.Published) > 0 || c.All {
				backend.Wake()
			}
		})
	case "gochannel":
		channel := bus.NewGoChannel(r.log)
		subscriber = channel
		r.runtime.OnPublish(func(events []sdk.Event) {
			for _, e := range events {
				if err := channel.Publish(bus.Topic, bus.Marshal(e)); err != nil {
					r.log.Error("cannot put an event on the bus", "event", e.ID, "error", err)
				}
			}
		})
		hook.To(r.runtime.Committed)
	}
	r.bus, err = bus.New(bus.Config{Subscriber: subscriber, Handle: r.runtime.Deliver, Logger: r.log})
	return err
}

func rate(r config.Rate) runtime.Rate {
	return runtime.Rate{N: r.N, Period: sdk.Duration(r.Period), Burst: r.Burst}
}

func (r *rooms) wireAPI() (err error) {
	token, created, err := api.AdminToken(r.cfg.DataDir)
	if err != nil {
		return err
	}
	if created {
		r.log.Info("made the admin token", "file", filepath.Join(r.cfg.DataDir, api.TokenFile))
	}
	l := r.cfg.Server.Limits
	r.api, err = api.New(api.Config{
		Runtime: r.runtime, Plugins: r.host, AdminToken: token, Version: version, Logger: r.log,
		Listen: r.cfg.Server.Listen, Listener: r.listener, AllowedHosts: r.cfg.Server.AllowedHosts, AllowedOrigins: r.cfg.Server.AllowedOrigins,
		DataDir: r.cfg.DataDir, SeedAPI: r.cfg.SeedAPI, MetricsPublic: r.cfg.MetricsPublic, Heartbeat: l.Heartbeat,
		Limits: api.Limits{FrameBytes: l.FrameBytes, BodyBytes: l.BodyBytes, Subscriptions: l.Subscriptions, InFlight: l.InFlight,
			RequestsPerSecond: l.RequestsPerSecond, Connections: l.Connections, Anonymous: l.Anonymous},
	})
	return err
}

// run runs the rooms. When ctx ends, or one of them fails, they stop in the order
// in which they need each other: events and submits first, then running attempts,
// then the clients that watch them, then the plugins.
func (r *rooms) run(ctx context.Context, hangup <-chan os.Signal, stdout io.Writer) error {
	if err := process.Sweep(runDir(r.cfg.DataDir)); err != nil {
		return fmt.Errorf("remove what an earlier run left: %w", err)
	}
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	start := func(parent context.Context, name string, f func(context.Context) error) (stop func()) {
		ctx, cancel := context.WithCancel(context.WithoutCancel(parent))
		var wg sync.WaitGroup
		wg.Go(func() {
			if err := f(ctx); err != nil && ctx.Err() == nil {
				fail(fmt.Errorf("%s: %w", name, err))
			}
		})
		return func() { cancel(); wg.Wait() }
	}

	stopAPI := start(ctx, "server", r.api.Run)
	defer stopAPI()
	if addr := r.api.Addr(); addr != nil {
		fmt.Fprintf(stdout, "Nagatha Runtime %s serves http://%s\nThe admin token is in %s\n", version, addr,
			filepath.Join(r.cfg.DataDir, api.TokenFile))
	} else {
		<-ctx.Done()
		return context.Cause(ctx)
	}
	stopHost := start(ctx, "plugins", r.host.Run)
	stopRuntime := start(ctx, "runtime", r.runtime.Run)
	stopBus := start(ctx, "bus", func(ctx context.Context) error {
		// An event must not be matched before the subscriptions are known.
		select {
		case <-r.host.Loaded():
		case <-ctx.Done():
			return nil
		}
		return r.bus.Run(ctx)
	})
	stopReload := r.reloadOnHangup(ctx, hangup)

	<-ctx.Done()
	r.log.Info("shutting down: running tasks may end; a second signal does not wait", "at_most", r.cfg.Limits.Drain)
	r.runtime.BeginDrain()
	stopReload()
	stopBus()
	stopRuntime()
	stopAPI()
	stopHost()
	if err := context.Cause(ctx); !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

func newLogger(c config.Log, w io.Writer) *slog.Logger {
	var level slog.Level
	_ = level.UnmarshalText([]byte(c.Level)) // checked by config
	o := &slog.HandlerOptions{Level: level}
	if c.Format == "json" {
		return slog.New(slog.NewJSONHandler(w, o))
	}
	return slog.New(slog.NewTextHandler(w, o))
}
