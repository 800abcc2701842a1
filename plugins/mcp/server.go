package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/nagatha/nagatha-runtime/sdk"
)

// server is one MCP server with the session that is kept with it.
type server struct {
	name string
	cfg  serverConfig
	news *journal
	poke chan struct{} // capacity 1: somebody waits, so do not
	stop context.CancelFunc

	mu          sync.Mutex
	link        *link         // nil while there is none
	err         error         // why there is none
	changed     chan struct{} // closed and replaced whenever link, err, or busy's being 0 changes
	tries       int           // connects that have come to an end
	connectedAt sdk.Time
	restarts    int
	tools       []tool            // of the link; what the configuration denies is left out
	hashes      map[string]string // of the last list of tools, also of an earlier link
	busy        int               // requests under way
	old         bool              // the next handshake offers the older era

	progress sync.Map // progress token → func(*mcp.ProgressNotificationParams)
	tokens   int64
}

func newServer(name string, cfg serverConfig, news *journal) *server {
	return &server{name: name, cfg: cfg, news: news, poke: make(chan struct{}, 1), changed: make(chan struct{})}
}

// status is what mcp.servers tells of a server.
type status struct {
	Name        string   `json:"name"`
	Transport   string   `json:"transport"` // stdio, http
	State       string   `json:"state"`     // connecting, connected, failed
	Error       string   `json:"error"`
	Tools       int      `json:"tools"`
	Restarts    int      `json:"restarts"`
	ConnectedAt sdk.Time `json:"connected_at"`
	Protocol    string   `json:"protocol_version"`
	Server      string   `json:"server_info"`
}

func (s *server) transport() string {
	if s.cfg.URL != "" {
		return "http"
	}
	return "stdio"
}

func (s *server) status() status {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := status{Name: s.name, Transport: s.transport(), State: "connecting", Tools: len(s.tools), Restarts: s.restarts, ConnectedAt: s.connectedAt}
	switch {
	case s.link != nil:
		st.State = "connected"
		st.Protocol, st.Server = s.link.speaks()
	case s.err != nil:
		st.State, st.Error = "failed", s.err.Error()
	}
	return st
}

// The wait before the next handshake doubles, with jitter; the first is none, and
// whoever needs the server cuts it short.
const (
	minWait = 250 * time.Millisecond
	maxWait = 30 * time.Second
	// steady is how long a session must have lasted for the waits to start over.
	steady = time.Minute
	// settle is how long a server's notices that its tools changed are gathered:
	// some send several at once.
	settle = 250 * time.Millisecond
)

// supervise keeps a session with the server until ctx ends.
func (s *server) supervise(ctx context.Context) {
	wait := time.Duration(0)
	for ctx.Err() == nil {
		l, err := s.connect(ctx)
		if err != nil {
			s.failed(err)
		} else {
			began := time.Now()
			s.lost(l, s.watch(ctx, l))
			if time.Since(began) > steady {
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
		wait = min(max(2*wait, minWait), maxWait)
	}
	s.failed(errors.New("it is not configured any more, or the plugin is shutting down"))
}

// connect makes a session and asks for the tools: a server that shakes hands and
// says no more is of no use.
func (s *server) connect(ctx context.Context) (*link, error) {
	protocol := s.cfg.Protocol
	s.mu.Lock()
	if s.old && protocol == "" {
		protocol = oldEra
	}
	s.mu.Unlock()
	l, err := dial(ctx, s.cfg, protocol, s.onProgress)
	if err != nil {
		// The handshake of the new era begins with a question that some old
		// servers leave unanswered.
		s.mu.Lock()
		s.old = errors.Is(err, errSilent) && !s.old
		s.mu.Unlock()
		return nil, err
	}
	tools, err := listTools(ctx, l, s.cfg.ListTimeout.Std())
	if err != nil {
		l.close()
		return nil, l.explain("it does not tell its tools", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.link, s.err, s.connectedAt = l, nil, sdk.Now()
	s.tries++
	protocol, _ = l.speaks()
	allowed := slices.DeleteFunc(slices.Clone(tools), func(t *mcp.Tool) bool { return !s.cfg.allows(t.Name) })
	s.news.add("mcp.server.connected", s.name, map[string]any{"transport": s.transport(), "protocol_version": protocol, "tools": len(allowed)})
	s.learn(allowed)
	s.signal()
	return l, nil
}

// oldEra is the last protocol version with a session that begins by initialize.
const oldEra = "2025-11-25"

// watch waits for the end of a session, says why it ended, and asks for the tools
// again when the server says that they changed.
func (s *server) watch(ctx context.Context, l *link) error {
	gathering := time.NewTimer(settle)
	gathering.Stop()
	defer gathering.Stop()
	pending := false
	for open := true; open; {
		select {
		case <-ctx.Done():
			open = false
		case <-l.over:
			open = false
		case <-l.gone():
			open = false
		case <-l.changed:
			if !pending {
				pending = true
				gathering.Reset(settle)
			}
		case <-gathering.C:
			pending = false
			// Not by list, which may wait for a session that only this makes.
			all, err := listTools(ctx, l, s.cfg.ListTimeout.Std())
			s.listed(l.session, all, err)
		}
	}
	l.close()
	if why := l.obituary(); why != "" {
		return errors.New("it ended: " + why)
	}
	return errors.New("its session ended")
}

// failed notes that an attempt to connect failed.
func (s *server) failed(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.link, s.tools, s.err = nil, nil, err
	s.tries++
	s.signal()
}

// lost notes that a link is of no use any more, and withdraws its tools. Whoever
// needs the server now waits for the next attempt to connect.
func (s *server) lost(l *link, why error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.link != l {
		return
	}
	s.restarts++
	s.link, s.tools, s.err = nil, nil, why
	s.news.add("mcp.server.disconnected", s.name, map[string]any{"error": why.Error()})
	s.signal()
}

// signal wakes those who wait for a change. The caller holds mu.
func (s *server) signal() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// live returns the link, waiting for one attempt to connect if there is none.
func (s *server) live(ctx context.Context) (*link, error) {
	s.mu.Lock()
	began := s.tries
	for {
		l, err, changed, tries := s.link, s.err, s.changed, s.tries
		s.mu.Unlock()
		if l != nil {
			return l, nil
		}
		// A failure that was there before is tried again; one since then stands.
		if err != nil && tries > began {
			return nil, s.unavailable("%v", err)
		}
		select {
		case s.poke <- struct{}{}:
		default:
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, s.unavailable("it is not connected: %v", context.Cause(ctx))
		}
		s.mu.Lock()
	}
}

func (s *server) unavailable(format string, args ...any) error {
	return sdk.Errorf(sdk.CodeUnavailable, "MCP server %q: %s", s.name, fmt.Sprintf(format, args...))
}

// retire lets the requests that are under way end, for a while, and stops the
// server.
func (s *server) retire(ctx context.Context) {
	defer s.stop()
	t := time.NewTimer(retireGrace)
	defer t.Stop()
	for {
		s.mu.Lock()
		busy, changed := s.busy, s.changed
		s.mu.Unlock()
		if busy == 0 {
			return
		}
		select {
		case <-changed:
		case <-t.C:
			return
		case <-ctx.Done():
			return
		}
	}
}

const retireGrace = 10 * time.Second

func (s *server) onProgress(p *mcp.ProgressNotificationParams) {
	if f, ok := s.progress.Load(fmt.Sprint(p.ProgressToken)); ok {
		f.(func(*mcp.ProgressNotificationParams))(p)
	}
}
