package main

import (
	"context"
	"slices"
	"sync"

	"github.com/nagatha/nagatha-runtime/sdk"
)

// wanted is a record that waits to be written.
type wanted struct {
	record
	reservation string
	alone       bool      // it has failed in company, and nobody's trouble is to be another's
	done        chan bool // capacity 1: whether it is written; false: it may lead itself

	// What came of it.
	doc     []byte // the record as it is stored
	created bool
	err     error
}

// pile is what waits while a change is under way. All of it goes into the next one: a
// transaction costs about the same for one record as for many.
type pile struct {
	mu      sync.Mutex
	waiting []*wanted
}

func (p *pile) add(w ...*wanted) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.waiting = append(p.waiting, w...)
}

// drop takes one away, and reports whether it was still there.
func (p *pile) drop(w *wanted) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	before := len(p.waiting)
	p.waiting = slices.DeleteFunc(p.waiting, func(o *wanted) bool { return o == w })
	return len(p.waiting) < before
}

// company takes away all that can go together.
func (p *pile) company() []*wanted {
	p.mu.Lock()
	defer p.mu.Unlock()
	var set []*wanted
	p.waiting = slices.DeleteFunc(p.waiting, func(o *wanted) bool {
		if !o.alone {
			set = append(set, o)
		}
		return !o.alone
	})
	return set
}

// join writes a record, together with those that others want at the same time: one of
// them has the turn and writes for all, under its own attempt. A record is the same
// whoever writes it, and is written once.
func (u *usage) join(ctx context.Context, host sdk.Host, w *wanted) error {
	for {
		u.pile.add(w)
		var ok bool
		select {
		case ok = <-w.done:
		case u.turn <- struct{}{}:
			led, err := u.lead(ctx, host, w)
			<-u.turn
			if led {
				if err != nil && w.alone {
					return err
				}
				w.done <- err == nil
			}
			ok = <-w.done
		case <-ctx.Done():
			if u.pile.drop(w) {
				return ctx.Err()
			}
			ok = <-w.done
		}
		switch {
		case ok:
			return w.err
		case ctx.Err() != nil:
			return ctx.Err()
		}
		w.alone = true // perhaps it was another's fault
	}
}

// most is how many rows a record may write: itself, a mark where it has no price, two
// cells, the period, its reservation, its day and session and those of the reservation.
const most = 10

// lead writes w and what else waits, and reports false where w has been written.
func (u *usage) lead(ctx context.Context, host sdk.Host, w *wanted) (bool, error) {
	if !u.pile.drop(w) {
		return false, nil
	}
	set := []*wanted{w}
	if !w.alone {
		set = append(set, u.pile.company()...)
	}
	n := 0
	err := u.attempt(ctx, host, func(c *change) error {
		for n = 0; n < len(set) && len(c.dirty) <= sdk.MaxKVApply-most; n++ {
			if err := u.enter(c, set[n]); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		n, w.alone = len(set), len(set) == 1
	}
	u.pile.add(set[n:]...) // there was no room
	for _, o := range set[1:n] {
		o.done <- err == nil
	}
	return true, err
}
