package store

import (
	"testing"
	"time"

	"github.com/nagatha/nagatha-runtime/runtime"
	"github.com/nagatha/nagatha-runtime/sdk"
)

// TestRateOfNodes: nodes whose clocks differ keep a rate together, whoever asks when.
func TestRateOfNodes(t *testing.T) {
	for _, rate := range []runtime.Rate{
		{N: 2, Period: sdk.Duration(time.Second)}, {N: 20, Period: sdk.Duration(time.Second)}, {N: 1000, Period: sdk.Duration(time.Second)},
		{N: 1, Period: sdk.Duration(time.Minute), Burst: 4},
	} {
		for _, ahead := range []time.Duration{0, time.Millisecond, 50 * time.Millisecond, time.Second, 9 * time.Second} {
			c := cellOf(rate)
			tat, started := int64(0), int64(0)
			const length = 100_000 // ms
			for ms := range int64(length) {
				now := ms * 1000
				if ms%2 == 1 {
					now += ahead.Microseconds()
				}
				// A store keeps what it finds out, and what it takes.
				n, _ := c.allows(tat, now)
				n = max(n, 0)
				tat = c.after(tat, now, n)
				started += n
			}
			want := length * 1000 / c.interval
			if most := want + ahead.Microseconds()/c.interval + c.burst + 1; started > most || started < want-1 { // the clock that is ahead has lived longer
				t.Errorf("%+v, a clock %v ahead: %d start, want %d to %d", rate, ahead, started, want, most)
			}
		}
	}
}
