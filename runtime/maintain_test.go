package runtime

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nagatha/nagatha-runtime/sdk"
)

// promoter is the part of a store that promoteLoop uses.
type promoter struct {
	Store
	looks []time.Duration // when it was asked, since the beginning
	begin time.Time
	next  sdk.Time
	err   error
}

func (p *promoter) Promote(context.Context, sdk.Time, int) (int, sdk.Time, error) {
	p.looks = append(p.looks, time.Since(p.begin))
	return 0, p.next, p.err
}

// promote runs the loop in a bubble of time; then says what happens meanwhile.
func promote(t *testing.T, p *promoter, then func(r *Runtime)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		p.begin = time.Now()
		r := &Runtime{store: p, log: slog.New(slog.NewTextHandler(io.Discard, nil))}
		r.dispatch.init(nil)
		ctx, cancel := context.WithCancel(t.Context())
		var loop sync.WaitGroup
		loop.Go(func() { r.promoteLoop(ctx) })
		synctest.Wait()
		then(r)
		cancel()
		loop.Wait()
	})
}

// TestPromoteLooksOften: to hear of a task that is due in an hour is no reason to look
// at nothing else until then, and to hear of one that is due at once is one to look.
func TestPromoteLooksOften(t *testing.T) {
	p := &promoter{}
	promote(t, p, func(r *Runtime) {
		r.dispatch.due(sdk.Now().Add(time.Hour))
		time.Sleep(sweep + time.Second)
		synctest.Wait()
		if len(p.looks) != 2 {
			t.Errorf("after a sweep it has looked at %v", p.looks)
		}
		r.dispatch.due(sdk.Now().Add(3 * time.Second))
		r.dispatch.due(sdk.Now().Add(5 * time.Second))
		time.Sleep(4 * time.Second)
		synctest.Wait()
		if n := len(p.looks); n != 3 || p.looks[2] != sweep+4*time.Second {
			t.Errorf("it has looked at %v", p.looks)
		}
	})
	p = &promoter{err: errors.New("full")}
	promote(t, p, func(r *Runtime) {
		r.dispatch.due(sdk.Now().Add(time.Minute))
		time.Sleep(soon + soon/2)
		synctest.Wait()
		if len(p.looks) != 2 {
			t.Errorf("after an error it has looked at %v", p.looks)
		}
	})
}

// pruner is the part of a store that Prune uses: it has rows to delete, and takes a
// while for each batch.
type pruner struct {
	Store
	rows  int
	takes time.Duration
	busy  time.Duration // how long it was at work
}

func (p *pruner) Prune(_ context.Context, req PruneRequest) (int, error) {
	time.Sleep(p.takes)
	p.busy += p.takes
	n := min(p.rows, req.Limit)
	p.rows -= n
	return n, nil
}

// TestPruneRests: whoever else wants to write has half of the time while much is
// deleted, and who stops the runtime does not wait.
func TestPruneRests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &pruner{rows: 10 * pruneBatch, takes: 300 * time.Millisecond}
		r := &Runtime{store: p}
		start := time.Now()
		if n, err := r.Prune(t.Context()); n != 10*pruneBatch || err != nil {
			t.Errorf("deleted %d, %v", n, err)
		}
		if all := time.Since(start); all < 2*p.busy-p.takes {
			t.Errorf("of %v it was at work for %v", all, p.busy)
		}
		p.rows = 10 * pruneBatch
		ctx, cancel := context.WithTimeout(t.Context(), 400*time.Millisecond)
		defer cancel()
		if n, err := r.Prune(ctx); n != pruneBatch || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("stopped: deleted %d, %v", n, err)
		}
	})
}

// counter is the part of a store that Status uses.
type counter struct{ Store }

func (counter) Counts(context.Context) (map[sdk.State]int64, error) {
	return map[sdk.State]int64{}, nil
}
func (counter) Shared() bool { return false }

// A clock that is set changes nothing about how long the runtime has been up.
func TestUptimeIsNotOfTheClock(t *testing.T) {
	for _, set := range []time.Duration{-time.Hour, time.Hour} {
		synctest.Test(t, func(t *testing.T) {
			r := &Runtime{store: counter{}, began: time.Now(), started: sdk.Now().Add(-set)}
			time.Sleep(time.Minute)
			if s, err := r.Status(t.Context()); err != nil || s.Uptime.Std() != time.Minute {
				t.Errorf("set by %s: up for %s, %v", set, s.Uptime, err)
			}
		})
	}
}
