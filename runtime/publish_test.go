package runtime_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/nagatha/nagatha-runtime/runtime"
	"github.com/nagatha/nagatha-runtime/sdk"
)

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

// A trace that cannot be kept does not keep an event of another system away.
func TestDeliverBadTrace(t *testing.T) {
	got := make(chan string, 1)
	e := setup(t, runtime.Config{}, handler("t.on_demo", func(ctx context.Context, _ *sdk.Task, h sdk.Host) (json.RawMessage, error) {
		_, err := sdk.Publish(ctx, h, sdk.Event{Type: "done.demo"})
		return nil, sdk.Permanent(err)
	}))
	e.OnPublish(func(events []sdk.Event) { got <- events[0].TraceParent })
	if err := e.Deliver(t.Context(), sdk.Event{ID: "1", Source: "test", Type: "demo.ping", TraceParent: "00-\x00"}); err != nil {
		t.Fatal(err)
	}
	if trace := <-got; trace != "" {
		t.Errorf("trace %q", trace)
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
