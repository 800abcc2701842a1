package main

import (
	"context"
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"strings"
	"sync"

	"github.com/nagatha/nagatha-runtime/sdk"
)

// pool is the configured servers.
type pool struct {
	news journal
	host sdk.Host // between tasks; nil: there is none

	mu   sync.RWMutex
	conf config
	all  map[string]*server
	ctx  context.Context // of every server
	stop context.CancelFunc
	run  sync.WaitGroup
}

// start implements sdk.Starter.
func (p *pool) start(host sdk.Host) { p.host = host }

// configure checks the configuration and lets the servers connect, all at once, in
// the background: one that never answers must not keep the plugin from starting.
func (p *pool) configure(_ context.Context, raw json.RawMessage) error {
	conf, err := parseConfig(raw)
	if err != nil {
		return err
	}
	servers, err := conf.load()
	if err != nil {
		return err
	}
	_ = p.Close() // of an earlier configuration
	p.mu.Lock()
	defer p.mu.Unlock()
	p.conf, p.all = conf, map[string]*server{}
	p.ctx, p.stop = context.WithCancel(context.Background())
	if ctx := p.ctx; p.host != nil {
		p.run.Go(func() { p.news.loop(ctx, p.host) })
	}
	p.swap(servers)
	return nil
}

// diff is what mcp.reload returns: names of servers.
type diff struct {
	Added     []string `json:"added"`
	Removed   []string `json:"removed"`
	Changed   []string `json:"changed"`
	Unchanged []string `json:"unchanged"`
}

// reload is the kind mcp.reload. It reads the file again; whatever is wrong with it,
// nothing changes then.
func (p *pool) reload(context.Context, sdk.Host, struct{}) (any, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	servers, err := p.conf.load()
	if err != nil {
		return nil, sdk.Permanent(sdk.Errorf(sdk.CodeInvalid, "nothing was changed: %v", err))
	}
	if p.ctx == nil || p.ctx.Err() != nil {
		return nil, sdk.Errorf(sdk.CodeUnavailable, "the plugin is shutting down")
	}
	return p.swap(servers), nil
}

// swap starts and stops servers until they are those of servers. One whose
// configuration is the same keeps its session. The caller holds mu.
func (p *pool) swap(servers map[string]serverConfig) diff {
	d := diff{[]string{}, []string{}, []string{}, []string{}}
	next := map[string]*server{}
	for _, name := range slices.Sorted(maps.Keys(servers)) {
		old := p.all[name]
		switch {
		case old == nil:
			d.Added = append(d.Added, name)
		case reflect.DeepEqual(old.cfg, servers[name]):
			d.Unchanged = append(d.Unchanged, name)
			next[name] = old
			continue
		default:
			d.Changed = append(d.Changed, name)
		}
		s := newServer(name, servers[name], &p.news)
		next[name] = s
		ctx, stop := context.WithCancel(p.ctx)
		s.stop = stop
		p.run.Go(func() { s.supervise(ctx) })
	}
	for _, name := range slices.Sorted(maps.Keys(p.all)) {
		old := p.all[name]
		if next[name] == old {
			continue
		}
		if next[name] == nil {
			d.Removed = append(d.Removed, name)
		}
		p.run.Go(func() { old.retire(p.ctx) })
	}
	p.all = next
	return d
}

// Close ends every server and waits until they are gone.
func (p *pool) Close() error {
	p.mu.RLock()
	stop := p.stop
	p.mu.RUnlock()
	if stop != nil {
		stop()
	}
	p.run.Wait()
	return nil
}

// some returns the server with a name, or all in the order of their names.
func (p *pool) some(name string) ([]*server, error) {
	p.mu.RLock()
	defer p.mu.RUnlock()
	names := slices.Sorted(maps.Keys(p.all))
	if name != "" {
		s := p.all[name]
		if s == nil {
			return nil, sdk.Errorf(sdk.CodeNotFound, "there is no MCP server %q; configured are: %s", name, orNone(names))
		}
		return []*server{s}, nil
	}
	all := []*server{}
	for _, name := range names {
		all = append(all, p.all[name])
	}
	return all, nil
}

func (p *pool) find(name string) (*server, error) {
	all, err := p.some(name)
	if err != nil {
		return nil, err
	}
	if name == "" {
		return nil, sdk.Invalid("server", "want the name of a server; mcp.servers lists them")
	}
	return all[0], nil
}

func orNone(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}

// servers is the kind mcp.servers.
func (p *pool) servers(context.Context, sdk.Host, struct{}) (any, error) {
	all, err := p.some("")
	if err != nil {
		return nil, err
	}
	list := []status{}
	for _, s := range all {
		list = append(list, s.status())
	}
	return map[string]any{"servers": list}, nil
}
