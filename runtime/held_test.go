package runtime_test

import (
	"context"
	"encoding/json"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nagatha/nagatha-runtime/runtime"
	"github.com/nagatha/nagatha-runtime/sdk"
)

// TestWhatWasTakenOverStops: a node that stood still until it was called dead ends its
// attempts at its next look, those that wait and those that say nothing included: they
// would hold their slots, and places in their plugin, and a shutdown up.
func TestWhatWasTakenOverStops(t *testing.T) {
	started := make(chan int, 3)
	ended := make(chan error, 4)
	e := setup(t, runtime.Config{Drain: time.Millisecond}, blocking("t.silent", started, func(ctx context.Context) (json.RawMessage, error) {
		ended <- context.Cause(ctx)
		return nil, context.Cause(ctx)
	}), handler("t.waits", func(ctx context.Context, t *sdk.Task, h sdk.Host) (json.RawMessage, error) {
		started <- t.Attempt
		answer, err := sdk.Await(ctx, h, "go", 0)
		if err != nil {
			ended <- context.Cause(ctx)
		}
		return answer, err
	}))
	silent, waits := e.submit(sdk.Submission{Kind: "t.silent"}).ID, e.submit(sdk.Submission{Kind: "t.waits"}).ID
	e.until(silent, sdk.StateRunning)
	e.until(waits, sdk.StateWaiting)
	<-started
	<-started
	look := e.Looks()
	look(t.Context())
	look(t.Context()) // what is its own it keeps
	select {
	case err := <-ended:
		t.Fatalf("stopped for no reason: %v", err)
	default:
	}

	// The others call it dead, and have not begun yet.
	if _, err := e.Pause(t.Context(), runtime.DefaultQueue, true); err != nil {
		t.Fatal(err)
	}
	if n, err := e.store.Recover(t.Context(), runtime.RecoverRequest{Now: sdk.Now(), Self: "other", AllOthers: true}); err != nil || n == 0 {
		t.Fatal(n, err)
	}
	look(t.Context())
	for range 2 {
		if err := <-ended; err == nil {
			t.Error("ended by itself")
		}
	}

	// It begins anew itself, and is called dead again: what it claims is told so at once.
	if _, err := e.Pause(t.Context(), runtime.DefaultQueue, false); err != nil {
		t.Fatal(err)
	}
	<-started
	if _, err := e.store.Recover(t.Context(), runtime.RecoverRequest{Now: sdk.Now(), Self: "other", AllOthers: true}); err != nil {
		t.Fatal(err)
	}
	<-started
	<-ended

	if err := e.Signal(t.Context(), waits, "go", nil); err != nil {
		t.Fatal(err)
	}
	if k := e.wait(waits); k.State != sdk.StateCompleted || k.Attempt != 1 {
		t.Errorf("%+v", k)
	}
}

// slowStore is a store whose claims are answered when the test says so.
type slowStore struct {
	runtime.Store
	claimed chan []runtime.Claimed // what each claim got
	answer  chan error

	refused atomic.Int32 // how many ends more
}

func (s *slowStore) Finish(ctx context.Context, reqs []runtime.FinishRequest) ([]error, error) {
	if s.refused.Add(-1) >= 0 {
		return nil, sdk.Errorf(sdk.CodeInternal, "the database is out of memory")
	}
	return s.Store.Finish(ctx, reqs)
}

func (s *slowStore) Offer(runtime.Offer) {} // every claim is one that is asked for

func (s *slowStore) Claim(ctx context.Context, req runtime.ClaimRequest) ([]runtime.Claimed, error) {
	claimed, err := s.Store.Claim(ctx, req)
	if err != nil || len(claimed) == 0 {
		return claimed, err
	}
	s.claimed <- claimed
	return claimed, <-s.answer
}

// TestClaimThatIsSlowIsNotLost: an answer of the store's that takes long, as when the
// database froze, is waited for, however often the node looks meanwhile; one that never
// comes gives the task back.
func TestClaimThatIsSlowIsNotLost(t *testing.T) {
	s := &slowStore{claimed: make(chan []runtime.Claimed), answer: make(chan error)}
	e := setup(t, runtime.Config{Store: s}, echo)
	look := e.Looks()

	slow := e.submit(sdk.Submission{Kind: "t.echo"}).ID
	<-s.claimed
	for range 5 {
		look(t.Context())
	}
	s.answer <- nil
	if k := e.wait(slow); k.State != sdk.StateCompleted {
		t.Errorf("%+v", k)
	}
	if got := e.types(slow); len(got) != 4 {
		t.Errorf("it was given back: %v", got)
	}

	lost := e.submit(sdk.Submission{Kind: "t.echo"}).ID
	<-s.claimed
	look(t.Context())
	s.answer <- errors.New("the connection was cut")
	end := time.Now().Add(time.Minute)
	for k, err := e.Task(t.Context(), lost); err == nil && k.State != sdk.StateQueued; k, err = e.Task(t.Context(), lost) {
		look(t.Context())
		if time.Now().After(end) {
			t.Fatalf("never given back: %+v", k)
		}
	}
	go func() { <-s.claimed; s.answer <- nil }()
	if k := e.wait(lost); k.State != sdk.StateCompleted {
		t.Errorf("%+v", k)
	}
}

// TestEndThatIsRefusedIsKept: an end that the store refuses, for a reason that nobody
// thought of, is tried again, and the task does not run twice for it.
func TestEndThatIsRefusedIsKept(t *testing.T) {
	s := &slowStore{claimed: make(chan []runtime.Claimed), answer: make(chan error)}
	runs := 0
	e := setup(t, runtime.Config{Store: s}, handler("t.once", func(context.Context, *sdk.Task, sdk.Host) (json.RawMessage, error) {
		runs++
		return json.Marshal(runs)
	}))
	s.refused.Store(1)
	id := e.submit(sdk.Submission{Kind: "t.once"}).ID
	<-s.claimed
	s.answer <- nil
	if k := e.wait(id); k.State != sdk.StateCompleted || string(k.Result) != "1" || k.Attempt != 1 {
		t.Errorf("%+v", k)
	}
}
