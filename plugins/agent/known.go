package main

import (
	"context"
	"encoding/json"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/nagatha/nagatha-runtime/sdk"
)

// known keeps what the last turn found out of other plugins, as long as they say the
// same: a hundred schemas are not taken apart again at each turn. It is safe for
// concurrent use.
type known struct {
	mu    sync.Mutex
	said  string // the reply of kinds.list
	reply sdk.KindsReply

	key   string // what tools was made of
	tools *toolset
}

// kindsList is the reply of kinds.list, and what it was read from. What is not granted
// is nothing.
func (k *known) kindsList(ctx context.Context, host sdk.Host) (r sdk.KindsReply, said string, err error) {
	b, err := host.Call(ctx, sdk.OpKindsList, []byte("{}"))
	if err != nil {
		if sdk.CodeOf(err) == sdk.CodeCapabilityDenied {
			err = nil
		}
		return r, "", err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if said := string(b); said != k.said {
		if err := json.Unmarshal(b, &r); err != nil {
			return r, "", sdk.Errorf(sdk.CodeInternal, "kinds: %v", err)
		}
		k.said, k.reply = said, r
	}
	return k.reply, k.said, nil
}

const (
	loadingTime = 20 * time.Second // that a turn waits for plugins
	loadingLook = 50 * time.Millisecond
)

// findKinds finds out what the turn may submit. Right after the runtime's start it
// waits for plugins that are still being loaded, or else the model would not be told
// of their tools.
func (t *turn) findKinds(ctx context.Context) error {
	began := time.Now()
	for looks := 0; ; looks++ {
		r, said, err := t.known.kindsList(ctx, t.host)
		if err != nil {
			return err
		}
		t.kinds, t.kindsSaid = r.Kinds, said
		if !r.Loading || !t.needsOthers() || time.Since(began) >= loadingTime {
			return nil
		}
		if looks == 0 {
			t.activity(slog.LevelInfo, "plugins are being loaded", "model")
		}
		if err := pause(ctx, loadingLook); err != nil {
			return err
		}
	}
}

// needsOthers reports whether the turn is about what other plugins do.
func (t *turn) needsOthers() bool {
	name, _ := firstWord(strings.TrimSpace(t.in.Message))
	switch strings.ToLower(name) {
	case "/tools", "/tool", "/usage", "/memory", "/remind":
		return true
	}
	return !strings.HasPrefix(name, "/") && t.start.Missing == ""
}

// loadTools finds the turn's tools; mcp is the pages that mcp.list_tools returned.
func (t *turn) loadTools(ctx context.Context, mcp []json.RawMessage) error {
	kinds, said := t.kinds, t.kindsSaid
	if said == "" { // the turn goes on after a crash
		r, again, err := t.known.kindsList(ctx, t.host)
		if err != nil {
			return err
		}
		kinds, said = r.Kinds, again
	}
	var tools []mcpTool
	var unread error
	parts := []string{said}
	for _, page := range mcp {
		parts = append(parts, string(page))
	}
	key := strings.Join(append(parts, t.start.Kinds...), "\n")
	t.known.mu.Lock()
	if t.known.key != key {
		for _, page := range mcp {
			var list struct {
				Tools []mcpTool `json:"tools"`
			}
			if unread = json.Unmarshal(page, &list); unread != nil {
				break
			}
			tools = append(tools, list.Tools...)
		}
		t.known.key, t.known.tools = key, t.toolset(kinds, tools)
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
