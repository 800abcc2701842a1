//go:build !wasip1

// Package wasm is the carrier that runs a plugin as a WebAssembly module. Both
// ends are here: [Guest] in the module, [Load] in the runtime.
//
// A module is an ordinary WASI command (GOOS=wasip1 GOARCH=wasm go build): its
// main runs, and loops over two imports of the module "nagatha_v1":
//
//	recv(ptr i32, cap i32, timeout_ms i32) -> i32
//	    Waits up to timeout_ms (−1: without limit) for a message. The result is
//	    its length; if that is more than cap nothing was copied, and the call is
//	    to be made again with more room. 0: no message in time. −1: shut down.
//	send(ptr i32, len i32)
//	    Sends one message.
//
// The messages are those of sdk/wire. A pointer outside the module's memory traps.
//
// # Why
//
// Instances are made as attempts need them, up to a limit, and used again; memory
// never is. Those that have nothing to do leave, and the compiled code after them. A
// module is compiled with a count in its loops and functions, see meter: without it one
// busy guest stops the garbage collector of the whole runtime, and an endless one could
// not be ended at all.
package wasm

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nagatha/nagatha-runtime/sdk"
)

// Config says what to load and how.
type Config struct {
	Name     string
	Path     string // of the module, or
	Module   []byte // the module itself
	CacheDir string // for compiled modules, see cache.go; empty: none
	SHA256   string // pin of the module in hex; empty: none

	Memory      int64 // bytes of an instance, in pages of 64 KiB; default 128 MiB
	Instances   int   // at most; default 4
	Concurrency int   // runs of an instance at once; default 1
	MaxTasks    int   // runs after which an instance is replaced; default 10,000
	// StartTimeout is until an instance has sent its manifest. Default 30s, which
	// covers compiling a large module.
	StartTimeout time.Duration
	// Idle is after how long without a run an instance leaves; 0: never. With the last
	// of them goes the compiled code, which is some 20 MB for a module made by Go, and
	// the next attempt loads it again, in about 0.1 s. It needs CacheDir.
	Idle time.Duration
	// Log gets the lines of stdout and stderr.
	Log func(level slog.Level, line string)
}

func (c Config) withDefaults() Config {
	if c.Memory <= 0 {
		c.Memory = 128 << 20
	}
	if c.Instances <= 0 {
		c.Instances = 4
	}
	if c.Concurrency <= 0 {
		c.Concurrency = 1
	}
	if c.MaxTasks <= 0 {
		c.MaxTasks = 10_000
	}
	if c.StartTimeout <= 0 {
		c.StartTimeout = 30 * time.Second
	}
	if c.Log == nil {
		c.Log = func(slog.Level, string) {}
	}
	return c
}

const pageBytes = 64 << 10

// Plugin is a loaded module with its instances. It implements sdk.Plugin and
// sdk.Configurer and is safe for concurrent use.
type Plugin struct {
	cfg    Config
	digest string
	info   sdk.Info
	done   chan struct{} // closed by Close
	pace   atomic.Int64  // nanoseconds that an attempt takes

	loading sync.Mutex // held while a module is loaded

	mu         sync.Mutex
	module     *module // nil while the plugin rests
	pool       []*instance
	idle       *time.Timer // calls retire
	watching   bool        // idle will
	starting   int
	free       chan struct{} // closed and replaced when a slot becomes free
	configured json.RawMessage
	closed     bool
	all        sync.WaitGroup // goroutines of instances
}

// Load compiles a module, or finds it compiled in the cache, and starts its first
// instance. It returns once the manifest has arrived and is good.
func Load(ctx context.Context, cfg Config) (*Plugin, error) {
	cfg = cfg.withDefaults()
	binary := cfg.Module
	cfg.Module = nil // compiled, it is not needed any more
	if binary == nil {
		b, err := os.ReadFile(cfg.Path)
		if err != nil {
			return nil, fmt.Errorf("read the module: %w", err)
		}
		binary = b
	}
	digest := digestOf(binary)
	if cfg.SHA256 != "" && !strings.EqualFold(cfg.SHA256, digest) {
		return nil, fmt.Errorf("the module has SHA-256 %s, but sha256 pins %s: if the change is yours, pin the new one", digest, strings.ToLower(cfg.SHA256))
	}
	p := &Plugin{cfg: cfg, digest: digest, done: make(chan struct{}), free: make(chan struct{})}
	if err := p.start(ctx, binary); err != nil {
		_ = p.Close(context.WithoutCancel(ctx))
		return nil, err
	}
	return p, nil
}

func (p *Plugin) start(ctx context.Context, binary []byte) error {
	m, err := p.compile(ctx, binary)
	if err != nil {
		return err
	}
	p.module = m
	p.sweep()
	first, err := p.instantiate(ctx, m)
	if err != nil {
		return err
	}
	p.info = first.info
	if p.cfg.Idle > 0 && !p.keep(binary) {
		p.cfg.Idle = 0
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.pool = append(p.pool, first)
	p.rest(first)
	return nil
}

// Info returns the manifest.
func (p *Plugin) Info() sdk.Info { return p.info }

// Digest is the module's, as "sha256:…".
func (p *Plugin) Digest() string { return "sha256:" + p.digest }

// Capacity is how many attempts can run at once.
func (p *Plugin) Capacity() int { return p.cfg.Instances * p.cfg.Concurrency }

// Instances is how many instances there are.
func (p *Plugin) Instances() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.pool)
}

// Loaded reports whether the compiled code is in memory. It is not while the plugin
// has nothing to do for Config.Idle.
func (p *Plugin) Loaded() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.module != nil
}

// Done is closed when the plugin is closed: a module does not end by itself, its
// instances do and are replaced.
func (p *Plugin) Done() <-chan struct{} { return p.done }

// Err says why the plugin ended.
func (p *Plugin) Err() error { return errClosed }

var errClosed = sdk.Errorf(sdk.CodePluginCrashed, "the plugin was closed")

// Configure implements sdk.Configurer. The configuration is kept for instances
// that start later.
func (p *Plugin) Configure(ctx context.Context, config json.RawMessage) error {
	p.mu.Lock()
	pool := append([]*instance(nil), p.pool...)
	p.configured = config
	p.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, p.cfg.StartTimeout)
	defer cancel()
	for _, in := range pool {
		if err := in.session.Configure(ctx, config); err != nil {
			return err
		}
	}
	return nil
}

// Close shuts all instances down, ends those that do not leave when ctx ends, and
// frees the module. It returns when nothing of it runs.
func (p *Plugin) Close(ctx context.Context) error {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return nil
	}
	p.closed = true
	if p.idle != nil {
		p.idle.Stop()
	}
	pool := slices.Clone(p.pool) // those that leave change it
	close(p.free)
	p.mu.Unlock()
	close(p.done)
	for _, in := range pool {
		in.leave()
	}
	stop := context.AfterFunc(ctx, func() {
		for _, in := range pool {
			in.kill(errClosed)
		}
	})
	defer stop()
	p.all.Wait()
	p.loading.Lock() // nobody loads one any more
	defer p.loading.Unlock()
	return p.module.close(context.WithoutCancel(ctx))
}
