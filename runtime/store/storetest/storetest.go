// Package storetest is the suite that every runtime.Store passes.
//
//	func TestSQLite(t *testing.T) {
//		storetest.Run(t, func(t *testing.T, o storetest.Options) runtime.Store { … })
//	}
package storetest

import (
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/nagatha/nagatha-runtime/runtime"
	"github.com/nagatha/nagatha-runtime/sdk"
)

// Options are what a case wants of the store that it opens. Zero is a default.
type Options struct {
	OnCommit  func(runtime.Commit)
	Outbox    func(events []sdk.Event) error
	Ends      func() []string
	Now       func() sdk.Time
	MaxEvents int64
	MaxBytes  int64
}

// Open opens an empty store that is closed when the test ends.
type Open func(t *testing.T, o Options) runtime.Store

// Run runs every case against stores of its own.
func Run(t *testing.T, open Open) {
	for _, c := range []struct {
		name string
		test func(t *testing.T, open Open)
	}{
		{"Life", testLife},
		{"Scheduled", testScheduled},
		{"RetryingAndBack", testRetrying},
		{"BackoffOfTheLate", testBackoffOfTheLate},
		{"GivenBack", testGivenBack},
		{"Fence", testFence},
		{"Caps", testCaps},
		{"Order", testOrder},
		{"Turns", testTurns},
		{"Limits", testLimits},
		{"Idempotency", testIdempotency},
		{"Delivery", testDelivery},
		{"Cancel", testCancel},
		{"Force", testForce},
		{"RetryByHand", testRetryByHand},
		{"Recover", testRecover},
		{"Concurrent", testConcurrent},
		{"SameTick", testSameTick},
		{"Offer", testOffer},
		{"OfferOfOthers", testOfferOfOthers},
		{"OfferOfEnds", testOfferOfEnds},
		{"Runs", testRuns},
		{"List", testList},
		{"Publish", testPublish},
		{"Ends", testEnds},
		{"Data", testData},
		{"DataTTL", testDataTTL},
		{"DataSearch", testDataSearch},
		{"Apply", testApply},
		{"ApplyTogether", testApplyTogether},
		{"DataBulk", testDataBulk},
		{"DataPages", testDataPages},
		{"DataStamp", testDataStamp},
		{"DataSearchPlan", testDataSearchPlan},
		{"Commit", testCommit},
		{"Prune", testPrune},
		{"Steps", testSteps},
		{"Waiting", testWaiting},
		{"KeptSignals", testKeptSignals},
		{"Children", testChildren},
		{"LostWhileWaiting", testLostWhileWaiting},
		{"AwaitTask", testAwaitTask},
		{"Due", testDue},
		{"ApprovalStates", testApprovalStates},
		{"After", testAfter},
		{"AfterCancelled", testAfterCancelled},
		{"StartsAfter", testStartsAfter},
		{"Unique", testUnique},
		{"UniqueRace", testUniqueRace},
		{"UniqueOfTheRefused", testUniqueOfTheRefused},
		{"KeyOfTheUnique", testKeyOfTheUnique},
		{"Expiry", testExpiry},
		{"ExpiryOfTheWaiting", testExpiryOfTheWaiting},
		{"ExpiryInSteps", testExpiryInSteps},
		{"ConcurrencyKeys", testConcurrencyKeys},
		{"KeyOfTheUnclaimed", testKeyOfTheUnclaimed},
		{"KeyConcurrency", testKeyConcurrency},
		{"KeyRace", testKeyRace},
		{"KeyOfChildren", testKeyOfChildren},
		{"KeyOutlived", testKeyOutlived},
		{"KeyOrder", testKeyOrder},
		{"Rates", testRates},
		{"RateOfTheResumed", testRateOfTheResumed},
		{"KeyRates", testKeyRates},
		{"Pause", testPause},
		{"Depth", testDepth},
		{"DepthOfDoubles", testDepthOfDoubles},
		{"DepthOfOthers", testDepthOfOthers},
		{"DepthOfDeliveries", testDepthOfDeliveries},
		{"QueueCounts", testQueueCounts},
		{"Counts", testCounts},
		{"Schedules", testSchedules},
		{"DueSchedules", testDueSchedules},
		{"Tick", testTick},
		{"TickIntoFullQueue", testTickIntoFullQueue},
		{"Model", testModel},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			c.test(t, open)
		})
	}
}

// fixture is a store with short forms of its calls.
type fixture struct {
	*testing.T
	runtime.Store
	n int
}

func setup(t *testing.T, open Open, o Options) *fixture {
	return &fixture{T: t, Store: open(t, o)}
}

func (f *fixture) newTask(kind string) runtime.NewTask {
	f.n++
	now := sdk.Now()
	return runtime.NewTask{Task: sdk.Task{
		ID: fmt.Sprintf("tsk_%06d", f.n), Kind: kind, Queue: "default", State: sdk.StateQueued, Payload: json.RawMessage(`{"n":1}`),
		Life: 1, MaxAttempts: 3, Timeout: sdk.Duration(time.Minute), CreatedAt: now, RunAt: now, Labels: map[string]string{},
	}}
}

func (f *fixture) submit(tasks ...runtime.NewTask) []runtime.Submitted {
	f.Helper()
	out, err := f.Store.Submit(f.Context(), tasks)
	if err != nil {
		f.Fatal(err)
	}
	return out
}

func lane(queue string, limit int, kinds ...string) runtime.Lane {
	l := runtime.Lane{Queue: queue, Limit: limit}
	for _, k := range kinds {
		l.Kinds = append(l.Kinds, runtime.KindSlots{Kind: k, Limit: limit, Plugin: "p", PluginVersion: "1"})
	}
	return l
}

func (f *fixture) claim(limit int, kinds ...string) []runtime.Claimed {
	f.Helper()
	out, err := f.Store.Claim(f.Context(), runtime.ClaimRequest{Node: "n1", Lanes: []runtime.Lane{lane("default", limit, kinds...)}})
	if err != nil {
		f.Fatal(err)
	}
	return out
}

func (f *fixture) claimOne(kind string) runtime.Claimed {
	f.Helper()
	out := f.claim(1, kind)
	if len(out) != 1 {
		f.Fatalf("claimed %d tasks, want 1", len(out))
	}
	return out[0]
}

func fence(c runtime.Claimed) runtime.Fence { return runtime.Fence{Task: c.Task.ID, Token: c.Token} }

func end(c runtime.Claimed, state sdk.State) runtime.FinishRequest {
	f := runtime.FinishRequest{AppendRequest: runtime.AppendRequest{Fence: fence(c)}, Now: sdk.Now(), State: state}
	switch state {
	case sdk.StateCompleted:
		f.Result = json.RawMessage(`{"ok":true}`)
	case sdk.StateFailed, sdk.StateRetrying:
		f.Error = sdk.Errorf(sdk.CodeHandlerError, "boom")
	}
	return f
}

func (f *fixture) finish(req runtime.FinishRequest) error {
	f.Helper()
	errs, err := f.Store.Finish(f.Context(), []runtime.FinishRequest{req})
	if err != nil {
		f.Fatal(err)
	}
	return errs[0]
}

func (f *fixture) mustFinish(req runtime.FinishRequest) {
	f.Helper()
	if err := f.finish(req); err != nil {
		f.Fatal(err)
	}
}

func (f *fixture) append(c runtime.Claimed, n int) error {
	f.Helper()
	req := runtime.AppendRequest{Fence: fence(c), Progress: &sdk.Progress{Progress: float64(n), Total: 10}}
	for i := range n {
		req.Events = append(req.Events, runtime.NewEvent{Type: sdk.EventProgress, Time: sdk.Now(), Data: json.RawMessage(fmt.Sprintf(`{"progress":%d}`, i))})
	}
	errs, err := f.Store.Append(f.Context(), []runtime.AppendRequest{req})
	if err != nil {
		f.Fatal(err)
	}
	return errs[0]
}

func (f *fixture) task(id string) sdk.Task {
	f.Helper()
	t, err := f.Store.Task(f.Context(), id)
	if err != nil {
		f.Fatal(err)
	}
	return t
}

// events returns a task's whole log after checking what holds for every log:
// dense numbers, growing positions, one end event a life and nothing after it.
func (f *fixture) events(id string) []sdk.TaskEvent {
	f.Helper()
	entries, err := f.Store.TaskEvents(f.Context(), id, 0, 100_000)
	if err != nil {
		f.Fatal(err)
	}
	var out []sdk.TaskEvent
	pos, life, ended := int64(0), 1, false
	for i, e := range entries {
		switch {
		case e.Task.Seq != int64(i+1):
			f.Fatalf("event %d of %s has seq %d", i+1, id, e.Task.Seq)
		case e.Pos <= pos:
			f.Fatalf("event %d of %s has position %d after %d", i+1, id, e.Pos, pos)
		case e.Task.Life == life && ended:
			f.Fatalf("event %d of %s, %s, comes after the end of life %d", i+1, id, e.Task.Type, life)
		case e.Task.Life != life && (!ended || e.Task.Life != life+1):
			f.Fatalf("event %d of %s is of life %d after life %d", i+1, id, e.Task.Life, life)
		case !json.Valid(e.Task.Data) || e.Task.Data[0] != '{':
			f.Fatalf("event %d of %s has data %s", i+1, id, e.Task.Data)
		}
		pos, life, ended = e.Pos, e.Task.Life, e.Task.End
		out = append(out, *e.Task)
	}
	if t := f.task(id); t.State.Terminal() != ended || t.Life != life {
		f.Fatalf("%s is %s in life %d; its log says ended %v in life %d", id, t.State, t.Life, ended, life)
	}
	return out
}

func (f *fixture) wantEvents(id string, want ...string) []sdk.TaskEvent {
	f.Helper()
	events := f.events(id)
	var got []string
	for _, e := range events {
		got = append(got, e.Type)
	}
	if !slices.Equal(got, want) {
		f.Fatalf("events of %s:\n got %v\nwant %v", id, got, want)
	}
	return events
}

func (f *fixture) wantState(id string, want sdk.State) sdk.Task {
	f.Helper()
	t := f.task(id)
	if t.State != want {
		f.Fatalf("%s is %s, want %s", id, t.State, want)
	}
	return t
}

// clock is a clock that a test moves.
type clock struct {
	mu sync.Mutex
	at sdk.Time
}

func (c *clock) now() sdk.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}
