package main

import (
	"context"
	"encoding/json"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/nagatha/nagatha-runtime/sdk"
)

// checkHealth is the kind mcp.check_health. It asks each server for its tools: a
// server can answer a ping and be of no use. The shape is the old system's.
func (p *pool) checkHealth(ctx context.Context, host sdk.Host, _ struct{}) (any, error) {
	servers, err := p.some("")
	if err != nil {
		return nil, err
	}
	errs := make([]error, len(servers))
	lists := make([][]tool, len(servers))
	var wg sync.WaitGroup
	for i, s := range servers {
		wg.Go(func() {
			lists[i], errs[i] = s.list(ctx)
		})
	}
	wg.Wait()
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	// Here, too, a tool may be seen for the first time.
	if err := p.judge(ctx, host, slices.Concat(lists...)); err != nil {
		host.Log(slog.LevelError, "the tools that were seen cannot be remembered", "error", errText(err))
	}
	now := sdk.Now()
	connected, failed, total := []string{}, [][2]string{}, 0
	info, checks := map[string]any{}, map[string]any{}
	for i, s := range servers {
		entry := map[string]any{"connected": errs[i] == nil, "error": nil, "tools_count": len(lists[i]), "connection_time": s.status().ConnectedAt, "transport": s.transport()}
		check := map[string]any{"connected": errs[i] == nil, "tools_count": len(lists[i]), "last_check": now}
		if errs[i] != nil {
			text := errText(errs[i])
			entry["error"] = text
			check = map[string]any{"connected": false, "error": text, "last_check": now}
			failed = append(failed, [2]string{s.name, text})
		} else {
			connected = append(connected, s.name)
			total += len(lists[i])
		}
		info[s.name], checks[s.name] = entry, check
	}
	return map[string]any{
		"mcp_status": map[string]any{"total_configured": len(servers), "connected": len(connected), "failed": len(failed),
			"connected_servers": connected, "failed_servers": failed, "total_tools": total},
		"server_info": info, "health_checks": checks, "timestamp": now,
	}, nil
}

// testConnection is the kind mcp.test_connection: a session of its own, beside the
// one that is kept, from the start of the server to its tools.
func (p *pool) testConnection(ctx context.Context, _ sdk.Host, in struct {
	Server string `json:"server"`
}) (any, error) {
	s, err := p.find(in.Server)
	if err != nil {
		return nil, err
	}
	out := map[string]any{"server": s.name, "transport": s.transport(), "connected": false, "error": nil,
		"protocol_version": "", "server_info": "", "capabilities": []string{}, "tools_count": 0, "connect_ms": 0, "list_ms": 0}
	begun := time.Now()
	l, err := dial(ctx, s.cfg, s.cfg.Protocol, s.onProgress)
	if err == nil {
		defer l.close()
		out["connect_ms"] = time.Since(begun).Milliseconds()
		out["protocol_version"], out["server_info"] = l.speaks()
		out["capabilities"] = l.offers()
		begun = time.Now()
		var tools int
		all, lerr := listTools(ctx, l, s.cfg.ListTimeout.Std())
		for _, t := range all {
			if s.cfg.allows(t.Name) {
				tools++
			}
		}
		out["tools_count"], out["list_ms"], err = tools, time.Since(begun).Milliseconds(), lerr
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if err != nil {
		out["error"] = errText(err)
	}
	out["connected"] = err == nil
	return out, nil
}

// offers names the server's capabilities.
func (l *link) offers() []string {
	names := []string{}
	r := l.session.InitializeResult()
	if r == nil || r.Capabilities == nil {
		return names
	}
	// As JSON, which names them; also those that have been deprecated.
	b, err := json.Marshal(r.Capabilities)
	var has map[string]json.RawMessage
	if err != nil || json.Unmarshal(b, &has) != nil {
		return names
	}
	return slices.Sorted(maps.Keys(has))
}
