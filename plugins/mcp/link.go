package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// carrier is what a session goes over: a child process or HTTP.
type carrier interface {
	transport() mcp.Transport
	gone() <-chan struct{} // closed when it is of no use any more
	end()                  // ends it, and with it what is under way
	obituary() string      // why it ended; for after end
}

// link is one session with a server.
type link struct {
	carrier
	session *mcp.ClientSession
	over    chan struct{} // closed when the session has ended
	changed chan struct{} // capacity 1: the server says that its tools changed
}

func startCarrier(sc serverConfig) (carrier, error) {
	if sc.URL != "" {
		return startRemote(sc)
	}
	return startChild(sc)
}

// tap remembers the connection, so that a handshake that fails leaves none open.
type tap struct {
	mcp.Transport
	conn mcp.Connection
}

func (t *tap) Connect(ctx context.Context) (mcp.Connection, error) {
	conn, err := t.Transport.Connect(ctx)
	t.conn = conn
	return conn, err
}

// dial starts a server and shakes hands, within the connect timeout even if it
// never says a word. protocol is the newest to offer; "" is the newest there is.
func dial(ctx context.Context, sc serverConfig, protocol string, progress func(*mcp.ProgressNotificationParams)) (*link, error) {
	c, err := startCarrier(sc)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, sc.ConnectTimeout.Std())
	defer cancel()
	l := &link{carrier: c, over: make(chan struct{}), changed: make(chan struct{}, 1)}
	client := mcp.NewClient(&mcp.Implementation{Name: "nagatha-runtime", Version: "1.0.0"}, &mcp.ClientOptions{
		// Neither roots nor sampling nor elicitation: nobody would answer.
		Capabilities: &mcp.ClientCapabilities{},
		ProgressNotificationHandler: func(_ context.Context, r *mcp.ProgressNotificationClientRequest) {
			progress(r.Params)
		},
		ToolListChangedHandler: func(context.Context, *mcp.ToolListChangedRequest) {
			select {
			case l.changed <- struct{}{}:
			default:
			}
		},
	})
	client.AddSendingMiddleware(uncached)
	t := &tap{Transport: c.transport()}
	done := make(chan struct{})
	go func() {
		defer close(done)
		l.session, err = client.Connect(ctx, t, &mcp.ClientSessionOptions{ProtocolVersion: protocol})
	}()
	select {
	case <-done:
	case <-ctx.Done():
		c.end() // the SDK may wait where the context does not reach
		<-done
		if err == nil {
			err = ctx.Err()
		}
	}
	if err != nil {
		late := errors.Is(ctx.Err(), context.DeadlineExceeded)
		c.end()
		if t.conn != nil {
			_ = t.conn.Close()
		}
		if l.session != nil {
			_ = l.session.Close()
		}
		return nil, l.refusal(sc, late, err)
	}
	go func() {
		_ = l.session.Wait()
		close(l.over)
	}()
	return l, nil
}

// errSilent is in the chain when a server did not answer in time.
var errSilent = errors.New("it did not shake hands")

func (l *link) refusal(sc serverConfig, late bool, err error) error {
	if late {
		return fmt.Errorf("%w within %s, its connect_timeout; %s", errSilent, sc.ConnectTimeout, l.obituary())
	}
	if _, ok := l.carrier.(*child); ok && errors.Is(err, mcp.ErrConnectionClosed) {
		return fmt.Errorf("it ended before it shook hands; %s", l.obituary())
	}
	return l.explain("connect", err)
}

// explain adds what is known besides to an error of a link that has ended.
func (l *link) explain(what string, err error) error {
	if strings.HasSuffix(err.Error(), "Unauthorized") || strings.HasSuffix(err.Error(), "Forbidden") {
		return fmt.Errorf("%s: %w: set the server's headers, such as Authorization", what, err)
	}
	if _, ok := l.carrier.(*child); ok && strings.Contains(err.Error(), `method not found: "initialize"`) {
		return fmt.Errorf("%s: its answer is what it was asked: is it an MCP server?", what)
	}
	if strings.HasSuffix(err.Error(), "Not Found") {
		return fmt.Errorf("%s: %w: is the server's url right? Often it ends in /mcp", what, err)
	}
	if why := l.obituary(); why != "" && !strings.Contains(err.Error(), why) {
		return fmt.Errorf("%s: %w; %s", what, err, why)
	}
	return fmt.Errorf("%s: %w", what, err)
}

// uncached makes every list a question to the server: a health check that is
// answered from a cache says nothing.
func uncached(next mcp.MethodHandler) mcp.MethodHandler {
	return func(ctx context.Context, method string, req mcp.Request) (mcp.Result, error) {
		res, err := next(ctx, method, req)
		switch r := res.(type) {
		case *mcp.ListToolsResult:
			if r != nil {
				r.TTLMs = 0
			}
		case *mcp.ReadResourceResult:
			if r != nil {
				r.TTLMs = 0
			}
		}
		return res, err
	}
}

// do calls f, and holds ctx's deadline even where the SDK does not: a write to a
// server that reads no more blocks once its pipe is full. Such a link is ended.
func (l *link) do(ctx context.Context, f func(context.Context, *mcp.ClientSession) error) error {
	done := make(chan error, 1)
	go func() { done <- f(ctx, l.session) }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	t := time.NewTimer(clogged)
	defer t.Stop()
	select {
	case err := <-done:
		return err
	case <-t.C:
	}
	l.end()
	return <-done
}

// clogged is how long a request may take to return once its context has ended.
const clogged = 250 * time.Millisecond

// dead reports whether the session is of no use any more. After an error it may
// take a moment to show.
func (l *link) dead(wait time.Duration) bool {
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case <-l.over:
	case <-l.gone():
	case <-t.C:
		return false
	}
	return true
}

// close ends the session and what carries it, and waits for both.
func (l *link) close() {
	l.end()
	_ = l.session.Close()
	<-l.over
}

// speaks says what was agreed on.
func (l *link) speaks() (protocol, server string) {
	r := l.session.InitializeResult()
	if r == nil {
		return "", ""
	}
	if r.ServerInfo != nil {
		server = strings.TrimSpace(r.ServerInfo.Name + " " + r.ServerInfo.Version)
	}
	return r.ProtocolVersion, server
}
