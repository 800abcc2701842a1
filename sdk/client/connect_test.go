package client

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/nagatha/nagatha-runtime/sdk"
)

func TestGivesUp(t *testing.T) {
	f := newFake(t)
	f.append("tsk_a", sdk.EventCreated, `{}`)
	conn := f.connect(t, func(c *Config) { c.GiveUp = 100 * time.Millisecond })
	s, err := conn.Subscribe(t.Context(), SubscribeRequest{Task: "tsk_a"})
	if err != nil {
		t.Fatal(err)
	}
	f.mu.Lock()
	f.refuse = 503
	f.mu.Unlock()
	f.breakAll(0, "")
	for {
		if _, err = s.Next(t.Context()); err != nil {
			break
		}
	}
	var lost *LostError
	if !errors.As(err, &lost) || lost.GaveUp != 100*time.Millisecond || sdk.CodeOf(err) != sdk.CodeUnavailable {
		t.Fatalf("got %v", err)
	}
	if _, err := conn.Get(t.Context(), "tsk_a"); !errors.As(err, &lost) {
		t.Errorf("a request afterwards: %v", err)
	}
}

// A server that takes connections only to drop them is no server.
func TestGivesUpOnABrokenServer(t *testing.T) {
	f := newFake(t)
	conn := f.connect(t, func(c *Config) { c.GiveUp = 100 * time.Millisecond })
	if _, err := conn.Get(t.Context(), "tsk_none"); sdk.CodeOf(err) != sdk.CodeNotFound {
		t.Fatal(err)
	}
	f.mu.Lock()
	f.on = func(c *fakeConn, m message) bool { _ = c.ws.NetConn().Close(); return true }
	f.mu.Unlock()
	var lost *LostError
	if _, err := conn.Get(t.Context(), "tsk_none"); !errors.As(err, &lost) && !errors.Is(err, ErrNoReply) {
		t.Fatalf("got %v", err)
	}
}

func TestRefusalsAreFinal(t *testing.T) {
	for code, want := range map[int]sdk.Code{4500: sdk.CodeUnauthorized, 4501: sdk.CodeInvalidRequest,
		4504: sdk.CodeLimitExceeded, 1008: sdk.CodeInvalidRequest} {
		f := newFake(t)
		f.append("tsk_a", sdk.EventCreated, `{}`)
		conn := f.connect(t)
		s, err := conn.Subscribe(t.Context(), SubscribeRequest{Task: "tsk_a"})
		if err != nil {
			t.Fatal(err)
		}
		f.breakAll(code, "because")
		for err == nil {
			_, err = s.Next(t.Context())
		}
		var lost *LostError
		if !errors.As(err, &lost) || sdk.CodeOf(err) != want || !strings.Contains(err.Error(), "because") {
			t.Errorf("%d: %v", code, err)
		}
		if n := f.count(&f.dials); n != 1 {
			t.Errorf("%d: dialled %d times", code, n)
		}
	}
}

func TestClosingIsHonoured(t *testing.T) {
	f := newFake(t)
	downs := make(chan time.Time, 10)
	ups := make(chan time.Time, 10)
	conn := f.connect(t, func(c *Config) {
		c.OnLink = func(up bool, _ error) {
			if up {
				ups <- time.Now()
			} else {
				downs <- time.Now()
			}
		}
	})
	<-ups
	f.mu.Lock()
	for c := range f.conns {
		c.note("closing", map[string]any{"retry_after_ms": 150})
	}
	f.mu.Unlock()
	if _, err := conn.Get(t.Context(), "x"); sdk.CodeOf(err) != sdk.CodeNotFound {
		t.Fatal(err) // and the notification has been read
	}
	f.breakAll(4000, "shutting down")
	if d := (<-ups).Sub(<-downs); d < 150*time.Millisecond {
		t.Errorf("came back after %s", d)
	}
}

func TestConnectErrors(t *testing.T) {
	f := newFake(t)
	cl, err := New(Config{Server: f.URL, Token: "wrong"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := cl.Connect(t.Context()); sdk.CodeOf(err) != sdk.CodeUnauthorized || !strings.Contains(err.Error(), "this token is not known") {
		t.Errorf("wrong token: %v", err)
	}
	if _, err := cl.System(t.Context()); sdk.CodeOf(err) != sdk.CodeUnauthorized {
		t.Errorf("wrong token: %v", err)
	}
	f.Close()
	var lost *LostError
	if _, err := cl.Connect(t.Context()); !errors.As(err, &lost) || !lost.Never {
		t.Errorf("nobody there: %v", err)
	}
	if _, err := cl.Plugins(t.Context()); !errors.As(err, &lost) || !lost.Never {
		t.Errorf("nobody there: %v", err)
	}
	for _, server := range []string{"localhost:8765", "ftp://x", "http://", "http://u:p@host", "http://h?token=x"} {
		if _, err := New(Config{Server: server}); err == nil {
			t.Errorf("%q was accepted", server)
		}
	}
}

// Whoever does not want to wait any more for a server that is silent does not wait.
func TestConnectToTheSilent(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	cl, err := New(Config{Server: "http://" + l.Addr().String(), Dialer: &websocket.Dialer{}}) // without a deadline
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var silent sync.WaitGroup
	silent.Go(func() {
		line, err := l.Accept()
		if err != nil {
			t.Error(err)
			return
		}
		defer line.Close()
		if _, err := line.Read(make([]byte, 1)); err != nil {
			t.Error(err)
		}
		cancel()
		_, _ = io.Copy(io.Discard, line) // until the client goes
	})
	if _, err := cl.Connect(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	silent.Wait()
}
