package runtime_test

import (
	"context"
	"encoding/json"
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

func TestUnique(t *testing.T) {
	gate := make(chan struct{})
	gated := handler("t.gated", func(context.Context, *sdk.Task, sdk.Host) (json.RawMessage, error) { <-gate; return nil, nil })
	e := setup(t, runtime.Config{}, gated)
	out, err := e.Submit(t.Context(), "", []sdk.Submission{{Kind: "t.gated", Unique: "u"}, {Kind: "t.gated", Unique: "u"}, {Kind: "t.gated", Unique: "v"}})
	if err != nil || out[0].Duplicate || !out[1].Duplicate || out[1].Task.ID != out[0].Task.ID || out[2].Duplicate {
		t.Fatalf("%+v, %v", out, err)
	}
	first := out[0].Task.ID
	if again := e.submit(sdk.Submission{Kind: "t.gated", Unique: "u"}); again.ID != first {
		t.Errorf("%s is another task", again.ID)
	}
	close(gate)
	e.wait(first)
	second := e.submit(sdk.Submission{Kind: "t.gated", Unique: "u"})
	if second.ID == first {
		t.Error("the text is not free after the end")
	}
	e.wait(second.ID)
	third := e.submit(sdk.Submission{Kind: "t.none", Unique: "u"}) // stays queued
	if _, err := e.Cancel(t.Context(), third.ID, false, ""); err != nil {
		t.Fatal(err)
	}
	fourth := e.submit(sdk.Submission{Kind: "t.none", Unique: "u"})
	if _, err := e.Retry(t.Context(), third.ID); sdk.CodeOf(err) != sdk.CodeConflict || !strings.Contains(err.Error(), `"u"`) {
		t.Errorf("retry beside %s: %v", fourth.ID, err)
	}
}

// TestUniqueOfAnotherKind: who may run one kind does not get the result of a task of
// another, which its plugin may not be allowed to run.
func TestUniqueOfAnotherKind(t *testing.T) {
	e := setup(t, runtime.Config{}, echo, handler("t.guess", func(ctx context.Context, _ *sdk.Task, h sdk.Host) (json.RawMessage, error) {
		return sdk.Run(ctx, h, sdk.Submission{Kind: "t.echo", Unique: "u"})
	}))
	other := e.submit(sdk.Submission{Kind: "t.none", Unique: "u", Payload: json.RawMessage(`"secret"`)})
	task := e.wait(e.submit(sdk.Submission{Kind: "t.guess", MaxAttempts: 1}).ID)
	if task.State != sdk.StateFailed || task.Error.Code != sdk.CodeConflict {
		t.Errorf("%s: %s %v", task.State, task.Result, task.Error)
	}
	if _, err := e.Cancel(t.Context(), other.ID, false, ""); err != nil {
		t.Fatal(err)
	}
}

// TestNesting: nothing that clients are shown is nested so deep that they cannot read it.
func TestNesting(t *testing.T) {
	deep := func(n int) string { return strings.Repeat("[", n) + `"[\\\"["` + strings.Repeat("]", n) }
	e := setup(t, runtime.Config{}, echo, handler("t.deep", func(ctx context.Context, _ *sdk.Task, h sdk.Host) (json.RawMessage, error) {
		var v any
		if err := json.Unmarshal([]byte(deep(101)), &v); err != nil {
			return nil, err
		}
		h.Log(0, "deep", "v", v)
		if _, err := sdk.Publish(ctx, h, sdk.Event{Type: "t.x", Data: json.RawMessage(deep(101))}); sdk.CodeOf(err) != sdk.CodeInvalid {
			return nil, fmt.Errorf("published: %v", err)
		}
		if _, err := sdk.Approve(ctx, h, sdk.ApproveRequest{Question: "?", Detail: json.RawMessage(deep(101))}); sdk.CodeOf(err) != sdk.CodeInvalid {
			return nil, fmt.Errorf("asked: %v", err)
		}
		return json.RawMessage(deep(101)), nil
	}))
	task := e.wait(e.submit(sdk.Submission{Kind: "t.deep", MaxAttempts: 1}).ID)
	if task.State != sdk.StateFailed || task.Error.Code != sdk.CodeInvalidResult || !strings.Contains(task.Error.Message, "nested") {
		t.Errorf("%s: %.200s %v", task.State, task.Result, task.Error)
	}
	_, events := e.drainWatch(runtime.WatchRequest{Task: task.ID}, 100)
	said := false
	for _, n := range events {
		if n.Entry.Task.Type == sdk.EventLog {
			said = true
			if !strings.Contains(string(n.Entry.Task.Data), `"v":"[[`) {
				t.Errorf("%s", n.Entry.Task.Data)
			}
		}
	}
	if !said {
		t.Error("the line is missing")
	}
	out, err := e.Submit(t.Context(), "", []sdk.Submission{{Kind: "t.echo", Payload: json.RawMessage(deep(101))}, {Kind: "t.echo", Payload: json.RawMessage(deep(100))}})
	if err != nil || sdk.CodeOf(out[0].Err) != sdk.CodeInvalid || out[1].Err != nil {
		t.Fatalf("%+v, %v", out, err)
	}
	if task := e.wait(out[1].Task.ID); string(task.Result) != deep(100) {
		t.Errorf("%s: %s", task.State, task.Result)
	}
}

// TestConcurrencyKey: tasks with one key take turns, those behind them with another
// do not wait for them, and children run under their parent's slot.
func TestConcurrencyKey(t *testing.T) {
	var running, most, starts atomic.Int32
	gate := make(chan struct{})
	turn := handler("t.turn", func(ctx context.Context, _ *sdk.Task, _ sdk.Host) (json.RawMessage, error) {
		starts.Add(1)
		for n := running.Add(1); ; {
			if m := most.Load(); n <= m || most.CompareAndSwap(m, n) {
				break
			}
		}
		select {
		case <-gate:
		case <-ctx.Done():
		}
		running.Add(-1)
		return nil, nil
	})
	e := setup(t, runtime.Config{Queues: []runtime.Queue{{Name: "default", Concurrency: 8, KeyConcurrency: 2}}}, echo, turn, runner("t.run", "t.echo", 2))
	var ids []string
	for range 20 {
		ids = append(ids, e.submit(sdk.Submission{Kind: "t.turn", ConcurrencyKey: "k"}).ID)
	}
	if task := e.wait(e.submit(sdk.Submission{Kind: "t.echo", ConcurrencyKey: "other"}).ID); task.State != sdk.StateCompleted {
		t.Errorf("%+v", task)
	}
	if task, err := e.Task(t.Context(), ids[19]); err != nil || task.Reason != `concurrency key "k" is busy` || task.State != sdk.StateQueued {
		t.Errorf("%+v, %v", task, err)
	}
	close(gate)
	for _, id := range ids {
		if task := e.wait(id); task.State != sdk.StateCompleted {
			t.Errorf("%s %v", task.State, task.Error)
		}
	}
	if most.Load() != 2 || starts.Load() != 20 {
		t.Errorf("%d at once, %d starts", most.Load(), starts.Load())
	}
	// Two parents hold both slots; their children need none.
	ids = nil
	for range 6 {
		ids = append(ids, e.submit(sdk.Submission{Kind: "t.run", ConcurrencyKey: "k"}).ID)
	}
	for _, id := range ids {
		if task := e.wait(id); task.State != sdk.StateCompleted {
			t.Errorf("%s %v", task.State, task.Error)
		}
	}
	// Every way in which a task leaves frees its slot.
	for i, end := range []func(id string){
		func(id string) { _, _ = e.Cancel(t.Context(), id, false, "") },
		func(id string) {
			_, _ = e.Bulk(t.Context(), runtime.BulkRequest{Action: "cancel", Filter: runtime.TaskFilter{Queue: "default", States: []sdk.State{sdk.StateQueued}}})
		},
	} {
		key := fmt.Sprint("key", i)
		var stuck []string
		for range 2 {
			stuck = append(stuck, e.submit(sdk.Submission{Kind: "t.none", ConcurrencyKey: key}).ID)
		}
		next := e.submit(sdk.Submission{Kind: "t.echo", ConcurrencyKey: key, Priority: -1})
		end(stuck[0])
		if task := e.wait(next.ID); i == 0 && task.State != sdk.StateCompleted {
			t.Errorf("%d: %s %v", i, task.State, task.Error)
		}
		_, _ = e.Cancel(t.Context(), stuck[1], false, "")
	}
}

// TestRate: no more starts than the rate allows, without anybody polling.
func TestRate(t *testing.T) { synctest.Test(t, testRate) }

func testRate(t *testing.T) {
	at := make(chan time.Time, 100)
	note := handler("t.note", func(context.Context, *sdk.Task, sdk.Host) (json.RawMessage, error) { at <- time.Now(); return nil, nil })
	e := setup(t, runtime.Config{Queues: []runtime.Queue{
		{Name: "default", Concurrency: 8, Rate: runtime.Rate{N: 50, Period: sdk.Duration(time.Second), Burst: 5}},
		{Name: "keyed", Concurrency: 8, KeyConcurrency: 8, KeyRate: runtime.Rate{N: 50, Period: sdk.Duration(time.Second), Burst: 1}},
	}}, note)
	for _, s := range []sdk.Submission{{Kind: "t.note"}, {Kind: "t.note", Queue: "keyed", ConcurrencyKey: "k"}} {
		var subs []sdk.Submission
		for range 20 {
			subs = append(subs, s)
		}
		start := time.Now()
		out, err := e.Submit(t.Context(), "", subs)
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range out {
			e.wait(o.Task.ID)
		}
		var starts []time.Duration
		for range 20 {
			starts = append(starts, (<-at).Sub(start))
		}
		slices.Sort(starts)
		if starts[19] < 290*time.Millisecond || starts[19] > time.Second {
			t.Errorf("20 starts at 50/s took %v", starts[19])
		}
	}
}

func TestPauseAndDepth(t *testing.T) {
	e := setup(t, runtime.Config{Queues: []runtime.Queue{{Name: "default", Concurrency: 4, Depth: 3}}}, echo)
	if q, err := e.Pause(t.Context(), "default", true); err != nil || !q.Paused {
		t.Fatalf("%+v, %v", q, err)
	}
	if _, err := e.Pause(t.Context(), "none", true); sdk.CodeOf(err) != sdk.CodeNotFound {
		t.Errorf("an unknown queue: %v", err)
	}
	var ids []string
	for range 3 {
		task := e.submit(sdk.Submission{Kind: "t.echo", IdempotencyKey: fmt.Sprint(len(ids))})
		if task.Reason != "queue paused" {
			t.Errorf("reason %q", task.Reason)
		}
		ids = append(ids, task.ID)
	}
	out, err := e.Submit(t.Context(), "", []sdk.Submission{{Kind: "t.echo"}, {Kind: "t.echo", IdempotencyKey: "0"}})
	if err != nil || out[0].Err == nil || out[0].Err.Code != sdk.CodeLimitExceeded || !strings.Contains(out[0].Err.Message, "depth") {
		t.Errorf("%+v, %v", out[0], err)
	}
	if out[1].Err != nil || !out[1].Duplicate || out[1].Task.ID != ids[0] {
		t.Errorf("one that is there already: %+v", out[1])
	}
	q, err := e.Queue(t.Context(), "default")
	if err != nil || q.Queued != 3 || q.Running != 0 || q.DepthLimit != 3 {
		t.Errorf("%+v, %v", q, err)
	}
	e.stop()
	e = open(t, e.path, runtime.Config{Queues: []runtime.Queue{{Name: "default", Concurrency: 4, Depth: 3}}}, echo)
	if q, err := e.Pause(t.Context(), "default", false); err != nil || q.Paused {
		t.Fatalf("%+v, %v", q, err)
	}
	for _, id := range ids {
		e.wait(id)
	}
}

func TestDeadlineAndExpiry(t *testing.T) {
	started := make(chan int, 1)
	forever := blocking("t.forever", started, func(ctx context.Context) (json.RawMessage, error) { return nil, context.Cause(ctx) })
	patient := handler("t.patient", func(ctx context.Context, _ *sdk.Task, h sdk.Host) (json.RawMessage, error) {
		return sdk.Await(ctx, h, "never", 0)
	})
	e := setup(t, runtime.Config{}, forever, patient)
	held := e.submit(sdk.Submission{Kind: "t.none"}).ID
	soon := sdk.Now().Add(4 * time.Second) // all must be submitted, and one started, by then
	all := map[string]string{}
	for name, sub := range map[string]func(soon sdk.Time) sdk.Submission{
		"running":   func(at sdk.Time) sdk.Submission { return sdk.Submission{Kind: "t.forever", Deadline: at} },
		"waiting":   func(at sdk.Time) sdk.Submission { return sdk.Submission{Kind: "t.patient", Deadline: at} },
		"queued":    func(at sdk.Time) sdk.Submission { return sdk.Submission{Kind: "t.none", Deadline: at} },
		"unstarted": func(at sdk.Time) sdk.Submission { return sdk.Submission{Kind: "t.none", Expires: at} },
		"held": func(at sdk.Time) sdk.Submission {
			return sdk.Submission{Kind: "t.forever", After: []string{held}, Deadline: at}
		},
	} {
		all[name] = e.submit(sub(soon)).ID
	}
	// Started in time, it may take as long as it wants.
	never := sdk.TimeOf(time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC))
	task := e.submit(sdk.Submission{Kind: "t.patient", Expires: soon, Deadline: never})
	e.until(task.ID, sdk.StateWaiting)
	for name, id := range all {
		task := e.wait(id)
		if task.State != sdk.StateFailed || task.Error.Code != sdk.CodeExpired || task.FinishedAt < soon || task.FinishedAt > soon.Add(30*time.Second) {
			t.Errorf("%s: %s %v at %v", name, task.State, task.Error, task.FinishedAt)
		}
	}
	if err := e.Signal(t.Context(), task.ID, "never", json.RawMessage(`1`)); err != nil {
		t.Fatal(err)
	}
	if task := e.wait(task.ID); task.State != sdk.StateCompleted {
		t.Errorf("%s %v", task.State, task.Error)
	}
}

func TestBulk(t *testing.T) {
	e := setup(t, runtime.Config{}, echo)
	for i := range 7 {
		e.submit(sdk.Submission{Kind: "t.none", Labels: map[string]string{"odd": fmt.Sprint(i % 2)}})
	}
	bulk := func(action string, f runtime.TaskFilter, expected int, dry bool) (sdk.BulkResult, error) {
		return e.Bulk(t.Context(), runtime.BulkRequest{Action: action, Filter: f, DryRun: dry, Expected: &expected})
	}
	odd := runtime.TaskFilter{Labels: []string{"odd=1"}}
	if r, err := bulk("cancel", odd, 3, true); err != nil || r != (sdk.BulkResult{Matched: 3}) {
		t.Errorf("%+v, %v", r, err)
	}
	if _, err := bulk("cancel", odd, 4, false); sdk.CodeOf(err) != sdk.CodeConflict {
		t.Errorf("%v", err)
	}
	for _, c := range []struct {
		action string
		want   int
	}{{"delete", 0}, {"cancel", 3}, {"cancel", 0}, {"retry", 3}, {"cancel", 3}, {"delete", 3}, {"delete", 0}} {
		if r, err := bulk(c.action, odd, c.want, false); err != nil || r != (sdk.BulkResult{Matched: c.want, Changed: c.want}) {
			t.Errorf("%s: %+v, %v", c.action, r, err)
		}
	}
	even := runtime.BulkRequest{Action: "cancel", Filter: runtime.TaskFilter{Labels: []string{"odd=0"}}}
	if r, err := e.Bulk(t.Context(), even); err != nil || r != (sdk.BulkResult{Matched: 4, Changed: 4}) {
		t.Errorf("however many they are: %+v, %v", r, err)
	}
	if _, err := bulk("cancel", runtime.TaskFilter{}, 4, false); sdk.CodeOf(err) != sdk.CodeInvalid {
		t.Errorf("everything: %v", err)
	}
	if page, err := e.Tasks(t.Context(), runtime.TaskFilter{}); err != nil || len(page.Tasks) != 4 {
		t.Errorf("%d are left, %v", len(page.Tasks), err)
	}
}
