package main

import (
	"context"
	"encoding/json"
	"log/slog"
	"strings"
	"sync"

	"github.com/nagatha/nagatha-runtime/sdk"
)

// known keeps what the last turn found out of other plugins, as long as they say the
// same: a hundred schemas are not taken apart again at each turn. It is safe for
// concurrent use.
type known struct {
	mu    sync.Mutex
	said  string // the reply of kinds.list
	kinds []sdk.KindInfo

	key   string // what tools was made of
	tools *toolset
}

// kindsList is what [sdk.Kinds] returns, and the reply that it is made of.
func (k *known) kindsList(ctx context.Context, host sdk.Host) ([]sdk.KindInfo, string, error) {
	b, err := host.Call(ctx, sdk.OpKindsList, []byte("{}"))
	if err != nil {
		return nil, "", err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if said := string(b); said != k.said {
		var r sdk.KindsReply
		if err := json.Unmarshal(b, &r); err != nil {
			return nil, "", sdk.Errorf(sdk.CodeInternal, "kinds: %v", err)
		}
		k.said, k.kinds = said, r.Kinds
	}
	return k.kinds, k.said, nil
}

// loadTools finds the turn's tools; mcp is what mcp.list_tools returned, or nil.
func (t *turn) loadTools(ctx context.Context, mcp json.RawMessage) error {
	kinds, said := t.kinds, t.kindsSaid
	if said == "" { // the turn goes on after a crash
		var err error
		if kinds, said, err = t.known.kindsList(ctx, t.host); err != nil && sdk.CodeOf(err) != sdk.CodeCapabilityDenied {
			return err
		}
	}
	var servers struct {
		Tools []mcpTool `json:"tools"`
	}
	var unread error
	key := strings.Join(append([]string{said, string(mcp)}, t.start.Kinds...), "\n")
	t.known.mu.Lock()
	if t.known.key != key {
		if len(mcp) > 0 {
			unread = json.Unmarshal(mcp, &servers)
		}
		t.known.key, t.known.tools = key, t.toolset(kinds, servers.Tools)
	}
	t.tools = t.known.tools
	t.known.mu.Unlock()
	if unread != nil {
		t.host.Log(slog.LevelError, "the tools of MCP servers cannot be read", "type", "model", "error", unread)
	}
	if n := t.tools.leftOut; n > 0 {
		t.activity(slog.LevelWarn, "more tools than a model takes", "model", "tools", n+len(t.tools.list), "left_out", n)
	}
	return nil
}
