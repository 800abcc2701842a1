package store_test

import (
	"bytes"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"github.com/nagatha/nagatha-runtime/runtime"
	"github.com/nagatha/nagatha-runtime/runtime/store"
	"github.com/nagatha/nagatha-runtime/runtime/store/storetest"
	"github.com/nagatha/nagatha-runtime/sdk"
)

// logged keeps what is logged, by whomever.
type logged struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// TestOutage: while the server is down every call says so, in a way that its caller can
// wait for, and afterwards everything is as it was.
func TestOutage(t *testing.T) {
	storetest.Postgres(t) // skips, or fails, where there is none
	server, err := storetest.StartPostgres()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	var log logged
	s := open(t, store.Config{URL: server.Database(t), Logger: slog.New(slog.NewTextHandler(&log, nil))})
	task := sdk.Task{ID: "tsk_1", Kind: "a.b", Queue: "default", State: sdk.StateQueued, Payload: []byte(`{}`), MaxAttempts: 1, CreatedAt: 1, RunAt: 1}
	if _, err := s.Submit(t.Context(), []runtime.NewTask{{Task: task}}); err != nil {
		t.Fatal(err)
	}
	calls := map[string]func() error{
		"submit": func() error { _, err := s.Submit(t.Context(), []runtime.NewTask{{Task: task}}); return err },
		"task":   func() error { _, err := s.Task(t.Context(), "tsk_1"); return err },
		"tasks":  func() error { _, err := s.Tasks(t.Context(), runtime.TaskFilter{Limit: 1}); return err },
		"events": func() error { _, err := s.TaskEvents(t.Context(), "tsk_1", 0, 1); return err },
		"head":   func() error { _, err := s.Head(t.Context()); return err },
	}
	if err := server.Stop(); err != nil {
		t.Fatal(err)
	}
	for range 3 { // the pool finds out connection by connection
		for name, call := range calls {
			if err := call(); sdk.CodeOf(err) != sdk.CodeUnavailable {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	if got, err := s.Task(t.Context(), "tsk_1"); err != nil || got.Kind != "a.b" {
		t.Errorf("afterwards: %+v, %v", got, err)
	}
	task.ID = "tsk_2"
	if _, err := s.Submit(t.Context(), []runtime.NewTask{{Task: task}}); err != nil {
		t.Fatal(err)
	}
	for what, want := range map[string]int{"the database cannot be": 1, "the database answers again": 1} {
		if n := strings.Count(log.String(), what); n != want {
			t.Errorf("%q is logged %d times, not %d:\n%s", what, n, want, log.String())
		}
	}
}
