package api

import "sync"

// lane runs requests of one connection and one sort in their order, all that
// have gathered at once: a thousand submits that wait in a socket become a few
// commits, and the order of the requests is the order in the log. It needs a
// goroutine only while it is busy.
type lane[T any] struct {
	mu      sync.Mutex
	waiting []T
	busy    bool
}

// add queues an item. It returns true when the caller must start a goroutine
// that takes until there is nothing.
func (l *lane[T]) add(item T) (start bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.waiting = append(l.waiting, item)
	start = !l.busy
	l.busy = true
	return start
}

// take takes all that wait; nothing means that the lane is idle again.
func (l *lane[T]) take() []T {
	l.mu.Lock()
	defer l.mu.Unlock()
	items := l.waiting
	l.waiting = nil
	l.busy = len(items) > 0
	return items
}
