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
	alone       bool         // it has failed in company, and nobody's trouble is to be another's
	done        chan verdict // capacity 1

	// What came of it.
	doc     []byte // the record as it is stored
	created bool
	err     error
}

// verdict is what one who was taken off the pile hears, once each time.
type verdict int

const (
	stored verdict = iota
	noRoom         // it has to wait again, since others of the set took more than they seemed to
	spoilt         // it was in a set that could not be written, perhaps by another's fault
)

// pile is what waits while a change is under way. All of it goes into the next one: a
// transaction costs about the same for one record as for many.
type pile struct {
	mu      sync.Mutex
	waiting []*wanted
}

func (p *pile) add(w *wanted) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.waiting = append(p.waiting, w)
}

// drop takes one away, and reports whether it was still there.
func (p *pile) drop(w *wanted) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	before := len(p.waiting)
	p.waiting = slices.DeleteFunc(p.waiting, func(o *wanted) bool { return o == w })
	return len(p.waiting) < before
}

// next takes one away that can go with others; nil: there is none.
func (p *pile) next() *wanted {
	p.mu.Lock()
	defer p.mu.Unlock()
	i := slices.IndexFunc(p.waiting, func(o *wanted) bool { return !o.alone })
	if i < 0 {
		return nil
	}
	w := p.waiting[i]
	p.waiting = slices.Delete(p.waiting, i, i+1)
	return w
}

// join writes a record, together with those that others want at the same time: one of
// them has the turn and writes for all, under its own attempt. A record is the same
// whoever writes it, and is written once.
func (u *usage) join(ctx context.Context, host sdk.Host, w *wanted) error {
	for {
		u.pile.add(w)
		var v verdict
		select {
		case v = <-w.done:
		case u.turn <- struct{}{}:
			err := u.lead(ctx, host, w)
			<-u.turn
			if err != nil && w.alone {
				return err
			}
			v = <-w.done
		case <-ctx.Done():
			if u.pile.drop(w) {
				return ctx.Err()
			}
			v = <-w.done
		}
		switch {
		case v == stored:
			return w.err
		case ctx.Err() != nil:
			return ctx.Err()
		}
		w.alone = v == spoilt
	}
}

// most is how many rows a record may write: itself, a mark where it has no price, two
// cells, the period, its reservation, its day and session and those of the reservation.
const most = 10

// lead writes w and what else waits, and tells all of them; it does nothing where w was
// taken already.
func (u *usage) lead(ctx context.Context, host sdk.Host, w *wanted) error {
	if !u.pile.drop(w) {
		return nil
	}
	set, n := []*wanted{w}, 0
	err := u.attempt(ctx, host, func(c *change) error {
		for n = 0; len(c.dirty) <= sdk.MaxKVApply-most; n++ {
			if n == len(set) {
				if w.alone {
					break
				}
				o := u.pile.next()
				if o == nil {
					break
				}
				set = append(set, o)
			}
			if err := u.enter(c, set[n]); err != nil {
				return err
			}
		}
		return nil
	})
	w.alone = w.alone || len(set) == 1
	for i, o := range set {
		switch {
		case err != nil:
			o.done <- spoilt
		case i < n:
			o.done <- stored
		default:
			o.done <- noRoom
		}
	}
	return err
}
