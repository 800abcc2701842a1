package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nagatha/nagatha-runtime/sdk"
)

const configSchema = `{"type":"object","additionalProperties":false,"properties":{"servers":{"type":"object",
	"propertyNames":{"pattern":"^[a-z][a-z0-9_-]*$"},
	"additionalProperties":{"type":"object","additionalProperties":false,"required":["command"],"properties":{
		"command":{"type":"array","minItems":1,"items":{"type":"string"},"description":"program and arguments"},
		"env":{"type":"object","additionalProperties":{"type":"string"},"description":"what it sees besides PATH"},
		"cwd":{"type":"string"},
		"enabled":{"type":"boolean","default":true},
		"connect_timeout":{"type":"string","default":"15s"},
		"list_timeout":{"type":"string","default":"10s"},
		"call_timeout":{"type":"string","default":"1m"}}}}}}`

// serverConfig says how to start a server and how long to wait for it.
type serverConfig struct {
	Command        []string          `json:"command"`
	Env            map[string]string `json:"env"`
	Cwd            string            `json:"cwd"`
	Enabled        *bool             `json:"enabled"`
	ConnectTimeout sdk.Duration      `json:"connect_timeout"`
	ListTimeout    sdk.Duration      `json:"list_timeout"`
	CallTimeout    sdk.Duration      `json:"call_timeout"`
}

// maxCall bounds a call, whatever timeout it names.
const maxCall = time.Hour

// pool is the configured servers.
type pool struct {
	all  map[string]*server
	stop context.CancelFunc
	run  sync.WaitGroup
}

// configure checks the configuration and lets the servers connect, all at once, in
// the background: one that never answers must not keep the plugin from starting.
func (p *pool) configure(_ context.Context, config json.RawMessage) error {
	var c struct {
		Servers map[string]serverConfig `json:"servers"`
	}
	dec := json.NewDecoder(bytes.NewReader(config))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&c); err != nil {
		return fmt.Errorf("config: %w", err)
	}
	all := map[string]*server{}
	var errs []error
	for name, sc := range c.Servers {
		if sc.Enabled != nil && !*sc.Enabled {
			continue
		}
		if len(sc.Command) == 0 {
			errs = append(errs, fmt.Errorf("servers.%s.command: want a program and its arguments", name))
			continue
		}
		all[name] = newServer(name, sc)
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	_ = p.Close() // of an earlier configuration
	ctx, stop := context.WithCancel(context.Background())
	p.all, p.stop = all, stop
	for _, s := range all {
		p.run.Go(func() { s.supervise(ctx) })
	}
	return nil
}

// Close ends every server and waits until they are gone.
func (p *pool) Close() error {
	if p.stop != nil {
		p.stop()
	}
	p.run.Wait()
	return nil
}

func (p *pool) names() []string { return slices.Sorted(maps.Keys(p.all)) }

func (p *pool) find(name string) (*server, error) {
	s := p.all[name]
	if s == nil {
		return nil, sdk.Errorf(sdk.CodeNotFound, "there is no MCP server %q; configured are: %s", name, orNone(p.names()))
	}
	return s, nil
}

func orNone(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}

func (p *pool) servers(context.Context, sdk.Host, struct{}) (any, error) {
	list := []status{}
	for _, name := range p.names() {
		list = append(list, p.all[name].status())
	}
	return map[string]any{"servers": list}, nil
}

type toolInfo struct {
	Server      string `json:"server"`
	Name        string `json:"name"`
	Description string `json:"description"`
	InputSchema any    `json:"input_schema"`
}

func (p *pool) listTools(ctx context.Context, host sdk.Host, in struct {
	Server string `json:"server"`
}) (any, error) {
	names := p.names()
	if in.Server != "" {
		if _, err := p.find(in.Server); err != nil {
			return nil, err
		}
		names = []string{in.Server}
	}
	lists, errs := make([][]toolInfo, len(names)), make([]error, len(names))
	var wg sync.WaitGroup
	for i, name := range names {
		wg.Go(func() { lists[i], errs[i] = p.all[name].tools(ctx) })
	}
	wg.Wait()
	all := []toolInfo{}
	for i := range names {
		if errs[i] != nil && in.Server != "" {
			return nil, errs[i]
		}
		if errs[i] != nil { // one that is down does not hide the others
			host.Log(8, "an MCP server does not tell its tools", "server", names[i], "error", errs[i])
		}
		all = append(all, lists[i]...)
	}
	return map[string]any{"tools": all}, nil
}

func (p *pool) call(ctx context.Context, host sdk.Host, in struct {
	Server    string          `json:"server"`
	Tool      string          `json:"tool"`
	Arguments json.RawMessage `json:"arguments"`
	Timeout   sdk.Duration    `json:"timeout"`
}) (any, error) {
	s, err := p.find(in.Server)
	if err != nil {
		return nil, err
	}
	if in.Timeout < 0 {
		return nil, sdk.Invalid("timeout", "must be more than 0s")
	}
	return s.call(ctx, host, in.Tool, in.Arguments, in.Timeout.Std())
}

// checkHealth asks each server for its tools: a server can answer a ping and be of
// no use. The shape is the old system's.
func (p *pool) checkHealth(ctx context.Context, _ sdk.Host, _ struct{}) (any, error) {
	names := p.names()
	errs := make([]error, len(names))
	counts := make([]int, len(names))
	var wg sync.WaitGroup
	for i, name := range names {
		wg.Go(func() {
			tools, err := p.all[name].tools(ctx)
			counts[i], errs[i] = len(tools), err
		})
	}
	wg.Wait()
	now := sdk.Now()
	connected, failed, total := []string{}, [][2]string{}, 0
	info, checks := map[string]any{}, map[string]any{}
	for i, name := range names {
		st := p.all[name].status()
		entry := map[string]any{"connected": errs[i] == nil, "error": nil, "tools_count": counts[i], "connection_time": st.ConnectedAt, "transport": "stdio"}
		check := map[string]any{"connected": errs[i] == nil, "tools_count": counts[i], "last_check": now}
		if errs[i] != nil {
			entry["error"] = errs[i].Error()
			check = map[string]any{"connected": false, "error": errs[i].Error(), "last_check": now}
			failed = append(failed, [2]string{name, errs[i].Error()})
		} else {
			connected = append(connected, name)
			total += counts[i]
		}
		info[name], checks[name] = entry, check
	}
	return map[string]any{
		"mcp_status": map[string]any{"total_configured": len(names), "connected": len(connected), "failed": len(failed),
			"connected_servers": connected, "failed_servers": failed, "total_tools": total},
		"server_info": info, "health_checks": checks, "timestamp": now,
	}, nil
}
