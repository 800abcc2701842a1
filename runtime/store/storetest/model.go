package storetest

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/nagatha/nagatha-runtime/runtime"
	"github.com/nagatha/nagatha-runtime/sdk"
)

// modelTask is what a task should look like.
type modelTask struct {
	state         sdk.State
	attempt, life int
	events        []string
	claim         runtime.Claimed // of the attempt that counts
	cancelled     bool            // asked for while running
	runAt         sdk.Time
	waits         []string // signals that it waits for
	asked         int      // how often it asked for one
	parked        bool     // on a node
	replay        bool     // the next claim runs the same attempt
}

// testModel drives random operations against a model of the states.
func testModel(t *testing.T, open Open) {
	var box outbox
	f := setup(t, open, Options{Outbox: box.publish, Ends: func() []string { return everyEnd }})
	run := 0
	rapid.Check(t, func(rt *rapid.T) {
		run++
		kind := fmt.Sprintf("m.m%d", run) // a kind of its own keeps runs apart
		box.take()
		m := &model{rt: rt, f: f, box: &box, kind: kind, tasks: map[string]*modelTask{}, seen: map[string]sdk.State{}, now: sdk.Now()}
		steps := map[string]func(*rapid.T){
			"submit": m.submit, "append": m.append, "finish": m.finish, "stale": m.stale, "wait": m.wait, "signal": m.signal,
			"evict": m.evict, "cancel": m.cancel, "retry": m.retry, "promote": m.promote, "recover": m.recover,
		}
		for name, step := range steps {
			steps[name] = m.offering(step)
		}
		steps["claim"], steps[""] = m.claim, m.check
		rt.Repeat(steps)
	})
}

// offering lets a step meet free slots, or none.
func (m *model) offering(step func(*rapid.T)) func(*rapid.T) {
	return func(rt *rapid.T) {
		o := m.f.offer(rapid.IntRange(0, 2).Draw(rt, "free"), m.kind)
		defer m.f.Store.Offer(nil)
		step(rt)
		m.claimed(rt, o.taken())
	}
}

type model struct {
	rt     *rapid.T
	f      *fixture
	box    *outbox
	kind   string
	order  []string
	tasks  map[string]*modelTask
	stales []runtime.Claimed
	seen   map[string]sdk.State // at the last check
	now    sdk.Time
}

// pick draws a task, or skips the step.
func (m *model) pick(rt *rapid.T, states ...sdk.State) (string, *modelTask) {
	var fit []string
	for _, id := range m.order {
		if len(states) == 0 || slices.Contains(states, m.tasks[id].state) {
			fit = append(fit, id)
		}
	}
	if len(fit) == 0 {
		rt.Skip("no such task")
	}
	id := rapid.SampledFrom(fit).Draw(rt, "task")
	return id, m.tasks[id]
}

func (m *model) submit(rt *rapid.T) {
	n := m.f.newTask(m.kind)
	n.Task.CreatedAt, n.Task.RunAt = m.now, m.now
	k := &modelTask{state: sdk.StateQueued, life: 1, events: []string{sdk.EventCreated, sdk.EventQueued}}
	if rapid.Bool().Draw(rt, "later") {
		k.state, k.runAt, k.events[1] = sdk.StateScheduled, m.now.Add(time.Hour), sdk.EventScheduled
		n.Task.State, n.Task.RunAt = k.state, k.runAt
	}
	m.f.submit(n)
	m.tasks[n.Task.ID] = k
	m.order = append(m.order, n.Task.ID)
}

func (m *model) claim(rt *rapid.T) {
	m.claimed(rt, m.f.claim(rapid.IntRange(1, 3).Draw(rt, "slots"), m.kind))
}

func (m *model) claimed(rt *rapid.T, all []runtime.Claimed) {
	for _, c := range all {
		k := m.tasks[c.Task.ID]
		if k.state == sdk.StateWaiting && len(k.waits) == 0 && k.parked {
			if !c.Live || c.Token != k.claim.Token {
				rt.Fatalf("%s was parked and came back as %+v", c.Task.ID, c)
			}
			k.state, k.events = sdk.StateRunning, append(k.events, sdk.EventResumed)
			continue
		}
		if k.state != sdk.StateQueued || c.Live || c.Replay != k.replay {
			rt.Fatalf("claimed %s, which is %s, as %+v", c.Task.ID, k.state, c)
		}
		m.passed(rt, c.Task.ID, k.state) // in the same transaction perhaps
		k.state, k.claim, k.parked = sdk.StateRunning, c, true
		if k.replay {
			k.replay, k.events = false, append(k.events, sdk.EventStarted)
			continue
		}
		k.attempt++
		k.events = append(k.events, sdk.EventStarted)
	}
}

// passed checks a move that a task has made.
func (m *model) passed(rt *rapid.T, id string, to sdk.State) {
	if was := m.seen[id]; was != to && !sdk.CanMove(was, to) {
		rt.Fatalf("%s went from %q to %q, which sdk.Transitions does not know", id, was, to)
	}
	m.seen[id] = to
}

func (m *model) append(rt *rapid.T) {
	_, k := m.pick(rt, sdk.StateRunning)
	n := rapid.IntRange(1, 3).Draw(rt, "events")
	if err := m.f.append(k.claim, n); err != nil {
		rt.Fatal(err)
	}
	for range n {
		k.events = append(k.events, sdk.EventProgress)
	}
}

func (m *model) finish(rt *rapid.T) {
	id, k := m.pickHeld(rt)
	state := rapid.SampledFrom([]sdk.State{sdk.StateCompleted, sdk.StateFailed, sdk.StateCancelled, sdk.StateRetrying, sdk.StateQueued}).Draw(rt, "state")
	req := end(k.claim, state)
	req.RunAt = m.now.Add(time.Duration(rapid.IntRange(-1, 1).Draw(rt, "delay")) * time.Hour)
	if err := m.f.finish(req); err != nil {
		rt.Fatal(err)
	}
	m.stales = append(m.stales, k.claim)
	k.waits, k.parked = nil, false
	switch {
	case k.cancelled && (state == sdk.StateRetrying || state == sdk.StateQueued):
		k.state, k.events = sdk.StateCancelled, append(k.events, sdk.EventCancelled)
	case state == sdk.StateRetrying && req.RunAt <= sdk.Now():
		k.state, k.events = sdk.StateQueued, append(k.events, sdk.EventRetrying, sdk.EventQueued)
	case state == sdk.StateRetrying:
		k.state, k.runAt, k.events = state, m.f.task(id).RunAt, append(k.events, sdk.EventRetrying)
		if k.runAt < req.RunAt {
			rt.Fatalf("tried again at %s, which is before %s", k.runAt, req.RunAt)
		}
	case state == sdk.StateQueued:
		k.attempt--
		k.state, k.events = state, append(k.events, sdk.EventQueued)
	default:
		k.state, k.events = state, append(k.events, "task."+string(state))
	}
}

// stale lets an attempt that no longer counts write.
func (m *model) stale(rt *rapid.T) {
	if len(m.stales) == 0 {
		rt.Skip("none yet")
	}
	c := rapid.SampledFrom(m.stales).Draw(rt, "stale")
	if err := errors.Join(m.f.append(c, 1)); !errors.Is(err, runtime.ErrFenced) {
		rt.Fatalf("append: %v", err)
	}
	if err := m.f.finish(end(c, sdk.StateCompleted)); !errors.Is(err, runtime.ErrFenced) {
		rt.Fatalf("finish: %v", err)
	}
}

func (m *model) cancel(rt *rapid.T) {
	id, k := m.pick(rt)
	out := m.f.cancel(id, rapid.Bool().Draw(rt, "force"), "r")
	switch {
	case k.state == sdk.StateRunning:
		k.cancelled = true
		if out.Token != k.claim.Token {
			rt.Fatalf("cancel tells token %d, want %d", out.Token, k.claim.Token)
		}
	case !k.state.Terminal():
		if k.state == sdk.StateWaiting && k.parked {
			m.stales = append(m.stales, k.claim)
			if out.Token != k.claim.Token {
				rt.Fatalf("cancel tells token %d, want %d", out.Token, k.claim.Token)
			}
		}
		k.waits, k.parked, k.replay = nil, false, false
		k.state, k.events = sdk.StateCancelled, append(k.events, sdk.EventCancelled)
	}
}

func (m *model) retry(rt *rapid.T) {
	id, k := m.pick(rt)
	out, err := m.f.Store.Retry(m.f.Context(), []string{id})
	if err != nil {
		rt.Fatal(err)
	}
	if k.state != sdk.StateFailed && k.state != sdk.StateCancelled {
		if out[0].Err == nil {
			rt.Fatalf("retried %s, which is %s", id, k.state)
		}
		return
	}
	k.life++
	k.asked = 0
	k.state, k.attempt, k.cancelled, k.events = sdk.StateQueued, 0, false, append(k.events, sdk.EventQueued)
}

func (m *model) promote(rt *rapid.T) {
	at := m.now.Add(time.Duration(rapid.IntRange(0, 2).Draw(rt, "hours")) * time.Hour)
	if _, _, err := m.f.Store.Promote(m.f.Context(), at, 1_000_000); err != nil {
		rt.Fatal(err)
	}
	for _, k := range m.tasks {
		if (k.state == sdk.StateScheduled || k.state == sdk.StateRetrying) && k.runAt <= at {
			k.state, k.events = sdk.StateQueued, append(k.events, sdk.EventQueued)
		}
	}
}

func (m *model) recover(rt *rapid.T) {
	// Runs before this one may have left tasks running; they do not matter.
	if _, err := m.f.Store.Recover(m.f.Context(), runtime.RecoverRequest{Now: m.now, Self: "another", Dead: []string{"n1"}}); err != nil {
		rt.Fatal(err)
	}
	for _, k := range m.tasks {
		if k.state == sdk.StateWaiting && k.parked {
			m.away(k)
		}
		if k.state != sdk.StateRunning {
			continue
		}
		k.parked = false
		m.stales = append(m.stales, k.claim)
		switch {
		case k.cancelled:
			k.state, k.events = sdk.StateCancelled, append(k.events, sdk.EventCancelled)
		case k.attempt >= 3:
			k.state, k.events = sdk.StateFailed, append(k.events, sdk.EventFailed)
		default:
			k.state, k.events = sdk.StateQueued, append(k.events, sdk.EventRetrying, sdk.EventQueued)
		}
	}
}

// pickHeld draws a task that an attempt holds, running or parked.
func (m *model) pickHeld(rt *rapid.T) (string, *modelTask) {
	id, k := m.pick(rt, sdk.StateRunning, sdk.StateWaiting)
	if !k.parked {
		rt.Skip("evicted")
	}
	return id, k
}

func (m *model) wait(rt *rapid.T) {
	_, k := m.pickHeld(rt)
	k.asked++
	name := fmt.Sprintf("s%d", k.asked)
	out, err := m.f.operate(k.claim, await(name, 1))
	if err != nil || out.Parked != (k.state == sdk.StateRunning) {
		rt.Fatalf("%+v, %v", out, err)
	}
	if out.Ops[0].Answer != nil {
		rt.Fatalf("answered: %+v", out)
	}
	if out.Parked {
		k.events = append(k.events, sdk.EventWaiting)
	}
	k.state, k.waits = sdk.StateWaiting, append(k.waits, name)
}

// signal answers one of the signals that some task waits for.
func (m *model) signal(rt *rapid.T) {
	id, k := m.pick(rt, sdk.StateWaiting)
	if len(k.waits) == 0 {
		rt.Skip("answered")
	}
	i := rapid.IntRange(0, len(k.waits)-1).Draw(rt, "which")
	if err := m.f.signal(id, k.waits[i], `1`); err != nil {
		rt.Fatal(err)
	}
	k.waits = slices.Delete(k.waits, i, i+1)
	k.events = append(k.events, sdk.EventSignalled)
	if len(k.waits) == 0 && !k.parked {
		k.state, k.replay, k.events = sdk.StateQueued, true, append(k.events, sdk.EventResumed)
	}
}

func (m *model) evict(rt *rapid.T) {
	_, k := m.pickHeld(rt)
	if out := m.f.evict(k.claim); out != (k.state == sdk.StateWaiting) {
		rt.Fatalf("evicted a task that is %s: %v", k.state, out)
	}
	if k.state == sdk.StateWaiting {
		m.away(k)
	}
}

// away is what eviction does.
func (m *model) away(k *modelTask) {
	m.stales = append(m.stales, k.claim)
	k.parked = false
	if len(k.waits) == 0 {
		k.state, k.replay, k.events = sdk.StateQueued, true, append(k.events, sdk.EventResumed)
	}
}

func (m *model) check(rt *rapid.T) {
	var ended, heard []string
	for _, id := range m.order {
		k := m.tasks[id]
		got := m.f.task(id)
		if got.State != k.state || got.Attempt != k.attempt || got.Life != k.life {
			rt.Fatalf("%s is %s, attempt %d of life %d; want %s, %d, %d", id, got.State, got.Attempt, got.Life, k.state, k.attempt, k.life)
		}
		m.passed(rt, id, got.State)
		var types []string
		for _, e := range m.f.events(id) {
			types = append(types, e.Type)
			if e.End {
				ended = append(ended, fmt.Sprintf("%s.%d %s", id, e.Life, e.Type))
			}
		}
		if !slices.Equal(types, k.events) {
			rt.Fatalf("events of %s:\n got %v\nwant %v", id, types, k.events)
		}
	}
	for _, e := range m.box.events {
		if m.tasks[e.Subject] != nil { // not one that an earlier run left
			heard = append(heard, e.ID+" "+e.Type)
		}
	}
	slices.Sort(ended)
	slices.Sort(heard)
	if !slices.Equal(ended, heard) {
		rt.Fatalf("ends:\n%v\nthe bus heard\n%v", ended, heard)
	}
}
