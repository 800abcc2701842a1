package client

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"testing"

	"github.com/gorilla/websocket"

	"github.com/nagatha/nagatha-runtime/sdk"
)

// A submit whose reply is lost is sent again, and there is one task.
func TestSubmitIsNeverDoubled(t *testing.T) {
	f := newFake(t)
	// The first lines break instead of the first reply that is not to a ping.
	cuts := 0
	f.on = func(c *fakeConn, m message) bool {
		if m.Method == "task.submit" && cuts < 3 {
			cuts++
			c.dead = true // the reply is lost
			c.request(m)
			_ = c.ws.NetConn().Close()
			return true
		}
		return false
	}
	conn := f.connect(t)
	got, err := conn.Submit(t.Context(), sdk.Submission{Kind: "demo.echo", Payload: json.RawMessage(`{"a":1}`)})
	if err != nil || got.Deduplicated || got.Task.ID != "tsk_1" {
		t.Fatalf("%+v, %v", got, err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.submits != 4 || len(f.tasks) != 1 {
		t.Errorf("%d submits, %d tasks", f.submits, len(f.tasks))
	}
}

func TestSubmitsOfManyGoroutinesOverABadLine(t *testing.T) {
	f := newFake(t)
	f.cutAfter = func(dial int) int { return 20 + dial }
	conn := f.connect(t)
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			for range 4 {
				if _, err := conn.Submit(t.Context(), sdk.Submission{Kind: "demo.echo"}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.tasks) != 200 {
		t.Errorf("%d tasks", len(f.tasks))
	}
}

func TestSubmitMany(t *testing.T) {
	f := newFake(t)
	conn := f.connect(t)
	subs := make([]sdk.Submission, 2500)
	for i := range subs {
		subs[i].Kind = "demo.echo"
	}
	subs[1700].Kind = "bad"
	got, err := conn.SubmitMany(t.Context(), subs)
	if err != nil || len(got) != 2500 {
		t.Fatalf("%d, %v", len(got), err)
	}
	for i, r := range got {
		if (r.Err != nil) != (i == 1700) || (r.Err == nil && r.Task.ID == "") {
			t.Fatalf("%d: %+v", i, r)
		}
	}
	big := json.RawMessage(`"` + strings.Repeat("x", 1<<20) + `"`)
	largest := 0
	f.mu.Lock()
	f.on = func(c *fakeConn, m message) bool { largest = max(largest, len(m.Params)); return false }
	f.mu.Unlock()
	got, err = conn.SubmitMany(t.Context(), []sdk.Submission{{Kind: "a.b", Payload: big}, {Kind: "a.b", Payload: big}, {Kind: "a.b", Payload: big}})
	if err != nil || len(got) != 3 || f.count(&largest) > 3<<20 {
		t.Errorf("large payloads: %d results, %v, largest frame %d", len(got), err, f.count(&largest))
	}
	got, err = conn.SubmitMany(t.Context(), []sdk.Submission{{Kind: "a.b", Payload: json.RawMessage("{")}})
	if sdk.CodeOf(err) != sdk.CodeInvalid || len(got) != 0 {
		t.Errorf("%v, %v", got, err)
	}
}

// What must not be done twice is not, and the caller is told.
func TestRetryIsNotSentAgain(t *testing.T) {
	f := newFake(t)
	f.on = func(c *fakeConn, m message) bool {
		if m.Method == "task.retry" {
			_ = c.ws.NetConn().Close()
			return true
		}
		return false
	}
	conn := f.connect(t)
	if _, err := conn.Retry(t.Context(), "tsk_1"); !errors.Is(err, ErrNoReply) || sdk.CodeOf(err) != sdk.CodeUnavailable {
		t.Errorf("got %v", err)
	}
}

func TestTooLargeARequestFailsAlone(t *testing.T) {
	f := newFake(t)
	f.on = func(c *fakeConn, m message) bool {
		if len(m.Params) > 1000 {
			_ = c.ws.WriteMessage(websocket.CloseMessage, websocket.FormatCloseMessage(1009, "see server.limits.frame_bytes"))
			return true
		}
		return false
	}
	conn := f.connect(t)
	_, err := conn.Submit(t.Context(), sdk.Submission{Kind: "a.b", Payload: json.RawMessage(`"` + strings.Repeat("x", 2000) + `"`)})
	if sdk.CodeOf(err) != sdk.CodeLimitExceeded || !strings.Contains(err.Error(), "frame_bytes") {
		t.Errorf("got %v", err)
	}
	if _, err := conn.Submit(t.Context(), sdk.Submission{Kind: "a.b"}); err != nil {
		t.Errorf("the next one: %v", err)
	}
}

func TestCloseEndsEverything(t *testing.T) {
	f := newFake(t)
	f.append("tsk_a", sdk.EventCreated, `{}`)
	f.on = func(c *fakeConn, m message) bool { return m.Method == "task.get" } // never answered
	conn := f.connect(t)
	s, err := conn.Subscribe(t.Context(), SubscribeRequest{Task: "tsk_a"})
	if err != nil {
		t.Fatal(err)
	}
	got := make(chan error, 2)
	go func() { _, err := conn.Get(context.Background(), "tsk_a"); got <- err }()
	go func() {
		for {
			if _, err := s.Next(context.Background()); err != nil {
				got <- err
				return
			}
		}
	}()
	if err := conn.Close(); err != nil {
		t.Error(err)
	}
	for range 2 {
		if err := <-got; !errors.Is(err, ErrClosed) {
			t.Errorf("got %v", err)
		}
	}
	_ = conn.Close()
	if _, err := conn.Submit(t.Context(), sdk.Submission{Kind: "a.b"}); !errors.Is(err, ErrClosed) {
		t.Errorf("after close: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := f.connect(t).Get(ctx, "tsk_a"); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}
