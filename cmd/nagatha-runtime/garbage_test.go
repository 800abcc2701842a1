package main

import "testing"

func TestGCPercent(t *testing.T) {
	for live, want := range map[uint64]int{0: 400, 4 << 20: 400, 16 << 20: 400, 32 << 20: 200, 64 << 20: 100, 1 << 30: 100} {
		if got := gcPercentFor(live, 1<<20); got != want {
			t.Errorf("%d MiB alive: %d %%, want %d", live>>20, got, want)
		}
		if got := gcPercentFor(live, 1<<30); got != gcPercent {
			t.Errorf("%d MiB alive, made fast: %d %%, want %d", live>>20, got, gcPercent)
		}
	}
}
