package storetest

import (
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/nagatha/nagatha-runtime/runtime"
	"github.com/nagatha/nagatha-runtime/sdk"
)

func testLife(t *testing.T, open Open) {
	f := setup(t, open, Options{})
	n := f.newTask("a.b")
	n.Task.Labels = map[string]string{"k": "v"}
	n.Task.Priority, n.Task.Owner = 7, "me"
	if out := f.submit(n); out[0].Duplicate || out[0].Err != nil || out[0].Task.ID != n.Task.ID {
		t.Fatalf("submit: %+v", out[0])
	}
	c := f.claimOne("a.b")
	if c.Token == 0 || c.Task.State != sdk.StateRunning || c.Task.Attempt != 1 || c.Task.Plugin != "p" || string(c.Task.Payload) != `{"n":1}` {
		t.Fatalf("claim: %+v", c)
	}
	if err := f.append(c, 3); err != nil {
		t.Fatal(err)
	}
	if got := f.task(n.Task.ID); got.Progress == nil || got.Progress.Progress != 3 || got.Labels["k"] != "v" || got.Priority != 7 || got.Owner != "me" {
		t.Errorf("running: %+v", got)
	}
	f.mustFinish(end(c, sdk.StateCompleted))
	got := f.wantState(n.Task.ID, sdk.StateCompleted)
	if string(got.Result) != `{"ok":true}` || got.FinishedAt == 0 || got.Error != nil || got.Version <= c.Task.Version {
		t.Errorf("completed: %+v", got)
	}
	events := f.wantEvents(n.Task.ID, sdk.EventCreated, sdk.EventQueued, sdk.EventStarted,
		sdk.EventProgress, sdk.EventProgress, sdk.EventProgress, sdk.EventCompleted)
	if string(events[6].Data) != `{"result":{"ok":true}}` || events[4].Attempt != 1 {
		t.Errorf("events: %+v", events)
	}
	if _, err := f.Store.Task(t.Context(), "tsk_none"); sdk.CodeOf(err) != sdk.CodeNotFound {
		t.Errorf("an unknown task: %v", err)
	}
}

func testScheduled(t *testing.T, open Open) {
	f := setup(t, open, Options{})
	now := sdk.Now()
	var ids []string
	for i := range 3 {
		n := f.newTask("a.b")
		n.Task.State, n.Task.RunAt = sdk.StateScheduled, now.Add(time.Duration(i+1)*time.Hour)
		f.submit(n)
		ids = append(ids, n.Task.ID)
	}
	if got := f.claim(10, "a.b"); len(got) != 0 {
		t.Errorf("claimed %d before their time", len(got))
	}
	n, next, err := f.Store.Promote(t.Context(), now.Add(90*time.Minute), 100)
	if n != 1 || next != now.Add(2*time.Hour) || err != nil {
		t.Errorf("promoted %d, next %v, %v", n, next, err)
	}
	f.wantState(ids[0], sdk.StateQueued)
	f.wantState(ids[1], sdk.StateScheduled)
	if n, next, err := f.Store.Promote(t.Context(), now.Add(9*time.Hour), 1); n != 1 || next != now.Add(3*time.Hour) || err != nil {
		t.Errorf("one at a time: %d, next %v, %v", n, next, err)
	}
	f.claimOne("a.b")
	f.wantEvents(ids[0], sdk.EventCreated, sdk.EventScheduled, sdk.EventQueued, sdk.EventStarted)
}

func testRetrying(t *testing.T, open Open) {
	f := setup(t, open, Options{})
	id := f.submit(f.newTask("a.b"))[0].Task.ID
	later := end(f.claimOne("a.b"), sdk.StateRetrying)
	later.RunAt = sdk.Now().Add(time.Hour)
	f.mustFinish(later)
	got := f.wantState(id, sdk.StateRetrying)
	if got.RunAt < later.RunAt || got.Error.Message != "boom" || got.Attempt != 1 {
		t.Errorf("got %+v", got)
	}
	f.promote(got.RunAt)
	second := f.claimOne("a.b")
	if second.Task.Attempt != 2 {
		t.Errorf("attempt %d", second.Task.Attempt)
	}
	now := end(second, sdk.StateRetrying)
	now.RunAt = now.Now
	f.mustFinish(now)
	f.wantState(id, sdk.StateQueued)
	f.mustFinish(end(f.claimOne("a.b"), sdk.StateFailed))
	if got := f.wantState(id, sdk.StateFailed); got.Attempt != 3 || got.Error.Code != sdk.CodeHandlerError {
		t.Errorf("got %+v", got)
	}
	f.wantEvents(id, sdk.EventCreated, sdk.EventQueued, sdk.EventStarted, sdk.EventRetrying, sdk.EventQueued,
		sdk.EventStarted, sdk.EventRetrying, sdk.EventQueued, sdk.EventStarted, sdk.EventFailed)
}

// testBackoffOfTheLate: a delay counts from the event that tells of it, however long the
// end of its attempt has waited to be written.
func testBackoffOfTheLate(t *testing.T, open Open) {
	start := sdk.Now()
	f := setup(t, open, Options{Now: func() sdk.Time { return start }})
	id := f.submit(f.newTask("a.b"))[0].Task.ID
	failed := end(f.claimOne("a.b"), sdk.StateRetrying)
	failed.Now = start.Add(-5 * time.Second)
	failed.RunAt = failed.Now.Add(time.Second)
	f.mustFinish(failed)
	if k := f.wantState(id, sdk.StateRetrying); k.RunAt != start.Add(time.Second) {
		t.Errorf("the next attempt is at %s, want a second after %s", k.RunAt, start)
	}
	var data struct {
		RunAt sdk.Time `json:"run_at"`
	}
	all := f.events(id)
	if last := all[len(all)-1]; last.Time != start || json.Unmarshal(last.Data, &data) != nil || data.RunAt != start.Add(time.Second) {
		t.Errorf("%s at %s: %s", last.Type, last.Time, last.Data)
	}
}

func testGivenBack(t *testing.T, open Open) {
	f := setup(t, open, Options{})
	id := f.submit(f.newTask("a.b"))[0].Task.ID
	f.mustFinish(end(f.claimOne("a.b"), sdk.StateQueued))
	if got := f.wantState(id, sdk.StateQueued); got.Attempt != 0 {
		t.Errorf("it was counted: %+v", got)
	}
	if c := f.claimOne("a.b"); c.Task.Attempt != 1 {
		t.Errorf("attempt %d", c.Task.Attempt)
	}
	f.wantEvents(id, sdk.EventCreated, sdk.EventQueued, sdk.EventStarted, sdk.EventQueued, sdk.EventStarted)
}

func testFence(t *testing.T, open Open) {
	f := setup(t, open, Options{})
	f.submit(f.newTask("a.b"))
	old := f.claimOne("a.b")
	f.mustFinish(end(old, sdk.StateQueued))
	fresh := f.claimOne("a.b")
	if fresh.Token <= old.Token {
		t.Errorf("token %d after %d", fresh.Token, old.Token)
	}
	before := len(f.events(old.Task.ID))
	fenced := map[string]error{
		"append":  f.append(old, 1),
		"finish":  f.finish(end(old, sdk.StateCompleted)),
		"publish": f.Store.Publish(t.Context(), fence(old), []sdk.Event{{ID: "1", Source: "s", Type: "x.y"}}),
	}
	_, fenced["set"] = f.Store.KVSet(t.Context(), "ns", fence(old), sdk.KVSet{Key: "k", Value: []byte("1")})
	_, fenced["delete"] = f.Store.KVDelete(t.Context(), "ns", fence(old), sdk.KVDelete{Key: "k"})
	for what, err := range fenced {
		if !errors.Is(err, runtime.ErrFenced) {
			t.Errorf("%s of an attempt that no longer counts: %v", what, err)
		}
	}
	if n := len(f.events(old.Task.ID)); n != before {
		t.Errorf("%d events were added", n-before)
	}
	f.mustFinish(end(fresh, sdk.StateCompleted))
	if err := f.append(fresh, 1); !errors.Is(err, runtime.ErrFenced) {
		t.Errorf("append after the end: %v", err)
	}
}

func testCaps(t *testing.T, open Open) {
	f := setup(t, open, Options{MaxEvents: 10, MaxBytes: 1000})
	f.submit(f.newTask("a.b"))
	c := f.claimOne("a.b")
	if err := f.append(c, 7); err != nil { // created, queued, started, 7 more
		t.Fatal(err)
	}
	if err := f.append(c, 1); sdk.CodeOf(err) != sdk.CodeLimitExceeded {
		t.Errorf("one event too many: %v", err)
	}
	f.mustFinish(end(c, sdk.StateFailed)) // the end is exempt
	f.submit(f.newTask("a.c"))
	c = f.claimOne("a.c")
	big := runtime.AppendRequest{Fence: fence(c), Events: []runtime.NewEvent{{Type: sdk.EventLog, Data: []byte(`{"m":"` + string(make([]byte, 0)) + pad(1000) + `"}`)}}}
	errs, err := f.Store.Append(t.Context(), []runtime.AppendRequest{big})
	if err != nil || sdk.CodeOf(errs[0]) != sdk.CodeLimitExceeded {
		t.Errorf("too many bytes: %v, %v", errs, err)
	}
	f.mustFinish(end(c, sdk.StateCompleted))
}

func pad(n int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = 'x'
	}
	return string(b)
}

func testRetryByHand(t *testing.T, open Open) {
	f := setup(t, open, Options{})
	id := f.submit(f.newTask("a.b"))[0].Task.ID
	c := f.claimOne("a.b")
	for what, want := range map[string]sdk.Code{id: sdk.CodeConflict, "tsk_none": sdk.CodeNotFound} {
		if out, err := f.Store.Retry(t.Context(), []string{what}); err != nil || out[0].Err == nil || out[0].Err.Code != want {
			t.Errorf("retry of %s: %+v, %v", what, out, err)
		}
	}
	f.mustFinish(end(c, sdk.StateFailed))
	out, err := f.Store.Retry(t.Context(), []string{id})
	if err != nil || out[0].Err != nil {
		t.Fatal(out, err)
	}
	if k := out[0].Task; k.Life != 2 || k.Attempt != 0 || k.State != sdk.StateQueued || k.Error != nil || k.FinishedAt != 0 || k.StartedAt != 0 {
		t.Errorf("second life: %+v", k)
	}
	again := f.claimOne("a.b")
	if again.Token <= c.Token || again.Task.Attempt != 1 {
		t.Errorf("token %d after %d, attempt %d", again.Token, c.Token, again.Task.Attempt)
	}
	f.mustFinish(end(again, sdk.StateCompleted))
	events := f.wantEvents(id, sdk.EventCreated, sdk.EventQueued, sdk.EventStarted, sdk.EventFailed,
		sdk.EventQueued, sdk.EventStarted, sdk.EventCompleted)
	if events[4].Life != 2 || !events[3].End || !events[6].End {
		t.Errorf("events: %+v", events)
	}
}
