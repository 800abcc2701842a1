package runtime

import "time"

// drain gives back what waits for a place to run, waits for running attempts, and gives
// back what takes too long.
func (r *Runtime) drain() {
	r.dispatch.mu.Lock()
	r.dispatch.draining = true
	r.dispatch.mu.Unlock()
	r.evictParked("", nil)
	for _, a := range r.dispatch.snapshot() {
		if a.clock.forbid() {
			a.stop(errDrained, graceDrain)
		}
	}
	done := make(chan struct{})
	go func() {
		r.dispatch.attempts.Wait()
		close(done)
	}()
	t := time.NewTimer(r.cfg.Drain)
	defer t.Stop()
	select {
	case <-done:
		return
	case <-t.C:
	}
	left := r.dispatch.snapshot()
	r.log.Warn("giving back tasks that outlast the drain; they run again on the next start", "tasks", len(left))
	for _, a := range left {
		a.stop(errDrained, graceDrain)
	}
	t.Reset(graceCancel)
	select {
	case <-done:
	case <-t.C:
		close(r.dispatch.giveUp)
		<-done
	}
}
