package runtime

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nagatha/nagatha-runtime/sdk"
)

// dispatcher gives free slots to queued tasks. One goroutine claims; it looks
// when it is woken (a task was queued, a slot became free, a plugin became
// ready), and otherwise sleeps. A slow sweep covers a lost wake-up.
type dispatcher struct {
	queues []Queue

	mu      sync.Mutex
	running map[string]*attempt // by task id
	queue   map[string]int      // running, by queue
	kind    map[string]int
	plugin  map[string]int
	parked  map[string][]*attempt // those that wait, by plugin, longest first

	draining bool

	claim   chan struct{}            // closed when the claim that is under way has ended; nil: none is
	again   bool                     // the loop wanted to claim meanwhile
	early   map[string]CancelRequest // cancels that met the claim, by task id
	opened  bool                     // the store may ask for free slots
	offered chan []Claimed           // capacity 1: what it claimed for them

	attempts sync.WaitGroup
	giveUp   chan struct{} // closed when ends that cannot be stored are left to recovery
	look     chan struct{} // capacity 1: there may be something to claim
	timer    chan sdk.Time // capacity 1: the earliest run_at heard of
	pings    chan chan struct{}
	stalled  atomic.Bool // the store refuses writes
}

// sweep is how often the dispatcher looks without being woken.
const sweep = 30 * time.Second

func (d *dispatcher) init(queues []Queue) {
	d.queues = queues
	d.running = map[string]*attempt{}
	d.giveUp = make(chan struct{})
	d.queue, d.kind, d.plugin = map[string]int{}, map[string]int{}, map[string]int{}
	d.parked = map[string][]*attempt{}
	d.look = make(chan struct{}, 1)
	d.offered = make(chan []Claimed, 1)
	d.timer = make(chan sdk.Time, 1)
	d.pings = make(chan chan struct{})
}

func (d *dispatcher) known(queue string) bool {
	return slices.ContainsFunc(d.queues, func(q Queue) bool { return q.Name == queue })
}

func (d *dispatcher) names() []string {
	var out []string
	for _, q := range d.queues {
		out = append(out, q.Name)
	}
	return out
}

func (d *dispatcher) wake() {
	select {
	case d.look <- struct{}{}:
	default:
	}
}

// due says that a task is due at t. The channel holds the earliest.
func (d *dispatcher) due(t sdk.Time) {
	for {
		select {
		case d.timer <- t:
			return
		default:
		}
		select {
		case other := <-d.timer:
			t = min(t, other)
		default:
		}
	}
}

func (r *Runtime) dispatchLoop(ctx context.Context) {
	tick := time.NewTicker(sweep)
	defer tick.Stop()
	r.dispatch.open(r)
	defer r.dispatch.close(r)
	for {
		if r.claim(ctx) {
			select {
			case <-ctx.Done():
				return
			default:
				continue
			}
		}
		select {
		case <-ctx.Done():
			return
		case claimed := <-r.dispatch.offered:
			r.begin(claimed)
		case <-r.dispatch.look:
		case <-tick.C:
		case reply := <-r.dispatch.pings:
			close(reply)
		}
	}
}

// claim fills free slots once and reports whether it is worth trying again at
// once.
func (r *Runtime) claim(ctx context.Context) (more bool) {
	if !r.dispatch.beginClaim() {
		return false
	}
	req := r.claimRequest(nil)
	if len(req.Lanes) == 0 {
		r.dispatch.endClaim()
		return false
	}
	req.Again = r.claimRequest
	claimed, err := r.store.Claim(ctx, req)
	if err != nil {
		r.dispatch.endClaim()
		if ctx.Err() == nil {
			r.log.Error("cannot claim tasks; trying again", "error", err, "after", soon)
			r.dispatch.stalled.Store(true)
			r.retryClaim(ctx)
		}
		return false
	}
	r.begin(claimed)
	// Fewer than asked for may still mean that some lane was filled.
	return len(claimed) > 0
}

// begin starts, or resumes, what was claimed, each task in a goroutine of its own. The
// claim ends before any of them does, so that the slots of those that end at once are
// offered, too.
func (r *Runtime) begin(claimed []Claimed) {
	r.dispatch.stalled.Store(false)
	started := make([]*attempt, 0, len(claimed))
	for i := range claimed {
		if claimed[i].Live {
			r.resume(&claimed[i])
		} else {
			started = append(started, r.attempt(&claimed[i]))
		}
	}
	r.dispatch.endClaim()
	for _, a := range started {
		go func() {
			defer r.dispatch.release(a)
			a.run()
		}()
	}
}

// retryClaim looks again after a pause in which the store was of no use.
func (r *Runtime) retryClaim(ctx context.Context) {
	t := time.NewTimer(soon)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
		r.dispatch.wake()
	}
}

// claimRequest names the slots that are free, or will be when the attempts in ending
// have ended: their handlers have returned.
func (r *Runtime) claimRequest(ending []Fence) ClaimRequest {
	req, _ := r.freeSlots(ending)
	return req
}

// freeSlots is claimRequest. It also tells the queues in which the ends let tasks start
// that could not before: those that were full, or whose kind or plugin was.
func (r *Runtime) freeSlots(ending []Fence) (req ClaimRequest, gained map[string]bool) {
	d := &r.dispatch
	req = ClaimRequest{Node: r.cfg.Node}
	gained = map[string]bool{}
	ready := r.registry.ready()

	d.mu.Lock()
	defer d.mu.Unlock()
	freed, tight := d.freed(ending), false
	var kinds []KindSlots
	for _, e := range ready {
		free := unlimited
		if e.capacity > 0 {
			free = e.capacity + e.ahead() - d.plugin[e.info.Name]
			tight = tight || free <= 0
			if free += freed.plugin[e.info.Name]; free <= 0 {
				continue
			}
			if req.Plugins == nil {
				req.Plugins = map[string]int{}
			}
			req.Plugins[e.info.Name] = free
		}
		for name, k := range e.kinds {
			n := free
			if k.Concurrency > 0 {
				kn := k.Concurrency - d.kind[name]
				tight = tight || kn <= 0
				n = min(n, kn+freed.kind[name])
			}
			if n > 0 {
				kinds = append(kinds, KindSlots{Kind: name, Limit: n,
					Plugin: e.info.Name, PluginVersion: e.info.Version})
			}
		}
	}
	if len(kinds) == 0 {
		return req, gained
	}
	for _, q := range d.queues {
		n, more := q.Concurrency-d.queue[q.Name], freed.queue[q.Name]
		if more > 0 && (n <= 0 || tight) {
			gained[q.Name] = true
		}
		if n += more; n > 0 {
			req.Lanes = append(req.Lanes, Lane{Queue: q.Name, Limit: n, Kinds: kinds})
		}
	}
	return req, gained
}

const unlimited = 1 << 20

// freed counts the slots that attempts give back when they end.
type freed struct{ queue, kind, plugin map[string]int }

// freed is called with mu held.
func (d *dispatcher) freed(ending []Fence) freed {
	f := freed{map[string]int{}, map[string]int{}, map[string]int{}}
	for _, e := range ending {
		if a := d.running[e.Task]; a != nil && a.token == e.Token {
			f.queue[a.task.Queue] += a.slots
			f.kind[a.task.Kind] += a.slots
			f.plugin[a.task.Plugin]++
		}
	}
	return f
}

// take counts the attempt's slots, release gives them back. It returns the
// cancel that came before the attempt was known here, if any, and the attempt at the
// same task that it comes after, if that has not gone yet.
func (d *dispatcher) take(a *attempt) (old *attempt, early CancelRequest, cancelled bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	old = d.running[a.task.ID]
	d.running[a.task.ID] = a
	d.count(a, +1)
	d.plugin[a.task.Plugin]++
	d.attempts.Add(1)
	early, cancelled = d.early[a.task.ID]
	return old, early, cancelled
}

func (d *dispatcher) release(a *attempt) {
	d.mu.Lock()
	if d.running[a.task.ID] == a {
		delete(d.running, a.task.ID)
	}
	d.count(a, -a.slots)
	if d.plugin[a.task.Plugin]--; d.plugin[a.task.Plugin] == 0 {
		delete(d.plugin, a.task.Plugin)
	}
	d.unpark(a)
	d.mu.Unlock()
	d.attempts.Done()
	d.wake()
}

// count takes slots of the attempt's queue and kind, or gives them back. The caller
// holds mu.
func (d *dispatcher) count(a *attempt, n int) {
	a.slots += n
	if d.queue[a.task.Queue] += n; d.queue[a.task.Queue] == 0 {
		delete(d.queue, a.task.Queue)
	}
	if d.kind[a.task.Kind] += n; d.kind[a.task.Kind] == 0 {
		delete(d.kind, a.task.Kind)
	}
}

// attemptFor returns the attempt that a cancel is about. One that is just being
// claimed is not known yet, so the cancel is kept for it.
func (d *dispatcher) attemptFor(c CancelRequest, token int64) *attempt {
	d.mu.Lock()
	defer d.mu.Unlock()
	if a := d.running[c.ID]; a != nil && a.token == token {
		return a
	}
	if d.claim != nil {
		if d.early == nil {
			d.early = map[string]CancelRequest{}
		}
		d.early[c.ID] = c
	}
	return nil
}

func (d *dispatcher) snapshot() []*attempt {
	d.mu.Lock()
	defer d.mu.Unlock()
	out := make([]*attempt, 0, len(d.running))
	for _, a := range d.running {
		out = append(out, a)
	}
	return out
}

// answers reports whether the dispatcher's loop goes round.
func (d *dispatcher) answers(ctx context.Context) bool {
	reply := make(chan struct{})
	select {
	case d.pings <- reply:
		<-reply
		return true
	case <-ctx.Done():
		return false
	}
}
