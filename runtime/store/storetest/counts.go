package storetest

import (
	"testing"

	"github.com/nagatha/nagatha-runtime/runtime"
	"github.com/nagatha/nagatha-runtime/sdk"
)

// testCounts: counts and lists by state know every way of being in it.
func testCounts(t *testing.T, open Open) {
	f := setup(t, open, Options{})
	scheduled := f.newTask("a.later")
	scheduled.Task.State, scheduled.Task.RunAt = sdk.StateScheduled, sdk.Now().Add(hour)
	held := f.newTask("a.later")
	held.Task.State, held.After = sdk.StateScheduled, []string{scheduled.Task.ID}
	f.submit(scheduled)
	f.submit(held, f.newTask("a.queued"), f.withKey("a.line", "k"), f.withKey("a.line", "k"))
	for _, kind := range []string{"a.running", "a.completed", "a.failed", "a.failed", "a.cancelled", "a.retrying", "a.parked", "a.evicted", "a.answered", "a.back"} {
		f.submit(f.newTask(kind))
	}
	f.claimOne("a.running")
	f.mustFinish(end(f.claimOne("a.completed"), sdk.StateCompleted))
	f.mustFinish(end(f.claimOne("a.failed"), sdk.StateFailed))
	f.mustFinish(end(f.claimOne("a.failed"), sdk.StateFailed))
	f.mustFinish(end(f.claimOne("a.cancelled"), sdk.StateCancelled))
	retrying := end(f.claimOne("a.retrying"), sdk.StateRetrying)
	retrying.RunAt = sdk.Now().Add(hour)
	f.mustFinish(retrying)
	for _, kind := range []string{"a.parked", "a.evicted", "a.answered", "a.back"} {
		c := f.claimOne(kind)
		f.mustOperate(c, await("x", 1))
		if kind == "a.evicted" || kind == "a.back" {
			f.evict(c)
		}
		if kind == "a.answered" || kind == "a.back" {
			if err := f.signal(c.Task.ID, "x", `1`); err != nil {
				t.Fatal(err)
			}
		}
	}
	counts, err := f.Store.Counts(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for state, want := range map[sdk.State]int{
		sdk.StateScheduled: 2, sdk.StateQueued: 4, sdk.StateRunning: 1, sdk.StateWaiting: 3, sdk.StateRetrying: 1,
		sdk.StateCompleted: 1, sdk.StateFailed: 2, sdk.StateCancelled: 1,
	} {
		ids, err := f.Store.TaskIDs(t.Context(), runtime.TaskFilter{States: []sdk.State{state}, Limit: 100})
		if err != nil || len(ids) != want || counts[state] != int64(want) {
			t.Errorf("%s: listed %d, counted %d, want %d; %v", state, len(ids), counts[state], want, err)
		}
	}
	for _, pair := range [][]sdk.State{{sdk.StateFailed, sdk.StateCancelled}, {sdk.StateWaiting, sdk.StateScheduled}, {sdk.StateRunning, sdk.StateFailed}} {
		ids, err := f.Store.TaskIDs(t.Context(), runtime.TaskFilter{States: pair, Limit: 100})
		if want := counts[pair[0]] + counts[pair[1]]; err != nil || int64(len(ids)) != want {
			t.Errorf("%v: listed %d, want %d; %v", pair, len(ids), want, err)
		}
	}
}
