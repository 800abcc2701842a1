package main

import (
	"strings"
	"sync"
	"time"
)

// pace is the least time between two pieces of output. A model says a token at a time,
// and each piece is an event of the task, of which a task may have 100,000.
const pace = 25 * time.Millisecond

// speaker passes a text on while it comes: what is first at once, and what follows
// close behind together. It is safe for concurrent use.
type speaker struct {
	pass func(text string)

	mu    sync.Mutex
	text  strings.Builder
	last  time.Time
	timer *time.Timer // until what is held back is passed on
}

func (s *speaker) say(text string) {
	if text == "" {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.text.WriteString(text)
	if wait := pace - time.Since(s.last); wait <= 0 {
		s.flush()
	} else if s.timer == nil {
		s.timer = time.AfterFunc(wait, s.end)
	}
}

// end passes on what was held back.
func (s *speaker) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.flush()
}

// flush does it. The caller holds mu, so that nothing overtakes.
func (s *speaker) flush() {
	if s.timer != nil {
		s.timer.Stop()
		s.timer = nil
	}
	if s.text.Len() > 0 {
		s.pass(s.text.String())
		s.text.Reset()
		s.last = time.Now()
	}
}
