package runtime_test

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"github.com/nagatha/nagatha-runtime/runtime"
	"github.com/nagatha/nagatha-runtime/sdk"
)

// crowded is a carrier with one place, which the first attempt has until it is let go.
type crowded struct {
	sdk.Plugin
	came  chan string   // task that waits for the place, or has it
	leave chan struct{} // closed: the first may end
	place chan struct{} // capacity 1
}

func (c *crowded) Ahead() int { return 8 }

func (c *crowded) Handle(ctx context.Context, t *sdk.Task, h sdk.Host) (json.RawMessage, error) {
	select {
	case c.place <- struct{}{}:
		if !sdk.Begun(ctx) {
			return nil, sdk.ErrNotStarted
		}
		c.came <- t.ID
		<-c.leave
		return c.Plugin.Handle(ctx, t, h)
	default:
	}
	c.came <- t.ID
	<-ctx.Done()
	return nil, sdk.ErrNotStarted
}

// TestDrainLeavesWhatHasNotBegun: attempts that wait for a free place are given back at
// once, whatever the drain; nothing of them has happened, so they may also run at most
// once. What has begun may end.
func TestDrainLeavesWhatHasNotBegun(t *testing.T) {
	e := setup(t, runtime.Config{Drain: time.Hour})
	c := &crowded{Plugin: sdk.New(sdk.Info{Name: "t", Version: "1"}, echo), came: make(chan string), leave: make(chan struct{}), place: make(chan struct{}, 1)}
	if err := e.SetPlugin(t.Context(), runtime.Plugin{Name: "t", Plugin: c, Capacity: 1}); err != nil {
		t.Fatal(err)
	}
	first := e.submit(sdk.Submission{Kind: "t.echo"}).ID
	if got := <-c.came; got != first {
		t.Fatalf("%s came first", got)
	}
	var waiting []string
	for range 3 {
		waiting = append(waiting, e.submit(sdk.Submission{Kind: "t.echo", MaxAttempts: 1}).ID)
		<-c.came
	}
	stopped := make(chan struct{})
	go func() { e.stop(); close(stopped) }()
	for _, id := range waiting {
		if k := e.until(id, sdk.StateQueued); k.Attempt != 0 {
			t.Errorf("%+v", k)
		}
	}
	close(c.leave)
	<-stopped
	again := open(t, e.path, runtime.Config{}, echo)
	for _, id := range append(waiting, first) {
		if k := again.wait(id); k.State != sdk.StateCompleted || k.Attempt != 1 {
			t.Errorf("%+v", k)
		}
	}
}
