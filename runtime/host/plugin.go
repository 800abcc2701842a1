package host

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"strconv"
	"sync"
	"time"

	"github.com/nagatha/nagatha-runtime/sdk"
	"github.com/nagatha/nagatha-runtime/sdk/process"
)

// plugin supervises one configured plugin through all its lives.
type plugin struct {
	host *Host
	name string
	log  *slog.Logger

	lines  lines
	spoken share // of its events between tasks, over all its lives
	quota  quota // of what it keeps in the store

	orders chan order
	over   chan struct{} // closed when nobody takes orders any more

	mu       sync.Mutex
	cfg      Plugin // with which it is loaded; only its supervisor changes it
	state    string
	err      string
	current  *version // nil while nothing runs
	info     sdk.Info // of the last version that loaded
	restarts int
	fell     bool // the last version ended without having been asked to

	old sync.WaitGroup // versions that were replaced and finish their attempts
}

func newPlugin(h *Host, cfg Plugin) *plugin {
	state := sdk.PluginLoading
	if cfg.Off {
		state = sdk.PluginDisabled
	}
	return &plugin{host: h, name: cfg.Name, cfg: cfg, log: h.log.With("plugin", cfg.Name),
		orders: make(chan order), over: make(chan struct{}), state: state}
}

// stopGrace is how long a plugin may take to end when asked.
const stopGrace = 5 * time.Second

// supervise loads the plugin and keeps it running until ctx ends. settled is
// called once the first load has gone well or badly.
func (p *plugin) supervise(ctx context.Context, settled func()) {
	defer settled()
	defer p.old.Wait()
	defer func() { p.retire(p.current) }()
	defer close(p.over)

	var back backoff
	var again <-chan time.Time
	if !p.cfg.Off {
		if err := p.load(ctx, p.cfg); passing(err) { // reported by load
			again = time.After(back.next(time.Now()))
		}
	}
	settled()
	for {
		var done <-chan struct{}
		if p.current != nil {
			done = p.current.carrier.Done()
		}
		select {
		case <-ctx.Done():
			p.setState(sdk.PluginDraining, "")
			return
		case o := <-p.orders:
			o.reply <- p.obey(ctx, o)
			if o.what == orderRemove {
				return
			}
			if p.current != nil || o.what == orderDisable {
				again = nil
			}
		case <-done:
			p.died()
			again = time.After(back.next(time.Now()))
		case <-again:
			again = nil
			p.mu.Lock()
			p.restarts++
			p.mu.Unlock()
			if p.load(ctx, p.cfg) != nil {
				again = time.After(back.next(time.Now()))
			}
		}
	}
}

// passing reports whether a load failed for a reason that says nothing of the plugin: it
// ran out of time on a machine that is busy, or the database did not take its manifest.
// It is worth another try. Any other fault stays until somebody mends it and reloads.
func passing(err error) bool {
	code := sdk.CodeOf(err)
	return code == sdk.CodeTimeout || code == sdk.CodeUnavailable || errors.Is(err, context.DeadlineExceeded)
}

// load starts a version as cfg says and puts it in place of the current one. When it
// fails, the current one stays, and so does what it was loaded with.
func (p *plugin) load(ctx context.Context, cfg Plugin) error {
	v, err := p.start(ctx, cfg)
	if err == nil {
		err = p.host.cfg.Ready(ctx, Ready{Name: p.name, Plugin: v, Capacity: v.capacity()})
		if err != nil {
			p.close(v)
		}
	}
	if ctx.Err() != nil && err != nil {
		return err
	}
	p.mu.Lock()
	old := p.current
	if err != nil {
		p.err = err.Error()
		if old == nil {
			p.cfg, p.state = cfg, sdk.PluginFailed
		}
		p.mu.Unlock()
		p.changed(ChangedFailed, err)
		p.log.Error("cannot load the plugin", "error", err)
		return fmt.Errorf("plugin %s: %w", p.name, err)
	}
	p.cfg, p.current, p.info, p.state, p.err = cfg, v, v.Info(), sdk.PluginReady, ""
	what := ChangedReady
	if p.fell {
		p.fell, what = false, ChangedRestarted
	}
	p.mu.Unlock()
	p.changed(what, nil)
	if cfg.Wasm != "" {
		// Compiling leaves more garbage than an idle runtime otherwise holds, and
		// idle as it is, it would not collect it for minutes.
		debug.FreeOSMemory()
	}
	p.log.Info("plugin is ready", "version", v.Info().Version, "carrier", p.carrierName(), "kinds", len(v.Info().Handlers))
	if old != nil {
		p.old.Go(func() { p.retire(old) })
	}
	return nil
}

// order is what an operator wants done with a plugin.
type order struct {
	what  string
	cfg   Plugin // to reload: as it is configured now
	reply chan error
}

const (
	orderReload  = "reload"
	orderEnable  = "enable"
	orderDisable = "disable"
	orderRemove  = "remove" // for good: its supervisor ends
)

func (p *plugin) obey(ctx context.Context, o order) error {
	p.mu.Lock()
	off, cfg := p.state == sdk.PluginDisabled, p.cfg
	p.mu.Unlock()
	switch o.what {
	case orderDisable, orderRemove:
		p.disable()
		return nil
	case orderEnable:
		if p.current != nil {
			return nil
		}
		return p.load(ctx, cfg)
	}
	// What was disabled, or enabled, by hand stays so until its block says something new.
	switch {
	case o.cfg.Off && !cfg.Off:
		p.take(o.cfg)
		p.disable()
		return nil
	case off && (o.cfg.Off || !cfg.Off):
		p.take(o.cfg)
		return sdk.Errorf(sdk.CodeConflict, "plugin %q is disabled; enable it", p.name)
	}
	return p.load(ctx, o.cfg)
}

// take notes a configuration for the next load.
func (p *plugin) take(cfg Plugin) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cfg = cfg
}

// disable takes the plugin out of service: its tasks stay queued, running attempts
// come to their end. It lasts until it is enabled, or the runtime starts again.
func (p *plugin) disable() {
	p.host.cfg.Gone(p.name)
	p.mu.Lock()
	v := p.current
	p.current = nil
	already := p.state == sdk.PluginDisabled
	p.state, p.err, p.fell = sdk.PluginDisabled, "", false
	p.mu.Unlock()
	if already {
		return
	}
	p.changed(ChangedDisabled, nil)
	p.log.Info("plugin is disabled")
	if v != nil {
		p.old.Go(func() { p.retire(v) })
	}
}

// died takes back a version whose process or module has ended, by itself or because an
// attempt in it did not stop.
func (p *plugin) died() {
	p.host.cfg.Gone(p.name)
	p.mu.Lock()
	v := p.current
	p.current = nil
	why := v.carrier.Err()
	killed := errors.Is(why, process.ErrKilled)
	if !killed {
		why = fmt.Errorf("ended by itself: %w", why)
	}
	p.state, p.err, p.fell = sdk.PluginLoading, fmt.Sprintf("is being restarted: %v", why), true
	p.mu.Unlock()
	p.changed(ChangedFailed, why)
	if killed {
		p.log.Warn("the runtime ended the plugin; restarting it", "error", why)
	} else {
		p.log.Error("the plugin ended by itself; restarting it", "error", v.carrier.Err())
	}
	p.close(v)
}

// retire ends a version once its attempts have ended.
func (p *plugin) retire(v *version) {
	if v == nil {
		return
	}
	v.empty()
	p.close(v)
}

func (p *plugin) close(v *version) {
	ctx, cancel := context.WithTimeout(context.Background(), stopGrace)
	defer cancel()
	v.client.http.CloseIdleConnections()
	if err := v.carrier.Close(ctx); err != nil {
		p.log.Warn("the plugin did not end well", "error", err)
	}
}

// tell gives the plugin's supervisor an order and waits until it is done.
func (p *plugin) tell(ctx context.Context, o order) error {
	o.reply = make(chan error, 1)
	select {
	case p.orders <- o:
	case <-p.over:
		return sdk.Errorf(sdk.CodeUnavailable, "plugin %q is going, or the runtime is shutting down", p.name)
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case err := <-o.reply:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// changed tells what became of the plugin.
func (p *plugin) changed(what string, err error) {
	p.mu.Lock()
	c := Changed{What: what, Plugin: p.name, Version: p.info.Version, Carrier: p.carrierName(), Restarts: p.restarts}
	p.mu.Unlock()
	if err != nil {
		c.Error = err.Error()
	}
	p.host.cfg.Changed(c)
}

func (p *plugin) setState(state, err string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.state, p.err = state, err
}

func (p *plugin) carrierName() string {
	if p.cfg.Wasm != "" {
		return "wasm"
	}
	return "process"
}

func (p *plugin) status() sdk.PluginStatus {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := sdk.PluginStatus{
		Name: p.name, Version: p.info.Version, Carrier: p.carrierName(),
		State: p.state, Error: p.err, Restarts: p.restarts,
		Kinds: []sdk.KindStatus{}, Subscriptions: p.info.Subscriptions,
		Grants: p.cfg.Grant.public(), Limits: map[string]string{},
	}
	if s.Subscriptions == nil {
		s.Subscriptions = []sdk.Subscription{}
	}
	for _, h := range p.info.Handlers {
		s.Kinds = append(s.Kinds, sdk.KindStatus{Kind: h.Kind, Description: h.Description,
			PayloadSchema: orNull(h.PayloadSchema), ResultSchema: orNull(h.ResultSchema),
			Example: orNull(h.Example), Tool: h.Tool, ReadOnly: h.ReadOnly, Idempotent: h.Idempotent})
	}
	l := p.cfg.Limits
	for name, n := range map[string]int64{"memory": l.Memory, "instances": int64(l.Instances), "concurrency": int64(l.Concurrency)} {
		if n != 0 {
			s.Limits[name] = strconv.FormatInt(n, 10)
		}
	}
	if v := p.current; v != nil {
		s.Digest = v.carrier.Digest()
		s.Instances = 1
		if i, ok := v.carrier.(interface{ Instances() int }); ok {
			s.Instances = i.Instances()
		}
	}
	return s
}

func orNull(doc json.RawMessage) json.RawMessage {
	if len(doc) == 0 {
		return json.RawMessage("null")
	}
	return doc
}

// backoff spaces restarts: three within a minute are immediate, then the wait
// doubles from 250 ms to 30 s until the plugin has lived for a minute.
type backoff struct {
	recent []time.Time
	wait   time.Duration
}

const immediateRestarts = 3

func (b *backoff) next(now time.Time) time.Duration {
	keep := b.recent[:0]
	for _, t := range b.recent {
		if now.Sub(t) < time.Minute {
			keep = append(keep, t)
		}
	}
	b.recent = append(keep, now)
	if len(b.recent) <= immediateRestarts {
		b.wait = 0
		return 0
	}
	b.wait = min(max(2*b.wait, 250*time.Millisecond), 30*time.Second)
	return b.wait
}
