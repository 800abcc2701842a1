package sdktest_test

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nagatha/nagatha-runtime/sdk"
	"github.com/nagatha/nagatha-runtime/sdk/sdktest"
)

// order asks for every kind of operation.
func order(ctx context.Context, h sdk.Host) ([]string, error) {
	id, err := sdk.Step(ctx, h, "reserve", func(context.Context) (string, error) { return "r1", nil })
	if err != nil {
		return nil, err
	}
	child, err := sdk.Submit(ctx, h, sdk.Submission{Kind: "shop.mail"})
	if err != nil {
		return nil, err
	}
	d, err := sdk.Approve(ctx, h, sdk.ApproveRequest{Question: "Ship?"})
	if err != nil {
		return nil, err
	}
	sig, err := sdk.Await(ctx, h, "paid", time.Hour)
	if err != nil {
		return nil, err
	}
	res, err := sdk.Run(ctx, h, sdk.Submission{Kind: "shop.ship", Payload: json.RawMessage(`{"n":1}`)})
	return []string{id, child, d.By, string(sig), string(res)}, err
}

// A handler that runs again finds what was recorded, of every operation.
func TestRerunFindsEveryOperation(t *testing.T) {
	h := sdktest.NewHost()
	asked := 0
	h.Answer = func(op string, _ json.RawMessage) (any, error) {
		asked++
		switch op {
		case sdk.OpApprove:
			return sdk.Decision{Approved: true, By: "ada"}, nil
		case sdk.OpAwait:
			return sdk.AwaitReply{Data: json.RawMessage(`7`)}, nil
		}
		if asked == 3 { // the attempt dies here, once
			return nil, sdk.Errorf(sdk.CodeUnavailable, "gone")
		}
		return sdk.RunReply{Outcomes: []sdk.Outcome{{ID: "tsk_2", State: sdk.StateCompleted, Result: json.RawMessage(`"ok"`)}}}, nil
	}
	if _, err := order(t.Context(), h); sdk.CodeOf(err) != sdk.CodeUnavailable {
		t.Fatal(err)
	}
	want := []string{"r1", "tsk_1", "ada", "7", `"ok"`}
	for range 2 {
		h.Rerun()
		got, err := order(t.Context(), h)
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("got %q, %v", got, err)
		}
		if f := h.Forgotten(); len(f) > 0 {
			t.Errorf("forgotten: %q", f)
		}
	}
	if asked != 4 {
		t.Errorf("asked %d times", asked)
	}
	h.Rerun()
	if want := []string{"approve#1", "await paid#1", "reserve#1", "run shop.ship#1", "submit shop.mail#1"}; !slices.Equal(h.Forgotten(), want) {
		t.Errorf("forgotten: %q", h.Forgotten())
	}
	h.Rerun()
	clear(h.Steps) // another task
	if _, err := order(t.Context(), h); err != nil || asked != 7 {
		t.Errorf("asked %d times, %v", asked, err)
	}
}

func TestMismatch(t *testing.T) {
	h := sdktest.NewHost()
	run := func(kind string) error {
		_, err := sdk.RunAll(t.Context(), h, "children", []sdk.Submission{{Kind: kind}})
		return err
	}
	if err := run("shop.ship"); err != nil {
		t.Fatal(err)
	}
	h.Rerun()
	if err := run("shop.mail"); sdk.CodeOf(err) != sdk.CodeReplayMismatch {
		t.Errorf("another kind: %v", err)
	}
	h.Rerun()
	if _, err := sdk.Step(t.Context(), h, "children", func(context.Context) (int, error) { return 1, nil }); sdk.CodeOf(err) != sdk.CodeReplayMismatch {
		t.Errorf("a step: %v", err)
	}
}

// The host refuses what every runtime does.
func TestRefusals(t *testing.T) {
	h := sdktest.NewHost()
	kv, big := sdk.NewKV(h), json.RawMessage(`"`+strings.Repeat("x", 256<<10)+`"`)
	call := func(op, request string) error {
		_, err := h.Call(t.Context(), op, []byte(request))
		return err
	}
	put := func(q sdk.KVSet) error { _, err := kv.Put(t.Context(), q); return err }
	publish := func(e sdk.Event) error { _, err := sdk.Publish(t.Context(), h, e); return err }
	submit := func(s sdk.Submission) error { _, err := sdk.Submit(t.Context(), h, s); return err }
	ended, end := context.WithCancel(t.Context())
	end()
	_, late := kv.Get(ended, "a")
	for what, c := range map[string]struct {
		err  error
		want sdk.Code
	}{
		"no key":                      {call(sdk.OpKVGet, `{}`), sdk.CodeInvalid},
		"a key with NUL":              {call(sdk.OpKVDelete, `{"key":"a\u0000"}`), sdk.CodeInvalid},
		"a large value":               {put(sdk.KVSet{Key: "a", Value: big}), sdk.CodeLimitExceeded},
		"a time that went":            {put(sdk.KVSet{Key: "a", Value: json.RawMessage(`1`), TTL: -1}), sdk.CodeInvalid},
		"a long page":                 {call(sdk.OpKVList, `{"limit":1001}`), sdk.CodeInvalid},
		"many hits":                   {call(sdk.OpKVSearch, `{"limit":1001}`), sdk.CodeInvalid},
		"clear many":                  {call(sdk.OpKVClear, `{"limit":-1}`), sdk.CodeInvalid},
		"an event without type":       {publish(sdk.Event{}), sdk.CodeInvalid},
		"the runtime's event":         {publish(sdk.Event{Type: "task.completed"}), sdk.CodeInvalid},
		"a pattern for a type":        {publish(sdk.Event{Type: "demo.*"}), sdk.CodeInvalid},
		"a large event":               {publish(sdk.Event{Type: "demo.x", Data: big}), sdk.CodeLimitExceeded},
		"a malformed kind":            {submit(sdk.Submission{Kind: "Demo"}), sdk.CodeInvalid},
		"a large payload":             {submit(sdk.Submission{Kind: "demo.x", Payload: big}), sdk.CodeLimitExceeded},
		"delay and time":              {submit(sdk.Submission{Kind: "demo.x", Delay: 1, RunAt: 1}), sdk.CodeInvalid},
		"no value":                    {call(sdk.OpKVSet, `{"key":"a"}`), sdk.CodeInvalid},
		"a prefix with NUL":           {call(sdk.OpKVCount, `{"prefix":"a\u0000"}`), sdk.CodeInvalid},
		"a cursor of the other order": {call(sdk.OpKVList, `{"newest":true,"after":"a"}`), sdk.CodeInvalid},
		"an event's own attribute":    {publish(sdk.Event{Type: "demo.x", Extensions: map[string]string{"id": "x"}}), sdk.CodeInvalid},
		"a long id":                   {publish(sdk.Event{Type: "demo.x", ID: strings.Repeat("x", 257)}), sdk.CodeInvalid},
		"a deadline that went":        {submit(sdk.Submission{Kind: "demo.x", Deadline: 1}), sdk.CodeInvalid},
		"a long delay":                {submit(sdk.Submission{Kind: "demo.x", Delay: sdk.Duration(100_000 * time.Hour)}), sdk.CodeInvalid},
		"a short timeout":             {submit(sdk.Submission{Kind: "demo.x", Timeout: 1}), sdk.CodeInvalid},
		"a label without name":        {submit(sdk.Submission{Kind: "demo.x", Labels: map[string]string{"": "x"}}), sdk.CodeInvalid},
		"a long key":                  {submit(sdk.Submission{Kind: "demo.x", Unique: strings.Repeat("x", 257)}), sdk.CodeInvalid},
		"a signal with space":         {call(sdk.OpAwait, `{"signal":" a"}`), sdk.CodeInvalid},
		"no tasks":                    {call(sdk.OpRun, `{}`), sdk.CodeInvalid},
		"a signal and a task":         {call(sdk.OpAwait, `{"signal":"a","task":"b"}`), sdk.CodeInvalid},
		"no question":                 {call(sdk.OpApprove, `{}`), sdk.CodeInvalid},
		"a large step":                {call(sdk.OpStepPut, `{"name":"a","occurrence":1,"value":`+string(big)+`}`), sdk.CodeLimitExceeded},
		"no bytes":                    {call(sdk.OpRandomRead, `{}`), sdk.CodeInvalid},
		"a context that is over":      {late, sdk.CodeCancelled},
	} {
		if sdk.CodeOf(c.err) != c.want {
			t.Errorf("%s: %v, want %s", what, c.err, c.want)
		}
	}
	if len(h.Items)+len(h.Published)+len(h.Submitted)+len(h.Steps) != 0 {
		t.Error("what was refused was kept")
	}
	if b, err := h.Call(t.Context(), sdk.OpRandomRead, []byte(`{"n":8}`)); len(b) != 8 || err != nil {
		t.Errorf("random: %d bytes, %v", len(b), err)
	}
}

// A transaction happens whole or not at all, and needs every grant.
func TestCommitIsAllOrNothing(t *testing.T) {
	good := sdk.Transaction{
		Writes: []sdk.KVWrite{{Set: &sdk.KVSet{Key: "a", Value: json.RawMessage(`1`)}}},
		Events: []sdk.Event{{Type: "demo.done"}},
		Tasks:  []sdk.Submission{{Kind: "demo.next"}},
	}
	h := sdktest.NewHost()
	for what, spoil := range map[string]func(q *sdk.Transaction){
		"an event": func(q *sdk.Transaction) { q.Events = []sdk.Event{{Type: "task.failed"}} },
		"a task":   func(q *sdk.Transaction) { q.Tasks = []sdk.Submission{{Kind: "x"}} },
		"a write":  func(q *sdk.Transaction) { q.Writes = []sdk.KVWrite{{Set: &sdk.KVSet{Value: json.RawMessage(`1`)}}} },
	} {
		bad := good
		spoil(&bad)
		if _, err := sdk.Commit(t.Context(), h, bad); sdk.CodeOf(err) != sdk.CodeInvalid {
			t.Errorf("%s: %v", what, err)
		}
	}
	for _, op := range []string{sdk.OpKVApply, sdk.OpPublish, sdk.OpSubmit} {
		h.Denied = map[string]bool{op: true}
		if _, err := sdk.Commit(t.Context(), h, good); sdk.CodeOf(err) != sdk.CodeCapabilityDenied {
			t.Errorf("without %s: %v", op, err)
		}
	}
	if len(h.Items)+len(h.Published)+len(h.Submitted) != 0 {
		t.Error("what was refused was kept")
	}
	h.Denied = nil
	if done, err := sdk.Commit(t.Context(), h, good); err != nil || done.Events[0] != "evt_1" || done.Tasks[0] != "tsk_1" {
		t.Errorf("got %+v, %v", done, err)
	}
	if e := h.Events()[0]; e.Source == "" || e.Time == 0 {
		t.Errorf("published %+v", e)
	}
}
