package serve

import (
	"context"
	"sync"
	"time"
)

// deadline is a context that ends at a time. It is that of [context.WithDeadline], made
// when somebody first waits for it: most handlers return long before, and in a guest a
// timer costs as much as a small task.
type deadline struct {
	context.Context // that it is derived from
	at              time.Time

	mu   sync.Mutex
	real context.Context // nil: nobody has asked
	stop context.CancelFunc
}

func (d *deadline) made() context.Context {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.real == nil {
		d.real, d.stop = context.WithDeadline(d.Context, d.at)
	}
	return d.real
}

// end gives back the timer, if there is one.
func (d *deadline) end() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.stop != nil {
		d.stop()
	}
}

func (d *deadline) Deadline() (time.Time, bool) { return d.made().Deadline() }
func (d *deadline) Done() <-chan struct{}       { return d.made().Done() }
func (d *deadline) Err() error                  { return d.made().Err() }

// Value finds the context's own cancelation as well, which package context looks for
// after it has called Done.
func (d *deadline) Value(key any) any {
	d.mu.Lock()
	real := d.real
	d.mu.Unlock()
	if real != nil {
		return real.Value(key)
	}
	return d.Context.Value(key)
}
