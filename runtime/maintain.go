package runtime

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/nagatha/nagatha-runtime/sdk"
)

// promoteBatch is how many due tasks one transaction queues.
const promoteBatch = 1000

// promoteLoop queues tasks when they are due. It sleeps until the next is, or
// until the dispatcher hears of an earlier one, and never longer than a sweep: a
// message of another node may be lost, and a wall clock may jump.
func (r *Runtime) promoteLoop(ctx context.Context) {
	t := time.NewTimer(0)
	defer t.Stop()
	look := time.Now() // when t fires, on a clock that does not jump
	sleep := func(d time.Duration) {
		d = min(sweep, max(0, d))
		look = time.Now().Add(d)
		t.Reset(d)
	}
	for {
		select {
		case <-ctx.Done():
			return
		case at := <-r.dispatch.timer:
			if d := at.Sub(sdk.Now()); d < time.Until(look) {
				sleep(d)
			}
			continue
		case <-t.C:
		}
		n, at, err := r.store.Promote(ctx, sdk.Now(), promoteBatch)
		r.dispatch.wake() // a rate may allow more by now
		switch {
		case err != nil && ctx.Err() != nil:
			return
		case err != nil:
			r.log.Error("cannot queue tasks that are due; trying again", "error", err, "after", soon)
			sleep(soon)
		case n >= promoteBatch:
			sleep(0)
		case at == 0:
			sleep(sweep)
		default:
			sleep(at.Sub(sdk.Now()))
		}
	}
}

const (
	pruneEvery = 10 * time.Minute
	pruneBatch = 200
)

// pruneLoop deletes what is past its retention, in batches small enough that
// the writer serves others in between.
func (r *Runtime) pruneLoop(ctx context.Context) {
	t := time.NewTimer(time.Minute)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		if _, err := r.Prune(ctx); err != nil && ctx.Err() == nil {
			r.log.Error("cannot delete what is past its retention; trying again", "error", err, "after", pruneEvery)
		}
		t.Reset(pruneEvery)
	}
}

// Prune deletes everything that is past its retention, and returns how many rows. It
// rests after each batch for as long as that took: whoever waits for the writer would
// otherwise wait for a batch each time, for as long as there is something to delete.
func (r *Runtime) Prune(ctx context.Context) (deleted int, err error) {
	now := sdk.Now()
	keep := r.cfg.Retention
	for {
		start := time.Now()
		n, err := r.store.Prune(ctx, PruneRequest{
			Now:             now,
			CompletedBefore: now.Add(-keep.Completed),
			FailedBefore:    now.Add(-keep.Failed),
			EventsBefore:    now.Add(-keep.Events),
			Limit:           pruneBatch,
		})
		deleted += n
		if err != nil || n < pruneBatch {
			return deleted, err
		}
		select {
		case <-ctx.Done():
			return deleted, ctx.Err()
		case <-time.After(time.Since(start)):
		}
	}
}

// readiness remembers for a second whether the store took a write, so that
// asking costs no more than that.
type readiness struct {
	mu  sync.Mutex
	at  time.Time
	err error
}

// Ready reports whether the store can be written and the dispatcher answers.
func (r *Runtime) Ready(ctx context.Context) error {
	select {
	case <-r.draining:
		return errors.New("shutting down")
	default:
	}
	// The answer is for others too, so it is not given up when this caller goes.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	r.ready.mu.Lock()
	defer r.ready.mu.Unlock()
	if time.Since(r.ready.at) > time.Second {
		_, r.ready.err = r.store.KVSet(ctx, "system.ready", Fence{}, sdk.KVSet{Key: r.cfg.Node, Value: []byte("true"), TTL: sdk.Duration(time.Minute)})
		if r.ready.err == nil && !r.dispatch.answers(ctx) {
			r.ready.err = errors.New("the dispatcher does not answer")
		}
		r.ready.at = time.Now()
	}
	return r.ready.err
}

// Status describes the runtime. The counts of plugins and connections are the
// api's to fill in.
func (r *Runtime) Status(ctx context.Context) (sdk.SystemStatus, error) {
	counts, err := r.store.Counts(ctx)
	if err != nil {
		return sdk.SystemStatus{}, err
	}
	for _, s := range sdk.States {
		counts[s] += 0 // every state is named
	}
	nodes, err := r.nodes(ctx)
	if err != nil {
		return sdk.SystemStatus{}, err
	}
	return sdk.SystemStatus{
		Version: r.cfg.Version, StartedAt: r.started, Uptime: sdk.Duration(time.Since(r.began).Truncate(time.Millisecond)),
		Store: r.cfg.StoreName, Bus: r.cfg.BusName, Tasks: counts,
		Nodes: nodes,
	}, nil
}
