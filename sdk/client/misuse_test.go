package client

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/nagatha/nagatha-runtime/sdk"
)

// With a context that has ended nothing is asked for.
func TestEndedContext(t *testing.T) {
	f := newFake(t)
	conn := f.connect(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for range 5000 {
		if _, err := conn.Submit(ctx, sdk.Submission{Kind: "demo.echo"}); !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
		if _, err := conn.Subscribe(ctx, SubscribeRequest{Task: "tsk_a"}); !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
	}
	if _, err := conn.Submit(t.Context(), sdk.Submission{Kind: "demo.echo"}); err != nil {
		t.Fatal(err)
	}
	if f.count(&f.submits) != 1 || f.count(&f.subs) != 0 {
		t.Errorf("%d submits, %d subscriptions", f.count(&f.submits), f.count(&f.subs))
	}
}

// A proxy that redirects makes of a POST a GET, whose answer is another one.
func TestRedirect(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if old, ok := strings.CutPrefix(r.URL.Path, "/old"); ok {
			http.Redirect(w, r, "/new"+old, http.StatusMovedPermanently)
			return
		}
		_, _ = w.Write([]byte(`{"tokens":[{"id":"a"}]}`))
	}))
	defer srv.Close()
	c, err := New(Config{Server: srv.URL + "/old"})
	if err != nil {
		t.Fatal(err)
	}
	if made, err := c.CreateToken(t.Context(), sdk.AccessToken{Name: "a"}); sdk.CodeOf(err) != sdk.CodeInvalidRequest || !strings.Contains(err.Error(), "/new/api/v1/tokens") {
		t.Errorf("got %+v, %v", made, err)
	}
	if list, err := c.Tokens(t.Context()); err != nil || len(list) != 1 {
		t.Errorf("got %v, %v", list, err)
	}
}

func TestExtensionsKeepTheirPlace(t *testing.T) {
	conn := newFake(t).connect(t)
	e := sdk.Event{Type: "demo.ping", Extensions: map[string]string{"type": "demo.other"}}
	if _, err := conn.Publish(t.Context(), e); sdk.CodeOf(err) != sdk.CodeInvalid {
		t.Errorf("got %v", err)
	}
}

type answers func() error

func (f answers) RoundTrip(req *http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: http.StatusOK, Request: req, Body: io.NopCloser(f)}, nil
}

func (f answers) Read([]byte) (int, error) { return 0, f() }

// An answer that stops on its way is the network's error, or the context's.
func TestHalfAnAnswer(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	var lost *LostError
	for _, stop := range []func() error{
		func() error { return io.ErrUnexpectedEOF },
		func() error { cancel(); return ctx.Err() },
	} {
		c, err := New(Config{HTTPClient: &http.Client{Transport: answers(stop)}})
		if err != nil {
			t.Fatal(err)
		}
		_, err = c.System(ctx)
		if ended := ctx.Err() != nil; ended && err != ctx.Err() || !ended && (!errors.As(err, &lost) || sdk.CodeOf(err) != sdk.CodeUnavailable) {
			t.Errorf("got %v", err)
		}
	}
}

func TestZeroLostError(t *testing.T) {
	err := error(&LostError{})
	if sdk.CodeOf(err) != sdk.CodeUnavailable || errors.Is(err, ErrClosed) || err.Error() == "" {
		t.Errorf("got %v", err)
	}
	if _, err := New(Config{Server: "localhost:8765"}); err == nil || !strings.Contains(err.Error(), "http://") {
		t.Errorf("got %v", err)
	}
	if b, err := json.Marshal(SubscribeRequest{}); string(b) != "{}" || err != nil {
		t.Errorf("%s, %v", b, err)
	}
}

// A server lets a client without a token in to say hello, and no further.
func TestNoToken(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ws, err := (&websocket.Upgrader{}).Upgrade(w, r, nil)
		if err != nil {
			return
		}
		defer func() { _ = ws.Close() }()
		_, _, _ = ws.ReadMessage()
		_ = ws.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(4500, "the first request must be hello"), time.Now().Add(time.Second))
	}))
	defer srv.Close()
	c, err := New(Config{Server: srv.URL})
	if err != nil {
		t.Fatal(err)
	}
	conn, err := c.Connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if _, err := conn.Get(t.Context(), "tsk_a"); sdk.CodeOf(err) != sdk.CodeUnauthorized || !strings.Contains(err.Error(), "Config.Token") {
		t.Errorf("got %v", err)
	}
}
