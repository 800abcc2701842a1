package runtime

import "slices"

// Slots are filled in two ways. The dispatcher's loop claims when it is woken, which is
// a transaction of its own. And a transaction that makes tasks ready asks for the slots
// that are free just then (see [Offer]), so that on an idle runtime a task is stored and
// started at once. Only one of them is under way at a time, so no slot is given twice.

// offer is the dispatcher as the store sees it.
type offer struct{ r *Runtime }

// Free implements Offer.
func (o offer) Free(n News) (ClaimRequest, bool) {
	d := &o.r.dispatch
	if !d.beginOffer() {
		return ClaimRequest{}, false
	}
	req, gained := o.r.freeSlots(n.Ending)
	if !n.Anywhere {
		// Elsewhere nothing waits that could not have started before. For a kind that
		// waits in another queue than where its slot was, the loop looks.
		req.Lanes = slices.DeleteFunc(req.Lanes, func(l Lane) bool { return !n.Ready[l.Queue] && !gained[l.Queue] })
	}
	if len(req.Lanes) == 0 {
		d.endClaim()
		return req, false
	}
	return req, true
}

// Take implements Offer.
func (o offer) Take(claimed []Claimed) {
	if len(claimed) == 0 {
		o.r.dispatch.endClaim()
		return
	}
	o.r.dispatch.offered <- claimed // has room: no other claim is under way
}

// open lets the store ask, close ends that: the dispatcher's loop is about to.
func (d *dispatcher) open(r *Runtime) {
	d.mu.Lock()
	d.opened = true
	d.mu.Unlock()
	r.store.Offer(offer{r})
}

func (d *dispatcher) close(r *Runtime) {
	r.store.Offer(nil)
	d.mu.Lock()
	d.opened = false
	underway := d.claim
	d.mu.Unlock()
	if underway == nil {
		return
	}
	select {
	case claimed := <-d.offered:
		r.begin(claimed)
	case <-underway:
	}
}

// beginClaim reports whether the loop may claim. If not, it is woken once it may.
func (d *dispatcher) beginClaim() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.claim != nil {
		d.again = true
		return false
	}
	d.claim = make(chan struct{})
	return true
}

func (d *dispatcher) beginOffer() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.claim != nil || !d.opened {
		return false
	}
	d.claim = make(chan struct{})
	return true
}

// endClaim says that what was claimed has started.
func (d *dispatcher) endClaim() {
	d.mu.Lock()
	defer d.mu.Unlock()
	close(d.claim)
	if d.again {
		d.wake()
	}
	d.claim, d.again, d.early = nil, false, nil
}
