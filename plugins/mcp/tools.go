package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/nagatha/nagatha-runtime/sdk"
)

// tool is a tool as mcp.list_tools shows it.
type tool struct {
	Server       string      `json:"server"`
	Name         string      `json:"name"`
	Title        string      `json:"title,omitempty"`
	Description  string      `json:"description"`
	InputSchema  any         `json:"input_schema"`
	OutputSchema any         `json:"output_schema,omitempty"`
	Annotations  annotations `json:"annotations"`
	Hash         string      `json:"schema_hash"` // of all that the server says of it
	Enabled      bool        `json:"enabled"`
	Reason       string      `json:"reason,omitempty"` // why it is not
	Pinned       string      `json:"pinned_hash,omitempty"`

	large bool // too much is said of it
}

// annotations are what the server says of a tool's effects. They are hints; where
// it says nothing, the careful answer.
type annotations struct {
	ReadOnly    bool `json:"read_only"`
	Idempotent  bool `json:"idempotent"`
	Destructive bool `json:"destructive"`
	OpenWorld   bool `json:"open_world"`
}

func newTool(server string, t *mcp.Tool) tool {
	out := tool{Server: server, Name: t.Name, Title: t.Title, Description: t.Description, InputSchema: t.InputSchema, OutputSchema: t.OutputSchema, Enabled: true,
		Annotations: annotations{Destructive: true, OpenWorld: true}}
	if a := t.Annotations; a != nil {
		out.Annotations = annotations{ReadOnly: a.ReadOnlyHint, Idempotent: a.IdempotentHint || a.ReadOnlyHint,
			Destructive: !a.ReadOnlyHint && (a.DestructiveHint == nil || *a.DestructiveHint),
			OpenWorld:   a.OpenWorldHint == nil || *a.OpenWorldHint}
	}
	// Of values that were just decoded from JSON, so it cannot fail; maps are
	// written in the order of their keys.
	b, _ := json.Marshal([]any{t.Name, t.Title, t.Description, t.InputSchema, t.OutputSchema, t.Annotations})
	sum := sha256.Sum256(b)
	out.Hash = hex.EncodeToString(sum[:])
	if whole, _ := json.Marshal(out); len(whole) > maxItem-1024 { // with a reason and a pinned hash
		out.large, out.Enabled = true, false
		out.Reason = fmt.Sprintf("its description and schemas have %d bytes, which fit in no result", len(b))
		out.Title, out.Description, out.InputSchema, out.OutputSchema = "", "", map[string]any{"type": "object"}, nil
	}
	return out
}

// maxName is the longest name of a tool; one that is longer is left out.
const maxName = 256

// maxTools is where a list is cut off, of a server that never ends it.
const maxTools = 1000

// listTools asks a server for all its tools. It has none if it does not say that it
// has some.
func listTools(ctx context.Context, l *link, timeout time.Duration) (all []*mcp.Tool, err error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	err = l.do(ctx, func(ctx context.Context, session *mcp.ClientSession) (err error) {
		all, err = allTools(ctx, session)
		return err
	})
	if errors.Is(err, context.DeadlineExceeded) {
		err = late(fmt.Sprintf("no answer to tools/list within %s, its list_timeout", sdk.Duration(timeout)))
	}
	return all, err
}

// late is a [context.DeadlineExceeded] that says which.
type late string

func (e late) Error() string      { return string(e) }
func (late) Is(target error) bool { return target == context.DeadlineExceeded }

func allTools(ctx context.Context, session *mcp.ClientSession) ([]*mcp.Tool, error) {
	if r := session.InitializeResult(); r != nil && r.Capabilities != nil && r.Capabilities.Tools == nil {
		return nil, nil
	}
	var all []*mcp.Tool
	seen := map[string]bool{}
	for cursor := ""; ; {
		page, err := session.ListTools(ctx, &mcp.ListToolsParams{Cursor: cursor})
		if err != nil {
			return nil, err
		}
		for _, t := range page.Tools {
			if !seen[t.Name] && len(t.Name) <= maxName {
				seen[t.Name] = true
				all = append(all, t)
			}
		}
		if cursor = page.NextCursor; cursor == "" {
			return all, nil
		}
		if len(all) >= maxTools || len(page.Tools) == 0 {
			return all[:min(len(all), maxTools)], nil
		}
	}
}

// list asks the server for its tools again.
func (s *server) list(ctx context.Context) ([]tool, error) {
	var asked *mcp.ClientSession
	var all []*mcp.Tool
	err := s.ask(ctx, "tools/list", func(ctx context.Context, session *mcp.ClientSession) (err error) {
		asked = session
		all, err = allTools(ctx, session)
		return err
	})
	if err != nil {
		s.listed(asked, nil, err)
		return nil, err
	}
	return s.listed(asked, all, nil), nil
}

// listed takes a session's answer, unless there is another session by now, which
// was asked when it was made. It returns the tools that there are.
func (s *server) listed(asked *mcp.ClientSession, all []*mcp.Tool, err error) []tool {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.link
	if l == nil || l.session != asked {
		return slices.Clone(s.tools)
	}
	switch {
	case err == nil:
		s.learn(all)
	case s.busy == 0 && (sdk.CodeOf(err) == sdk.CodeTimeout || errors.Is(err, context.DeadlineExceeded)):
		// It is silent though it has nothing to do: start it again. The
		// supervisor notes the loss.
		go l.end()
	}
	return slices.Clone(s.tools)
}

// learn takes a list of tools, and tells what changed since the last one. The
// caller holds mu.
func (s *server) learn(all []*mcp.Tool) {
	s.tools = nil
	hashes := map[string]string{}
	added, removed, changed := []string{}, []string{}, []string{}
	for _, t := range all {
		if !s.cfg.allows(t.Name) {
			continue
		}
		t := newTool(s.name, t)
		s.tools = append(s.tools, t)
		hashes[t.Name] = t.Hash
		if before, ok := s.hashes[t.Name]; !ok {
			added = append(added, t.Name)
		} else if before != t.Hash {
			changed = append(changed, t.Name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(s.hashes)) {
		if _, ok := hashes[name]; !ok {
			removed = append(removed, name)
		}
	}
	if s.hashes != nil && len(added)+len(removed)+len(changed) > 0 {
		s.news.add("mcp.tools.changed", s.name, map[string]any{"added": added, "removed": removed, "changed": changed})
	}
	s.hashes = hashes
}

// firstWait is how long a list of everything waits for servers that are starting. The
// agent asks for one before each answer.
const firstWait = 5 * time.Second

// known returns the tools of the session that is up. It waits for one if insist;
// otherwise only at first, and not for long.
func (s *server) known(ctx context.Context, insist bool) ([]tool, error) {
	s.mu.Lock()
	up, fresh, err := s.link != nil, s.tries == 0, s.err
	s.mu.Unlock()
	if !up && !fresh && !insist {
		return nil, s.unavailable("%v", err)
	}
	if !up {
		wait := s.cfg.ConnectTimeout.Std() + s.cfg.ListTimeout.Std()
		if !insist {
			wait = min(wait, firstWait)
		}
		ctx, cancel := context.WithTimeout(ctx, wait)
		defer cancel()
		if _, err := s.live(ctx); err != nil {
			return nil, err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.tools), nil
}

// find returns one tool, asking the server again if it is not known.
func (s *server) find(ctx context.Context, name string) (tool, error) {
	tools, err := s.known(ctx, true)
	byName := func(t tool) bool { return t.Name == name }
	if err == nil && !slices.ContainsFunc(tools, byName) {
		tools, err = s.list(ctx)
	}
	if err != nil {
		return tool{}, err
	}
	if i := slices.IndexFunc(tools, byName); i >= 0 {
		return tools[i], nil
	}
	if !s.cfg.allows(name) {
		return tool{}, sdk.Errorf(sdk.CodeForbidden, "MCP server %q: the configuration does not allow the tool %q; see its allow and deny", s.name, name)
	}
	names := []string{}
	for _, t := range tools {
		names = append(names, t.Name)
	}
	slices.Sort(names)
	return tool{}, sdk.Errorf(sdk.CodeNotFound, "MCP server %q has no tool %q; it has: %s", s.name, name, orNone(names))
}

// listTools is the kind mcp.list_tools.
func (p *pool) listTools(ctx context.Context, host sdk.Host, in struct {
	Server  string `json:"server"`
	Refresh bool   `json:"refresh"`
	Cursor  string `json:"cursor"`
}) (any, error) {
	all, err := gather(ctx, p, host, in.Server, func(s *server) ([]tool, error) {
		if in.Refresh {
			return s.list(ctx)
		}
		return s.known(ctx, in.Server != "")
	})
	if err != nil {
		return nil, err
	}
	if err := p.judge(ctx, host, all); err != nil {
		return nil, err
	}
	tools, next := page(all, in.Cursor, func(t tool) string { return t.Server + "/" + t.Name })
	return map[string]any{"tools": tools, "next_cursor": next}, nil
}

// gather asks one server, or all at once; of all, one that is down does not hide
// the others.
func gather[T any](ctx context.Context, p *pool, host sdk.Host, name string, f func(*server) ([]T, error)) ([]T, error) {
	servers, err := p.some(name)
	if err != nil {
		return nil, err
	}
	lists, errs := make([][]T, len(servers)), make([]error, len(servers))
	var wg sync.WaitGroup
	for i, s := range servers {
		wg.Go(func() { lists[i], errs[i] = f(s) })
	}
	wg.Wait()
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if name != "" {
		return lists[0], errs[0]
	}
	for i, err := range errs {
		if err != nil {
			host.Log(slog.LevelError, "an MCP server does not answer, so what it has is left out", "server", servers[i].name, "error", errText(err))
		}
	}
	return slices.Concat(lists...), nil
}

func errText(err error) string {
	var e *sdk.Error
	if errors.As(err, &e) {
		return e.Message
	}
	return fmt.Sprint(err)
}
