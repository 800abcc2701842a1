package api

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"sync"
	"syscall"
	"time"

	"github.com/gorilla/websocket"

	"github.com/nagatha/nagatha-runtime/runtime"
	"github.com/nagatha/nagatha-runtime/sdk"
)

// Server serves clients. Its methods are safe for concurrent use; Run is called
// once.
type Server struct {
	cfg     Config
	rt      *runtime.Runtime
	log     *slog.Logger
	doors   doors
	guard   *guard
	methods methods
	metrics *metrics
	handler http.Handler
	upgrade websocket.Upgrader

	// serving ends when shutdown begins, ctx when nothing is worth waiting for
	// any more.
	ctx, serving        context.Context
	cancel, stopServing context.CancelFunc

	backups   chan struct{} // capacity 1
	seed      seedCache
	listening chan struct{} // closed once addr is there
	addr      net.Addr

	mu        sync.Mutex
	conns     map[*conn]struct{}
	open      int // connections that have said hello, and streams
	anonymous int // those that have not
	shut      bool
	alive     sync.WaitGroup // connections
}

// New checks cfg and makes a Server that does not listen yet.
func New(cfg Config) (*Server, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	s := &Server{
		cfg: cfg, rt: cfg.Runtime, log: cfg.Logger,
		doors:     newDoors(cfg.Listen, cfg.AllowedHosts, cfg.AllowedOrigins),
		guard:     newGuard(cfg.Runtime, cfg.AdminToken, cfg.Limits.RequestsPerSecond),
		methods:   newMethods(),
		backups:   make(chan struct{}, 1),
		listening: make(chan struct{}),
		conns:     map[*conn]struct{}{},
	}
	s.seed.machine.dir = cfg.DataDir
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.serving, s.stopServing = context.WithCancel(s.ctx)
	s.metrics = newMetrics(s)
	s.upgrade = websocket.Upgrader{
		Subprotocols:    []string{subprotocol},
		WriteBufferPool: &sync.Pool{}, // idle connections hold none
		WriteBufferSize: 4 << 10,
		CheckOrigin:     func(*http.Request) bool { return true }, // doors has looked
		Error: func(w http.ResponseWriter, r *http.Request, status int, reason error) {
			w.Header().Set("Sec-WebSocket-Version", "13")
			s.fail(w, r, &sdk.Error{Code: codeOf(status), Message: reason.Error()})
		},
	}
	handler, err := s.routes()
	if err != nil {
		return nil, err
	}
	s.handler = handler
	return s, nil
}

// Handler is everything that the server serves, for mounting it elsewhere. The
// WebSockets it accepts live until Run's end, or until their peers go.
func (s *Server) Handler() http.Handler { return s.handler }

// Addr waits until Run listens and returns the address, or nil if it could not.
func (s *Server) Addr() net.Addr {
	<-s.listening
	return s.addr
}

// Listen takes the address that a Server will serve, for a caller who wants to
// know before anything else that it is free. A server that was killed takes a
// moment to be gone, so an address in use is tried again for a second.
func Listen(ctx context.Context, address string) (net.Listener, error) {
	var lc net.ListenConfig
	listener, err := lc.Listen(ctx, "tcp", address)
	for end := time.Now().Add(time.Second); errors.Is(err, syscall.EADDRINUSE) && ctx.Err() == nil && time.Now().Before(end); {
		select {
		case <-ctx.Done():
		case <-time.After(20 * time.Millisecond):
		}
		listener, err = lc.Listen(ctx, "tcp", address)
	}
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("listen on %s: the address is in use, perhaps by another runtime; stop that one or change server.listen: %w", address, err)
	}
	if err != nil {
		return nil, fmt.Errorf("listen on %s (server.listen): %w", address, err)
	}
	return listener, nil
}

// Run listens and serves until ctx ends, and then closes: it accepts nothing
// more, tells every WebSocket when to come back, gives all of it
// Config.CloseTimeout, and cuts what is left.
func (s *Server) Run(ctx context.Context) error {
	defer s.cancel()
	listener := s.cfg.Listener
	if listener == nil {
		var err error
		if listener, err = Listen(ctx, s.cfg.Listen); err != nil {
			close(s.listening)
			return err
		}
	}
	s.sweepCopies()
	s.addr = listener.Addr()
	close(s.listening)
	if tcp, ok := s.addr.(*net.TCPAddr); ok && !tcp.IP.IsLoopback() {
		s.log.Warn("listening beyond this machine without TLS: put a TLS proxy in front, tokens cross the network in clear", "addr", s.addr.String())
	}

	srv := &http.Server{
		Handler:           s.handler,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       120 * time.Second,
		MaxHeaderBytes:    32 << 10,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
	watching := make(chan struct{})
	go func() {
		defer close(watching)
		s.guard.keepUp(s.serving)
	}()
	defer func() { <-watching }()
	served := make(chan error, 1)
	go func() { served <- srv.Serve(listener) }()

	var err error
	select {
	case err = <-served: // the listener broke
	case <-ctx.Done():
	}
	s.shutdown(srv)
	if err == nil {
		err = <-served
	}
	if err != nil && !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve on %s: %w", s.cfg.Listen, err)
	}
	return nil
}

// shutdown ends everything. http.Server.Shutdown knows nothing of connections
// that were hijacked, so those are ours to close.
func (s *Server) shutdown(srv *http.Server) {
	s.mu.Lock()
	s.shut = true
	s.stopServing()
	conns := make([]*conn, 0, len(s.conns))
	for c := range s.conns {
		conns = append(conns, c)
	}
	s.mu.Unlock()

	for _, c := range conns {
		// Spread over a second or two, or they would all come back at once.
		after := 1000 + rand.IntN(2000)
		c.announce(fmt.Appendf(nil, `{"jsonrpc":"2.0","method":"closing","params":{"retry_after_ms":%d}}`, after))
		c.close(closeShutdown, "shutting down")
	}

	ctx, cancel := context.WithTimeout(context.Background(), s.cfg.CloseTimeout)
	defer cancel()
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		s.alive.Wait()
	}()
	if err := srv.Shutdown(ctx); err != nil {
		s.log.Warn("requests were cut at shutdown", "error", err)
		_ = srv.Close() // the listener is closed already
	}
	select {
	case <-gone:
	case <-ctx.Done():
	}
	s.cancel()
	for _, c := range conns {
		_ = c.sock.Close() // wakes whoever waits for it
	}
	<-gone
}

// draining says whether shutdown has begun, here or in the engine.
func (s *Server) draining() bool {
	select {
	case <-s.serving.Done():
		return true
	case <-s.rt.Draining():
		return true
	default:
		return false
	}
}

// enter counts a connection or stream in; anonymous are those that must still
// say hello. It returns why there is no room, or nil; leave counts out again.
func (s *Server) enter(anonymous bool) *sdk.Error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.shut:
		return sdk.Errorf(sdk.CodeUnavailable, "the server is shutting down; come back in a moment")
	case anonymous && s.anonymous >= s.cfg.Limits.Anonymous:
		return sdk.Errorf(sdk.CodeUnavailable,
			"%d connections have not said hello, as many as %sanonymous allows; come back in a moment, or send the token with the upgrade", s.anonymous, settings)
	case s.open+s.anonymous >= s.cfg.Limits.Connections:
		return sdk.Errorf(sdk.CodeLimitExceeded, "the server has as many connections as %sconnections allows, %d", settings, s.cfg.Limits.Connections)
	}
	if anonymous {
		s.anonymous++
	} else {
		s.open++
	}
	return nil
}

func (s *Server) leave(anonymous bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if anonymous {
		s.anonymous--
	} else {
		s.open--
	}
}

// greet makes an anonymous connection one that has said hello.
func (s *Server) greet() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open >= s.cfg.Limits.Connections {
		return false
	}
	s.anonymous--
	s.open++
	return true
}

// connections is how many WebSockets and streams are open.
func (s *Server) connections() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.open + s.anonymous
}
