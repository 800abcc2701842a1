package runtime_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nagatha/nagatha-runtime/runtime"
	"github.com/nagatha/nagatha-runtime/sdk"
)

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

// However many attempts there are, and however long they may wait, they do wait.
func TestBackoffDoesNotOverflow(t *testing.T) {
	e := setup(t, runtime.Config{}, echo)
	for n := range 1000 {
		most := time.Duration(0)
		for range 20 { // each is random, from nothing up
			most = max(most, e.Backoff(&sdk.RetryPolicy{Backoff: sdk.Duration(time.Second), MaxBackoff: math.MaxInt64}, n+1))
		}
		if most < time.Millisecond {
			t.Fatalf("after attempt %d: at most %s", n+1, most)
		}
	}
}

// A code of a plugin's own is kept, what is none is not.
func TestErrorCodes(t *testing.T) {
	e := setup(t, runtime.Config{}, handler("t.fails", func(_ context.Context, t *sdk.Task, _ sdk.Host) (json.RawMessage, error) {
		var code string
		if err := json.Unmarshal(t.Payload, &code); err != nil {
			return nil, err
		}
		return nil, &sdk.Error{Code: code, Message: "as asked"}
	}))
	for code, want := range map[string]string{"out_of_paper": "out_of_paper", "": sdk.CodeHandlerError, "Out of paper": sdk.CodeHandlerError,
		strings.Repeat("x", 1<<10): sdk.CodeHandlerError} {
		payload, err := json.Marshal(code)
		if err != nil {
			t.Fatal(err)
		}
		if task := e.wait(e.submit(sdk.Submission{Kind: "t.fails", Payload: payload}).ID); task.Error.Code != want || task.Error.Message != "as asked" {
			t.Errorf("%.20q: %.100v", code, task.Error)
		}
	}
}

func TestTimeout(t *testing.T) { synctest.Test(t, testTimeout) }

func testTimeout(t *testing.T) {
	started := make(chan int, 10)
	e := setup(t, runtime.Config{}, blocking("t.slow", started, func(ctx context.Context) (json.RawMessage, error) { return nil, context.Cause(ctx) }))
	task := e.wait(e.submit(sdk.Submission{Kind: "t.slow", Timeout: sdk.Duration(20 * time.Millisecond), MaxAttempts: 2}).ID)
	if task.State != sdk.StateFailed || task.Error.Code != sdk.CodeTimeout || task.Attempt != 2 || len(started) != 2 {
		t.Errorf("got %+v %+v", task, task.Error)
	}
}

func TestCancel(t *testing.T) { synctest.Test(t, testCancel) }

func testCancel(t *testing.T) {
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
		if d := time.Since(begin); d >= 5*time.Second { // the grace; it is the time of the bubble
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
