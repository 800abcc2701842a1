package storetest

import (
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/nagatha/nagatha-runtime/runtime"
	"github.com/nagatha/nagatha-runtime/sdk"
)

// testCommit makes writes, an event and tasks at once, or none of them, whatever
// stands in the way.
func testCommit(t *testing.T, open Open) {
	var mu sync.Mutex
	var heard []string
	f := setup(t, open, Options{Outbox: func(events []sdk.Event) error {
		mu.Lock()
		defer mu.Unlock()
		for _, e := range events {
			heard = append(heard, e.ID)
		}
		return nil
	}})
	f.queues(runtime.QueueLimits{Name: "narrow", Depth: 1})
	f.submit(f.newTask("a.parent"))
	parent := f.claimOne("a.parent")
	commit := func(id string, n runtime.NewTask, writes ...sdk.KVWrite) ([]sdk.KVResult, []sdk.Task, error) {
		return f.Store.Commit(t.Context(), runtime.Transaction{Namespace: "ns", Fence: fence(parent), Writes: writes,
			Events: []sdk.Event{{ID: id, Type: "x.y", Source: "test", Time: sdk.Now()}}, Tasks: []runtime.NewTask{n}})
	}
	want := func(content, events string, children int) {
		t.Helper()
		page, err := f.Store.Tasks(t.Context(), runtime.TaskFilter{Parent: parent.Task.ID, Limit: 100})
		if err != nil {
			t.Fatal(err)
		}
		mu.Lock()
		defer mu.Unlock()
		if got := f.contents("ns"); got != content || fmt.Sprint(heard) != events || len(page.Tasks) != children {
			t.Fatalf("stored %q, published %v, %d children; want %q, %s, %d", got, heard, len(page.Tasks), content, events, children)
		}
	}
	child := f.newTask("a.child")
	child.Task.State, child.Task.RunAt = sdk.StateScheduled, sdk.Now().Add(hour)
	results, tasks, err := commit("e1", child, put("a", `1`, 0))
	if err != nil || len(results) != 1 || results[0].Version != 1 || len(tasks) != 1 || tasks[0].ID != child.Task.ID {
		t.Fatalf("got %+v, %+v, %v", results, tasks, err)
	}
	want("a=1/1", "[e1]", 1)
	f.wantEvents(child.Task.ID, "task.created", "task.scheduled")
	if _, _, err := commit("e2", f.newTask("a.child"), put("b", `1`), put("a", `2`, 0)); sdk.CodeOf(err) != sdk.CodeConflict {
		t.Errorf("a condition that is not met: %v", err)
	}
	want("a=1/1", "[e1]", 1)
	full := func() runtime.NewTask {
		n := f.newTask("a.child")
		n.Task.Queue = "narrow"
		return n
	}
	if _, _, err := commit("e3", full(), put("a", `2`, 1)); err != nil {
		t.Error(err)
	}
	want("a=2/2", "[e1 e3]", 2)
	// A queue that is full refuses the whole, and nothing of what shares its tick.
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			if _, err := f.Store.KVSet(t.Context(), "other", runtime.Fence{}, sdk.KVSet{Key: fmt.Sprint(i), Value: []byte(`1`)}); err != nil {
				t.Error(err)
			}
		})
	}
	if _, _, err := commit("e4", full(), put("a", `3`, 2)); sdk.CodeOf(err) != sdk.CodeLimitExceeded {
		t.Errorf("a full queue: %v", err)
	}
	wg.Wait()
	if n := len(f.contents("other")); n != len("0=1/1 ")*8-1 {
		t.Errorf("others: %s", f.contents("other"))
	}
	if got := f.contents("ns"); got != "a=2/2" {
		t.Errorf("stored %s", got)
	}
	f.mustFinish(end(parent, sdk.StateCompleted))
	if _, _, err := commit("e5", f.newTask("a.child"), put("a", `4`)); !errors.Is(err, runtime.ErrFenced) {
		t.Errorf("after its end: %v", err)
	}
	if got := f.contents("ns"); got != "a=2/2" {
		t.Errorf("stored %s", got)
	}
}
