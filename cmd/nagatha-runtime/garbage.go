package main

import (
	goruntime "runtime"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// How much garbage may lie between two collections.
const (
	// Little is alive in an engine alone, and much is made: collecting garbage at five
	// times what is alive instead of twice gives a quarter more tasks a second.
	gcPercent = 400
	// Loaded modules make what is alive several times as much. Then, unless garbage is made
	// so fast that collecting it would cost tasks, it is room in bytes that counts, as long
	// as it is no less than Go's own.
	gcRoom     = 64 << 20
	gcFast     = 64 << 20 // bytes a second
	leastRoom  = 100      // percent
	worthwhile = 10       // a smaller change of the percentage is not made
)

// gcPercentFor is the percentage that suits what is alive and how fast more is made.
func gcPercentFor(live, perSecond uint64) int {
	if perSecond > gcFast {
		return gcPercent
	}
	return int(min(max(gcRoom*100/max(live, 1), leastRoom), gcPercent))
}

// tuneGC keeps the percentage suited to what is alive, after each collection.
func tuneGC() {
	now := gcPercent
	debug.SetGCPercent(now)
	heap := []metrics.Sample{{Name: "/gc/heap/live:bytes"}, {Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(heap)
	made, at := heap[1].Value.Uint64(), time.Now()
	type mark struct{ _ [16]byte } // found dead by each collection
	var collected func(*mark)
	collected = func(m *mark) {
		metrics.Read(heap)
		more, took := heap[1].Value.Uint64()-made, time.Since(at)
		made, at = made+more, at.Add(took)
		if p := gcPercentFor(heap[0].Value.Uint64(), uint64(float64(more)/max(took.Seconds(), 1e-3))); p > now+worthwhile || p < now-worthwhile {
			now = p
			debug.SetGCPercent(p)
		}
		goruntime.SetFinalizer(m, collected)
	}
	goruntime.SetFinalizer(&mark{}, collected)
}
