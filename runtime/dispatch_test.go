package runtime_test

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"github.com/nagatha/nagatha-runtime/runtime"
	"github.com/nagatha/nagatha-runtime/sdk"
)

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
	if task := e.submit(sdk.Submission{Kind: "t.echo"}); task.Reason != `no handler for kind "t.echo": plugin t is not ready` {
		t.Errorf("a plugin that went away: %q", task.Reason)
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
