package runtime

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/nagatha/nagatha-runtime/sdk"
)

// How nodes see each other. A node is dead when its counter stood still for
// deadAfter on the watcher's own monotonic clock: no wall clock is compared, so a
// clock that jumps harms nothing. Time in which the watcher could not look does not
// count: when the database stalls, so do all counters.
const (
	beatEvery = 2 * time.Second
	lookEvery = time.Second
	deadAfter = 6 * time.Second
)

// recoverEarlier takes back what an earlier boot held. An embedded store belongs
// to one runtime, so whoever else held a task is dead; on a shared one the others
// may live, and the node loop finds out.
func (r *Runtime) recoverEarlier(ctx context.Context) error {
	if r.store.Shared() {
		return r.store.Beat(ctx, r.beat())
	}
	n, err := r.store.Recover(ctx, RecoverRequest{Now: sdk.Now(), Self: r.cfg.Node, AllOthers: true})
	if err != nil {
		return fmt.Errorf("recover tasks of earlier runs: %w", err)
	}
	if n > 0 {
		r.log.Info("took back tasks that were running when the runtime died", "tasks", n)
	}
	return nil
}

func (r *Runtime) beat() NodeBeat {
	r.dispatch.mu.Lock()
	defer r.dispatch.mu.Unlock()
	return NodeBeat{ID: r.cfg.Node, Started: r.started, Running: len(r.dispatch.running)}
}

// pulses is what is known of the other nodes' counters.
type pulses struct {
	mu   sync.Mutex
	of   map[string]pulse
	last time.Time // when they were seen
}

type pulse struct {
	beat  int64
	since time.Time // when it was first seen at this value; monotonic
}

// nodeLoop beats, watches the others, takes over from the dead, and hears of
// cancels whose message was lost.
func (r *Runtime) nodeLoop(ctx context.Context) {
	if !r.store.Shared() {
		return
	}
	var strays strays
	beat, look := time.NewTicker(beatEvery), time.NewTicker(lookEvery)
	defer beat.Stop()
	defer look.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-beat.C:
			if err := r.store.Beat(ctx, r.beat()); err != nil && ctx.Err() == nil {
				r.log.Error("cannot tell the other nodes that this one lives", "error", err)
				r.pulses.forget()
				continue
			}
			r.checkHeld(ctx, &strays)
		case <-look.C:
			r.lookAround(ctx)
		}
	}
}

// lookAround sees how the other nodes do, and takes over from those that are dead.
func (r *Runtime) lookAround(ctx context.Context) {
	nodes, err := r.store.Nodes(ctx)
	if err != nil {
		if ctx.Err() == nil {
			r.log.Error("cannot see the other nodes", "error", err)
		}
		r.pulses.forget()
		return
	}
	if dead := r.pulses.listen(nodes, r.cfg.Node, time.Now()); len(dead) > 0 {
		r.takeOver(ctx, dead)
	}
}

// forget begins anew: nobody is called dead for beats that could not be seen.
func (p *pulses) forget() {
	p.mu.Lock()
	defer p.mu.Unlock()
	clear(p.of)
}

// listen notes the counters of the others and returns the nodes that are dead.
func (p *pulses) listen(nodes []NodeBeat, self string, now time.Time) (dead []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	blind := max(0, now.Sub(p.last)-lookEvery)
	p.last = now
	of := map[string]pulse{}
	for _, n := range nodes {
		if n.ID == self {
			continue
		}
		old, known := p.of[n.ID]
		old.since = old.since.Add(blind)
		switch {
		case !known || old.beat != n.Beat:
			of[n.ID] = pulse{n.Beat, now}
		case now.Sub(old.since) >= deadAfter:
			dead = append(dead, n.ID)
		default:
			of[n.ID] = old
		}
	}
	p.of = of
	return dead
}

// age is how long ago a node's counter moved, as far as this node has seen.
func (p *pulses) age(n NodeBeat) sdk.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	if old, ok := p.of[n.ID]; ok && old.beat == n.Beat {
		return sdk.Duration(time.Since(old.since).Round(time.Millisecond))
	}
	return 0
}

func (r *Runtime) takeOver(ctx context.Context, dead []string) {
	n, err := r.store.Recover(ctx, RecoverRequest{Now: sdk.Now(), Self: r.cfg.Node, Dead: dead})
	if err != nil {
		if ctx.Err() == nil {
			r.log.Error("cannot take over from a dead node; trying again", "nodes", dead, "error", err)
		}
		return
	}
	r.log.Warn("took over from nodes that stood still", "nodes", dead, "tasks", n)
}

// strays are attempts that the store says this node runs and that it does not:
// claims whose answer was lost. One is believed when it is seen twice in a row and the
// claim that was under way at the first look, which may have been its own, has ended.
// How long that takes is not known: the database may stall in between.
type strays struct {
	seen  map[Fence]bool
	claim chan struct{} // that was under way
}

// checkHeld compares what the store says runs here with what does. What runs here only
// was taken over while this node stood still: it is stopped, also if it says nothing
// that the store could refuse, since it holds slots, and places in its plugin.
func (r *Runtime) checkHeld(ctx context.Context, before *strays) {
	running := r.dispatch.snapshot() // first: whatever is claimed after this is no concern
	held, err := r.store.Held(ctx, r.cfg.Node)
	if err != nil {
		return // the next beat looks again
	}
	ours := make(map[Fence]bool, len(held))
	for _, h := range held {
		ours[h.Fence] = true
		if h.Cancelled {
			r.told(Told{Task: h.Task, Token: h.Token, Force: h.Force, Reason: h.Reason})
		}
	}
	for _, a := range running {
		if !ours[a.fence()] {
			a.stop(errFenced, graceCancel)
		}
	}
	now := strays{seen: map[Fence]bool{}}
	r.dispatch.mu.Lock()
	now.claim = r.dispatch.claim
	for _, h := range held {
		if a := r.dispatch.running[h.Task]; a == nil || a.token != h.Token {
			now.seen[h.Fence] = true
		}
	}
	r.dispatch.mu.Unlock()
	if now.claim != nil && now.claim == before.claim {
		return // nothing is known yet that was not
	}
	for f := range now.seen {
		if before.seen[f] {
			delete(now.seen, f)
			r.giveBack(ctx, f)
		}
	}
	*before = now
}

// giveBack returns a task to its queue that was claimed for this node without its
// knowing.
func (r *Runtime) giveBack(ctx context.Context, f Fence) {
	r.log.Warn("gave back a task whose claim was never answered", "task", f.Task)
	if _, err := r.store.Finish(ctx, []FinishRequest{{AppendRequest: AppendRequest{Fence: f}, Now: sdk.Now(), State: sdk.StateQueued}}); err != nil {
		r.log.Error("cannot give a task back; trying again", "task", f.Task, "error", err)
	}
}

// told stops an attempt whose cancel was asked for, here or on another node.
func (r *Runtime) told(t Told) {
	req := CancelRequest{ID: t.Task, Force: t.Force, Reason: t.Reason}
	if a := r.dispatch.attemptFor(req, t.Token); a != nil {
		a.cancelled(req)
	}
}

// nodes describes this node and those that it sees.
func (r *Runtime) nodes(ctx context.Context) ([]sdk.NodeStatus, error) {
	self := r.beat()
	out := []sdk.NodeStatus{{ID: self.ID, Running: self.Running}}
	if !r.store.Shared() {
		return out, nil
	}
	all, err := r.store.Nodes(ctx)
	if err != nil {
		return nil, err
	}
	for _, n := range all {
		if n.ID != self.ID {
			out = append(out, sdk.NodeStatus{ID: n.ID, Running: n.Running, BeatAge: r.pulses.age(n)})
		}
	}
	return out, nil
}
