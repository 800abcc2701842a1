package runtime_test

import (
	"context"
	"encoding/json"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/nagatha/nagatha-runtime/runtime"
	"github.com/nagatha/nagatha-runtime/runtime/store"
	"github.com/nagatha/nagatha-runtime/sdk"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// engine is a running engine on a store of its own.
type engine struct {
	*testing.T
	*runtime.Runtime
	store *store.Store
	path  string
	stop  func()

	commits atomic.Int64 // that said something of tasks
}

// setup runs an engine with the plugin "t", which is made of handlers.
func setup(t *testing.T, cfg runtime.Config, handlers ...sdk.Registration) *engine {
	t.Helper()
	return open(t, filepath.Join(t.TempDir(), "nagatha.db"), cfg, handlers...)
}

func open(t *testing.T, path string, cfg runtime.Config, handlers ...sdk.Registration) *engine {
	t.Helper()
	var hook runtime.Hook
	e := &engine{T: t, path: path}
	committed := func(c runtime.Commit) {
		if len(c.Tasks) > 0 {
			e.commits.Add(1)
		}
		hook.Committed(c)
	}
	s, err := store.Open(t.Context(), store.Config{Path: path, OnCommit: committed, Ends: hook.Ends, MaxEvents: 50})
	if err != nil {
		t.Fatal(err)
	}
	if slow, ok := cfg.Store.(*slowStore); ok {
		slow.Store = s
	} else {
		cfg.Store = s
	}
	if cfg.Retry.Backoff == 0 {
		cfg.Retry.Backoff = time.Millisecond
	}
	r, err := runtime.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	hook.To(r.Committed)
	hook.EndsFrom(r.WantedEnds)
	e.Runtime, e.store = r, s
	if len(handlers) > 0 {
		e.load(handlers...)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	e.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(e.stop)
	return e
}

func (e *engine) load(handlers ...sdk.Registration) {
	e.Helper()
	p := sdk.New(sdk.Info{Name: "t", Version: "1", Subscriptions: subscriptions(handlers)}, handlers...)
	if err := e.SetPlugin(e.Context(), runtime.Plugin{Name: "t", Plugin: p}); err != nil {
		e.Fatal(err)
	}
}

// subscriptions makes a handler named t.on_x subscribe to x.>.
func subscriptions(handlers []sdk.Registration) (out []sdk.Subscription) {
	for _, h := range handlers {
		if typ, ok := strings.CutPrefix(h.Kind, "t.on_"); ok {
			out = append(out, sdk.Subscription{Type: typ + ".>", Kind: h.Kind})
		}
	}
	return out
}

func handler(kind string, f sdk.HandlerFunc) sdk.Registration {
	return sdk.Registration{HandlerInfo: sdk.HandlerInfo{Kind: kind}, Handler: f}
}

var echo = handler("t.echo", func(_ context.Context, t *sdk.Task, _ sdk.Host) (json.RawMessage, error) { return t.Payload, nil })

// blocking is a handler that waits for its context; started hears of each attempt.
func blocking(kind string, started chan<- int, result func(ctx context.Context) (json.RawMessage, error)) sdk.Registration {
	return handler(kind, func(ctx context.Context, t *sdk.Task, _ sdk.Host) (json.RawMessage, error) {
		started <- t.Attempt
		<-ctx.Done()
		return result(ctx)
	})
}

func (e *engine) submit(s sdk.Submission) sdk.Task {
	e.Helper()
	out, err := e.Submit(e.Context(), "", []sdk.Submission{s})
	if err == nil && out[0].Err != nil {
		err = out[0].Err
	}
	if err != nil {
		e.Fatal(err)
	}
	return out[0].Task
}

func (e *engine) wait(id string) sdk.Task {
	e.Helper()
	ctx, cancel := context.WithTimeout(e.Context(), time.Minute)
	defer cancel()
	t, err := e.Wait(ctx, id)
	if err != nil {
		e.Fatalf("wait for %s, which is %s: %v", id, t.State, err)
	}
	return t
}

func (e *engine) types(id string) []string {
	e.Helper()
	events, err := e.Events(e.Context(), id, 0, 1000)
	if err != nil {
		e.Fatal(err)
	}
	var out []string
	for i, ev := range events {
		if ev.Seq != int64(i+1) {
			e.Fatalf("event %d has seq %d", i+1, ev.Seq)
		}
		out = append(out, strings.TrimPrefix(ev.Type, "task."))
	}
	return out
}

func TestLife(t *testing.T) {
	e := setup(t, runtime.Config{}, echo)
	task := e.wait(e.submit(sdk.Submission{Kind: "t.echo", Payload: json.RawMessage(`{"a": 1}`), Labels: map[string]string{"x": "y"}}).ID)
	if task.State != sdk.StateCompleted || string(task.Result) != `{"a":1}` || task.Attempt != 1 || task.Plugin != "t" || task.PluginVersion != "1" {
		t.Errorf("got %+v", task)
	}
	if got := e.types(task.ID); !slices.Equal(got, []string{"created", "queued", "started", "completed"}) {
		t.Errorf("events %v", got)
	}
}

func TestReady(t *testing.T) {
	e := setup(t, runtime.Config{}, echo)
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	_ = e.Ready(gone)
	if err := e.Ready(t.Context()); err != nil {
		t.Errorf("after one who did not wait for the answer: %v", err)
	}
	s, err := e.Status(t.Context())
	if err != nil || s.Nodes[0].ID == "" || len(s.Tasks) != len(sdk.States) {
		t.Errorf("%+v, %v", s, err)
	}
	e.BeginDrain()
	if err := e.Ready(t.Context()); err == nil {
		t.Error("ready while draining")
	}
}
