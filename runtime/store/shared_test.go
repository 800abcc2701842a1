package store_test

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nagatha/nagatha-runtime/runtime"
	"github.com/nagatha/nagatha-runtime/runtime/store"
	"github.com/nagatha/nagatha-runtime/runtime/store/storetest"
	"github.com/nagatha/nagatha-runtime/sdk"
)

// TestLimitsOverNodes: several runtimes on one database claim at once, and limits hold
// over all of them.
func TestLimitsOverNodes(t *testing.T) {
	url := storetest.Postgres(t)
	const nodes, keys, perKey = 3, 4, 20
	start := sdk.Now()
	clock := func() sdk.Time { return start } // a rate allows its burst and no more
	limits := []runtime.QueueLimits{
		{Name: "default", KeyConcurrency: 2},
		{Name: "rated", Rate: runtime.Rate{N: 1, Period: sdk.Duration(time.Second), Burst: 25}},
	}
	stores := make([]*store.Store, nodes)
	for i := range stores {
		stores[i] = open(t, store.Config{URL: url, Now: clock})
		stores[i].SetQueues(limits)
	}
	var tasks []runtime.NewTask
	for i := range keys*perKey + 100 {
		k := sdk.Task{ID: fmt.Sprintf("tsk_%04d", i), Kind: "a.b", Queue: "rated", State: sdk.StateQueued, Payload: []byte(`{}`), MaxAttempts: 1, CreatedAt: start, RunAt: start}
		if i < keys*perKey {
			k.Queue, k.ConcurrencyKey = "default", fmt.Sprint("k", i%keys)
		}
		tasks = append(tasks, runtime.NewTask{Task: k})
	}
	if out, err := stores[0].Submit(t.Context(), tasks); err != nil || out[0].Err != nil {
		t.Fatal(out, err)
	}
	var mu sync.Mutex
	running := map[string]int{}
	var ended, rated atomic.Int64
	var wg sync.WaitGroup
	for n, s := range stores {
		wg.Go(func() {
			req := runtime.ClaimRequest{Node: fmt.Sprint("n", n)}
			for _, queue := range []string{"default", "rated"} {
				req.Lanes = append(req.Lanes, runtime.Lane{Queue: queue, Limit: 7, Kinds: []runtime.KindSlots{{Kind: "a.b", Limit: 50, Plugin: "p"}}})
			}
			for until := time.Now().Add(time.Minute); ended.Load() < keys*perKey; {
				if time.Now().After(until) {
					t.Error("not all of them ran")
					return
				}
				got, err := s.Claim(t.Context(), req)
				if err != nil {
					t.Error(err)
					return
				}
				var ends []runtime.FinishRequest
				mu.Lock()
				for _, c := range got {
					ends = append(ends, runtime.FinishRequest{AppendRequest: runtime.AppendRequest{Fence: runtime.Fence{Task: c.Task.ID, Token: c.Token}},
						Now: start, State: sdk.StateCompleted, Result: []byte(`1`)})
					key := c.Task.ConcurrencyKey
					if key == "" {
						rated.Add(1)
						continue
					}
					if running[key]++; running[key] > 2 {
						t.Errorf("%d at once with key %s", running[key], key)
					}
				}
				mu.Unlock()
				mu.Lock()
				for _, c := range got {
					if c.Task.ConcurrencyKey != "" {
						running[c.Task.ConcurrencyKey]--
						ended.Add(1)
					}
				}
				mu.Unlock()
				if len(ends) > 0 {
					if errs, err := s.Finish(t.Context(), ends); err != nil || errs[0] != nil {
						t.Error(errs, err)
						return
					}
				}
			}
		})
	}
	wg.Wait()
	if n := rated.Load(); n != 25 {
		t.Errorf("%d started at once, the rate allows 25", n)
	}
}

// TestPauseReachesOtherNodes: a pause of one node's stops the others.
func TestPauseReachesOtherNodes(t *testing.T) {
	url := storetest.Postgres(t)
	heard := make(chan runtime.Commit, 100)
	other := open(t, store.Config{URL: url, OnCommit: func(c runtime.Commit) {
		if c.Queues {
			heard <- c
		}
	}})
	one := open(t, store.Config{URL: url})
	for _, paused := range []bool{true, false} {
		if err := one.Pause(t.Context(), "default", paused); err != nil {
			t.Fatal(err)
		}
		select {
		case c := <-heard:
			if other.Paused("default") != paused || !c.Queued || !c.Remote {
				t.Errorf("paused %v: the other node thinks %v, commit %+v", paused, other.Paused("default"), c)
			}
		case <-time.After(20 * time.Second):
			t.Fatal("the other node does not hear of it")
		}
	}
	if err := one.Pause(t.Context(), "default", true); err != nil {
		t.Fatal(err)
	}
	if late := open(t, store.Config{URL: url}); !late.Paused("default") {
		t.Error("a node that starts later does not know")
	}
}

// TestApplyOverNodes: nodes that count in the same keys, in opposite orders and with
// keys that both create, lose nothing and do not fail.
func TestApplyOverNodes(t *testing.T) {
	url := storetest.Postgres(t)
	const nodes, callers, rounds = 2, 4, 10
	var wg sync.WaitGroup
	var stores []*store.Store
	for range nodes {
		stores = append(stores, open(t, store.Config{URL: url}))
	}
	for n, s := range stores {
		for range callers {
			wg.Go(func() {
				for done := 0; done < rounds; {
					var writes []sdk.KVWrite
					for _, key := range []string{fmt.Sprint("round/", done), "a", "b"} {
						it, err := s.KVGet(t.Context(), "ns", sdk.KVGet{Key: key})
						if err != nil {
							t.Error(err)
							return
						}
						count, version := 0, int64(0)
						if it.Item != nil {
							version = it.Item.Version
							_, _ = fmt.Sscan(string(it.Item.Value), &count)
						}
						writes = append(writes, sdk.KVWrite{Set: &sdk.KVSet{Key: key, Value: fmt.Append(nil, count+1), IfVersion: &version}})
					}
					if n == 1 {
						slices.Reverse(writes)
					}
					_, err := s.KVApply(t.Context(), "ns", runtime.Fence{}, sdk.KVApply{Writes: writes})
					switch sdk.CodeOf(err) {
					case "":
						done++
					case sdk.CodeConflict:
					default:
						t.Error(err)
						return
					}
				}
			})
		}
	}
	wg.Wait()
	for key, want := range map[string]string{"a": "80", "b": "80", "round/3": "8"} {
		if it, err := stores[0].KVGet(t.Context(), "ns", sdk.KVGet{Key: key}); err != nil || string(it.Item.Value) != want {
			t.Errorf("%s: %+v, %v, want %s", key, it.Item, err, want)
		}
	}
}
