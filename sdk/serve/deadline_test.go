package serve

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// TestDeadline: it ends as a context of package context does, seen from itself and
// from a context that was derived from it.
func TestDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		outer, cancel := context.WithCancelCause(context.Background())
		d := &deadline{Context: outer, at: time.Now().Add(time.Second)}
		type key struct{}
		inner, stop := context.WithCancel(context.WithValue(d, key{}, 1))
		defer stop()
		if d.Err() != nil || inner.Err() != nil {
			t.Error("it has ended too early")
		}
		if at, ok := inner.Deadline(); !ok || at != d.at {
			t.Errorf("deadline %v", at)
		}
		time.Sleep(time.Second)
		<-inner.Done()
		for _, ctx := range []context.Context{d, inner} {
			if !errors.Is(ctx.Err(), context.DeadlineExceeded) || !errors.Is(context.Cause(ctx), context.DeadlineExceeded) {
				t.Errorf("%v: %v, %v", ctx, ctx.Err(), context.Cause(ctx))
			}
		}
		d.end()

		why := errors.New("why")
		d = &deadline{Context: outer, at: time.Now().Add(time.Second)}
		inner, stop = context.WithCancel(d)
		defer stop()
		cancel(why)
		<-inner.Done()
		if !errors.Is(context.Cause(inner), why) || !errors.Is(d.Err(), context.Canceled) {
			t.Errorf("%v, %v", context.Cause(inner), d.Err())
		}
		d.end()
		unused := &deadline{Context: context.Background(), at: time.Now()}
		unused.end() // nobody asked: nothing to give back
	})
}
