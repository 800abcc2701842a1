//go:build !wasip1

package wire

import (
	"context"
	"sync"
	"sync/atomic"

	"github.com/nagatha/nagatha-runtime/sdk"
)

// between answers the calls that a plugin makes outside its runs: those of run 0.
type between struct {
	host  sdk.Host
	ctx   context.Context
	stop  context.CancelFunc
	calls sync.WaitGroup
	slots chan struct{}
	waits atomic.Int64 // answers that the plugin has not read
}

// How many such calls may be under way, and how many answers may wait.
const (
	maxBetween = 16
	maxWaiting = 1000
)

// Between lets the plugin call host outside its runs too; without it such a call is
// refused. It is for before the first Receive.
func (s *Session) Between(host sdk.Host) {
	ctx, stop := context.WithCancel(context.Background())
	s.between = &between{host: host, ctx: ctx, stop: stop, slots: make(chan struct{}, maxBetween)}
}

// Wait returns when no call outside a run is under way. It is for after Fail, once
// Receive is not called any more.
func (s *Session) Wait() {
	if s.between != nil {
		s.between.calls.Wait()
	}
}

func (s *Session) outside(m *Call) error {
	if s.between == nil {
		_ = s.send(&Reply{Call: m.Call, Error: FromError(sdk.Errorf(sdk.CodeUnavailable, "%s: nobody answers outside a task here", m.Op))})
		return nil
	}
	return s.between.call(m, s.send)
}

func (b *between) call(m *Call, send func(Message) error) error {
	if b.waits.Add(1) > maxWaiting {
		return protocol("it calls on and on outside its tasks, and does not read the answers")
	}
	select {
	case b.slots <- struct{}{}:
	default:
		b.calls.Go(func() { // not here: to send may wait for who reads
			defer b.waits.Add(-1)
			_ = send(&Reply{Call: m.Call, Error: FromError(sdk.Errorf(sdk.CodeLimitExceeded, "more than %d host calls outside a task at once", maxBetween))})
		})
		return nil
	}
	b.calls.Go(func() {
		defer func() {
			<-b.slots
			b.waits.Add(-1)
		}()
		payload, err := b.host.Call(b.ctx, m.Op, m.Payload)
		_ = send(&Reply{Call: m.Call, Payload: payload, Error: FromError(err)})
	})
	return nil
}
