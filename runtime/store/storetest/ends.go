package storetest

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nagatha/nagatha-runtime/runtime"
	"github.com/nagatha/nagatha-runtime/sdk"
)

var everyEnd = []string{sdk.EventCompleted, sdk.EventFailed, sdk.EventCancelled}

// outbox is a bus that remembers.
type outbox struct {
	mu     sync.Mutex
	events []sdk.Event
	fail   error
}

func (o *outbox) publish(events []sdk.Event) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.fail != nil {
		return o.fail
	}
	o.events = append(o.events, events...)
	return nil
}

func (o *outbox) take() []sdk.Event {
	o.mu.Lock()
	defer o.mu.Unlock()
	out := o.events
	o.events = nil
	return out
}

// testEnds: however a task ends, the bus hears of it once, where somebody wants to.
func testEnds(t *testing.T, open Open) {
	var box outbox
	wanted := everyEnd
	clock := &clock{at: sdk.Now()}
	f := setup(t, open, Options{Outbox: box.publish, Ends: func() []string { return wanted }, Now: clock.now})
	hears := func(what, typ string, ids ...string) []sdk.Event {
		t.Helper()
		got := box.take()
		var heard []string
		for _, e := range got {
			heard = append(heard, e.ID)
			if e.Type != typ || e.Source != "nagatha" || e.Subject+".1" != e.ID || e.Time == 0 || e.Hops != 1 {
				t.Errorf("%s: event %+v, want a %s", what, e, typ)
			}
		}
		for i := range ids {
			ids[i] += ".1"
		}
		slices.Sort(heard)
		slices.Sort(ids)
		if !slices.Equal(heard, ids) {
			t.Errorf("%s: the bus heard %v, want %v", what, heard, ids)
		}
		return got
	}
	add := func(change func(n *runtime.NewTask)) string {
		n := f.newTask("a.b")
		if change != nil {
			change(&n)
		}
		if out := f.submit(n); out[0].Err != nil {
			t.Fatal(out[0].Err)
		}
		return n.Task.ID
	}

	id := add(func(n *runtime.NewTask) {
		n.Task.Labels, n.Task.Schedule, n.Task.Owner, n.TraceParent = map[string]string{"k": "v"}, "sch_1", "me", "00-trace"
	})
	f.mustFinish(end(f.claimOne("a.b"), sdk.StateCompleted))
	e := hears("completed", sdk.EventCompleted, id)[0]
	want := fmt.Sprintf(`{"task":%q,"kind":"a.b","queue":"default","life":1,"attempt":1,"parent":"","schedule":"sch_1","labels":{"k":"v"},"owner":"me","result":{"ok":true}}`, id)
	if string(e.Data) != want || e.TraceParent != "00-trace" {
		t.Errorf("completed: %s %q\nwant %s", e.Data, e.TraceParent, want)
	}
	id = add(nil)
	f.mustFinish(end(f.claimOne("a.b"), sdk.StateRetrying))
	hears("retrying", "")
	f.mustFinish(end(f.claimOne("a.b"), sdk.StateFailed))
	e = hears("failed", sdk.EventFailed, id)[0]
	if !strings.Contains(string(e.Data), `"error":{"code":"handler_error","message":"boom"`) {
		t.Errorf("failed: %s", e.Data)
	}

	running, queued := add(nil), ""
	c := f.claimOne("a.b")
	f.cancel(running, false, "enough")
	hears("asked to end", "")
	f.mustFinish(end(c, sdk.StateCancelled))
	hears("cancelled while running", sdk.EventCancelled, running)
	queued = add(nil)
	f.cancel(queued, false, "enough")
	e = hears("cancelled while queued", sdk.EventCancelled, queued)[0]
	if !strings.Contains(string(e.Data), `"reason":"enough"`) {
		t.Errorf("cancelled: %s", e.Data)
	}
	f.cancel(queued, false, "again")
	hears("cancelled again", "")

	parent := add(nil)
	child := f.newTask("a.child")
	f.mustOperate(f.claimOne("a.b"), f.run("child", 1, child))
	f.cancel(parent, true, "enough")
	hears("cancelled with its child", sdk.EventCancelled, parent, child.Task.ID)

	first := add(nil)
	behind := add(func(n *runtime.NewTask) { n.Task.State, n.After = sdk.StateScheduled, []string{first} })
	last := add(func(n *runtime.NewTask) { n.Task.State, n.After = sdk.StateScheduled, []string{behind} })
	f.mustFinish(end(f.claimOne("a.b"), sdk.StateFailed))
	hears("dependencies", sdk.EventFailed, first, behind, last)
	late := add(func(n *runtime.NewTask) { n.Task.State, n.After = sdk.StateScheduled, []string{first} })
	hears("failed at submit", sdk.EventFailed, late)

	expires := add(func(n *runtime.NewTask) { n.Expires = clock.now().Add(time.Minute) })
	deadline := add(func(n *runtime.NewTask) { n.Task.Deadline = clock.now().Add(time.Minute) })
	clock.advance(time.Minute)
	f.promote(clock.now())
	hears("expired", sdk.EventFailed, expires, deadline)

	lost := add(func(n *runtime.NewTask) { n.Task.MaxAttempts = 1 })
	f.claimOne("a.b")
	if _, err := f.Store.Recover(t.Context(), runtime.RecoverRequest{Now: clock.now(), Self: "self", AllOthers: true}); err != nil {
		t.Fatal(err)
	}
	hears("lost", sdk.EventFailed, lost)

	// Another life ends with an event of its own.
	if _, err := f.Store.Retry(t.Context(), []string{lost}); err != nil {
		t.Fatal(err)
	}
	f.mustFinish(end(f.claimOne("a.b"), sdk.StateCompleted))
	if got := box.take(); len(got) != 1 || got[0].ID != lost+".2" {
		t.Errorf("second life: %+v", got)
	}

	// An end that the bus does not take is none.
	id = add(nil)
	c = f.claimOne("a.b")
	box.fail = errors.New("the bus is broken")
	if _, err := f.Store.Finish(t.Context(), []runtime.FinishRequest{end(c, sdk.StateCompleted)}); err == nil {
		t.Error("it ended without the bus")
	}
	box.fail = nil
	f.wantState(id, sdk.StateRunning)
	f.mustFinish(end(c, sdk.StateCompleted))
	hears("after all", sdk.EventCompleted, id)

	// A result that is too large for an event is left out.
	add(nil)
	big := end(f.claimOne("a.b"), sdk.StateCompleted)
	big.Result = json.RawMessage(`"` + strings.Repeat("x", 100<<10) + `"`)
	f.mustFinish(big)
	if got := box.take(); len(got) != 1 || len(got[0].Data) > 1000 || !strings.Contains(string(got[0].Data), `"result_cut":true`) {
		t.Errorf("a large result: %d events", len(got))
	}

	// Those who watch ends are not watched, except by whoever submits what looks alike.
	for payload, heard := range map[string]int{
		`{"event":{"id":"tsk_1.1","source":"nagatha","type":"task.completed"}}`: 0,
		`{"event":{"id":"1","source":"nagatha","type":"demo.ping"}}`:            1,
		`{"event":{"id":"1","source":"other","type":"task.completed"}}`:         1,
		`{"event":{}}`: 1,
	} {
		add(func(n *runtime.NewTask) { n.Task.Payload = json.RawMessage(payload) })
		f.mustFinish(end(f.claimOne("a.b"), sdk.StateCompleted))
		if got := box.take(); len(got) != heard {
			t.Errorf("a task with payload %s made %d events, want %d", payload, len(got), heard)
		}
	}

	// Only what is wanted.
	wanted = []string{sdk.EventFailed}
	add(nil)
	f.mustFinish(end(f.claimOne("a.b"), sdk.StateCompleted))
	id = add(nil)
	f.mustFinish(end(f.claimOne("a.b"), sdk.StateFailed))
	hears("of two", sdk.EventFailed, id)
	wanted = nil
	add(nil)
	f.mustFinish(end(f.claimOne("a.b"), sdk.StateFailed))
	hears("nobody wants any", "")
}
