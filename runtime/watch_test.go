package runtime_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/nagatha/nagatha-runtime/runtime"
	"github.com/nagatha/nagatha-runtime/sdk"
)

// What is rare in a long log is found in several calls, none of which reads the
// whole log: replies of the same connection wait for each.
func TestWatchLooksInSteps(t *testing.T) {
	e := setup(t, runtime.Config{}, echo)
	many := make([]sdk.Submission, 1000)
	for i := range many {
		many[i] = sdk.Submission{Kind: "no.body"} // two events each
	}
	for range 5 {
		if _, err := e.Submit(t.Context(), "", many); err != nil {
			t.Fatal(err)
		}
	}
	rare := e.submit(sdk.Submission{Kind: "so.rare"})
	w, err := e.Watch(t.Context(), runtime.WatchRequest{Topics: []string{"kind.so.rare"}, From: "start"}, func() {})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	steps := 0
	for {
		notices, err := w.Next(t.Context(), 1)
		if err != nil {
			t.Fatal(err)
		}
		if len(notices) > 0 && notices[0].Method == "event" {
			if id := notices[0].Entry.Task.Task; id != rare.ID || steps < 2 {
				t.Errorf("found %s after %d steps, want %s after several", id, steps, rare.ID)
			}
			return
		}
		if len(notices) == 0 && !w.More() {
			t.Fatal("it gave up")
		}
		steps++
	}
}

// A watcher may close while it holds a lock for which its own wake waits: the store's
// writer, which wakes it, must not be one of three that wait for each other.
func TestCloseDuringWake(t *testing.T) {
	for name, req := range map[string]func(task string) runtime.WatchRequest{
		"task":   func(id string) runtime.WatchRequest { return runtime.WatchRequest{Task: id} },
		"topics": func(string) runtime.WatchRequest { return runtime.WatchRequest{Topics: []string{"kind.>"}} },
	} {
		t.Run(name, func(t *testing.T) {
			e := setup(t, runtime.Config{}, echo)
			task := e.submit(sdk.Submission{Kind: "no.body"})
			var mu sync.Mutex
			waking := make(chan struct{}, 100)
			w, err := e.Watch(t.Context(), req(task.ID), func() {
				waking <- struct{}{}
				mu.Lock()
				defer mu.Unlock()
			})
			if err != nil {
				t.Fatal(err)
			}
			mu.Lock()
			var cancel sync.WaitGroup
			cancel.Go(func() {
				if _, err := e.Cancel(context.Background(), task.ID, false, ""); err != nil {
					t.Error(err)
				}
			})
			<-waking
			closed := make(chan struct{})
			go func() {
				defer close(closed)
				w.Close()
			}()
			select {
			case <-closed:
			case <-time.After(10 * time.Second):
				t.Error("Close waits for the wake, which waits for who closes")
			}
			mu.Unlock()
			cancel.Wait()
			<-closed
		})
	}
}
