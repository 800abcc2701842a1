package store_test

import (
	"testing"

	"github.com/nagatha/nagatha-runtime/runtime"
	"github.com/nagatha/nagatha-runtime/runtime/store"
	"github.com/nagatha/nagatha-runtime/runtime/store/storetest"
	"github.com/nagatha/nagatha-runtime/sdk"
)

// slots are free for ever.
type slots struct{ took chan []runtime.Claimed }

func (s slots) Free(runtime.News) (runtime.ClaimRequest, bool) {
	return runtime.ClaimRequest{Node: "n1", Lanes: []runtime.Lane{{Queue: "default", Limit: 5,
		Kinds: []runtime.KindSlots{{Kind: "a.b", Limit: 5, Plugin: "a", PluginVersion: "1"}}}}}, true
}

func (s slots) Take(claimed []runtime.Claimed) { s.took <- claimed }

// TestJourneys: to store and start a task is two journeys, since what others have queued
// must be known before the rest, and to end it and look for the next one three.
func TestJourneys(t *testing.T) {
	h, through := digHole(t, storetest.Postgres(t))
	s := open(t, store.Config{URL: through})
	free := slots{make(chan []runtime.Claimed, 1)}
	s.Offer(free)
	defer s.Offer(nil)
	life := func(id string) (submit, finish int) {
		before := h.waits()
		if _, err := s.Submit(t.Context(), aTask(id)); err != nil {
			t.Fatal(err)
		}
		c := <-free.took
		if len(c) != 1 || c[0].Task.ID != id {
			t.Fatalf("%+v started", c)
		}
		between := h.waits()
		end := runtime.FinishRequest{AppendRequest: runtime.AppendRequest{Fence: runtime.Fence{Task: id, Token: c[0].Token}}, State: sdk.StateCompleted, Result: []byte("1")}
		if errs, err := s.Finish(t.Context(), []runtime.FinishRequest{end}); err != nil || errs[0] != nil {
			t.Fatal(err, errs)
		}
		<-free.took
		return most(before, between), most(between, h.waits())
	}
	life("tsk_1") // prepares the statements
	if submit, finish := life("tsk_2"); submit > 2 || finish > 3 {
		t.Errorf("%d journeys to submit, %d to end", submit, finish)
	}
}

func (h *hole) waits() map[any]int {
	h.mu.Lock()
	defer h.mu.Unlock()
	out := map[any]int{}
	for c, n := range h.ready {
		out[c] = n
	}
	return out
}

// most is by how much a connection has grown most: the writer's.
func most(before, after map[any]int) (n int) {
	for c := range after {
		n = max(n, after[c]-before[c])
	}
	return n
}

// TestLateFailure: a transaction whose last part fails, which travels with the commit,
// leaves nothing behind, and the next one goes on.
func TestLateFailure(t *testing.T) {
	base := storetest.Postgres(t)
	s := open(t, store.Config{URL: base})
	if _, err := s.Submit(t.Context(), aTask("tsk_1")); err != nil {
		t.Fatal(err)
	}
	head, err := s.Head(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	execute(t, base, `INSERT INTO events (pos, type, time, data) SELECT pos + 2, 'x.y', 1, '{}' FROM log_head`)
	if _, err := s.Submit(t.Context(), aTask("tsk_2")); sdk.CodeOf(err) != sdk.CodeUnavailable {
		t.Errorf("got %v", err)
	}
	if _, err := s.Task(t.Context(), "tsk_2"); sdk.CodeOf(err) != sdk.CodeNotFound {
		t.Errorf("it was stored: %v", err)
	}
	if now, err := s.Head(t.Context()); err != nil || now != head {
		t.Errorf("the head went from %v to %v, %v", head, now, err)
	}
	execute(t, base, `DELETE FROM events WHERE type = 'x.y'`)
	if _, err := s.Submit(t.Context(), aTask("tsk_2")); err != nil {
		t.Error(err)
	}
	if now, err := s.Head(t.Context()); err != nil || now.Pos != head.Pos+2 {
		t.Errorf("the head went from %v to %v, %v", head, now, err)
	}
}
