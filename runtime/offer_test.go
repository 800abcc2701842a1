package runtime_test

import (
	"context"
	"encoding/json"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/nagatha/nagatha-runtime/runtime"
	"github.com/nagatha/nagatha-runtime/sdk"
)

// TestFullQueue: where a queue, a kind or a plugin is full the transaction that ends a
// task starts the next one, so that each costs one commit.
func TestFullQueue(t *testing.T) {
	t.Run("queue", func(t *testing.T) { testFull(t, 1, 0) })
	t.Run("kind", func(t *testing.T) { testFull(t, 100, 1) })
}

func testFull(t *testing.T, ofQueue, ofKind int) {
	const tasks = 40
	gate := make(chan struct{})
	work := handler("t.work", func(context.Context, *sdk.Task, sdk.Host) (json.RawMessage, error) {
		<-gate
		return nil, nil
	})
	work.Concurrency = ofKind
	e := setup(t, runtime.Config{Queues: []runtime.Queue{{Name: "default", Concurrency: ofQueue}}}, work)
	e.submit(sdk.Submission{Kind: "t.work"})
	subs := make([]sdk.Submission, tasks)
	for i := range subs {
		subs[i].Kind = "t.work"
	}
	out, err := e.Submit(t.Context(), "", subs)
	if err != nil {
		t.Fatal(err)
	}
	e.commits.Store(0)
	close(gate)
	e.wait(out[tasks-1].Task.ID)
	// Now and then the loop has just the slots' lock, and claims by itself.
	if n := e.commits.Load(); n > tasks*3/2 {
		t.Errorf("%d tasks took %d commits", tasks, n)
	}
}

// TestSlotsInAFlood: free slots are filled by the loop's claims and by the submits
// themselves, and none is given twice. A stop in the middle of it leaves no task that
// was claimed and never started: each one runs in its first attempt.
func TestSlotsInAFlood(t *testing.T) {
	const slots = 3
	var running, most, ran atomic.Int64
	work := handler("t.work", func(context.Context, *sdk.Task, sdk.Host) (json.RawMessage, error) {
		n := running.Add(1)
		defer running.Add(-1)
		for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
		}
		ran.Add(1)
		return nil, nil
	})
	cfg := runtime.Config{Queues: []runtime.Queue{{Name: "default", Concurrency: slots}}}
	e := setup(t, cfg, work)
	for range 12 {
		var mu sync.Mutex
		var ids []string
		var wg sync.WaitGroup
		full := make(chan struct{})
		for range 8 {
			wg.Go(func() {
				for i := 0; ; i++ {
					out, err := e.Submit(context.Background(), "", []sdk.Submission{{Kind: "t.work"}, {Kind: "t.work"}})
					if err != nil { // it stops
						return
					}
					mu.Lock()
					ids = append(ids, out[0].Task.ID, out[1].Task.ID)
					if len(ids) == 40 {
						close(full)
					}
					mu.Unlock()
				}
			})
		}
		<-full
		e.stop()
		wg.Wait()
		e = open(t, e.path, cfg, work)
		for _, id := range ids {
			if k := e.wait(id); k.State != sdk.StateCompleted || k.Attempt != 1 {
				t.Errorf("%s is %s in attempt %d", id, k.State, k.Attempt)
			}
		}
	}
	if n := most.Load(); n > slots {
		t.Errorf("%d ran at once in %d slots", n, slots)
	}
}
