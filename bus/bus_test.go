package bus_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/nagatha/nagatha-runtime/bus"
	"github.com/nagatha/nagatha-runtime/bus/bustest"
	"github.com/nagatha/nagatha-runtime/runtime"
	"github.com/nagatha/nagatha-runtime/runtime/store"
	"github.com/nagatha/nagatha-runtime/runtime/store/storetest"
	"github.com/nagatha/nagatha-runtime/sdk"
)

func TestMain(m *testing.M) {
	if path := os.Getenv("TEST_PUBLISHER"); path != "" {
		publishUntilKilled(path)
	}
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		storetest.StopPostgres()
		os.Exit(code)
	}))
}

func open(t testing.TB, path string, outbox func(bus.Tx, []sdk.Event) error) *store.Store {
	t.Helper()
	cfg := store.Config{Path: path, Verbs: bus.Verbs(), Outbox: outbox,
		Migrations: []store.Migrations{{Name: "bus", FS: bus.Migrations()}}}
	switch {
	case path == "":
		cfg.Path = filepath.Join(t.TempDir(), "bus.db")
	case strings.HasPrefix(path, "postgres:"):
		cfg.Path, cfg.URL = "", path
	}
	s, err := store.Open(context.Background(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func TestSQLite(t *testing.T) {
	bustest.Run(t, func(t *testing.T) bus.DB { return open(t, "", nil) })
}

func TestPostgres(t *testing.T) {
	bustest.Run(t, func(t *testing.T) bus.DB { return open(t, storetest.Postgres(t), nil) })
}

// An event is the same after a journey through a message.
func TestEventsSurviveMessages(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		e := sdk.Event{
			ID: rapid.StringMatching(`[ -~]{1,20}`).Draw(t, "id"), Source: rapid.StringMatching(`.{1,20}`).Draw(t, "source"),
			Type: "demo.ping", Subject: rapid.String().Draw(t, "subject"), Time: sdk.Time(rapid.Int64Range(1, 4e12).Draw(t, "time")),
			Data: []byte(rapid.StringMatching(`"[a-z]{0,20}"`).Draw(t, "data")), Hops: rapid.IntRange(0, 16).Draw(t, "hops"),
			Extensions: rapid.MapOf(rapid.StringMatching(`x[a-z0-9]{1,19}`), rapid.String()).Draw(t, "extensions"),
		}
		got, err := bus.Unmarshal(bus.Marshal(e))
		if err != nil || fmt.Sprint(got) != fmt.Sprint(e) {
			t.Fatalf("%+v became %+v, %v", e, got, err)
		}
	})
	m := bus.Marshal(sdk.Event{ID: "1", Source: "s", Type: "t"})
	for k, v := range map[string]string{"ce-id": "", "ce-type": "", "ce-source": "", "ce-time": "noon", "nagatha-hops": "-1"} {
		bad := m.Copy()
		bad.Metadata.Set(k, v)
		if _, err := bus.Unmarshal(bad); err == nil {
			t.Errorf("%s = %q passed", k, v)
		}
	}
	for _, data := range []string{"hello", "[1,"} { // a task could not be made of it, and it would come again for ever
		bad := m.Copy()
		bad.Payload = []byte(data)
		if _, err := bus.Unmarshal(bad); err == nil {
			t.Errorf("the data %s passed", data)
		}
	}
}

// Publishing joins the store's transaction: with it, or not at all.
func TestOutbox(t *testing.T) {
	fail := false
	s := open(t, "", func(tx bus.Tx, events []sdk.Event) error {
		if err := bus.Outbox(tx, events); err != nil || fail {
			return errors.Join(err, errors.New("the rest of the transaction failed"))
		}
		return nil
	})
	b := bus.NewSQL(s)
	sub := b.Subscriber(bus.SubscriberConfig{})
	ch, err := sub.Subscribe(t.Context(), bus.Topic)
	if err != nil {
		t.Fatal(err)
	}
	defer sub.Close()
	fail = true
	if err := s.Publish(t.Context(), runtime.Fence{}, []sdk.Event{{ID: "lost", Source: "s", Type: "t"}}); err == nil {
		t.Fatal("it was published")
	}
	fail = false
	if err := s.Publish(t.Context(), runtime.Fence{}, []sdk.Event{{ID: "kept", Source: "s", Type: "t"}}); err != nil {
		t.Fatal(err)
	}
	b.Wake()
	m := <-ch
	if e, err := bus.Unmarshal(m); err != nil || e.ID != "kept" {
		t.Errorf("got %+v, %v", e, err)
	}
	m.Ack()
}

// What Watermill says of its own doings stays out of the log, at every level.
func TestWatermillIsQuiet(t *testing.T) {
	var said bytes.Buffer
	b, err := bus.New(bus.Config{Subscriber: bus.NewGoChannel(nil), Handle: func(context.Context, sdk.Event) error { return nil },
		Logger: slog.New(slog.NewTextHandler(&said, &slog.HandlerOptions{Level: slog.LevelDebug - 4}))})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- b.Run(ctx) }()
	<-b.Running()
	cancel()
	if err := <-done; err != nil || said.Len() > 0 {
		t.Errorf("%v, and the log says:\n%s", err, said.String())
	}
}

// An event that fails is one line of the log, which says what becomes of it.
func TestFailureIsLoggedOnce(t *testing.T) {
	var said bytes.Buffer
	backend, tries := bus.NewGoChannel(nil), 0
	delivered := make(chan struct{})
	b, err := bus.New(bus.Config{Subscriber: backend, Logger: slog.New(slog.NewTextHandler(&said, nil)),
		Handle: func(context.Context, sdk.Event) error {
			if tries++; tries == 1 {
				return errors.New("not yet")
			}
			close(delivered)
			return nil
		}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- b.Run(ctx) }()
	<-b.Running()
	if err := backend.Publish(bus.Topic, bus.Marshal(sdk.Event{ID: "evt_1", Source: "s", Type: "demo.ping"})); err != nil {
		t.Fatal(err)
	}
	<-delivered
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	text := said.String()
	if strings.Count(text, "\n") != 1 || !strings.Contains(text, "event evt_1 of type demo.ping could not be delivered and will come again: not yet") {
		t.Errorf("the log says:\n%s", text)
	}
}

// publishUntilKilled publishes from many goroutines and says what was
// acknowledged.
func publishUntilKilled(path string) {
	s, err := store.Open(context.Background(), store.Config{Path: path, Verbs: bus.Verbs(),
		Migrations: []store.Migrations{{Name: "bus", FS: bus.Migrations()}}})
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	b := bus.NewSQL(s)
	if err := b.Subscriber(bus.SubscriberConfig{}).SubscribeInitialize("t"); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	var mu sync.Mutex
	for g := range 16 {
		go func() {
			p := b.Publisher()
			for i := 0; ; i++ {
				id := fmt.Sprintf("%d-%d", g, i)
				if err := p.Publish("t", message.NewMessage(id, []byte(id))); err != nil {
					continue
				}
				mu.Lock()
				fmt.Println("ack", id)
				mu.Unlock()
			}
		}()
	}
	select {}
}

func TestKill9LosesNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "bus.db")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), "TEST_PUBLISHER="+path)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	acked := map[string]bool{}
	var line strings.Builder
	buf := make([]byte, 4096)
	for {
		n, err := out.Read(buf)
		line.Write(buf[:n])
		if strings.Count(line.String(), "\n") > 2000 {
			_ = cmd.Process.Kill()
		}
		if err != nil {
			break
		}
	}
	_ = cmd.Wait()
	text := line.String()
	for l := range strings.Lines(text[:strings.LastIndexByte(text, '\n')+1]) {
		id, ok := strings.CutPrefix(strings.TrimSpace(l), "ack ")
		if !ok {
			t.Fatalf("the publisher said %q", l)
		}
		acked[id] = true
	}
	if len(acked) < 2000 {
		t.Fatalf("only %d were acknowledged", len(acked))
	}

	s := open(t, path, nil)
	sub := bus.NewSQL(s).Subscriber(bus.SubscriberConfig{Alone: true})
	ch, err := sub.Subscribe(t.Context(), "t")
	if err != nil {
		t.Fatal(err)
	}
	defer sub.Close()
	late := time.After(30 * time.Second)
	for len(acked) > 0 {
		select {
		case m := <-ch:
			delete(acked, m.UUID)
			m.Ack()
		case <-late:
			t.Fatalf("%d acknowledged messages are lost", len(acked))
		}
	}
}

// BenchmarkPublishAndConsume measures messages from 64 publishers to one group.
func BenchmarkPublishAndConsume(b *testing.B) {
	s := open(b, "", nil)
	backend := bus.NewSQL(s)
	sub := backend.Subscriber(bus.SubscriberConfig{InFlight: 256})
	ch, err := sub.Subscribe(b.Context(), "t")
	if err != nil {
		b.Fatal(err)
	}
	defer sub.Close()
	p := backend.Publisher()
	payload := []byte(strings.Repeat("x", 256))
	b.ResetTimer()
	var wg sync.WaitGroup
	for g := range 64 {
		wg.Go(func() {
			for i := g; i < b.N; i += 64 {
				if err := p.Publish("t", message.NewMessage(fmt.Sprint(i), payload)); err != nil {
					b.Error(err)
				}
			}
		})
	}
	for range b.N {
		(<-ch).Ack()
	}
	wg.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
}
