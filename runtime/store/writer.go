package store

import (
	"context"
	"errors"
	"fmt"
	goruntime "runtime"

	"github.com/nagatha/nagatha-runtime/sdk"
)

// verb is a kind of write. Within a transaction the verbs run in this order, each
// over its whole set: what ends an attempt comes after what the attempt wrote,
// and claims come last, so that they see every slot and task that the others
// freed or queued. A caller waits for its request, so no two requests of one
// caller share a transaction.
type verb int

const (
	verbSubmit verb = iota
	verbData
	verbClear
	verbPublish
	verbAppend
	verbOperate
	verbFinish
	verbCancel
	verbRetry
	verbSignal
	verbDecide
	verbEvict
	verbPause
	verbDelete
	verbForeign
	verbSchedule
	verbTick
	verbPromote
	verbRecover
	verbClaim
	verbBeat
	verbPrune
	verbs
)

// maxSet is how many elements one transaction takes at the most, so that nobody
// waits long for a commit.
const maxSet = 2000

// request is one caller's write. arg holds what is asked and what comes back;
// it is the writer's until done has been sent to.
type request struct {
	ctx  context.Context
	verb verb
	name string // of a foreign verb
	size int    // elements
	arg  any
	done chan error // capacity 1
}

var errClosed = sdk.Errorf(sdk.CodeUnavailable, "the store is closed")

// do hands a request to the writer and waits until it is committed. When ctx
// ends first the write may still happen.
func (s *Store) do(ctx context.Context, v verb, size int, arg any) error {
	return s.send(&request{ctx: ctx, verb: v, size: size, arg: arg, done: make(chan error, 1)})
}

func (s *Store) send(r *request) error {
	s.mu.RLock()
	if s.closed {
		s.mu.RUnlock()
		return errClosed
	}
	select {
	case s.queue <- r:
		s.mu.RUnlock()
	case <-r.ctx.Done():
		s.mu.RUnlock()
		return r.ctx.Err()
	}
	select {
	case err := <-r.done:
		return err
	case <-r.ctx.Done():
		return r.ctx.Err()
	}
}

// Write runs one request under a verb of another room (Config.Verbs) and returns
// once its transaction is durable.
func (s *Store) Write(ctx context.Context, name string, req any) error {
	if s.cfg.Verbs[name] == nil {
		return fmt.Errorf("store: there is no verb %q", name)
	}
	return s.send(&request{ctx: ctx, verb: verbForeign, name: name, size: 1, arg: req, done: make(chan error, 1)})
}

// write is the writer: it takes what waits, and commits it as one set.
func (s *Store) write() {
	defer close(s.done)
	for first := range s.queue {
		set := s.gather(first)
		if len(set) > 0 {
			s.run(set)
		}
	}
}

func (s *Store) gather(first *request) []*request {
	set := make([]*request, 0, 64)
	size := 0
	take := func(r *request) {
		if err := r.ctx.Err(); err != nil {
			r.done <- err // its caller has gone
			return
		}
		set = append(set, r)
		size += r.size
	}
	take(first)
	for patience := yields; size < maxSet && patience >= 0; {
		select {
		case r, ok := <-s.queue:
			if !ok {
				return set
			}
			take(r)
		default:
			// Those who are about to ask get a chance: a larger set costs each of
			// its callers less, and when nobody is about to this costs nothing.
			goruntime.Gosched()
			patience--
		}
	}
	return set
}

// yields is how often the writer lets others run before it is content with a set.
const yields = 2

// run commits a set and answers its callers. If it fails for a reason that only
// some of them may have, it is run again in halves, so that one caller's error is
// its own.
func (s *Store) run(set []*request) {
	t := s.newTick()
	err := t.commit(set)
	for range maxAgain {
		if err == nil || s.trouble(err) != tryAgain {
			break
		}
		t.drop()
		t = s.newTick()
		err = t.commit(set)
	}
	if err == nil {
		if s.down.Load() {
			s.down.Store(false)
			s.cfg.Logger.Info("the database answers again")
		}
		if s.wire != nil {
			s.wire.say(t.out)
		}
		if t.pausing != nil {
			s.paused.Store(&t.pausing)
		}
		s.cfg.OnCommit(t.out)
		t.hand()
		answer(set, nil)
		return
	}
	t.drop()
	switch s.trouble(err) {
	case noSpace:
		s.lost("the disk is full or cannot be written", err) // the cause names files of the server's
		err = sdk.Errorf(sdk.CodeUnavailable, "the disk is full or cannot be written; nothing was stored")
	case noServer:
		s.disconnect()
		s.lost("the database cannot be written", err)
		err = sdk.Errorf(sdk.CodeUnavailable, "the database does not answer at present")
	default:
		if len(set) > 1 {
			s.run(set[:len(set)/2])
			s.run(set[len(set)/2:])
			return
		}
		if s.trouble(err) == tryAgain {
			s.cfg.Logger.Warn("a write stood in other runtimes' way too often", "error", err)
			err = sdk.Errorf(sdk.CodeUnavailable, "others changed the same at every try; try again")
		}
		if sdk.CodeOf(err) == "" {
			s.cfg.Logger.Error("a write failed", "error", err)
			err = sdk.Errorf(sdk.CodeInternal, "store: %v", err)
		}
	}
	answer(set, err)
}

// maxAgain is how often a set is tried again that stood in another node's way.
const maxAgain = 5

func answer(set []*request, err error) {
	for _, r := range set {
		r.done <- err
	}
}

func (s *Store) trouble(err error) trouble {
	if errors.Is(err, errAgain) {
		return tryAgain
	}
	if s.dialect == postgres {
		return postgresTrouble(err)
	}
	return sqliteTrouble(err)
}
