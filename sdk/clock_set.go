//go:build nagatha_clock

package sdk

import (
	"os"
	"strings"
	"sync"
	"time"
)

// A wall clock for tests of clocks that are set: it is ahead of the real one by the
// duration in the file that NAGATHA_CLOCK names. The monotonic clock stays what it is,
// as with a real one.
var clock struct {
	sync.Mutex
	read  time.Time
	ahead time.Duration
}

func wall() time.Time {
	clock.Lock()
	defer clock.Unlock()
	if now := time.Now(); now.Sub(clock.read) > 5*time.Millisecond {
		clock.read = now
		if b, err := os.ReadFile(os.Getenv("NAGATHA_CLOCK")); err == nil {
			if d, err := time.ParseDuration(strings.TrimSpace(string(b))); err == nil {
				clock.ahead = d
			}
		}
	}
	return time.Now().Add(clock.ahead)
}
