package runtime_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/nagatha/nagatha-runtime/runtime"
	"github.com/nagatha/nagatha-runtime/sdk"
)

// ends delivers what the engine announces, as a bus does.
func (e *engine) ends() {
	events := make(chan []sdk.Event, 1000)
	e.OnPublish(func(batch []sdk.Event) { events <- batch })
	done := make(chan struct{})
	go func() {
		defer close(done)
		for batch := range events {
			for _, ev := range batch {
				if err := e.Deliver(context.Background(), ev); err != nil && e.Context().Err() == nil {
					e.Error(err)
				}
			}
		}
	}()
	e.Cleanup(func() { e.stop(); close(events); <-done })
}

func TestWantedEnds(t *testing.T) {
	e := setup(t, runtime.Config{}, echo)
	if got := e.WantedEnds(); len(got) != 0 {
		t.Errorf("nobody subscribes, and %v are wanted", got)
	}
	for pattern, want := range map[string][]string{
		"task.completed": {sdk.EventCompleted}, "task.*": {sdk.EventCompleted, sdk.EventFailed, sdk.EventCancelled},
		"*.failed": {sdk.EventFailed}, "demo.>": nil, "task.progress": nil, ">": {sdk.EventCompleted, sdk.EventFailed, sdk.EventCancelled},
	} {
		p := sdk.New(sdk.Info{Name: "t", Version: "1", Subscriptions: []sdk.Subscription{{Type: pattern, Kind: "t.echo"}}}, echo)
		if err := e.SetPlugin(t.Context(), runtime.Plugin{Name: "t", Plugin: p}); err != nil {
			t.Fatal(err)
		}
		if got := e.WantedEnds(); !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", pattern, got, want)
		}
		e.RemovePlugin("t") // as while it restarts
		if got := e.WantedEnds(); !slices.Equal(got, want) {
			t.Errorf("%s, gone: %v, want %v", pattern, got, want)
		}
	}
}

// Two that watch every end see neither themselves nor each other; what they submit
// they see, until the hops are over.
func TestWatchersOfEnds(t *testing.T) {
	var saw [2]chan string
	for i := range saw {
		saw[i] = make(chan string, 100)
	}
	watcher := func(i int, kind string) sdk.Registration {
		return handler(kind, func(ctx context.Context, k *sdk.Task, h sdk.Host) (json.RawMessage, error) {
			var in struct {
				Event struct {
					Data struct{ Task, Kind string }
				}
			}
			if err := json.Unmarshal(k.Payload, &in); err != nil {
				return nil, err
			}
			saw[i] <- in.Event.Data.Kind
			if i == 0 && in.Event.Data.Kind == "t.again" {
				if _, err := sdk.Submit(ctx, h, sdk.Submission{Kind: "t.again"}); err != nil {
					return nil, sdk.Permanent(err)
				}
			}
			return nil, nil
		})
	}
	again := handler("t.again", func(context.Context, *sdk.Task, sdk.Host) (json.RawMessage, error) { return nil, nil })
	one, two := watcher(0, "t.on_task"), watcher(1, "t.second")
	e := setup(t, runtime.Config{})
	e.ends()
	p := sdk.New(sdk.Info{Name: "t", Version: "1", Subscriptions: []sdk.Subscription{{Type: "task.>", Kind: one.Kind}, {Type: "task.completed", Kind: two.Kind}}}, echo, again, one, two)
	if err := e.SetPlugin(t.Context(), runtime.Plugin{Name: "t", Plugin: p}); err != nil {
		t.Fatal(err)
	}
	hear := func(i int, want string) {
		t.Helper()
		select {
		case got := <-saw[i]:
			if got != want {
				t.Fatalf("watcher %d saw the end of a %s, want %s", i, got, want)
			}
		case <-time.After(30 * time.Second):
			t.Fatalf("watcher %d did not see the end of a %s", i, want)
		}
	}
	for range 3 {
		e.submit(sdk.Submission{Kind: "t.echo"})
		hear(0, "t.echo")
		hear(1, "t.echo")
	}
	e.submit(sdk.Submission{Kind: "t.again"})
	// A step from a task to its end's, and one to the child's: eight rounds.
	for range sdk.MaxHops / 2 {
		hear(0, "t.again")
		hear(1, "t.again")
	}
	// The end of the last one is too far from its origin. What comes after it on the
	// bus says that it was dropped.
	for end := time.Now().Add(30 * time.Second); ; {
		page, err := e.Tasks(t.Context(), runtime.TaskFilter{Kinds: []string{again.Kind}, States: []sdk.State{sdk.StateCompleted}})
		if err != nil || time.Now().After(end) {
			t.Fatalf("%d rounds, %v", len(page.Tasks), err)
		}
		if len(page.Tasks) == sdk.MaxHops/2+1 {
			break
		}
	}
	e.submit(sdk.Submission{Kind: "t.echo"})
	hear(0, "t.echo")
	hear(1, "t.echo")
	page, err := e.Tasks(t.Context(), runtime.TaskFilter{Limit: 1000})
	if err != nil {
		t.Fatal(err)
	}
	count := map[string]int{}
	for _, k := range page.Tasks {
		count[k.Kind]++
	}
	if got, want := fmt.Sprint(count), "map[t.again:9 t.echo:4 t.on_task:12 t.second:12]"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}
