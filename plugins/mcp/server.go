package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/nagatha/nagatha-runtime/sdk"
)

// server is one MCP server with the session that is kept with it.
type server struct {
	name string
	cfg  serverConfig
	poke chan struct{} // capacity 1: somebody waits, so do not

	mu          sync.Mutex
	session     *mcp.ClientSession // nil while there is none
	child       *child
	err         error         // why there is none
	changed     chan struct{} // closed and replaced whenever session or err changes
	tries       int           // connects that have come to an end
	connectedAt sdk.Time
	restarts    int
	known       map[string]bool // the tools of the last list

	progress sync.Map // progress token → func(*mcp.ProgressNotificationParams)
	tokens   int64
}

func newServer(name string, cfg serverConfig) *server {
	for v, d := range map[*sdk.Duration]time.Duration{
		&cfg.ConnectTimeout: 15 * time.Second, &cfg.ListTimeout: 10 * time.Second, &cfg.CallTimeout: time.Minute,
	} {
		if *v <= 0 {
			*v = sdk.Duration(d)
		}
	}
	return &server{name: name, cfg: cfg, poke: make(chan struct{}, 1), changed: make(chan struct{})}
}

// status is what mcp.servers tells of a server.
type status struct {
	Name        string   `json:"name"`
	State       string   `json:"state"` // connecting, connected, failed
	Error       string   `json:"error"`
	Tools       int      `json:"tools"`
	Restarts    int      `json:"restarts"`
	ConnectedAt sdk.Time `json:"connected_at"`
}

func (s *server) status() status {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := status{Name: s.name, State: "connecting", Tools: len(s.known), Restarts: s.restarts, ConnectedAt: s.connectedAt}
	switch {
	case s.session != nil:
		st.State = "connected"
	case s.err != nil:
		st.State, st.Error = "failed", s.err.Error()
	}
	return st
}

// supervise keeps a session with the server until ctx ends. After a failure the
// wait doubles, with jitter, from 250 ms to 30 s; the first is none, and whoever
// needs the server cuts it short.
func (s *server) supervise(ctx context.Context) {
	wait := time.Duration(0)
	for ctx.Err() == nil {
		session, c, err := s.connect(ctx)
		s.set(session, c, err)
		if err == nil {
			began := time.Now()
			s.lost(c, s.watch(ctx, session, c))
			if time.Since(began) > time.Minute {
				wait = 0
			}
		}
		t := time.NewTimer(wait/2 + rand.N(wait/2+1))
		select {
		case <-ctx.Done():
		case <-t.C:
		case <-s.poke:
		}
		t.Stop()
		wait = min(max(2*wait, 250*time.Millisecond), 30*time.Second)
	}
	s.set(nil, nil, errors.New("the plugin is shutting down"))
}

// watch waits for the end of a session and says why it ended.
func (s *server) watch(ctx context.Context, session *mcp.ClientSession, c *child) error {
	over := make(chan struct{})
	go func() {
		_ = session.Wait()
		close(over)
	}()
	select {
	case <-ctx.Done():
	case <-over:
	case <-c.done:
	}
	_ = session.Close()
	c.end()
	<-over
	return fmt.Errorf("it ended: %s", c.obituary())
}

// set notes how an attempt to connect ended.
func (s *server) set(session *mcp.ClientSession, c *child, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if session != nil {
		s.connectedAt = sdk.Now()
	}
	s.session, s.child, s.err = session, c, err
	s.tries++
	s.signal()
}

// lost notes that the session with a child has ended. Whoever needs the server now
// waits for the next attempt to connect.
func (s *server) lost(c *child, why error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.child != c || c == nil {
		return
	}
	if s.session != nil {
		s.restarts++
	}
	s.session, s.err = nil, why
	s.signal()
}

// signal wakes those who wait for a change. The caller holds mu.
func (s *server) signal() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// connect starts the server and shakes hands, within the connect timeout even if
// it never says a word.
func (s *server) connect(ctx context.Context) (*mcp.ClientSession, *child, error) {
	c, err := startChild(s.cfg)
	if err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, s.cfg.ConnectTimeout.Std())
	defer cancel()
	client := mcp.NewClient(&mcp.Implementation{Name: "nagatha-runtime", Version: "1.0.0"}, &mcp.ClientOptions{
		Capabilities: &mcp.ClientCapabilities{}, // offer nothing that nobody would answer
		ProgressNotificationHandler: func(_ context.Context, r *mcp.ProgressNotificationClientRequest) {
			if f, ok := s.progress.Load(fmt.Sprint(r.Params.ProgressToken)); ok {
				f.(func(*mcp.ProgressNotificationParams))(r.Params)
			}
		},
	})
	session, err := client.Connect(ctx, c.transport(), nil)
	if err != nil {
		late := ctx.Err() != nil
		c.end()
		if late {
			return nil, nil, fmt.Errorf("it did not shake hands within %s; %s", s.cfg.ConnectTimeout, c.obituary())
		}
		return nil, nil, fmt.Errorf("connect: %w; %s", err, c.obituary())
	}
	return session, c, nil
}

// live returns the session, waiting for one attempt to connect if there is none.
func (s *server) live(ctx context.Context) (*mcp.ClientSession, *child, error) {
	s.mu.Lock()
	began := s.tries
	for {
		session, c, err, changed, tries := s.session, s.child, s.err, s.changed, s.tries
		s.mu.Unlock()
		if session != nil {
			return session, c, nil
		}
		// A failure that was there before is tried again; one since then stands.
		if err != nil && tries > began {
			return nil, nil, s.unavailable("%v", err)
		}
		select {
		case s.poke <- struct{}{}:
		default:
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, nil, s.unavailable("it is not connected: %v", context.Cause(ctx))
		}
		s.mu.Lock()
	}
}

func (s *server) unavailable(format string, args ...any) error {
	return sdk.Errorf(sdk.CodeUnavailable, "MCP server %q: %s", s.name, fmt.Sprintf(format, args...))
}

// tools asks the server for all its tools.
func (s *server) tools(ctx context.Context) ([]toolInfo, error) {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.ConnectTimeout.Std()+s.cfg.ListTimeout.Std())
	defer cancel()
	session, c, err := s.live(ctx)
	if err != nil {
		return nil, err
	}
	ctx, cancel = context.WithTimeout(ctx, s.cfg.ListTimeout.Std())
	defer cancel()
	var out []toolInfo
	known := map[string]bool{}
	for cursor := ""; ; {
		page, err := session.ListTools(ctx, &mcp.ListToolsParams{Cursor: cursor})
		if err != nil {
			return nil, s.fault(ctx, c, "tools/list", s.cfg.ListTimeout.Std(), err)
		}
		for _, t := range page.Tools {
			out = append(out, toolInfo{s.name, t.Name, t.Description, t.InputSchema})
			known[t.Name] = true
		}
		if cursor = page.NextCursor; cursor == "" || len(out) > maxTools {
			break
		}
	}
	s.mu.Lock()
	s.known = known
	s.mu.Unlock()
	return out, nil
}

// maxTools is where a server that never ends its list is cut off.
const maxTools = 10_000

// has reports whether the server has a tool, asking it if need be.
func (s *server) has(ctx context.Context, tool string) (bool, []string, error) {
	s.mu.Lock()
	ok := s.known[tool]
	s.mu.Unlock()
	if ok {
		return true, nil, nil
	}
	if _, err := s.tools(ctx); err != nil {
		return false, nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.known[tool], slices.Sorted(maps.Keys(s.known)), nil
}

// callResult is the result of mcp.call_tool.
type callResult struct {
	Content    json.RawMessage `json:"content"`
	Structured any             `json:"structured,omitempty"`
	IsError    bool            `json:"is_error"`
}

// maxResult leaves room below the runtime's cap on results, so that the error can
// say what to do.
const maxResult = 250 << 10

func (s *server) call(ctx context.Context, host sdk.Host, tool string, arguments json.RawMessage, timeout time.Duration) (any, error) {
	if timeout == 0 {
		timeout = s.cfg.CallTimeout.Std()
	}
	outer := ctx
	ctx, cancel := context.WithTimeout(ctx, min(timeout, maxCall))
	defer cancel()
	ok, have, err := s.has(ctx, tool)
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, sdk.Errorf(sdk.CodeNotFound, "MCP server %q has no tool %q; it has: %s", s.name, tool, orNone(have))
	}
	session, c, err := s.live(ctx)
	if err != nil {
		return nil, err
	}
	params := &mcp.CallToolParams{Name: tool}
	if len(arguments) > 0 {
		params.Arguments = arguments
	}
	token := s.follow(host)
	defer s.progress.Delete(token) // what comes late is nobody's
	params.SetProgressToken(token)
	r, err := session.CallTool(ctx, params)
	if outer.Err() != nil {
		return nil, context.Cause(outer) // cancelled: the SDK has told the server
	}
	if err != nil {
		return nil, s.fault(ctx, c, "tool "+tool, timeout, err)
	}
	content, err := json.Marshal(r.Content)
	if err != nil {
		return nil, s.unavailable("tool %s: its content cannot be read: %v", tool, err)
	}
	if r.Content == nil {
		content = json.RawMessage("[]")
	}
	if len(content) > maxResult {
		return nil, sdk.Permanent(sdk.Errorf(sdk.CodeLimitExceeded, "MCP server %q: tool %s returned %d bytes, at most %d fit in a result; ask it for less",
			s.name, tool, len(content), maxResult))
	}
	return callResult{content, r.StructuredContent, r.IsError}, nil
}

// follow makes a progress token whose notifications go to host.
func (s *server) follow(host sdk.Host) string {
	s.mu.Lock()
	s.tokens++
	token := fmt.Sprintf("%s-%d", s.name, s.tokens)
	s.mu.Unlock()
	s.progress.Store(token, func(p *mcp.ProgressNotificationParams) { host.Progress(p.Progress, p.Total, p.Message) })
	return token
}

// fault tells a server that is slow from one that refuses and one that is gone.
func (s *server) fault(ctx context.Context, c *child, what string, timeout time.Duration, err error) error {
	var refused *jsonrpc.Error
	switch {
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return sdk.Errorf(sdk.CodeTimeout, "MCP server %q: %s: no answer within %s", s.name, what, sdk.Duration(timeout))
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.As(err, &refused) && !strings.Contains(err.Error(), "client is closing"):
		return sdk.Permanent(sdk.Errorf(sdk.CodeHandlerError, "MCP server %q: %s: %s (%d)", s.name, what, refused.Message, refused.Code))
	}
	// The stream broke. What the process says of itself comes a moment later.
	c.end()
	s.lost(c, err)
	return s.unavailable("%s: the connection broke: %v; %s", what, err, c.obituary())
}
