package host

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/nagatha/nagatha-runtime/sdk"
	"github.com/nagatha/nagatha-runtime/sdk/process"
	"github.com/nagatha/nagatha-runtime/sdk/wasm"
)

// carrier is what both carriers' plugins can do.
type carrier interface {
	sdk.Plugin
	sdk.Configurer
	Done() <-chan struct{} // closed when it has ended by itself
	Err() error            // why
	Digest() string
	Close(ctx context.Context) error
}

// version is a plugin as it was loaded once: the sdk.Plugin that the engine
// gets. It counts attempts, so that it can be closed after the last, and puts
// the grants between the attempts and their Host.
type version struct {
	carrier carrier
	info    sdk.Info
	plugin  *plugin
	cfg     Plugin // as it was loaded
	client  *httpClient

	mu       sync.Mutex
	inflight int
	retired  chan struct{} // not nil once replaced; closed when nothing is in flight
}

// start loads the plugin's file and configures it.
func (p *plugin) start(ctx context.Context, cfg Plugin) (*version, error) {
	c, err := p.launch(ctx, cfg)
	if err != nil {
		return nil, err
	}
	v := &version{carrier: c, info: c.Info(), plugin: p, cfg: cfg, client: newHTTPClient(cfg.Grant)}
	config := cfg.Config
	if len(config) == 0 {
		config = json.RawMessage("{}")
	}
	switch {
	case v.info.Name != p.name:
		err = fmt.Errorf("its manifest says that it is %q: rename the block to plugin %q", v.info.Name, v.info.Name)
	default:
		if err = p.host.cfg.Check(v.info, config); err == nil {
			err = c.Configure(ctx, config)
		}
	}
	if err != nil {
		p.close(v)
		return nil, err
	}
	for _, want := range v.info.Capabilities {
		if !cfg.Grant.has(want) {
			p.log.Info("the plugin could use a capability that its grant in the configuration leaves out", "capability", want)
		}
	}
	return v, nil
}

// compiling is how long a module may load before somebody who waits is told why.
const compiling = 3 * time.Second

func (p *plugin) launch(ctx context.Context, cfg Plugin) (carrier, error) {
	l := cfg.Limits
	if cfg.Wasm != "" {
		slow := time.AfterFunc(compiling, func() { p.log.Info("compiling the module; next time it is ready at once") })
		defer slow.Stop()
		return wasm.Load(ctx, wasm.Config{
			Name: p.name, Path: cfg.Wasm, CacheDir: p.host.cfg.CacheDir, SHA256: cfg.SHA256,
			Memory: l.Memory, Instances: l.Instances, Concurrency: l.Concurrency,
			StartTimeout: l.StartTimeout, Idle: l.Idle, Log: p.line,
		})
	}
	env := make([]string, 0, len(cfg.Env))
	for _, k := range slices.Sorted(maps.Keys(cfg.Env)) {
		env = append(env, k+"="+cfg.Env[k])
	}
	return process.Launch(ctx, process.Config{
		Name: p.name, Command: cfg.Command, Env: env, Dir: cfg.Dir,
		RunDir: filepath.Clean(p.host.cfg.RunDir), Memory: l.Memory, SHA256: cfg.SHA256, MTLS: cfg.MTLS,
		StartTimeout: l.StartTimeout, Between: newBetween(p, cfg), Log: p.line,
	})
}

// capacity is how many attempts the version can run at once.
func (v *version) capacity() int {
	if c, ok := v.carrier.(interface{ Capacity() int }); ok {
		return c.Capacity()
	}
	return v.cfg.Limits.Concurrency
}

// Ahead is how many attempts more than its capacity the version would like to have.
func (v *version) Ahead() int {
	if c, ok := v.carrier.(ahead); ok {
		return c.Ahead()
	}
	return 0
}

type ahead interface{ Ahead() int }

// Info implements sdk.Plugin.
func (v *version) Info() sdk.Info { return v.info }

// Handle implements sdk.Plugin.
func (v *version) Handle(ctx context.Context, task *sdk.Task, inner sdk.Host) (json.RawMessage, error) {
	if !v.enter() {
		return nil, sdk.ErrNotStarted
	}
	defer v.leave()
	if _, ok := v.carrier.(ahead); !ok && !sdk.Begun(ctx) {
		return nil, sdk.ErrNotStarted
	}
	g := &guard{Host: inner, version: v, task: task}
	defer g.close()
	return v.carrier.Handle(ctx, task, g)
}

// enter counts an attempt in; a version that was replaced takes none.
func (v *version) enter() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.retired != nil {
		return false
	}
	v.inflight++
	return true
}

func (v *version) leave() {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.inflight--; v.inflight == 0 && v.retired != nil {
		close(v.retired)
	}
}

// empty takes no more attempts and waits for those in flight.
func (v *version) empty() {
	v.mu.Lock()
	v.retired = make(chan struct{})
	if v.inflight == 0 {
		close(v.retired)
	}
	v.mu.Unlock()
	<-v.retired
}
