package runtime

import (
	"context"
	"errors"
	"sync"

	"github.com/nagatha/nagatha-runtime/sdk"
)

// appender carries the events of running attempts to the store. One goroutine
// takes what all attempts have buffered and appends it as one set, so a chatty
// plugin costs one commit a tick, not one an event.
type appender struct {
	mu    sync.Mutex
	dirty []*attempt
	look  chan struct{}
}

// attemptLog is the events of one attempt that are not stored yet. The buffer is
// bounded: a handler that is faster than the disk waits in add.
type attemptLog struct {
	mu       sync.Mutex
	room     *sync.Cond // there is room again, or nothing is under way
	events   []NewEvent
	bytes    int
	progress *sdk.Progress
	queued   bool // stands in appender.dirty
	underway bool // a part of it is on its way
	closed   bool
	offsets  map[string]int64 // of output, by stream
}

const (
	maxBufferedEvents = 512
	maxBufferedBytes  = 1 << 20
)

func (p *appender) init()   { p.look = make(chan struct{}, 1) }
func (l *attemptLog) init() { l.room = sync.NewCond(&l.mu) }

// add buffers an event. newEvent is called under the log's lock, so that offsets and
// order agree; it may return false to add nothing.
func (a *attempt) add(newEvent func(l *attemptLog) (NewEvent, bool)) {
	l := &a.out
	l.mu.Lock()
	for !l.closed && (len(l.events) >= maxBufferedEvents || l.bytes >= maxBufferedBytes) {
		l.room.Wait()
	}
	if l.closed {
		l.mu.Unlock()
		return
	}
	e, ok := newEvent(l)
	if !ok {
		l.mu.Unlock()
		return
	}
	e.Time = sdk.Now()
	l.events = append(l.events, e)
	l.bytes += len(e.Data)
	first := !l.queued
	l.queued = true
	l.mu.Unlock()
	if first {
		a.r.appender.push(a)
	}
}

func (p *appender) push(a *attempt) {
	p.mu.Lock()
	p.dirty = append(p.dirty, a)
	p.mu.Unlock()
	select {
	case p.look <- struct{}{}:
	default:
	}
}

// take hands out what is buffered and marks it as under way.
func (l *attemptLog) take() ([]NewEvent, *sdk.Progress) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.queued = false
	if l.closed || len(l.events) == 0 {
		return nil, nil
	}
	events, progress := l.events, l.progress
	l.events, l.bytes, l.progress = nil, 0, nil
	l.underway = true
	l.room.Broadcast()
	return events, progress
}

// flush waits until everything that was added is stored.
func (l *attemptLog) flush() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for !l.closed && (len(l.events) > 0 || l.underway) {
		l.room.Wait()
	}
}

func (l *attemptLog) landed() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.underway = false
	l.room.Broadcast()
}

// close ends the log and returns what is not stored yet, once nothing is under
// way any more: it goes with the attempt's end, in the same transaction.
func (l *attemptLog) close() ([]NewEvent, *sdk.Progress) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	l.room.Broadcast()
	for l.underway {
		l.room.Wait()
	}
	events, progress := l.events, l.progress
	l.events, l.progress = nil, nil
	return events, progress
}

func (r *Runtime) appendLoop(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.appender.look:
		}
		r.appender.mu.Lock()
		dirty := r.appender.dirty
		r.appender.dirty = nil
		r.appender.mu.Unlock()
		r.append(ctx, dirty)
	}
}

func (r *Runtime) append(ctx context.Context, dirty []*attempt) {
	reqs := make([]AppendRequest, 0, len(dirty))
	from := make([]*attempt, 0, len(dirty))
	for _, a := range dirty {
		events, progress := a.out.take()
		if len(events) == 0 {
			continue
		}
		reqs = append(reqs, AppendRequest{Fence{a.task.ID, a.token}, events, progress})
		from = append(from, a)
	}
	if len(reqs) == 0 {
		return
	}
	errs, err := r.store.Append(ctx, reqs)
	for err != nil && sdk.CodeOf(err) == sdk.CodeUnavailable {
		r.log.Error("cannot store events; trying again", "error", err, "after", soon)
		if !pause(soon, ctx.Done(), r.dispatch.giveUp) {
			break
		}
		errs, err = r.store.Append(ctx, reqs)
	}
	for i, a := range from {
		e := err
		if err == nil {
			e = errs[i]
		}
		switch {
		case e == nil:
		case errors.Is(e, ErrFenced):
			a.stop(errFenced, graceCancel)
		default:
			limit := sdk.AsError(e)
			limit.Retryable = false
			a.stop(limit, graceTimeout)
		}
		a.out.landed()
	}
}
