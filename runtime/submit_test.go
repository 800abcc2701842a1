package runtime_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nagatha/nagatha-runtime/runtime"
	"github.com/nagatha/nagatha-runtime/sdk"
)

func TestDelay(t *testing.T) { synctest.Test(t, testDelay) }

func testDelay(t *testing.T) {
	e := setup(t, runtime.Config{}, echo)
	begin := time.Now()
	task := e.submit(sdk.Submission{Kind: "t.echo", Delay: sdk.Duration(150 * time.Millisecond)})
	if task.State != sdk.StateScheduled {
		t.Errorf("it is %s", task.State)
	}
	task = e.wait(task.ID)
	if d := time.Since(begin); d < 150*time.Millisecond || d > time.Second {
		t.Errorf("it ended after %v", d)
	}
	if got := e.types(task.ID); !slices.Equal(got, []string{"created", "scheduled", "queued", "started", "completed"}) {
		t.Errorf("events %v", got)
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
		"timeout":         {Kind: "t.echo", Timeout: 500_000}, // it is kept in milliseconds
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

// A timeout is kept in milliseconds, and the answer to a submit is the task as it is kept.
func TestTimeoutIsRounded(t *testing.T) {
	e := setup(t, runtime.Config{}, echo)
	k := e.submit(sdk.Submission{Kind: "t.echo", Timeout: sdk.Duration(1500500 * time.Nanosecond)})
	kept, err := e.Task(t.Context(), k.ID)
	if err != nil || k.Timeout != kept.Timeout || k.Timeout.Std() != time.Millisecond {
		t.Errorf("%s, and later %s (%v)", k.Timeout, kept.Timeout, err)
	}
}

// A client that never saw the answer asks again with the same body, however late:
// what the body says of the past must not hide the task that there is.
func TestIdempotencyKeyAfterANewSchema(t *testing.T) {
	e := setup(t, runtime.Config{}, echo)
	sub := sdk.Submission{Kind: "t.echo", IdempotencyKey: "k", Payload: json.RawMessage(`{"n": 1}`)}
	first := e.submit(sub)
	e.wait(first.ID)
	stricter := sdk.Registration{HandlerInfo: sdk.HandlerInfo{Kind: "t.echo", PayloadSchema: json.RawMessage(`{"type":"object","required":["m"]}`)}, Handler: echo.Handler}
	e.load(stricter)
	same, other, unkeyed := sub, sub, sub
	same.Payload, other.Payload, unkeyed.IdempotencyKey = json.RawMessage(` {"n":1} `), json.RawMessage(`{"n":2}`), ""
	out, err := e.Submit(t.Context(), "", []sdk.Submission{same, other, unkeyed})
	if err != nil {
		t.Fatal(err)
	}
	if out[0].Err != nil || !out[0].Duplicate || out[0].Task.ID != first.ID {
		t.Errorf("again: %+v", out[0])
	}
	if sdk.CodeOf(out[1].Err) != sdk.CodeConflict {
		t.Errorf("another body: %v", out[1].Err)
	}
	if sdk.CodeOf(out[2].Err) != sdk.CodeInvalid {
		t.Errorf("without the key: %v", out[2].Err)
	}
}

func TestIdempotencyKeyAfterItsDeadline(t *testing.T) {
	synctest.Test(t, testIdempotencyKeyAfterItsDeadline)
}

func testIdempotencyKeyAfterItsDeadline(t *testing.T) {
	e := setup(t, runtime.Config{}, echo)
	sub := sdk.Submission{Kind: "t.echo", IdempotencyKey: "k", Deadline: sdk.Now().Add(1500 * time.Millisecond), Expires: sdk.Now().Add(1200 * time.Millisecond)}
	first := e.submit(sub)
	time.Sleep(2 * time.Second) // of the bubble
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
