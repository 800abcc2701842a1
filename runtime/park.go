package runtime

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/nagatha/nagatha-runtime/sdk"
)

// A parked attempt is one whose task waits: it has given back the slots of its queue
// and kind, its timeout stands still, and its handler sits in the plugin until the
// answer comes. When places in the plugin run short, and when the plugin or the
// runtime goes away, it is evicted: the handler is ended, and begins again from the
// top once there is an answer.

// errEvicted is why an evicted attempt is stopped. Nothing that it still says counts.
var errEvicted = errors.New("the attempt waits, and was put away to make room")

// maxParked is how many attempts of a plugin without a limit stay in it while they
// wait.
const maxParked = 1000

// parkLimit is how many parked attempts a plugin keeps: never so many that no other
// can run.
func (e *entry) parkLimit() int {
	if e == nil || e.capacity == 0 {
		return maxParked
	}
	return e.capacity / 2
}

// park gives back what a waiting attempt does not need. It may be told after the
// attempt has been resumed already, so both only count.
func (r *Runtime) park(a *attempt) {
	a.clock.stop()
	d := &r.dispatch
	d.mu.Lock()
	// Read under the lock that evictParked takes: a plugin that is loaded again just
	// now sees the attempt, or the attempt sees it.
	replaced := !r.registry.current(a.entry)
	d.count(a, -1)
	a.parked++
	var out []*attempt
	if a.parked == 1 {
		list := append(d.parked[a.task.Plugin], a)
		limit := a.entry.parkLimit()
		if d.draining {
			limit = 0
		}
		if replaced { // it would hold the old version for as long as it waits
			out, list = append(out, a), list[:len(list)-1]
		}
		for len(list) > limit { // those that have waited longest
			out, list = append(out, list[0]), list[1:]
		}
		d.parked[a.task.Plugin] = list
	}
	d.mu.Unlock()
	d.wake()
	r.evict(out)
}

// resume lets a parked attempt go on: its claim came back.
func (r *Runtime) resume(c *Claimed) {
	d := &r.dispatch
	d.mu.Lock()
	a := d.running[c.Task.ID]
	if a == nil || a.token != c.Token {
		d.mu.Unlock()
		// It ended without being able to say so.
		r.giveBack(context.Background(), Fence{c.Task.ID, c.Token})
		return
	}
	d.count(a, +1)
	a.parked--
	d.unpark(a)
	d.mu.Unlock()
	a.clock.start()
	a.collect()
}

// unpark takes an attempt off the list of those that wait. The caller holds mu.
func (d *dispatcher) unpark(a *attempt) {
	if i := slices.Index(d.parked[a.task.Plugin], a); i >= 0 {
		d.parked[a.task.Plugin] = slices.Delete(d.parked[a.task.Plugin], i, i+1)
	}
}

func (a *attempt) isParked() bool {
	a.r.dispatch.mu.Lock()
	defer a.r.dispatch.mu.Unlock()
	return a.parked > 0
}

// evict puts parked attempts away, beside the caller.
func (r *Runtime) evict(list []*attempt) {
	for _, a := range list {
		a.mu.Lock()
		if !a.over {
			a.behind.Go(func() {
				if gone, err := r.putAway(a); err != nil {
					r.log.Error("cannot put a waiting task away", "task", a.task.ID, "error", err)
				} else if gone {
					a.stop(errEvicted, graceTimeout)
				}
			})
		}
		a.mu.Unlock()
	}
}

// putAway takes the attempt off this node in the store. It reports false if it does
// not wait any more.
func (r *Runtime) putAway(a *attempt) (bool, error) {
	gone, err := r.store.Evict(context.Background(), []Fence{a.fence()})
	return err == nil && gone[0], err
}

// evictParked puts away what is parked in a plugin, or everywhere, except in the
// version that is kept.
func (r *Runtime) evictParked(plugin string, kept *entry) {
	d := &r.dispatch
	d.mu.Lock()
	var out []*attempt
	for name, list := range d.parked {
		if plugin != "" && name != plugin {
			continue
		}
		stay := list[:0:0]
		for _, a := range list {
			if kept != nil && a.entry == kept {
				stay = append(stay, a)
			} else {
				out = append(out, a)
			}
		}
		d.parked[name] = stay
	}
	d.mu.Unlock()
	r.evict(out)
}

// answered hears that parked attempts have got an answer.
func (r *Runtime) answered(c Commit) {
	if len(c.Answered) == 0 && !c.All {
		return
	}
	d := &r.dispatch
	d.mu.Lock()
	var out []*attempt
	for _, f := range c.Answered {
		if a := d.running[f.Task]; a != nil && a.token == f.Token {
			out = append(out, a)
		}
	}
	if c.All {
		for _, list := range d.parked {
			out = append(out, list...)
		}
	}
	d.mu.Unlock()
	for _, a := range out {
		a.collect()
	}
}

// lost decides what becomes of an attempt whose plugin went away under it while it
// waited: it is put away, and nothing is counted.
func (a *attempt) lost(err error) bool {
	if !a.isParked() {
		return false
	}
	if code := sdk.CodeOf(err); code != sdk.CodePluginCrashed && !errors.Is(err, sdk.ErrBystander) && !errors.Is(err, sdk.ErrNotStarted) {
		return false
	}
	gone, fault := a.r.putAway(a)
	if fault != nil {
		a.r.log.Error("cannot put a waiting task away", "task", a.task.ID, "error", fault)
	}
	return gone
}

// stopwatch is a timeout that stands still while it is stopped. Stops and starts
// count, and may come in the wrong order.
type stopwatch struct {
	mu    sync.Mutex
	left  time.Duration
	since time.Time
	timer *time.Timer
	fire  func()
	stops int
	done  bool
	never bool // it must not begin
}

// begin reports false where it must not begin.
func (s *stopwatch) begin(d time.Duration, fire func()) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.never || s.done || s.fire != nil {
		return !s.never
	}
	s.left, s.fire = d, fire
	s.run()
	return true
}

// forbid keeps it from beginning, and reports whether it had not begun.
func (s *stopwatch) forbid() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.never = s.fire == nil
	return s.never
}

// run starts the timer. The caller holds mu.
func (s *stopwatch) run() {
	s.since = time.Now()
	s.timer = time.AfterFunc(s.left, s.fire)
}

func (s *stopwatch) stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stops++; s.stops == 1 && s.timer != nil && !s.done {
		s.timer.Stop()
		s.left -= time.Since(s.since)
	}
}

func (s *stopwatch) start() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stops--; s.stops == 0 && !s.done {
		s.left = max(s.left, 0)
		s.run()
	}
}

func (s *stopwatch) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.done = true
	if s.timer != nil {
		s.timer.Stop()
	}
}
