package main

import (
	goruntime "runtime"
	"runtime/debug"
	"runtime/metrics"
)

// How much garbage may lie between two collections.
const (
	// Little is alive in an engine alone, and much is made: collecting garbage at five
	// times what is alive instead of twice gives a quarter more tasks a second.
	gcPercent = 400
	// Loaded modules make what is alive several times as much, and nothing faster. From
	// here on it is room in bytes that counts, as long as it is no less than Go's own.
	gcRoom     = 64 << 20
	leastRoom  = 100 // percent
	worthwhile = 10  // a smaller change of the percentage is not made
)

// gcPercentFor is the percentage that suits what is alive.
func gcPercentFor(live uint64) int {
	return int(min(max(gcRoom*100/max(live, 1), leastRoom), gcPercent))
}

// tuneGC keeps the percentage suited to what is alive, after each collection.
func tuneGC() {
	now := gcPercent
	debug.SetGCPercent(now)
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	type mark struct{ _ [16]byte } // found dead by each collection
	var collected func(*mark)
	collected = func(m *mark) {
		metrics.Read(live)
		if p := gcPercentFor(live[0].Value.Uint64()); p > now+worthwhile || p < now-worthwhile {
			now = p
			debug.SetGCPercent(p)
		}
		goruntime.SetFinalizer(m, collected)
	}
	goruntime.SetFinalizer(&mark{}, collected)
}
