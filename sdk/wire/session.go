//go:build !wasip1

package wire

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"

	"github.com/nagatha/nagatha-runtime/sdk"
)

// Session is the host's end of a conversation: it numbers runs, and hands what
// the plugin sends to the Host of the run that it belongs to. A carrier makes
// one for each process or instance, gives it every message that arrives, and
// tells it when the other end has gone. It is safe for concurrent use, except
// that Receive is called from one goroutine.
type Session struct {
	send func(Message) error // must not wait for Receive

	mu         sync.Mutex
	runs       map[uint64]*hostRun
	last       uint64
	configured chan error // not nil while a Configure is unanswered
	gone       chan struct{}
	err        error // why it is gone

	between *between // nil: calls outside runs are refused
}

// NewSession makes a session that sends with send.
func NewSession(send func(Message) error) *Session {
	return &Session{send: send, runs: map[uint64]*hostRun{}, gone: make(chan struct{})}
}

// hostRun is one run. Its messages wait in a bounded queue; a plugin that says
// more than its Host can take is made to wait.
type hostRun struct {
	id    uint64
	queue chan Message // Progress, Log, Output, and last Result
	over  chan struct{}
	calls sync.WaitGroup
	slots chan struct{} // one for each call under way
	bytes atomic.Int64  // of their requests
}

const (
	runQueue     = 16
	maxCalls     = 256
	maxCallBytes = 64 << 20
)

// Configure hands over the configuration and waits for the plugin's answer.
func (s *Session) Configure(ctx context.Context, config json.RawMessage) error {
	answer := make(chan error, 1)
	s.mu.Lock()
	s.configured = answer
	s.mu.Unlock()
	if err := s.send(&Configure{Config: config}); err != nil {
		return err
	}
	select {
	case err := <-answer:
		return err
	case <-s.gone:
		return s.err
	case <-ctx.Done():
		return fmt.Errorf("the plugin does not answer its configuration: %w", context.Cause(ctx))
	}
}

// Run starts a run and sees it to its end. When ctx ends the plugin is told, and
// its result still counts; when [sdk.Aborted] closes, kill is called, which must
// end whatever runs it, and Run returns the cause. A run that begins after the
// end of the session returns [sdk.ErrNotStarted].
func (s *Session) Run(ctx context.Context, task *sdk.Task, host sdk.Host, kill func()) (json.RawMessage, error) {
	r := &hostRun{queue: make(chan Message, runQueue), over: make(chan struct{}), slots: make(chan struct{}, maxCalls)}
	s.mu.Lock()
	if s.err != nil {
		err := s.err
		s.mu.Unlock()
		return nil, notStarted(err)
	}
	s.last++
	r.id = s.last
	s.runs[r.id] = r
	s.mu.Unlock()

	calls, cancelCalls := context.WithCancelCause(context.WithoutCancel(ctx))
	defer r.calls.Wait()
	defer cancelCalls(errRunOver)
	defer func() {
		s.mu.Lock()
		delete(s.runs, r.id)
		s.mu.Unlock()
		close(r.over)
	}()

	m := &Task{Run: r.id, Task: *task}
	if d, ok := ctx.Deadline(); ok {
		m.Deadline = sdk.TimeOf(d)
	}
	if err := s.send(m); errors.Is(err, io.EOF) { // the transport has ended before the session noticed
		return nil, notStarted(err)
	} else if err != nil {
		return nil, s.because(err)
	}
	done := ctx.Done()
	for {
		select {
		case m := <-r.queue:
			if m, ok := m.(*Call); ok {
				s.call(calls, r, host, m)
				continue
			}
			if res, ok := m.(*Result); ok {
				return res.outcome()
			}
			deliver(host, m)
		case <-s.gone:
			return s.remains(r, host)
		case <-done:
			done = nil
			_ = s.send(&Cancel{Run: r.id, Reason: reason(ctx)}) // if it fails, gone says so
		case <-sdk.Aborted(ctx):
			// Both ready: a context without a grace ends and aborts at once.
			kill()
			return nil, context.Cause(ctx)
		}
	}
}

// because returns why the session is over, if it is, and else err.
func (s *Session) because(err error) error {
	select {
	case <-s.gone:
		return s.err
	default:
		return err
	}
}

// notStarted marks the error of a run that the plugin never heard of, which must
// not count as an attempt. What ended other runs is not this one's fault: of err
// only the text stays.
func notStarted(err error) error { return fmt.Errorf("%w: %s", sdk.ErrNotStarted, err.Error()) }

var errRunOver = errors.New("the attempt is over")

func reason(ctx context.Context) string {
	if err := context.Cause(ctx); err != nil {
		return err.Error()
	}
	return ""
}

// remains hands over what arrived before the plugin was gone, its result perhaps
// among it.
func (s *Session) remains(r *hostRun, host sdk.Host) (json.RawMessage, error) {
	for {
		select {
		case m := <-r.queue:
			if res, ok := m.(*Result); ok {
				return res.outcome()
			}
			deliver(host, m)
		default:
			return nil, s.err
		}
	}
}

func (m *Result) outcome() (json.RawMessage, error) {
	if m.Error != nil {
		return nil, m.Error.SDK()
	}
	if len(m.Payload) > 0 && !json.Valid(m.Payload) { // checked at this end, where it is cheap
		return nil, sdk.Errorf(sdk.CodeInvalidResult, "the handler's result is not JSON")
	}
	return m.Payload, nil
}

func deliver(host sdk.Host, m Message) {
	switch m := m.(type) {
	case *Progress:
		host.Progress(m.Progress.Progress, m.Progress.Total, m.Progress.Message)
	case *Output:
		host.Output(m.Stream, m.Data)
	case *Log:
		var args []any
		if len(m.Attrs) > 0 {
			attrs := map[string]any{}
			if json.Unmarshal(m.Attrs, &attrs) == nil {
				for k, v := range attrs {
					args = append(args, k, v)
				}
			}
		}
		host.Log(slog.Level(m.Level), m.Message, args...)
	}
}

// call performs an operation beside the run.
func (s *Session) call(ctx context.Context, r *hostRun, host sdk.Host, m *Call) {
	refuse := func(format string, args ...any) {
		_ = s.send(&Reply{Run: m.Run, Call: m.Call, Error: FromError(sdk.Errorf(sdk.CodeLimitExceeded, format, args...))})
	}
	size := int64(len(m.Payload))
	if r.bytes.Add(size) > maxCallBytes {
		r.bytes.Add(-size)
		refuse("host calls of one attempt with more than %d MiB of requests at once", maxCallBytes>>20)
		return
	}
	select {
	case r.slots <- struct{}{}:
	default:
		r.bytes.Add(-size)
		refuse("more than %d host calls of one attempt at once", maxCalls)
		return
	}
	r.calls.Go(func() {
		defer func() {
			r.bytes.Add(-size)
			<-r.slots
		}()
		payload, err := host.Call(ctx, m.Op, m.Payload)
		reply := &Reply{Run: m.Run, Call: m.Call, Payload: payload, Error: FromError(err)}
		if err := s.send(reply); err != nil && sdk.CodeOf(err) == sdk.CodeLimitExceeded {
			_ = s.send(&Reply{Run: m.Run, Call: m.Call, Error: FromError(err)})
		}
	})
}

// Receive takes a message of the plugin's. Its error means that the plugin does
// not keep to the conversation and should be ended.
func (s *Session) Receive(m Message) error {
	id := uint64(0)
	switch m := m.(type) {
	case *Result:
		if m.Run == 0 {
			return s.configuration(m)
		}
		id = m.Run
	case *Call:
		if m.Run == 0 {
			return s.outside(m)
		}
		id = m.Run
	case *Progress:
		id = m.Run
	case *Log:
		id = m.Run
	case *Output:
		id = m.Run
	default:
		return protocol("an unexpected %T", m)
	}
	s.mu.Lock()
	r, last := s.runs[id], s.last
	s.mu.Unlock()
	if r == nil {
		if id == 0 || id > last {
			return protocol("%T for run %d, which was never started", m, id)
		}
		return nil // late words of a run that is over
	}
	select {
	case r.queue <- m:
	case <-r.over:
	case <-s.gone:
	}
	return nil
}

func protocol(format string, args ...any) error {
	return sdk.Errorf(sdk.CodePluginProtocol, "the plugin broke the conversation: "+format, args...)
}

func (s *Session) configuration(m *Result) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.configured == nil {
		return protocol("a result for run 0, but it was not being configured")
	}
	_, err := m.outcome()
	s.configured <- err
	s.configured = nil
	return nil
}

// Fail ends the session: every run returns err, unless its result has arrived.
// Only the first call counts.
func (s *Session) Fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil {
		s.err = err
		close(s.gone)
	}
	if s.between != nil {
		s.between.stop()
	}
}

// Running is how many runs there are.
func (s *Session) Running() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.runs)
}
