package runtime

import (
	"testing"
	"time"
)

// A look is when a node sees the others, in seconds, and what it sees of one of them.
type look struct {
	at   int
	beat int64
	dead bool
}

func TestPulses(t *testing.T) {
	for name, looks := range map[string][]look{
		"one that stands still is dead after six seconds": {
			{0, 1, false}, {1, 2, false}, {2, 2, false}, {3, 2, false}, {4, 2, false}, {5, 2, false}, {6, 2, false}, {7, 2, true},
		},
		"one that moves is alive": {{0, 1, false}, {1, 1, false}, {2, 2, false}, {3, 2, false}, {4, 3, false}, {5, 3, false}, {6, 4, false}},
		// The database stalled, and nobody could beat.
		"time in which nobody looked does not count": {{0, 1, false}, {1, 2, false}, {20, 2, false}, {21, 2, false}, {22, 3, false}},
		"one that stands still after that is dead": {
			{0, 1, false}, {20, 1, false}, {21, 1, false}, {22, 1, false}, {23, 1, false}, {24, 1, false}, {25, 1, true},
		},
	} {
		t.Run(name, func(t *testing.T) {
			var p pulses
			start := time.Now()
			for _, l := range looks {
				dead := p.listen([]NodeBeat{{ID: "self", Beat: 7}, {ID: "other", Beat: l.beat}}, "self", start.Add(time.Duration(l.at)*time.Second))
				if (len(dead) > 0) != l.dead {
					t.Errorf("at %d s: dead are %v", l.at, dead)
				}
			}
		})
	}
}
