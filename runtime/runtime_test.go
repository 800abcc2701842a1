package runtime_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"
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
}

// setup runs an engine with the plugin "t", which is made of handlers.
func setup(t *testing.T, cfg runtime.Config, handlers ...sdk.Registration) *engine {
	t.Helper()
	return open(t, filepath.Join(t.TempDir(), "nagatha.db"), cfg, handlers...)
}

func open(t *testing.T, path string, cfg runtime.Config, handlers ...sdk.Registration) *engine {
	t.Helper()
	var hook runtime.Hook
	s, err := store.Open(t.Context(), store.Config{Path: path, OnCommit: hook.Committed, Ends: hook.Ends, MaxEvents: 50})
	if err != nil {
		t.Fatal(err)
	}
	cfg.Store = s
	if cfg.Retry.Backoff == 0 {
		cfg.Retry.Backoff = time.Millisecond
	}
	r, err := runtime.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	hook.To(r.Committed)
	hook.EndsFrom(r.WantedEnds)
	e := &engine{T: t, Runtime: r, store: s, path: path}
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

func TestRetries(t *testing.T) {
	flaky := handler("t.flaky", func(_ context.Context, t *sdk.Task, _ sdk.Host) (json.RawMessage, error) {
		if t.Attempt < 3 {
			return nil, errors.New("not yet")
		}
		return nil, nil
	})
	hopeless := handler("t.hopeless", func(context.Context, *sdk.Task, sdk.Host) (json.RawMessage, error) { return nil, errors.New("never") })
	permanent := handler("t.permanent", func(context.Context, *sdk.Task, sdk.Host) (json.RawMessage, error) {
		return nil, sdk.Permanent(errors.New("no use"))
	})
	panics := handler("t.panics", func(context.Context, *sdk.Task, sdk.Host) (json.RawMessage, error) { panic("oh no") })
	e := setup(t, runtime.Config{}, flaky, hopeless, permanent, panics)

	if task := e.wait(e.submit(sdk.Submission{Kind: "t.flaky"}).ID); task.State != sdk.StateCompleted || task.Attempt != 3 || task.Error != nil {
		t.Errorf("flaky: %+v", task)
	}
	task := e.wait(e.submit(sdk.Submission{Kind: "t.hopeless", MaxAttempts: 2}).ID)
	if task.State != sdk.StateFailed || task.Attempt != 2 || task.Error.Code != sdk.CodeHandlerError || task.Error.Message != "never" {
		t.Errorf("hopeless: %+v", task)
	}
	if got := e.types(task.ID); !slices.Equal(got, []string{"created", "queued", "started", "retrying", "queued", "started", "failed"}) {
		t.Errorf("events %v", got)
	}
	if task := e.wait(e.submit(sdk.Submission{Kind: "t.permanent"}).ID); task.Attempt != 1 || task.Error.Retryable {
		t.Errorf("permanent: %+v", task)
	}
	task = e.wait(e.submit(sdk.Submission{Kind: "t.panics", MaxAttempts: 1}).ID)
	if task.Error.Code != sdk.CodeHandlerError || !strings.Contains(task.Error.Message, "oh no") {
		t.Errorf("panics: %+v", task.Error)
	}

	// By hand: another life, whose numbers go on.
	if _, err := e.Retry(t.Context(), task.ID); err != nil {
		t.Fatal(err)
	}
	if task := e.wait(task.ID); task.Life != 2 || task.Attempt != 1 || task.State != sdk.StateFailed {
		t.Errorf("second life: %+v", task)
	}
	if got := e.types(task.ID); !slices.Equal(got, []string{"created", "queued", "started", "failed", "queued", "started", "failed"}) {
		t.Errorf("events %v", got)
	}
	done := e.wait(e.submit(sdk.Submission{Kind: "t.flaky"}).ID)
	if _, err := e.Retry(t.Context(), done.ID); sdk.CodeOf(err) != sdk.CodeConflict {
		t.Errorf("retry of a completed task: %v", err)
	}
}

func TestTimeout(t *testing.T) {
	started := make(chan int, 10)
	e := setup(t, runtime.Config{}, blocking("t.slow", started, func(ctx context.Context) (json.RawMessage, error) { return nil, context.Cause(ctx) }))
	task := e.wait(e.submit(sdk.Submission{Kind: "t.slow", Timeout: sdk.Duration(20 * time.Millisecond), MaxAttempts: 2}).ID)
	if task.State != sdk.StateFailed || task.Error.Code != sdk.CodeTimeout || task.Attempt != 2 || len(started) != 2 {
		t.Errorf("got %+v %+v", task, task.Error)
	}
}

func TestCancel(t *testing.T) {
	started := make(chan int, 10)
	e := setup(t, runtime.Config{},
		blocking("t.obeys", started, func(ctx context.Context) (json.RawMessage, error) { return nil, ctx.Err() }),
		blocking("t.finishes", started, func(context.Context) (json.RawMessage, error) { return json.RawMessage(`1`), nil }),
		blocking("t.deaf", started, func(ctx context.Context) (json.RawMessage, error) {
			<-sdk.Aborted(ctx)
			return nil, ctx.Err()
		}))
	for kind, want := range map[string]sdk.State{"t.obeys": sdk.StateCancelled, "t.finishes": sdk.StateCompleted, "t.deaf": sdk.StateCancelled} {
		id := e.submit(sdk.Submission{Kind: kind}).ID
		<-started
		begin := time.Now()
		task, err := e.Cancel(t.Context(), id, false, "enough")
		if err != nil || task.State != sdk.StateRunning {
			t.Errorf("%s: cancel: %s, %v", kind, task.State, err)
		}
		if kind == "t.deaf" {
			if _, err := e.Cancel(t.Context(), id, true, "now"); err != nil { // force shortens the grace
				t.Error(err)
			}
		}
		task = e.wait(id)
		if task.State != want || want == sdk.StateCancelled && task.Reason != "enough" {
			t.Errorf("%s: %s %q, want %s", kind, task.State, task.Reason, want)
		}
		if d := time.Since(begin); d > 4500*time.Millisecond { // the grace is 5 s
			t.Errorf("%s took %v", kind, d)
		}
		if again, err := e.Cancel(t.Context(), id, false, ""); err != nil || again.State != want {
			t.Errorf("%s: cancel again: %s, %v", kind, again.State, err)
		}
	}
	later := e.submit(sdk.Submission{Kind: "t.obeys", Delay: sdk.Duration(time.Hour)})
	if task, err := e.Cancel(t.Context(), later.ID, false, ""); err != nil || task.State != sdk.StateCancelled {
		t.Errorf("a scheduled task: %s, %v", task.State, err)
	}
	if _, err := e.Cancel(t.Context(), "tsk_none", false, ""); sdk.CodeOf(err) != sdk.CodeNotFound {
		t.Errorf("an unknown task: %v", err)
	}
}

func TestDelay(t *testing.T) {
	e := setup(t, runtime.Config{}, echo)
	begin := time.Now()
	task := e.submit(sdk.Submission{Kind: "t.echo", Delay: sdk.Duration(150 * time.Millisecond)})
	if task.State != sdk.StateScheduled {
		t.Errorf("it is %s", task.State)
	}
	task = e.wait(task.ID)
	if d := time.Since(begin); d < 150*time.Millisecond || d > 20*time.Second {
		t.Errorf("it ended after %v", d)
	}
	if got := e.types(task.ID); !slices.Equal(got, []string{"created", "scheduled", "queued", "started", "completed"}) {
		t.Errorf("events %v", got)
	}
}

func TestUnknownKindWaitsForItsPlugin(t *testing.T) {
	e := setup(t, runtime.Config{})
	task := e.submit(sdk.Submission{Kind: "t.echo"})
	if task.State != sdk.StateQueued || task.Reason != `no handler for kind "t.echo"` {
		t.Errorf("%s %q", task.State, task.Reason)
	}
	e.load(echo)
	if task := e.wait(task.ID); task.State != sdk.StateCompleted || task.Reason != "" {
		t.Errorf("%+v", task)
	}
	e.RemovePlugin("t")
	if task := e.submit(sdk.Submission{Kind: "t.echo"}); task.Reason == "" {
		t.Error("a plugin that went away still handles")
	}
}

func TestBadSubmissions(t *testing.T) {
	typed := sdk.Registration{HandlerInfo: sdk.HandlerInfo{Kind: "t.typed",
		PayloadSchema: json.RawMessage(`{"type":"object","required":["n"],"additionalProperties":false,"properties":{"n":{"type":"integer"}}}`)}, Handler: echo.Handler}
	e := setup(t, runtime.Config{}, echo, typed)
	for field, s := range map[string]sdk.Submission{
		"kind":            {Kind: "../x.y"},
		"queue":           {Kind: "t.echo", Queue: "nowhere"},
		"priority":        {Kind: "t.echo", Priority: 101},
		"timeout":         {Kind: "t.echo", Timeout: -1},
		"max_attempts":    {Kind: "t.echo", MaxAttempts: -1},
		"delay":           {Kind: "t.echo", Delay: 1, RunAt: sdk.Now()},
		"run_at":          {Kind: "t.echo", RunAt: sdk.Now().Add(11 * 366 * 24 * time.Hour)},
		"payload":         {Kind: "t.echo", Payload: json.RawMessage(`{`)},
		"payload.n":       {Kind: "t.typed", Payload: json.RawMessage(`{"n":"x"}`)},
		"payload.m":       {Kind: "t.typed", Payload: json.RawMessage(`{"n":1,"m":1}`)},
		"labels":          {Kind: "t.echo", Labels: map[string]string{"a=b": "c"}},
		"labels.a":        {Kind: "t.echo", Labels: map[string]string{"a": "\xff"}},
		"idempotency_key": {Kind: "t.echo", IdempotencyKey: strings.Repeat("x", 300)},
		"after":           {Kind: "t.echo", After: []string{"tsk_1"}},
		"unique":          {Kind: "t.echo", Unique: strings.Repeat("x", 300)},
		"concurrency_key": {Kind: "t.echo", ConcurrencyKey: "a\nb"},
		"deadline":        {Kind: "t.echo", Deadline: 1},
		"expires":         {Kind: "t.echo", Expires: 1},
	} {
		out, err := e.Submit(t.Context(), "", []sdk.Submission{s, {Kind: "t.echo"}})
		if err != nil || out[0].Err == nil || out[1].Err != nil {
			t.Errorf("%s: %v, %+v", field, err, out)
			continue
		}
		if got := out[0].Err; got.Code != sdk.CodeInvalid || len(got.Fields) == 0 || got.Fields[0].Field != field {
			t.Errorf("%s: %+v", field, got)
		}
	}
	out, err := e.Submit(t.Context(), "", []sdk.Submission{{Kind: "t.echo", Payload: json.RawMessage(`"` + strings.Repeat("x", 300<<10) + `"`)}})
	if err != nil || out[0].Err.Code != sdk.CodeLimitExceeded || !strings.Contains(out[0].Err.Fields[0].Message, "limits.payload") {
		t.Errorf("too large: %+v, %v", out, err)
	}
}

func TestIdempotencyKey(t *testing.T) {
	e := setup(t, runtime.Config{}, echo)
	s := sdk.Submission{Kind: "t.echo", Payload: json.RawMessage(`{"a":1,"b":2}`), IdempotencyKey: "k"}
	first := e.submit(s)
	s.Payload = json.RawMessage(`{ "b": 2, "a": 1 }`)
	if again := e.submit(s); again.ID != first.ID {
		t.Error("the same body in another order made another task")
	}
	s.Payload = json.RawMessage(`{"a":2}`)
	if out, err := e.Submit(t.Context(), "", []sdk.Submission{s}); err != nil || out[0].Err == nil || out[0].Err.Code != sdk.CodeConflict {
		t.Errorf("another body: %+v, %v", out, err)
	}
	if out, err := e.Submit(t.Context(), "somebody else", []sdk.Submission{s}); err != nil || out[0].Err != nil {
		t.Errorf("another owner: %+v, %v", out, err)
	}
}

// A client that never saw the answer asks again with the same body, however late:
// what the body says of the past must not hide the task that there is.
func TestIdempotencyKeyAfterItsDeadline(t *testing.T) {
	e := setup(t, runtime.Config{}, echo)
	sub := sdk.Submission{Kind: "t.echo", IdempotencyKey: "k", Deadline: sdk.Now().Add(1500 * time.Millisecond), Expires: sdk.Now().Add(1200 * time.Millisecond)}
	first := e.submit(sub)
	for sdk.Now() <= sub.Deadline {
		time.Sleep(10 * time.Millisecond)
	}
	again, err := e.Submit(t.Context(), "", []sdk.Submission{sub})
	if err != nil || again[0].Err != nil || !again[0].Duplicate || again[0].Task.ID != first.ID {
		t.Errorf("again: %+v, %v", again, err)
	}
	sub.Priority = 1
	if other, err := e.Submit(t.Context(), "", []sdk.Submission{sub}); err != nil || sdk.CodeOf(other[0].Err) != sdk.CodeConflict {
		t.Errorf("another body: %+v, %v", other, err)
	}
	sub.IdempotencyKey = "other"
	if none, err := e.Submit(t.Context(), "", []sdk.Submission{sub}); err != nil || sdk.CodeOf(none[0].Err) != sdk.CodeInvalid {
		t.Errorf("a key that is not known: %+v, %v", none, err)
	}
}

func TestCapsOfAnAttempt(t *testing.T) {
	e := setup(t, runtime.Config{Limits: runtime.Limits{Result: 100, LogLine: 1000, OutputChunk: 1000}},
		handler("t.result", func(context.Context, *sdk.Task, sdk.Host) (json.RawMessage, error) {
			return json.RawMessage(`"` + strings.Repeat("x", 100) + `"`), nil
		}),
		handler("t.log", func(_ context.Context, _ *sdk.Task, h sdk.Host) (json.RawMessage, error) {
			h.Log(slog.LevelInfo, strings.Repeat("x", 1000))
			return nil, nil
		}),
		handler("t.output", func(_ context.Context, _ *sdk.Task, h sdk.Host) (json.RawMessage, error) {
			h.Output("x", make([]byte, 1001))
			return nil, nil
		}),
		handler("t.events", func(ctx context.Context, _ *sdk.Task, h sdk.Host) (json.RawMessage, error) {
			for i := 0; ctx.Err() == nil; i++ {
				h.Progress(float64(i), 0, "")
			}
			return nil, ctx.Err()
		}),
		handler("t.notjson", func(context.Context, *sdk.Task, sdk.Host) (json.RawMessage, error) { return json.RawMessage(`{`), nil }))
	for kind, want := range map[string]sdk.Code{"t.result": sdk.CodeLimitExceeded, "t.log": sdk.CodeLimitExceeded,
		"t.output": sdk.CodeLimitExceeded, "t.events": sdk.CodeLimitExceeded, "t.notjson": sdk.CodeInvalidResult} {
		task := e.wait(e.submit(sdk.Submission{Kind: kind}).ID)
		if task.State != sdk.StateFailed || task.Error.Code != want || task.Attempt != 1 {
			t.Errorf("%s: %s %+v", kind, task.State, task.Error)
		}
	}
}

func TestProgressLogOutput(t *testing.T) {
	e := setup(t, runtime.Config{}, handler("t.talk", func(_ context.Context, _ *sdk.Task, h sdk.Host) (json.RawMessage, error) {
		h.Progress(1, 2, "half")
		h.Log(slog.LevelWarn, "careful", "n", 1, "err", errors.New("x"))
		h.Output("a", []byte("äb"))
		h.Output("b", []byte{0xff})
		h.Output("a", []byte("c"))
		return nil, nil
	}))
	task := e.wait(e.submit(sdk.Submission{Kind: "t.talk"}).ID)
	events, err := e.Events(t.Context(), task.ID, 3, 100)
	if err != nil || len(events) != 6 {
		t.Fatalf("%d events, %v", len(events), err)
	}
	for i, want := range []string{
		`{"progress":1,"total":2,"message":"half"}`,
		`{"level":"warn","message":"careful","attrs":{"err":"x","n":1}}`,
		`{"stream":"a","offset":0,"text":"äb"}`,
		`{"stream":"b","offset":0,"base64":"/w=="}`,
		`{"stream":"a","offset":3,"text":"c"}`,
		`{"result":null}`,
	} {
		if string(events[i].Data) != want {
			t.Errorf("event %d: %s, want %s", events[i].Seq, events[i].Data, want)
		}
	}
	if task.Progress == nil || task.Progress.Message != "half" {
		t.Errorf("progress: %+v", task.Progress)
	}
}

func TestBystanderIsNotCounted(t *testing.T) {
	var mu sync.Mutex
	calls := 0
	e := setup(t, runtime.Config{}, handler("t.bystander", func(_ context.Context, task *sdk.Task, _ sdk.Host) (json.RawMessage, error) {
		mu.Lock()
		defer mu.Unlock()
		if calls++; calls == 1 {
			return nil, fmt.Errorf("%w: %w", sdk.ErrBystander, sdk.Errorf(sdk.CodePluginCrashed, "killed"))
		}
		return json.Marshal(task.Attempt)
	}))
	if task := e.wait(e.submit(sdk.Submission{Kind: "t.bystander"}).ID); string(task.Result) != "1" {
		t.Errorf("got %+v", task)
	}
	calls = 0
	if task := e.wait(e.submit(sdk.Submission{Kind: "t.bystander", MaxAttempts: 1}).ID); task.State != sdk.StateFailed || task.Error.Code != sdk.CodePluginCrashed {
		t.Errorf("at most once: %+v", task)
	}
}

func TestDrainGivesBack(t *testing.T) {
	started := make(chan int, 10)
	stubborn := blocking("t.stubborn", started, func(ctx context.Context) (json.RawMessage, error) {
		<-sdk.Aborted(ctx)
		return nil, ctx.Err()
	})
	e := setup(t, runtime.Config{Drain: time.Millisecond}, stubborn)
	id := e.submit(sdk.Submission{Kind: "t.stubborn"}).ID
	<-started
	e.stop()
	if out, err := e.Submit(t.Context(), "", []sdk.Submission{{Kind: "t.stubborn"}}); sdk.CodeOf(err) != sdk.CodeUnavailable {
		t.Errorf("submit while draining: %+v, %v", out, err)
	}
	again := open(t, e.path, runtime.Config{}, handler("t.stubborn", func(_ context.Context, task *sdk.Task, _ sdk.Host) (json.RawMessage, error) {
		return json.Marshal(task.Attempt)
	}))
	if task := again.wait(id); task.State != sdk.StateCompleted || string(task.Result) != "1" {
		t.Errorf("got %+v", task)
	}
}

func TestConcurrencyOfKindAndQueue(t *testing.T) {
	arrived, gate := make(chan string, 100), make(chan struct{})
	track := func(kind string, most int) sdk.Registration {
		return sdk.Registration{HandlerInfo: sdk.HandlerInfo{Kind: kind, Concurrency: most},
			Handler: sdk.HandlerFunc(func(context.Context, *sdk.Task, sdk.Host) (json.RawMessage, error) {
				arrived <- kind
				<-gate
				return nil, nil
			})}
	}
	e := setup(t, runtime.Config{Queues: []runtime.Queue{{Name: "default", Concurrency: 5}}}, track("t.two", 2), track("t.any", 0))
	var ids []string
	for range 10 {
		ids = append(ids, e.submit(sdk.Submission{Kind: "t.two"}).ID, e.submit(sdk.Submission{Kind: "t.any"}).ID)
	}
	running := map[string]int{}
	for range 5 {
		running[<-arrived]++
	}
	if err := e.Ready(t.Context()); err != nil { // the dispatcher has been round again
		t.Error(err)
	}
	if running["t.two"] != 2 || running["t.any"] != 3 || len(arrived) > 0 {
		t.Errorf("at once: %v, and %d more", running, len(arrived))
	}
	close(gate)
	for _, id := range ids {
		e.wait(id)
	}
}

func TestDeliver(t *testing.T) {
	got := make(chan string, 10)
	e := setup(t, runtime.Config{}, handler("t.on_demo", func(_ context.Context, task *sdk.Task, _ sdk.Host) (json.RawMessage, error) {
		got <- string(task.Payload)
		return nil, nil
	}))
	ev := sdk.Event{ID: "1", Source: "test", Type: "demo.ping", Time: 1, Data: json.RawMessage(`{"n":1}`)}
	for range 3 {
		if err := e.Deliver(t.Context(), ev); err != nil {
			t.Fatal(err)
		}
	}
	if payload := <-got; payload != `{"event":{"id":"1","source":"test","type":"demo.ping","time":"1970-01-01T00:00:00.001Z","data":{"n":1}}}` {
		t.Errorf("payload %s", payload)
	}
	ev.Hops = sdk.MaxHops + 1
	ev.ID = "2"
	other := sdk.Event{ID: "3", Source: "test", Type: "other.ping"}
	if err := errors.Join(e.Deliver(t.Context(), ev), e.Deliver(t.Context(), other)); err != nil {
		t.Fatal(err)
	}
	page, err := e.Tasks(t.Context(), runtime.TaskFilter{})
	if err != nil || len(page.Tasks) != 1 {
		t.Errorf("%d tasks, %v", len(page.Tasks), err)
	}
}

func TestEventLoopsStop(t *testing.T) {
	e := setup(t, runtime.Config{}, handler("t.on_loop", func(ctx context.Context, _ *sdk.Task, h sdk.Host) (json.RawMessage, error) {
		_, err := sdk.Publish(ctx, h, sdk.Event{Type: "loop.again"})
		return nil, sdk.Permanent(err)
	}))
	e.OnPublish(func(events []sdk.Event) {
		for _, ev := range events {
			if err := e.Deliver(context.Background(), ev); err != nil {
				t.Error(err)
			}
		}
	})
	if _, err := e.Publish(t.Context(), []sdk.Event{{Type: "loop.start"}}); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(time.Minute); ; {
		page, err := e.Tasks(t.Context(), runtime.TaskFilter{States: []sdk.State{sdk.StateFailed}})
		if err != nil || time.Now().After(end) {
			t.Fatalf("the loop did not stop: %v", err)
		}
		if len(page.Tasks) == 1 {
			if !strings.Contains(page.Tasks[0].Error.Message, "loop") {
				t.Errorf("got %+v", page.Tasks[0].Error)
			}
			break
		}
	}
	if page, _ := e.Tasks(t.Context(), runtime.TaskFilter{Limit: 100}); len(page.Tasks) != sdk.MaxHops+1 {
		t.Errorf("%d tasks", len(page.Tasks))
	}
}

// drainWatch reads a watch to its end, limit notices at a time.
func (e *engine) drainWatch(req runtime.WatchRequest, limit int) (methods []string, events []runtime.Notice) {
	e.Helper()
	news := make(chan struct{}, 1)
	w, err := e.Watch(e.Context(), req, func() {
		select {
		case news <- struct{}{}:
		default:
		}
	})
	if err != nil {
		e.Fatal(err)
	}
	defer w.Close()
	for {
		notices, err := w.Next(e.Context(), limit)
		for _, n := range notices {
			methods = append(methods, n.Method)
			if n.Method == "event" {
				events = append(events, n)
			}
		}
		if err == io.EOF {
			return methods, events
		}
		if err != nil {
			e.Fatal(err)
		}
		if len(notices) == 0 {
			select {
			case <-news:
			case <-time.After(time.Minute):
				e.Fatalf("no end after %v", methods)
			}
		}
	}
}

func TestWatch(t *testing.T) {
	e := setup(t, runtime.Config{}, handler("t.steps", func(_ context.Context, _ *sdk.Task, h sdk.Host) (json.RawMessage, error) {
		for i := range 20 {
			h.Progress(float64(i), 20, "")
			h.Output("out", fmt.Appendf(nil, "%d ", i))
		}
		return nil, nil
	}))
	for _, limit := range []int{1, 2, 3, 44, 64} { // 44 is all of them: a full last page
		id := e.submit(sdk.Submission{Kind: "t.steps"}).ID
		methods, events := e.drainWatch(runtime.WatchRequest{Task: id}, limit)
		if methods[0] != "snapshot" || slices.Index(methods, "live") < 0 || len(events) != 44 {
			t.Errorf("limit %d: %d events, %v", limit, len(events), methods)
		}
		for i, n := range events {
			if n.Entry.Task.Seq != int64(i+1) {
				t.Fatalf("limit %d: event %d has seq %d", limit, i+1, n.Entry.Task.Seq)
			}
		}
		// From each cursor the rest follows.
		for _, i := range []int{0, 17, 43} {
			_, rest := e.drainWatch(runtime.WatchRequest{Task: id, From: events[i].Cursor}, limit)
			if len(rest) != 43-i || len(rest) > 0 && rest[0].Entry.Task.Seq != int64(i+2) {
				t.Errorf("limit %d: %d events after the %dth", limit, len(rest), i+1)
			}
		}
		if _, last := e.drainWatch(runtime.WatchRequest{Task: id, Last: 5}, limit); len(last) != 5 || last[0].Entry.Task.Seq != 40 {
			t.Errorf("limit %d: last 5: %d", limit, len(last))
		}
		if _, only := e.drainWatch(runtime.WatchRequest{Task: id, Types: []string{sdk.EventQueued}}, limit); len(only) != 1 {
			t.Errorf("limit %d: by type: %d", limit, len(only))
		}
		if methods, now := e.drainWatch(runtime.WatchRequest{Task: id, From: "now"}, limit); len(now) != 0 || !slices.Equal(methods, []string{"snapshot", "live"}) {
			t.Errorf("limit %d: from now: %v", limit, methods)
		}
	}
}

func TestWatchCoalesces(t *testing.T) {
	e := setup(t, runtime.Config{}, handler("t.steps", func(_ context.Context, _ *sdk.Task, h sdk.Host) (json.RawMessage, error) {
		for i := range 9 {
			h.Progress(float64(i), 9, "")
		}
		h.Output("a", []byte("x"))
		h.Output("a", []byte("y"))
		h.Output("b", []byte("z"))
		return nil, nil
	}))
	id := e.wait(e.submit(sdk.Submission{Kind: "t.steps"}).ID).ID
	_, events := e.drainWatch(runtime.WatchRequest{Task: id, Coalesce: true}, 64)
	var got []string
	for _, n := range events {
		got = append(got, fmt.Sprintf("%d-%d %s", n.FromSeq, n.Entry.Task.Seq, n.Entry.Task.Data))
	}
	want := []string{`0-1 {}`, `0-2 {}`, "", `4-12 {"progress":8,"total":9,"message":""}`, `13-14 {"stream":"a","offset":0,"text":"xy"}`,
		`0-15 {"stream":"b","offset":0,"text":"z"}`, `0-16 {"result":null}`}
	want[2] = got[2]
	if !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
}

func TestWatchTopicsAndGaps(t *testing.T) {
	e := setup(t, runtime.Config{}, echo)
	first := e.wait(e.submit(sdk.Submission{Kind: "t.echo"}).ID)
	read := func(req runtime.WatchRequest) (*runtime.Watch, []runtime.Notice) {
		t.Helper()
		w, err := e.Watch(t.Context(), req, func() {})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(w.Close)
		var all []runtime.Notice
		for {
			n, err := w.Next(t.Context(), 3)
			if err != nil {
				t.Fatal(err)
			}
			if all = append(all, n...); len(n) == 0 {
				return w, all
			}
		}
	}
	for topic, want := range map[string]int{"kind.t.echo": 4, "kind.t.*": 4, "queue.default": 4, "task." + first.ID: 4, "kind.other.*": 0, "event.>": 0} {
		if _, got := read(runtime.WatchRequest{Topics: []string{topic}, From: "start"}); len(got) != want {
			t.Errorf("%s: %d notices, want %d", topic, len(got), want)
		}
	}
	_, all := read(runtime.WatchRequest{Topics: []string{"kind.>"}, From: "start"})
	if _, rest := read(runtime.WatchRequest{Topics: []string{"kind.>"}, From: all[1].Cursor}); len(rest) != 2 {
		t.Errorf("after the second: %d", len(rest))
	}
	if _, last := read(runtime.WatchRequest{Topics: []string{"kind.>"}, Last: 3}); len(last) != 3 || last[0].Entry.Task.Seq != 2 {
		t.Errorf("last 3: %d", len(last))
	}
	if _, err := e.Publish(t.Context(), []sdk.Event{{Type: "demo.ping"}}); err != nil {
		t.Fatal(err)
	}
	if _, got := read(runtime.WatchRequest{Topics: []string{"event.demo.*"}, From: "start"}); len(got) != 1 || got[0].Entry.Event.Type != "demo.ping" {
		t.Errorf("events: %+v", got)
	}

	// History that is gone is never silent.
	backup := filepath.Join(t.TempDir(), "backup.db")
	if err := e.store.Backup(t.Context(), backup); err != nil {
		t.Fatal(err)
	}
	e.stop()
	e = open(t, backup, runtime.Config{}, echo)
	if w, got := read(runtime.WatchRequest{Topics: []string{"kind.>"}, From: all[1].Cursor}); w.Recovered() || got[0].Method != "gap" || len(got) != 5 {
		t.Errorf("another history: %v, %+v", w.Recovered(), got)
	}
	methods, events := e.drainWatch(runtime.WatchRequest{Task: first.ID, From: all[1].Cursor}, 10)
	if !slices.Equal(methods[:2], []string{"gap", "snapshot"}) || len(events) != 4 {
		t.Errorf("another history of a task: %v", methods)
	}
	for _, bad := range []runtime.WatchRequest{{}, {Task: "a", Topics: []string{"kind.x"}}, {Topics: []string{"x.y"}}, {Topics: []string{">"}},
		{Topics: []string{"kind.a..b"}}, {Task: first.ID, From: "nonsense"}, {Task: first.ID, Last: -1}, {Task: "tsk_none"}} {
		if _, err := e.Watch(t.Context(), bad, func() {}); sdk.CodeOf(err) == "" {
			t.Errorf("%+v: %v", bad, err)
		}
	}
}

func TestManifestsOutliveARestart(t *testing.T) {
	typed := sdk.Registration{HandlerInfo: sdk.HandlerInfo{Kind: "t.typed", PayloadSchema: json.RawMessage(`{"type":"object"}`)}, Handler: echo.Handler}
	e := setup(t, runtime.Config{}, typed)
	e.stop()
	e = open(t, e.path, runtime.Config{})
	for end := time.Now().Add(time.Minute); ; { // until Run has read them
		out, err := e.Submit(t.Context(), "", []sdk.Submission{{Kind: "t.typed", Payload: json.RawMessage(`1`)}})
		if err == nil && out[0].Err != nil && out[0].Err.Code == sdk.CodeInvalid {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("the schema is forgotten: %+v, %v", out, err)
		}
	}
}

// TestKindsList: a plugin hears of the kinds of all, and which are there.
func TestKindsList(t *testing.T) {
	lists := handler("t.lists", func(ctx context.Context, _ *sdk.Task, h sdk.Host) (json.RawMessage, error) {
		list, err := sdk.Kinds(ctx, h)
		if err != nil {
			return nil, err
		}
		return json.Marshal(list)
	})
	read := echo
	read.Kind, read.ReadOnly, read.PayloadSchema = "t.read", true, json.RawMessage(`{"type":"object"}`)
	e := setup(t, runtime.Config{}, lists, read)
	other := echo
	other.Kind = "other.echo"
	if err := e.SetPlugin(t.Context(), runtime.Plugin{Name: "other", Plugin: sdk.New(sdk.Info{Name: "other", Version: "1"}, other)}); err != nil {
		t.Fatal(err)
	}
	e.RemovePlugin("other")
	var got []sdk.KindInfo
	task := e.wait(e.submit(sdk.Submission{Kind: "t.lists"}).ID)
	if err := json.Unmarshal(task.Result, &got); err != nil {
		t.Fatalf("%v: %s %v", err, task.State, task.Error)
	}
	seen := map[string]sdk.KindInfo{}
	for _, k := range got {
		seen[k.Kind] = k
	}
	if k := seen["t.read"]; !k.Available || !k.ReadOnly || k.Plugin != "t" || string(k.PayloadSchema) != `{"type":"object"}` {
		t.Errorf("t.read: %+v", k)
	}
	if k, known := seen["other.echo"]; !known || k.Available {
		t.Errorf("of a plugin that is gone: %+v, %v", k, known)
	}
	if !slices.IsSortedFunc(got, func(a, b sdk.KindInfo) int { return strings.Compare(a.Kind, b.Kind) }) || len(seen) < 5 {
		t.Errorf("kinds %v", got)
	}
}

func TestReady(t *testing.T) {
	e := setup(t, runtime.Config{}, echo)
	if err := e.Ready(t.Context()); err != nil {
		t.Error(err)
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
