package runtime_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nagatha/nagatha-runtime/runtime"
	"github.com/nagatha/nagatha-runtime/sdk"
)

// until waits for a state.
func (e *engine) until(id string, state sdk.State) sdk.Task {
	e.Helper()
	ctx, cancel := context.WithTimeout(e.Context(), time.Minute)
	defer cancel()
	news := make(chan struct{}, 1)
	w, err := e.Watch(ctx, runtime.WatchRequest{Task: id}, func() {
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
		for {
			if n, _ := w.Next(ctx, 100); len(n) == 0 {
				break
			}
		}
		t, err := e.Task(ctx, id)
		if err != nil {
			e.Fatal(err)
		}
		if t.State == state {
			return t
		}
		select {
		case <-news:
		case <-ctx.Done():
			e.Fatalf("%s is %s and not %s", id, t.State, state)
		}
	}
}

// untilEvicted waits until nothing is parked on the node: a plugin that is loaded
// again evicts what waits in the old one.
func (e *engine) untilEvicted() {
	e.Helper()
	status, err := e.Status(e.Context())
	for held := []runtime.Held{{}}; err == nil && len(held) > 0; {
		held, err = e.store.Held(e.Context(), status.Nodes[0].ID)
	}
	if err != nil {
		e.Fatal(err)
	}
}

// narrow is one slot for everything.
var narrow = runtime.Config{Queues: []runtime.Queue{{Name: "default", Concurrency: 1}}}

func runner(kind, child string, n int) sdk.Registration {
	return handler(kind, func(ctx context.Context, t *sdk.Task, h sdk.Host) (json.RawMessage, error) {
		subs := make([]sdk.Submission, n)
		for i := range subs {
			subs[i] = sdk.Submission{Kind: child, Payload: fmt.Appendf(nil, "%d", i)}
		}
		out, err := sdk.RunAll(ctx, h, "", subs)
		if err != nil {
			return nil, err
		}
		var results []json.RawMessage
		for _, o := range out {
			if err := o.Err(); err != nil {
				return nil, err
			}
			results = append(results, o.Result)
		}
		return json.Marshal(results)
	})
}

// TestRunWithOneSlot: who waits for children gives them its slot, three deep.
func TestRunWithOneSlot(t *testing.T) {
	e := setup(t, narrow, echo, runner("t.two", "t.echo", 2), runner("t.three", "t.two", 3), runner("t.four", "t.three", 4))
	task := e.wait(e.submit(sdk.Submission{Kind: "t.four"}).ID)
	inner := `[[0,1],[0,1],[0,1]]`
	if want := "[" + strings.Join([]string{inner, inner, inner, inner}, ",") + "]"; string(task.Result) != want {
		t.Errorf("%s: %s %v", task.State, task.Result, task.Error)
	}
	if got := e.types(task.ID); !slices.Equal(got, []string{"created", "queued", "started", "waiting", "resumed", "completed"}) {
		t.Errorf("events %v", got)
	}
	page, err := e.Tasks(t.Context(), runtime.TaskFilter{Parent: task.ID})
	if err != nil || len(page.Tasks) != 4 {
		t.Errorf("%d children, %v", len(page.Tasks), err)
	}
}

// TestRunFails: the error of a child is that of its parent, which is not retried
// for it.
func TestRunFails(t *testing.T) {
	fails := handler("t.fails", func(context.Context, *sdk.Task, sdk.Host) (json.RawMessage, error) {
		return nil, sdk.Permanent(errors.New("no use"))
	})
	e := setup(t, narrow, fails, runner("t.run", "t.fails", 2))
	task := e.wait(e.submit(sdk.Submission{Kind: "t.run"}).ID)
	if task.State != sdk.StateFailed || task.Attempt != 1 || task.Error.Code != sdk.CodeHandlerError || !strings.Contains(task.Error.Message, "no use") {
		t.Errorf("%s after %d: %v", task.State, task.Attempt, task.Error)
	}
}

// TestReplay: a waiting task outlives the runtime; what it recorded is not done
// again, and it goes on as the same attempt.
func TestReplay(t *testing.T) {
	var steps, runs atomic.Int32
	patient := handler("t.patient", func(ctx context.Context, task *sdk.Task, h sdk.Host) (json.RawMessage, error) {
		runs.Add(1)
		n, err := sdk.Step(ctx, h, "once", func(context.Context) (int32, error) { return steps.Add(1), nil })
		if err != nil {
			return nil, err
		}
		child, err := sdk.Run(ctx, h, sdk.Submission{Kind: "t.echo", Payload: json.RawMessage(`"child"`)})
		if err != nil {
			return nil, err
		}
		data, err := sdk.Await(ctx, h, "go", 0)
		if err != nil {
			return nil, err
		}
		more, err := sdk.Await(ctx, h, "go", 0)
		return json.Marshal([]any{n, child, data, more, err == nil, task.Attempt})
	})
	e := setup(t, narrow, echo, patient)
	id := e.submit(sdk.Submission{Kind: "t.patient"}).ID
	for e.until(id, sdk.StateWaiting).Reason != `waiting for signal "go"` {
	}
	e.stop()

	e = open(t, e.path, narrow, echo, patient)
	if task := e.until(id, sdk.StateWaiting); task.Attempt != 1 {
		t.Errorf("attempt %d", task.Attempt)
	}
	for _, data := range []string{`1`, `2`} {
		if err := e.Signal(t.Context(), id, "go", json.RawMessage(data)); err != nil {
			t.Fatal(err)
		}
	}
	task := e.wait(id)
	if string(task.Result) != `[1,"child",1,2,true,1]` {
		t.Errorf("%s: %s %v", task.State, task.Result, task.Error)
	}
	if runs.Load() != 2 || steps.Load() != 1 {
		t.Errorf("%d runs, %d steps", runs.Load(), steps.Load())
	}
	page, err := e.Tasks(t.Context(), runtime.TaskFilter{Parent: id})
	if err != nil || len(page.Tasks) != 1 {
		t.Errorf("%d children, %v", len(page.Tasks), err)
	}
	if err := e.Signal(t.Context(), id, "go", nil); sdk.CodeOf(err) != sdk.CodeConflict {
		t.Errorf("a signal after the end: %v", err)
	}
}

// TestReplayPastTheDeadline: what is recorded is not checked again when the handler runs
// again, and its deadline is over, or the kind takes other payloads by now.
func TestReplayPastTheDeadline(t *testing.T) {
	var soon sdk.Time
	patient := handler("t.patient", func(ctx context.Context, _ *sdk.Task, h sdk.Host) (json.RawMessage, error) {
		child, err := sdk.Run(ctx, h, sdk.Submission{Kind: "t.echo", Payload: json.RawMessage(`1`), Deadline: soon})
		if err != nil {
			return nil, err
		}
		if _, err := sdk.Submit(ctx, h, sdk.Submission{Kind: "t.echo", Payload: json.RawMessage(`2`)}); err != nil {
			return nil, err
		}
		_, err = sdk.Await(ctx, h, "go", 0)
		return child, err
	})
	soon = sdk.Now().Add(time.Hour)
	e := setup(t, runtime.Config{}, echo, patient)
	id := e.submit(sdk.Submission{Kind: "t.patient"}).ID
	for e.until(id, sdk.StateWaiting).Reason != `waiting for signal "go"` {
	}
	soon = 1 // as if the hour were over
	picky := echo
	picky.PayloadSchema = json.RawMessage(`{"type":"object"}`)
	e.load(picky, patient)
	e.untilEvicted()
	if err := e.Signal(t.Context(), id, "go", nil); err != nil {
		t.Fatal(err)
	}
	if task := e.wait(id); string(task.Result) != `1` {
		t.Errorf("%s: %s %v", task.State, task.Result, task.Error)
	}
}

// TestMismatch: a handler that asks for something else when it runs again fails
// with a clear error.
func TestMismatch(t *testing.T) {
	for want, second := range map[string]func(ctx context.Context, h sdk.Host) error{
		`now is asked for as "run t.other"`: func(ctx context.Context, h sdk.Host) error {
			_, err := sdk.RunAll(ctx, h, "first", []sdk.Submission{{Kind: "t.other"}})
			return err
		},
		"now was not asked for": func(context.Context, sdk.Host) error { return nil },
	} {
		t.Run(want, func(t *testing.T) {
			var runs atomic.Int32
			fickle := handler("t.fickle", func(ctx context.Context, task *sdk.Task, h sdk.Host) (json.RawMessage, error) {
				if runs.Add(1) > 1 {
					return nil, second(ctx, h)
				}
				if _, err := sdk.RunAll(ctx, h, "first", []sdk.Submission{{Kind: "t.echo"}}); err != nil {
					return nil, err
				}
				_, err := sdk.Await(ctx, h, "go", 0)
				return nil, err
			})
			e := setup(t, runtime.Config{}, echo, fickle)
			id := e.submit(sdk.Submission{Kind: "t.fickle"}).ID
			for e.until(id, sdk.StateWaiting).Reason != `waiting for signal "go"` {
			}
			e.load(echo, fickle)
			e.untilEvicted()
			if err := e.Signal(t.Context(), id, "go", nil); err != nil {
				t.Fatal(err)
			}
			if task := e.wait(id); task.State != sdk.StateFailed || task.Error.Code != sdk.CodeReplayMismatch || !strings.Contains(task.Error.Message, want) {
				t.Errorf("%s: %v", task.State, task.Error)
			}
		})
	}
}

// A plugin that asks for steps without end does not fill the memory with their names.
func TestNamesAreBounded(t *testing.T) {
	e := setup(t, runtime.Config{}, handler("t.asks", func(ctx context.Context, _ *sdk.Task, h sdk.Host) (json.RawMessage, error) {
		for i := range 1_000_000 {
			if _, err := h.Call(ctx, sdk.OpStepGet, fmt.Appendf(nil, `{"name":"%d"}`, i)); err != nil {
				return nil, err
			}
		}
		return nil, nil
	}))
	if task := e.wait(e.submit(sdk.Submission{Kind: "t.asks", MaxAttempts: 1}).ID); task.Error == nil || task.Error.Code != sdk.CodeLimitExceeded {
		t.Errorf("%s %v", task.State, task.Error)
	}
}

// TestRetryKeepsOperations: the next attempt of a life finds what the last recorded.
func TestRetryKeepsOperations(t *testing.T) {
	var steps atomic.Int32
	flaky := handler("t.flaky", func(ctx context.Context, task *sdk.Task, h sdk.Host) (json.RawMessage, error) {
		if _, err := sdk.Step(ctx, h, "s", func(context.Context) (int32, error) { return steps.Add(1), nil }); err != nil {
			return nil, err
		}
		if _, err := sdk.Run(ctx, h, sdk.Submission{Kind: "t.echo"}); err != nil {
			return nil, err
		}
		if task.Attempt < 3 {
			return nil, errors.New("not yet")
		}
		return nil, nil
	})
	e := setup(t, narrow, echo, flaky)
	task := e.wait(e.submit(sdk.Submission{Kind: "t.flaky"}).ID)
	page, _ := e.Tasks(t.Context(), runtime.TaskFilter{Parent: task.ID})
	if task.State != sdk.StateCompleted || task.Attempt != 3 || steps.Load() != 1 || len(page.Tasks) != 1 {
		t.Errorf("%s after %d, %d steps, %d children", task.State, task.Attempt, steps.Load(), len(page.Tasks))
	}
}

// TestGivenBackKeepsOperations: a first attempt that is not counted, since another one's
// process was killed, leaves what it recorded.
func TestGivenBackKeepsOperations(t *testing.T) {
	var steps, runs atomic.Int32
	unlucky := handler("t.unlucky", func(ctx context.Context, task *sdk.Task, h sdk.Host) (json.RawMessage, error) {
		if _, err := sdk.Step(ctx, h, "s", func(context.Context) (int32, error) { return steps.Add(1), nil }); err != nil {
			return nil, err
		}
		if runs.Add(1) < 3 {
			return nil, fmt.Errorf("%w: %w", sdk.ErrBystander, sdk.Errorf(sdk.CodePluginCrashed, "killed"))
		}
		return nil, nil
	})
	e := setup(t, narrow, unlucky)
	task := e.wait(e.submit(sdk.Submission{Kind: "t.unlucky"}).ID)
	if task.State != sdk.StateCompleted || task.Attempt != 1 || steps.Load() != 1 {
		t.Errorf("%s after %d, the step was done %d times", task.State, task.Attempt, steps.Load())
	}
}

// TestCancelReachesChildren: the whole tree ends.
func TestCancelReachesChildren(t *testing.T) {
	started := make(chan int, 10)
	forever := blocking("t.forever", started, func(ctx context.Context) (json.RawMessage, error) { return nil, context.Cause(ctx) })
	e := setup(t, runtime.Config{}, forever, runner("t.mid", "t.forever", 2), runner("t.top", "t.mid", 2))
	id := e.submit(sdk.Submission{Kind: "t.top"}).ID
	for range 4 {
		<-started
	}
	if _, err := e.Cancel(t.Context(), id, false, "enough"); err != nil {
		t.Fatal(err)
	}
	if task := e.wait(id); task.State != sdk.StateCancelled || task.Reason != "enough" {
		t.Errorf("%s %q", task.State, task.Reason)
	}
	page, err := e.Tasks(t.Context(), runtime.TaskFilter{})
	if err != nil || len(page.Tasks) != 7 {
		t.Fatalf("%d tasks, %v", len(page.Tasks), err)
	}
	for _, k := range page.Tasks {
		if task := e.wait(k.ID); task.State != sdk.StateCancelled {
			t.Errorf("%s is %s", task.Kind, task.State)
		}
	}
}

// TestAfter: a task starts when others have completed, and fails when one has not.
func TestAfter(t *testing.T) {
	fails := handler("t.fails", func(context.Context, *sdk.Task, sdk.Host) (json.RawMessage, error) {
		return nil, sdk.Permanent(errors.New("no use"))
	})
	gate := make(chan struct{})
	gated := handler("t.gated", func(context.Context, *sdk.Task, sdk.Host) (json.RawMessage, error) { <-gate; return nil, nil })
	e := setup(t, runtime.Config{}, echo, fails, gated)
	a, b := e.submit(sdk.Submission{Kind: "t.gated"}).ID, e.submit(sdk.Submission{Kind: "t.echo"}).ID
	c := e.submit(sdk.Submission{Kind: "t.echo", After: []string{a, b, a}})
	if c.State != sdk.StateScheduled || !strings.Contains(c.Reason, "waiting for "+a) {
		t.Errorf("%s %q", c.State, c.Reason)
	}
	d := e.submit(sdk.Submission{Kind: "t.fails", After: []string{c.ID}})
	last := e.submit(sdk.Submission{Kind: "t.echo", After: []string{d.ID}})
	close(gate)
	if task := e.wait(c.ID); task.State != sdk.StateCompleted || task.Reason != "" {
		t.Errorf("%+v", task)
	}
	if got := e.types(c.ID); !slices.Equal(got, []string{"created", "scheduled", "queued", "started", "completed"}) {
		t.Errorf("events %v", got)
	}
	for _, id := range []string{last.ID, e.submit(sdk.Submission{Kind: "t.echo", After: []string{d.ID}}).ID} {
		if task := e.wait(id); task.State != sdk.StateFailed || task.Error.Code != sdk.CodeDependencyFailed {
			t.Errorf("%s %v", task.State, task.Error)
		}
	}
	out, err := e.Submit(t.Context(), "", []sdk.Submission{{Kind: "t.echo", After: []string{"tsk_none"}}, {Kind: "t.echo", After: []string{b}}})
	if err != nil || out[0].Err == nil || out[0].Err.Code != sdk.CodeInvalid || out[1].Err != nil {
		t.Errorf("%+v, %v", out, err)
	}
	if task := e.wait(out[1].Task.ID); task.State != sdk.StateCompleted {
		t.Errorf("%s", task.State)
	}
}

// TestApproval: decided once, about exactly one question; in time, or not at all.
func TestApproval(t *testing.T) {
	ask := handler("t.ask", func(ctx context.Context, task *sdk.Task, h sdk.Host) (json.RawMessage, error) {
		var q sdk.ApproveRequest
		if err := json.Unmarshal(task.Payload, &q); err != nil {
			return nil, err
		}
		d, err := sdk.Approve(ctx, h, q)
		if err != nil {
			return nil, err
		}
		return json.Marshal(d)
	})
	e := setup(t, narrow, ask)
	id := e.submit(sdk.Submission{Kind: "t.ask", Payload: json.RawMessage(`{"question":"May I?","detail":{"n":1}}`)}).ID
	e.until(id, sdk.StateWaiting)
	list, _, err := e.Approvals(t.Context(), runtime.ApprovalFilter{State: sdk.ApprovalPending})
	if err != nil || len(list) != 1 || list[0].Task != id || list[0].Question != "May I?" || string(list[0].Detail) != `{"n":1}` {
		t.Fatalf("%+v, %v", list, err)
	}
	if _, err := e.Decide(t.Context(), "me", list[0].ID, true, "sha256:other", ""); sdk.CodeOf(err) != sdk.CodeConflict {
		t.Errorf("another digest: %v", err)
	}
	if _, err := e.Decide(t.Context(), "me", list[0].ID, true, list[0].Digest, "fine"); err != nil {
		t.Fatal(err)
	}
	if _, err := e.Decide(t.Context(), "me", list[0].ID, false, list[0].Digest, ""); sdk.CodeOf(err) != sdk.CodeConflict {
		t.Errorf("twice: %v", err)
	}
	if task := e.wait(id); string(task.Result) != `{"approved":true,"by":"me","comment":"fine"}` {
		t.Errorf("%s %v", task.Result, task.Error)
	}
	task := e.wait(e.submit(sdk.Submission{Kind: "t.ask", Payload: json.RawMessage(`{"question":"Quick?","timeout":"20ms"}`)}).ID)
	if string(task.Result) != `{"approved":false,"expired":true}` {
		t.Errorf("%s %v", task.Result, task.Error)
	}
	id = e.submit(sdk.Submission{Kind: "t.ask", Payload: json.RawMessage(`{"question":"Still?"}`)}).ID
	e.until(id, sdk.StateWaiting)
	if _, err := e.Cancel(t.Context(), id, false, ""); err != nil {
		t.Fatal(err)
	}
	if list, _, err := e.Approvals(t.Context(), runtime.ApprovalFilter{State: sdk.ApprovalPending}); err != nil || len(list) != 0 {
		t.Errorf("%+v, %v", list, err)
	}
}

// TestWaitingStopsTheTimeout: only the time in which it works counts.
func TestWaitingStopsTheTimeout(t *testing.T) { synctest.Test(t, testWaitingStopsTheTimeout) }

func testWaitingStopsTheTimeout(t *testing.T) {
	slow := handler("t.slow", func(ctx context.Context, task *sdk.Task, h sdk.Host) (json.RawMessage, error) {
		if _, err := sdk.Await(ctx, h, "never", 200*time.Millisecond); sdk.CodeOf(err) != sdk.CodeTimeout {
			return nil, fmt.Errorf("awaited: %w", err)
		}
		return json.RawMessage(`"went on"`), nil
	})
	e := setup(t, narrow, slow)
	if task := e.wait(e.submit(sdk.Submission{Kind: "t.slow", Timeout: sdk.Duration(100 * time.Millisecond)}).ID); task.State != sdk.StateCompleted {
		t.Errorf("%s %v", task.State, task.Error)
	}
}

// TestConcurrentWaits: an answer reaches the handler while it waits for others.
func TestConcurrentWaits(t *testing.T) {
	heard := make(chan string, 1)
	both := handler("t.both", func(ctx context.Context, task *sdk.Task, h sdk.Host) (json.RawMessage, error) {
		done := make(chan error, 1)
		go func() {
			_, err := sdk.Await(ctx, h, "a", 0)
			heard <- "a"
			done <- err
		}()
		_, err := sdk.Await(ctx, h, "b", 0)
		return nil, errors.Join(err, <-done)
	})
	e := setup(t, narrow, both)
	id := e.submit(sdk.Submission{Kind: "t.both"}).ID
	e.until(id, sdk.StateWaiting)
	if err := e.Signal(t.Context(), id, "a", nil); err != nil {
		t.Fatal(err)
	}
	<-heard
	if err := e.Signal(t.Context(), id, "b", nil); err != nil {
		t.Fatal(err)
	}
	if task := e.wait(id); task.State != sdk.StateCompleted {
		t.Errorf("%s %v", task.State, task.Error)
	}
}

// TestFewPlaces: parents that wait make room for their children in a plugin with few
// places.
func TestFewPlaces(t *testing.T) {
	for _, places := range []int{1, 2, 3} {
		e := setup(t, runtime.Config{})
		p := sdk.New(sdk.Info{Name: "t", Version: "1"}, echo, runner("t.two", "t.echo", 2), runner("t.three", "t.two", 3))
		if err := e.SetPlugin(t.Context(), runtime.Plugin{Name: "t", Plugin: p, Capacity: places}); err != nil {
			t.Fatal(err)
		}
		var ids []string
		for range 5 {
			ids = append(ids, e.submit(sdk.Submission{Kind: "t.three"}).ID)
		}
		for _, id := range ids {
			if task := e.wait(id); task.State != sdk.StateCompleted || task.Attempt != 1 {
				t.Errorf("%d places: %s after %d: %v", places, task.State, task.Attempt, task.Error)
			}
		}
		e.stop()
	}
}
