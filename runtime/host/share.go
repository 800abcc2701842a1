package host

import (
	"sync"
	"time"
)

// share is what a plugin may do of something at once, and in the long run. Once it is
// used up, half of it must be free again before anything more goes through: so that
// something is left out is said every few seconds and not between every two, and what
// goes in circles through it comes to an end. The zero value is unused. It is safe for
// concurrent use.
type share struct {
	mu      sync.Mutex
	spent   float64
	at      time.Time
	leftOut int
}

// take takes n of a share of burst that grows by rate a second. leftOut is how many
// times there was no room before this time that has room, or with this one that has
// none.
func (s *share) take(n, burst, rate float64) (leftOut int, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	s.spent = max(0, s.spent-min(now.Sub(s.at).Seconds()*rate, burst))
	s.at = now
	if s.spent+n > burst || s.leftOut > 0 && s.spent > burst/2 {
		s.leftOut++
		return s.leftOut, false
	}
	s.spent += n
	leftOut, s.leftOut = s.leftOut, 0
	return leftOut, true
}
