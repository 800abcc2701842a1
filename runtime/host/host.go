// Package host loads plugins and stands between them and the runtime: it starts
// them on their carrier, restarts them when they die, replaces them when they
// are reloaded, and lets them do what the operator granted and nothing else.
//
//	h, err := host.New(host.Config{Plugins: plugins, Ready: …, Gone: …})
//	go h.Run(ctx)
//	<-h.Loaded() // every plugin has loaded or failed
//
// # Why
//
// The engine sees an sdk.Plugin and no more. Everything that makes a plugin
// dangerous or mortal is dealt with here, in one place for both carriers: the
// table of operations (operation.go) is the only door from a plugin to the
// runtime, and supervise (plugin.go) the only place where one is started.
package host

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/nagatha/nagatha-runtime/sdk"
)

// Config is what a [Host] is made of.
type Config struct {
	Plugins []Plugin
	// RunDir holds sockets while plugins start, CacheDir compiled modules. Both
	// are made with mode 0700.
	RunDir, CacheDir string

	// Read, where set, reads what Plugins holds again: see [Host.Reload].
	Read func() ([]Plugin, error)
	// Check, where set, judges a manifest and the configuration for it.
	Check func(info sdk.Info, config json.RawMessage) error
	// Ready hands over a plugin that can take attempts, in place of what had its
	// name; Gone takes it back.
	Ready func(ctx context.Context, r Ready) error
	Gone  func(name string)
	// Forget, where set, hears of a plugin that is not configured any more, after Gone.
	Forget func(ctx context.Context, name string) error
	// Publish, where set, publishes what a plugin has to tell between its tasks.
	Publish func(ctx context.Context, e sdk.Event) (id string, err error)
	// Changed, where set, hears of what becomes of plugins. It must not block.
	Changed func(Changed)
	// Audit, where set, hears of every granted or refused operation that
	// reaches out of the plugin.
	Audit func(Audit)

	Logger *slog.Logger
}

// Changed is something that happened to a plugin.
type Changed struct {
	What     string `json:"-"` // ready, restarted, failed or disabled
	Plugin   string `json:"plugin"`
	Version  string `json:"version"`
	Carrier  string `json:"carrier"`
	Restarts int    `json:"restarts"`
	Error    string `json:"error,omitempty"` // why it failed
}

// What happens to plugins.
const (
	ChangedReady     = "ready"     // a version takes attempts: the first, or another
	ChangedRestarted = "restarted" // likewise, after the last one was lost
	ChangedFailed    = "failed"    // it did not load, ended by itself, or was killed with an attempt
	ChangedDisabled  = "disabled"
)

// Plugin says what to load and what it may do.
type Plugin struct {
	Name    string
	Wasm    string   // path of a module, or
	Command []string // program and arguments
	Env     map[string]string
	Dir     string
	SHA256  string // pin of the module or program, in hex; empty: none
	MTLS    bool
	Off     bool // configured but not loaded

	Grant  Grant
	Limits Limits
	Config json.RawMessage
}

// Limits of a plugin; zero is the carrier's default.
type Limits struct {
	Memory       int64 // bytes
	Instances    int   // wasm: most instances
	Concurrency  int   // attempts at once: of an instance (wasm), of the process
	StartTimeout time.Duration
	Idle         time.Duration // wasm: after how long without work an instance leaves; 0: never
	Store        int64         // bytes of what it keeps in the store; 0: any number
}

// Ready is a plugin that can take attempts, at most Capacity at once (0: any
// number).
type Ready struct {
	Name     string
	Plugin   sdk.Plugin
	Capacity int
}

// Host holds the plugins of one runtime. Its methods are safe for concurrent
// use.
type Host struct {
	cfg    Config
	log    *slog.Logger
	loaded chan struct{}

	reading sync.Mutex // held while plugins are made what the configuration says

	mu      sync.Mutex
	plugins []*plugin                       // in the order of the configuration
	run     func(p *plugin, settled func()) // while the Host runs
	all     sync.WaitGroup                  // supervisors
}

// New makes a Host that has started nothing.
func New(cfg Config) (*Host, error) {
	if cfg.Ready == nil || cfg.Gone == nil {
		return nil, errors.New("host: Config.Ready and Config.Gone are required")
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Check == nil {
		cfg.Check = func(sdk.Info, json.RawMessage) error { return nil }
	}
	if cfg.Publish == nil {
		cfg.Publish = func(context.Context, sdk.Event) (string, error) {
			return "", sdk.Errorf(sdk.CodeUnavailable, "nothing is published here")
		}
	}
	if cfg.Forget == nil {
		cfg.Forget = func(context.Context, string) error { return nil }
	}
	if cfg.Changed == nil {
		cfg.Changed = func(Changed) {}
	}
	if cfg.Audit == nil {
		cfg.Audit = func(Audit) {}
	}
	h := &Host{cfg: cfg, log: cfg.Logger, loaded: make(chan struct{})}
	for _, p := range cfg.Plugins {
		if err := p.Grant.validate(); err != nil {
			return nil, fmt.Errorf("plugin %q: %w", p.Name, err)
		}
		h.plugins = append(h.plugins, newPlugin(h, p))
	}
	return h, nil
}

// Run loads all plugins at once and keeps them running until ctx ends; then it
// ends them, and returns when the last is gone.
func (h *Host) Run(ctx context.Context) error {
	var first sync.WaitGroup
	h.mu.Lock()
	h.run = func(p *plugin, settled func()) { h.all.Go(func() { p.supervise(ctx, settled) }) }
	for _, p := range h.plugins {
		first.Add(1)
		h.run(p, sync.OnceFunc(first.Done))
	}
	h.mu.Unlock()
	first.Wait()
	close(h.loaded)
	<-ctx.Done()
	h.mu.Lock()
	h.run = nil
	h.mu.Unlock()
	h.all.Wait()
	return nil
}

// Loaded is closed once every plugin has loaded or failed for the first time.
func (h *Host) Loaded() <-chan struct{} { return h.loaded }

// Plugins describes all plugins, in the order of the configuration.
func (h *Host) Plugins() []sdk.PluginStatus {
	all := h.list()
	out := make([]sdk.PluginStatus, len(all))
	for i, p := range all {
		out[i] = p.status()
	}
	return out
}

func (h *Host) list() []*plugin {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.plugins)
}

// find returns the plugin of that name, or nil.
func (h *Host) find(name string) *plugin {
	for _, p := range h.list() {
		if p.name == name {
			return p
		}
	}
	return nil
}

// Enable loads a plugin that is disabled. Doing it twice is no error.
func (h *Host) Enable(ctx context.Context, name string) error {
	return h.tell(ctx, name, orderEnable)
}

// Disable takes a plugin out of service until it is enabled or the runtime starts
// again. Doing it twice is no error.
func (h *Host) Disable(ctx context.Context, name string) error {
	return h.tell(ctx, name, orderDisable)
}

func (h *Host) tell(ctx context.Context, name, what string) error {
	p := h.find(name)
	if p == nil {
		return sdk.Errorf(sdk.CodeNotFound, "there is no plugin %.80q; a new block in config.hcl counts when the plugin is reloaded", name)
	}
	return p.tell(ctx, order{what: what})
}
