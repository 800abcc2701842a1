package sdktest_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nagatha/nagatha-runtime/sdk"
	"github.com/nagatha/nagatha-runtime/sdk/sdktest"
)

// testDurable runs the kinds that wait and record, against a host that answers.
func testDurable(t *testing.T, p sdktest.Plugin) {
	host := sdktest.NewHost()
	if got, err := p.Run(t, "demo.fanout", `{"children":3,"kind":"demo.echo","payload":{"n":7}}`, host); err != nil || got != `{"results":[{"n":7},{"n":7},{"n":7}]}` {
		t.Errorf("fanout: %s, %v", got, err)
	}
	if len(host.Submitted) != 3 || host.Submitted[0].Kind != "demo.echo" {
		t.Errorf("submitted %+v", host.Submitted)
	}
	host.Answer = func(string, json.RawMessage) (any, error) {
		return sdk.RunReply{Outcomes: []sdk.Outcome{{ID: "tsk_x", State: sdk.StateFailed, Error: sdk.Errorf(sdk.CodeTimeout, "too slow")}}}, nil
	}
	if _, err := p.Run(t, "demo.fanout", `{"children":1}`, host); sdk.CodeOf(err) != sdk.CodeTimeout || sdk.AsError(err).Retryable || !strings.Contains(err.Error(), "tsk_x") {
		t.Errorf("a child that failed: %v", err)
	}
	host.Answer = func(op string, request json.RawMessage) (any, error) {
		if op == sdk.OpAwait {
			return sdk.AwaitReply{Data: json.RawMessage(`{"a":1}`)}, nil
		}
		return sdk.Decision{Approved: true, By: fmt.Sprint(len(request) > 0)}, nil
	}
	if got, err := p.Run(t, "demo.wait", `{"signal":"go"}`, host); err != nil || got != `{"a":1}` {
		t.Errorf("wait: %s, %v", got, err)
	}
	if got, err := p.Run(t, "demo.ask", `{"question":"?"}`, host); err != nil || got != `{"approved":true,"by":"true"}` {
		t.Errorf("ask: %s, %v", got, err)
	}
	host.Answer = func(string, json.RawMessage) (any, error) { return sdk.AwaitReply{TimedOut: true}, nil }
	if _, err := p.Run(t, "demo.wait", `{"signal":"go","timeout":"1s"}`, host); sdk.CodeOf(err) != sdk.CodeTimeout {
		t.Errorf("wait in vain: %v", err)
	}
	// Two waits at once: what the first answer starts goes on while the second is out.
	host = sdktest.NewHost()
	host.Answer = func(op string, _ json.RawMessage) (any, error) {
		if op != sdk.OpAwait {
			return sdk.RunReply{Outcomes: []sdk.Outcome{{ID: "tsk_x", State: sdk.StateCompleted, Result: json.RawMessage(`1`)}}}, nil
		}
		select {
		case <-host.Heard():
			return sdk.AwaitReply{Data: json.RawMessage(`2`)}, nil
		case <-time.After(20 * time.Second):
			return nil, sdk.Errorf(sdk.CodeTimeout, "nothing was said after the first answer")
		}
	}
	if got, err := p.Run(t, "demo.together", `{"signal":"go"}`, host); err != nil || got != `{"child":1,"signal":2}` {
		t.Errorf("together: %s, %v", got, err)
	}
	host = sdktest.NewHost()
	host.Kinds = []sdk.KindInfo{{Kind: "other.read", Plugin: "other", ReadOnly: true, Available: true}}
	if got, err := p.Run(t, "demo.kinds", `{}`, host); err != nil ||
		got != `{"kinds":[{"kind":"other.read","plugin":"other","description":"","payload_schema":null,"example":null,"tool":false,"read_only":true,"idempotent":false,"available":true}]}` {
		t.Errorf("kinds: %s, %v", got, err)
	}
	// A second run finds the steps of the first.
	for range 2 {
		host.Rerun()
		if got, err := p.Run(t, "demo.steps", `{"steps":3}`, host); err != nil || got != `{"ran":[1,1,1],"steps":3}` {
			t.Errorf("steps: %s, %v", got, err)
		}
	}
}

// TestApply: the in-memory host makes all writes or none, as the runtime does.
func TestApply(t *testing.T) {
	h := sdktest.NewHost()
	kv := sdk.NewKV(h)
	one, two := int64(1), int64(2)
	set := func(key string, ifVersion *int64) sdk.KVWrite {
		return sdk.KVWrite{Set: &sdk.KVSet{Key: key, Value: []byte(`1`), IfVersion: ifVersion}}
	}
	got, err := kv.Apply(t.Context(), set("a", nil), set("b", nil))
	if err != nil || got[1] != (sdk.KVResult{Key: "b", Version: 1, Created: true}) {
		t.Fatal(got, err)
	}
	if _, err := kv.Apply(t.Context(), set("a", &one), set("b", &two)); sdk.CodeOf(err) != sdk.CodeConflict {
		t.Error(err)
	}
	if it, err := kv.Get(t.Context(), "a"); err != nil || it.Version != 1 {
		t.Errorf("a refused request wrote: %+v, %v", it, err)
	}
	got, err = kv.Apply(t.Context(), set("a", &one), sdk.KVWrite{Delete: &sdk.KVDelete{Key: "b", IfVersion: &one}})
	if err != nil || got[0].Version != 2 || !got[1].Deleted {
		t.Error(got, err)
	}
}
