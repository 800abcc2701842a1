package sdktest_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

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
	// A second run finds the steps of the first.
	for range 2 {
		host.Rerun()
		if got, err := p.Run(t, "demo.steps", `{"steps":3}`, host); err != nil || got != `{"ran":[1,1,1],"steps":3}` {
			t.Errorf("steps: %s, %v", got, err)
		}
	}
}
