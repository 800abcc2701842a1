package runtime

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/nagatha/nagatha-runtime/sdk"
)

// Plugin is a plugin that is ready to take attempts.
type Plugin struct {
	Name   string
	Plugin sdk.Plugin
	// Capacity is how many attempts it can run at once; 0 means no limit.
	Capacity int
}

// registry knows which plugin handles a kind. A manifest outlives its plugin:
// payloads are still checked, and events still become tasks, while the plugin
// restarts.
type registry struct {
	mu      sync.RWMutex
	plugins map[string]*entry // by name
	kinds   map[string]*entry // by kind

	ends atomic.Pointer[[]string] // the types of end events that are subscribed to
}

type entry struct {
	info     sdk.Info
	plugin   sdk.Plugin // nil while it cannot take attempts
	capacity int
	kinds    map[string]*kind
}

// ahead is how many attempts beyond its capacity the plugin lets wait inside it. It
// then says when each begins: see sdk.Begun.
func (e *entry) ahead() int {
	if p, ok := e.plugin.(ahead); ok {
		return p.Ahead()
	}
	return 0
}

// says reports whether the plugin says when an attempt begins.
func (e *entry) says() bool {
	_, ok := e.plugin.(ahead)
	return ok
}

type ahead interface{ Ahead() int }

// kind is a handler's description with its schemas compiled.
type kind struct {
	sdk.HandlerInfo
	payload, result *schema // nil: anything goes
}

func (g *registry) init() {
	g.plugins = map[string]*entry{}
	g.kinds = map[string]*entry{}
}

// manifests is the namespace of the last good manifests.
const manifests = "system.manifests"

// SetPlugin makes p take attempts from now on, in place of what had its name.
// Attempts that run on the old one go on. The manifest is kept in the store, so
// that after a restart kinds are known before their plugin has loaded.
func (r *Runtime) SetPlugin(ctx context.Context, p Plugin) error {
	info := p.Plugin.Info()
	if info.Name != p.Name {
		return fmt.Errorf("plugin %q calls itself %q in its manifest: give the block that name", p.Name, info.Name)
	}
	e, err := newEntry(info)
	if err != nil {
		return err
	}
	e.plugin, e.capacity = p.Plugin, p.Capacity
	doc, err := json.Marshal(info)
	if err != nil {
		return fmt.Errorf("manifest of %s: %w", p.Name, err)
	}
	old, err := r.store.KVGet(ctx, manifests, sdk.KVGet{Key: p.Name})
	if err != nil {
		return fmt.Errorf("read manifest of %s: %w", p.Name, err)
	}
	if old.Item == nil || string(old.Item.Value) != string(doc) {
		if _, err := r.store.KVSet(ctx, manifests, Fence{}, sdk.KVSet{Key: p.Name, Value: doc}); err != nil {
			return fmt.Errorf("keep manifest of %s: %w", p.Name, err)
		}
	}
	r.registry.set(e)
	r.evictParked(p.Name, e) // they would hold the old version for as long as they wait
	r.dispatch.wake()
	return nil
}

// RemovePlugin stops giving attempts to the plugin. Its tasks stay queued and
// its manifest stays known.
func (r *Runtime) RemovePlugin(name string) {
	r.registry.remove(name)
	r.evictParked(name, nil)
}

// ForgetPlugin forgets a plugin that is not configured any more, and its manifest: its
// kinds are unknown from then on, and their tasks stay queued.
func (r *Runtime) ForgetPlugin(ctx context.Context, name string) error {
	r.registry.forget(name)
	r.evictParked(name, nil)
	if _, err := r.store.KVDelete(ctx, manifests, Fence{}, sdk.KVDelete{Key: name}); err != nil {
		return fmt.Errorf("forget the manifest of %s: %w", name, err)
	}
	return nil
}

func (g *registry) forget(name string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	old := g.plugins[name]
	if old == nil {
		return
	}
	for k := range old.kinds {
		if g.kinds[k] == old {
			delete(g.kinds, k)
		}
	}
	delete(g.plugins, name)
	g.wantedEnds()
}

func (g *registry) remove(name string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if e := g.plugins[name]; e != nil {
		gone := *e
		gone.plugin = nil
		g.swap(e, &gone)
	}
}

// CheckManifest says what is wrong with a manifest beyond its shape: schemas
// that do not compile, examples that do not fit them.
func CheckManifest(info sdk.Info) error {
	_, err := newEntry(info)
	return err
}

// CheckConfig says what is wrong with a plugin's configuration.
func CheckConfig(info sdk.Info, config json.RawMessage) error {
	s, err := compileSchema(info.ConfigSchema)
	if err != nil {
		return fmt.Errorf("config_schema: %w", err)
	}
	if fields := s.check("config", config); len(fields) > 0 {
		return &sdk.Error{Code: sdk.CodeInvalid, Message: describe(fields), Fields: fields}
	}
	return nil
}

// CheckResult says what is wrong with a result of a kind.
func CheckResult(h sdk.HandlerInfo, result json.RawMessage) error {
	s, err := compileSchema(h.ResultSchema)
	if err != nil {
		return fmt.Errorf("result_schema: %w", err)
	}
	if fields := s.check("result", result); len(fields) > 0 {
		return &sdk.Error{Code: sdk.CodeInvalidResult, Message: describe(fields), Fields: fields}
	}
	return nil
}

func (r *Runtime) loadManifests(ctx context.Context) error {
	page, err := r.store.KVList(ctx, manifests, sdk.KVList{Limit: 1000})
	if err != nil {
		return fmt.Errorf("read the manifests of plugins: %w", err)
	}
	for _, item := range page.Items {
		if r.cfg.Plugins != nil && !slices.Contains(r.cfg.Plugins, item.Key) {
			if _, err := r.store.KVDelete(ctx, manifests, Fence{}, sdk.KVDelete{Key: item.Key}); err != nil {
				return fmt.Errorf("forget the manifest of %s: %w", item.Key, err)
			}
			continue
		}
		var info sdk.Info
		if json.Unmarshal(item.Value, &info) != nil || info.Name != item.Key {
			continue
		}
		if e, err := newEntry(info); err == nil {
			r.registry.setIfAbsent(e)
		}
	}
	return nil
}

func newEntry(info sdk.Info) (*entry, error) {
	if err := info.Validate(); err != nil {
		return nil, fmt.Errorf("manifest: %w", err)
	}
	e := &entry{info: info, kinds: make(map[string]*kind, len(info.Handlers))}
	for _, h := range info.Handlers {
		k := &kind{HandlerInfo: h}
		var err error
		if h.MaxAttempts > maxAttempts {
			return nil, fmt.Errorf("manifest: kind %s: max_attempts: want at most %d, not %d", h.Kind, maxAttempts, h.MaxAttempts)
		}
		if k.payload, err = compileSchema(h.PayloadSchema); err != nil {
			return nil, fmt.Errorf("manifest: kind %s: payload_schema: %w", h.Kind, err)
		}
		if k.result, err = compileSchema(h.ResultSchema); err != nil {
			return nil, fmt.Errorf("manifest: kind %s: result_schema: %w", h.Kind, err)
		}
		if len(h.Example) > 0 {
			if fields := k.payload.check("example", h.Example); len(fields) > 0 {
				return nil, fmt.Errorf("manifest: kind %s: %s", h.Kind, describe(fields))
			}
		}
		e.kinds[h.Kind] = k
	}
	if _, err := compileSchema(info.ConfigSchema); err != nil {
		return nil, fmt.Errorf("manifest: config_schema: %w", err)
	}
	return e, nil
}

func (g *registry) set(e *entry) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.swap(g.plugins[e.info.Name], e)
}

func (g *registry) setIfAbsent(e *entry) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.plugins[e.info.Name] == nil {
		g.swap(nil, e)
	}
}

// swap replaces old, which may be nil, by e. The caller holds mu.
func (g *registry) swap(old, e *entry) {
	if old != nil {
		for k := range old.kinds {
			if g.kinds[k] == old {
				delete(g.kinds, k)
			}
		}
	}
	g.plugins[e.info.Name] = e
	for k := range e.kinds {
		g.kinds[k] = e
	}
	g.wantedEnds()
}

// lookup returns what is known of a kind, or nils.
func (g *registry) lookup(name string) (*entry, *kind) {
	g.mu.RLock()
	defer g.mu.RUnlock()
	e := g.kinds[name]
	if e == nil {
		return nil, nil
	}
	return e, e.kinds[name]
}

// list describes every kind, in the order of their names.
func (g *registry) list() []sdk.KindInfo {
	g.mu.RLock()
	defer g.mu.RUnlock()
	out := make([]sdk.KindInfo, 0, len(g.kinds))
	for name, e := range g.kinds {
		k := e.kinds[name]
		out = append(out, sdk.KindInfo{Kind: name, Plugin: e.info.Name, Description: k.Description,
			PayloadSchema: k.PayloadSchema, Example: k.Example, Tool: k.Tool, ReadOnly: k.ReadOnly, Idempotent: k.Idempotent,
			Available: e.plugin != nil})
	}
	slices.SortFunc(out, func(a, b sdk.KindInfo) int { return strings.Compare(a.Kind, b.Kind) })
	return out
}

// current reports whether an entry is the one that takes attempts.
func (g *registry) current(e *entry) bool {
	g.mu.RLock()
	defer g.mu.RUnlock()
	return e != nil && g.plugins[e.info.Name] == e
}

// ready returns the plugins that can take attempts.
func (g *registry) ready() []*entry {
	g.mu.RLock()
	defer g.mu.RUnlock()
	out := make([]*entry, 0, len(g.plugins))
	for _, e := range g.plugins {
		if e.plugin != nil {
			out = append(out, e)
		}
	}
	return out
}

// busyKey is how the store's reason begins for a task that waits for its key.
const busyKey = "concurrency key "

// explain fills in why a queued task is not running, where that follows from what
// the row cannot know: which plugins are loaded, and how its queue is.
func (r *Runtime) explain(t *sdk.Task) {
	// A busy key is the least of them: it says nothing if the task could not start
	// anyway.
	if t.State != sdk.StateQueued || t.Reason != "" && !strings.HasPrefix(t.Reason, busyKey) {
		return
	}
	switch e, _ := r.registry.lookup(t.Kind); {
	case e == nil:
		t.Reason = fmt.Sprintf("no handler for kind %q", t.Kind)
	case e.plugin == nil: // it is disabled, restarts, or did not load
		t.Reason = fmt.Sprintf("no handler for kind %q: plugin %s is not ready", t.Kind, e.info.Name)
	case r.store.Paused(t.Queue):
		t.Reason = "queue paused"
	case t.Reason == "" && r.store.RateLimited(t.Queue):
		t.Reason = "rate limited"
	}
}
