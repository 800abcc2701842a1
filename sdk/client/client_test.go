package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/nagatha/nagatha-runtime/sdk"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// seqs reads a subscription to its end.
func seqs(t *testing.T, s *Subscription) (events []int64, methods string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for n, err := range s.All(ctx) {
		if err != nil {
			t.Fatalf("after %d events: %v", len(events), err)
		}
		if n.Method == MethodEvent {
			events = append(events, n.Event.Seq)
		} else {
			methods += n.Method + " "
		}
	}
	return events, methods
}

func dense(t *testing.T, got []int64, n int) {
	t.Helper()
	if len(got) != n {
		t.Fatalf("got %d events, want %d: %v", len(got), n, got)
	}
	for i, seq := range got {
		if seq != int64(i+1) {
			t.Fatalf("event %d has seq %d: %v", i+1, seq, got)
		}
	}
}

// Whatever frame the line breaks after, a subscription yields each event once,
// in order, and its snapshot and live notice once.
func TestCutAfterEveryKthFrame(t *testing.T) {
	f := newFake(t)
	f.history("tsk_a", 12)
	for k := 1; k <= 20; k++ {
		f.mu.Lock()
		first := f.dials
		// Always the same k would make no progress while k frames are not enough
		// for a reply and an event, so it grows by one with each break.
		f.cutAfter = func(dial int) int { return k + dial - first - 1 }
		f.mu.Unlock()
		conn := f.connect(t)
		s, err := conn.Subscribe(t.Context(), SubscribeRequest{Task: "tsk_a"})
		if err != nil {
			t.Fatalf("k=%d: %v", k, err)
		}
		got, methods := seqs(t, s)
		dense(t, got, 12)
		if strings.Count(methods, "snapshot") != 1 || strings.Count(methods, "live") > 1 || strings.Contains(methods, "gap") {
			t.Errorf("k=%d: besides events: %s", k, methods)
		}
		_ = conn.Close()
	}
}

// Events that happen while the line is down are not missed.
func TestBreaksWhileEventsHappen(t *testing.T) {
	f := newFake(t)
	f.append("tsk_a", sdk.EventCreated, `{}`)
	conn := f.connect(t)
	s, err := conn.Subscribe(t.Context(), SubscribeRequest{Task: "tsk_a"})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 30 {
		if i%3 == 0 {
			f.breakAll([]int{0, 4000, 4008, 1001}[i/3%4], "")
		}
		f.append("tsk_a", sdk.EventProgress, `{}`)
	}
	f.append("tsk_a", sdk.EventCompleted, `{"result":1}`)
	got, _ := seqs(t, s)
	dense(t, got, 32)
	if s.Cursor() != "32" {
		t.Errorf("cursor is %q", s.Cursor())
	}
	if _, err := s.Next(t.Context()); !errors.Is(err, io.EOF) {
		t.Errorf("after the end: %v", err)
	}
}

func TestTopicsGoOnAfterTheCursor(t *testing.T) {
	f := newFake(t)
	conn := f.connect(t)
	s, err := conn.Subscribe(t.Context(), SubscribeRequest{Topics: []string{"event.demo.*"}})
	if err != nil {
		t.Fatal(err)
	}
	next := func(want string) {
		t.Helper()
		n, err := s.Next(t.Context())
		if err != nil || n.Message == nil || n.Message.ID != want {
			t.Fatalf("got %+v, %v, want message %s", n, err, want)
		}
	}
	f.publish("a")
	next("a")
	f.breakAll(0, "")
	f.publish("b")
	f.publish("c")
	next("b")
	next("c")
}

// A topic subscription that never had an event cannot know where to go on, and
// says so.
func TestLostPlaceIsAGap(t *testing.T) {
	f := newFake(t)
	conn := f.connect(t)
	s, err := conn.Subscribe(t.Context(), SubscribeRequest{Topics: []string{"event.>"}})
	if err != nil {
		t.Fatal(err)
	}
	f.breakAll(0, "")
	if n, err := s.Next(t.Context()); err != nil || n.Method != MethodGap || n.Reason == "" {
		t.Fatalf("got %+v, %v", n, err)
	}
}

// Only the latest life's end ends a subscription, even when the retry comes
// between the end event and the client's question.
func TestRetryOpensANewLife(t *testing.T) {
	f := newFake(t)
	f.append("tsk_a", sdk.EventCreated, `{}`)
	conn := f.connect(t)
	s, err := conn.Subscribe(t.Context(), SubscribeRequest{Task: "tsk_a"})
	if err != nil {
		t.Fatal(err)
	}
	f.mu.Lock()
	retried := false
	f.on = func(c *fakeConn, m message) bool {
		if m.Method == "task.get" && !retried {
			retried = true
			task := f.tasks["tsk_a"]
			task.task.Life, task.task.State = 2, sdk.StateQueued
			task.events = append(task.events, sdk.TaskEvent{Seq: 3, Type: sdk.EventQueued, Task: "tsk_a", Life: 2})
		}
		return false
	}
	f.mu.Unlock()
	f.append("tsk_a", sdk.EventFailed, `{"error":{"code":"handler_error"}}`)
	for seq := int64(0); seq < 3; {
		n, err := s.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if n.Event != nil {
			seq = n.Event.Seq
		}
	}
	f.append("tsk_a", sdk.EventCompleted, `{"result":1}`)
	got, _ := seqs(t, s)
	if len(got) != 1 || got[0] != 4 {
		t.Fatalf("after the retry: %v", got)
	}
}

// A consumer that is slow, and asks something for each event, gets all of them;
// others are not held up; the queue stays bounded.
func TestSlowConsumer(t *testing.T) {
	f := newFake(t)
	f.history("tsk_a", 300)
	conn := f.connect(t, func(c *Config) { c.Buffer = 8 })
	s, err := conn.Subscribe(t.Context(), SubscribeRequest{Task: "tsk_a"})
	if err != nil {
		t.Fatal(err)
	}
	var got []int64
	for n, err := range s.All(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Get(t.Context(), "tsk_a"); err != nil {
			t.Fatal(err)
		}
		conn.mu.Lock()
		if len(s.queue) > 8+3 { // and what is no event
			t.Errorf("queue holds %d", len(s.queue))
		}
		conn.mu.Unlock()
		if n.Event != nil {
			got = append(got, n.Event.Seq)
		}
	}
	dense(t, got, 300)
	if f.count(&f.subs) < 10 {
		t.Errorf("subscribed %d times: the queue was never full", f.count(&f.subs))
	}
}

// A slow consumer whose place at the server another subscription has taken meanwhile goes
// on once there is one again.
func TestSlowConsumerWithoutAPlace(t *testing.T) {
	f := newFake(t)
	f.history("tsk_a", 40)
	f.append("tsk_b", sdk.EventCreated, `{}`)
	full := make(chan struct{}, 100)
	f.on = func(c *fakeConn, m message) bool {
		if m.Method != "subscribe" || len(c.subs) == 0 {
			return false
		}
		c.fail(m, sdk.CodeLimitExceeded, false)
		full <- struct{}{}
		return true
	}
	conn := f.connect(t, func(c *Config) { c.Buffer = 4 })
	slow, err := conn.Subscribe(t.Context(), SubscribeRequest{Task: "tsk_a"})
	if err != nil {
		t.Fatal(err)
	}
	var other *Subscription
	for other == nil { // until the first is paused
		if other, err = conn.Subscribe(t.Context(), SubscribeRequest{Task: "tsk_b"}); err != nil && sdk.CodeOf(err) != sdk.CodeLimitExceeded {
			t.Fatal(err)
		}
	}
	for len(full) > 0 {
		<-full
	}
	var got []int64
	next := func() {
		t.Helper()
		n, err := slow.Next(t.Context())
		if err != nil {
			t.Fatalf("after %d events: %v", len(got), err)
		}
		if n.Event != nil {
			got = append(got, n.Event.Seq)
		}
	}
	for len(got) < 3 { // there is room again, and no place
		next()
	}
	<-full
	if err := other.Close(); err != nil {
		t.Fatal(err)
	}
	for len(got) < 40 {
		next()
	}
	dense(t, got, 40)
}

func TestTypesAndWait(t *testing.T) {
	f := newFake(t)
	f.history("tsk_a", 5)
	conn := f.connect(t)
	s, err := conn.Subscribe(t.Context(), SubscribeRequest{Task: "tsk_a", Types: []string{sdk.EventProgress}})
	if err != nil {
		t.Fatal(err)
	}
	if got, _ := seqs(t, s); len(got) != 4 {
		t.Errorf("wanted the progress only, and an end: %v", got)
	}
	if task, err := conn.Wait(t.Context(), "tsk_a"); err != nil || task.State != sdk.StateCompleted {
		t.Errorf("wait for what has ended: %v, %v", task.State, err)
	}
	var followed []int64
	for n, err := range conn.Follow(t.Context(), "tsk_a", "") {
		if err != nil {
			t.Fatal(err)
		}
		if n.Method == MethodEvent {
			followed = append(followed, n.Event.Seq)
		}
	}
	dense(t, followed, 5)
	f.append("tsk_b", sdk.EventCreated, `{}`)
	done := make(chan error, 1)
	go func() {
		task, err := conn.Wait(context.Background(), "tsk_b")
		if err == nil && task.State != sdk.StateCompleted {
			err = errors.New("it is " + string(task.State))
		}
		done <- err
	}()
	f.breakAll(0, "")
	f.append("tsk_b", sdk.EventCompleted, `{}`)
	if err := <-done; err != nil {
		t.Errorf("wait: %v", err)
	}
	if _, err := conn.Subscribe(t.Context(), SubscribeRequest{Task: "tsk_none"}); sdk.CodeOf(err) != sdk.CodeNotFound {
		t.Errorf("unknown task: %v", err)
	}
}

func TestREST(t *testing.T) {
	f := newFake(t)
	cl, err := New(Config{Server: f.URL + "/", Token: "secret"})
	if err != nil {
		t.Fatal(err)
	}
	if s, err := cl.System(t.Context()); err != nil || s.Version != "1.2.3" || s.Uptime.Std() != 5*time.Second {
		t.Errorf("%+v, %v", s, err)
	}
	if p, err := cl.Plugins(t.Context()); err != nil || len(p) != 1 || p[0].Name != "demo" {
		t.Errorf("%+v, %v", p, err)
	}
}

// What is asked for while there is no connection waits for the next one.
func TestAskedForWhileTheLineIsDown(t *testing.T) {
	f := newFake(t)
	f.history("tsk_a", 3)
	ups, downs := make(chan struct{}, 100), make(chan struct{}, 100)
	conn := f.connect(t, func(c *Config) {
		c.OnLink = func(up bool, _ error) {
			if up {
				ups <- struct{}{}
			} else {
				downs <- struct{}{}
			}
		}
	})
	<-ups
	f.mu.Lock()
	f.refuse = 503
	f.mu.Unlock()
	f.breakAll(0, "")
	<-downs
	var (
		wg  sync.WaitGroup
		sub *Subscription
		err error
	)
	wg.Go(func() {
		if _, err := conn.Get(t.Context(), "tsk_a"); err != nil {
			t.Error(err)
		}
	})
	wg.Go(func() {
		if sub, err = conn.Subscribe(t.Context(), SubscribeRequest{Task: "tsk_a"}); err != nil {
			t.Error(err)
		}
	})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := conn.Subscribe(ctx, SubscribeRequest{Task: "tsk_a"}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	f.mu.Lock()
	f.refuse = 0
	f.mu.Unlock()
	wg.Wait()
	if !t.Failed() {
		got, _ := seqs(t, sub)
		dense(t, got, 3)
	}
	<-ups // and the line counts as working
}

// A server that repeats what came before the cursor is not believed.
func TestRepeatedEventsAreDropped(t *testing.T) {
	f := newFake(t)
	f.overlap = 3
	f.append("tsk_a", sdk.EventCreated, `{}`)
	conn := f.connect(t)
	task, err := conn.Subscribe(t.Context(), SubscribeRequest{Task: "tsk_a"})
	if err != nil {
		t.Fatal(err)
	}
	topic, err := conn.Subscribe(t.Context(), SubscribeRequest{Topics: []string{"event.>"}})
	if err != nil {
		t.Fatal(err)
	}
	var heard []string
	for i := range 12 {
		f.append("tsk_a", sdk.EventProgress, `{}`)
		f.publish(fmt.Sprint(i))
		n, err := topic.Next(t.Context())
		if err != nil || n.Message == nil {
			t.Fatalf("%+v, %v", n, err)
		}
		heard = append(heard, n.Message.ID)
		if i%4 == 3 {
			f.breakAll(0, "")
		}
	}
	f.append("tsk_a", sdk.EventCompleted, `{}`)
	got, _ := seqs(t, task)
	dense(t, got, 14)
	if want := "[0 1 2 3 4 5 6 7 8 9 10 11]"; fmt.Sprint(heard) != want {
		t.Errorf("heard %v", heard)
	}
}
