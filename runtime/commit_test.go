package runtime_test

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/nagatha/nagatha-runtime/runtime"
	"github.com/nagatha/nagatha-runtime/sdk"
)

// An attempt that dies after its commit finds, when it runs again, that all is done.
func TestCommitOnce(t *testing.T) {
	e := setup(t, runtime.Config{}, handler("t.once", func(ctx context.Context, k *sdk.Task, h sdk.Host) (json.RawMessage, error) {
		none := int64(0)
		done, err := sdk.Commit(ctx, h, sdk.Transaction{
			Writes: []sdk.KVWrite{{Set: &sdk.KVSet{Key: "done", Value: []byte(`true`), IfVersion: &none}}},
			Events: []sdk.Event{{Type: "once.done", ID: "e1"}},
			Tasks:  []sdk.Submission{{Kind: "t.child"}},
		})
		if k.Attempt == 1 {
			if err != nil || len(done.Results) != 1 || len(done.Events) != 1 || done.Events[0] != "e1" || len(done.Tasks) != 1 {
				return nil, sdk.Permanent(fmt.Errorf("got %+v, %w", done, err))
			}
			return nil, sdk.RetryAfter(fmt.Errorf("died"), time.Millisecond)
		}
		if sdk.CodeOf(err) != sdk.CodeConflict {
			return nil, sdk.Permanent(fmt.Errorf("again: %w", err))
		}
		return []byte(`"once"`), nil
	}), handler("t.child", func(context.Context, *sdk.Task, sdk.Host) (json.RawMessage, error) { return nil, nil }))
	var heard []sdk.Event
	e.OnPublish(func(events []sdk.Event) { heard = append(heard, events...) })
	id := e.submit(sdk.Submission{Kind: "t.once"}).ID
	if k, err := e.Wait(t.Context(), id); err != nil || string(k.Result) != `"once"` {
		t.Fatalf("%s: %s %v, %v", k.State, k.Result, k.Error, err)
	}
	page, err := e.Tasks(t.Context(), runtime.TaskFilter{Parent: id})
	if err != nil || len(page.Tasks) != 1 {
		t.Errorf("%d children, %v", len(page.Tasks), err)
	}
	if len(heard) != 1 || heard[0].Source != "plugin/t" || heard[0].Hops != 1 {
		t.Errorf("published %+v", heard)
	}
}

// A task that sets the next timer each time is no loop that runs away.
func TestTimersAreNoLoop(t *testing.T) {
	first := make(chan string, 1)
	e := setup(t, runtime.Config{}, handler("t.on_loop", func(ctx context.Context, k *sdk.Task, h sdk.Host) (json.RawMessage, error) {
		first <- k.ID
		soon := sdk.Submission{Kind: "t.on_loop", Delay: sdk.Duration(time.Second)}
		later := sdk.Submission{Kind: "t.on_loop", Delay: sdk.Duration(time.Hour)}
		for name, sub := range map[string]sdk.Submission{"soon": soon, "at once": {Kind: "t.on_loop"}} {
			if _, err := sdk.Submit(ctx, h, sub); sdk.CodeOf(err) != sdk.CodeLimitExceeded {
				return nil, sdk.Permanent(fmt.Errorf("%s: %w", name, err))
			}
			if _, err := sdk.Commit(ctx, h, sdk.Transaction{Tasks: []sdk.Submission{later, sub}}); sdk.CodeOf(err) != sdk.CodeLimitExceeded {
				return nil, sdk.Permanent(fmt.Errorf("%s: %w", name, err))
			}
		}
		if _, err := sdk.Submit(ctx, h, later); err != nil {
			return nil, sdk.Permanent(err)
		}
		_, err := sdk.Commit(ctx, h, sdk.Transaction{Tasks: []sdk.Submission{later}})
		return nil, sdk.Permanent(err)
	}))
	if err := e.Deliver(t.Context(), sdk.Event{ID: "1", Source: "test", Type: "loop.start", Hops: sdk.MaxHops}); err != nil {
		t.Fatal(err)
	}
	if k := e.wait(<-first); k.State != sdk.StateCompleted {
		t.Errorf("%s: %v", k.State, k.Error)
	}
	page, err := e.Tasks(t.Context(), runtime.TaskFilter{})
	if err != nil || len(page.Tasks) != 3 {
		t.Errorf("%d tasks, %v", len(page.Tasks), err)
	}
	page, err = e.Tasks(t.Context(), runtime.TaskFilter{States: []sdk.State{sdk.StateScheduled}})
	if err != nil || len(page.Tasks) != 2 {
		t.Errorf("%d timers, %v", len(page.Tasks), err)
	}
}
