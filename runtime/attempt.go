package runtime

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	goruntime "runtime"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/nagatha/nagatha-runtime/sdk"
)

// attempt is one try at a task that runs on this node.
type attempt struct {
	r     *Runtime
	task  *sdk.Task
	token int64
	hops  int
	trace string
	entry *entry
	kind  *kind

	ctx    context.Context // what the handler sees
	cancel context.CancelCauseFunc
	abort  chan struct{} // closed when the grace is over

	mu      sync.Mutex
	cause   error       // why it was stopped, the first reason
	grace   *time.Timer // until abort
	aborted bool

	out    attemptLog // events on their way to the store
	ops    attemptOps // recorded operations
	replay bool       // it runs again from the top
	clock  stopwatch  // its timeout

	behind sync.WaitGroup // goroutines that do something for it
	over   bool           // no more of them; guarded by mu
	news   int            // answers to look for; guarded by mu

	// Guarded by the dispatcher's mu.
	slots  int // held of its queue and kind
	parked int // 1 while it waits
}

// Why an attempt is stopped.
var (
	errDeadline = errors.New("the task's deadline passed")
	errTimeout  = errors.New("the attempt took longer than its timeout")
	errDrained  = errors.New("the runtime is shutting down")
	errFenced   = errors.New("the attempt no longer counts")
)

// errCancelled is why a cancelled attempt is stopped.
type errCancelled struct{ reason string }

func (e *errCancelled) Error() string {
	if e.reason == "" {
		return "the task was cancelled"
	}
	return "the task was cancelled: " + e.reason
}

// How long a stopped attempt may still return a result.
const (
	graceCancel  = 5 * time.Second
	graceTimeout = 500 * time.Millisecond
	graceDrain   = 500 * time.Millisecond
)

// attempt makes the attempt of a claimed task, and takes its slots. It has to run.
func (r *Runtime) attempt(c *Claimed) *attempt {
	a := &attempt{
		r: r, task: &c.Task, token: c.Token, hops: c.Hops, trace: c.TraceParent, replay: c.Replay,
		abort: make(chan struct{}),
	}
	a.entry, a.kind = r.registry.lookup(c.Task.Kind)
	a.ctx, a.cancel = context.WithCancelCause(sdk.WithBegun(sdk.WithAbort(context.Background(), a.abort), a.begin))
	a.out.init()
	old, early, cancelled := r.dispatch.take(a)
	if old != nil { // others took it over while this node stood still, and it came back
		old.stop(errFenced, graceCancel)
	}
	if cancelled {
		a.cancelled(early)
	}
	return a
}

func (a *attempt) run() {
	over := make(chan struct{})
	if a.task.Deadline > 0 {
		a.behind.Go(func() { a.endBy(a.task.Deadline, over) })
	}
	var result json.RawMessage
	err := sdk.ErrNotStarted
	if a.entry != nil && a.entry.says() || a.begin() {
		result, err = a.handle()
	}
	close(over)
	a.clock.end()
	a.mu.Lock()
	a.over = true
	if a.grace != nil {
		a.grace.Stop()
	}
	a.mu.Unlock()
	if err == nil && a.replay { // to see whether it asked for all that is recorded
		_ = a.recall(context.Background()) // what cannot be read is not held against it
	}
	a.cancel(nil)
	a.behind.Wait()
	a.mu.Lock()
	cause := a.cause
	a.mu.Unlock()
	if errors.Is(cause, errEvicted) || cause == nil && err != nil && a.lost(err) {
		a.out.close()
		return
	}
	a.finish(a.outcome(result, err, cause))
}

// begin starts the timeout, and reports whether the attempt may begin.
func (a *attempt) begin() bool {
	return a.clock.begin(a.task.Timeout.Std(), func() { a.stop(errTimeout, graceTimeout) })
}

func (a *attempt) fence() Fence { return Fence{Task: a.task.ID, Token: a.token} }

// endBy stops the attempt at the task's deadline. It is a time of the wall clock, which
// may jump, and is compared again within a sweep.
func (a *attempt) endBy(deadline sdk.Time, over <-chan struct{}) {
	t := time.NewTimer(0)
	defer t.Stop()
	for {
		select {
		case <-over:
			return
		case <-t.C:
		}
		left := deadline.Sub(sdk.Now())
		if left <= 0 {
			a.stop(errDeadline, graceTimeout)
			return
		}
		t.Reset(min(left, sweep))
	}
}

// handle calls the plugin. A handler that is linked in may panic.
func (a *attempt) handle() (result json.RawMessage, err error) {
	if a.entry == nil || a.entry.plugin == nil {
		return nil, sdk.ErrNotStarted
	}
	if fields := a.kind.payload.check("payload", a.task.Payload); len(fields) > 0 {
		return nil, &sdk.Error{Code: sdk.CodeInvalidPayload, Message: describe(fields)}
	}
	defer func() {
		if p := recover(); p != nil {
			stack := make([]byte, 4<<10)
			stack = stack[:goruntime.Stack(stack, false)]
			err = sdk.Errorf(sdk.CodeHandlerError, "panic: %v\n%s", p, stack)
		}
	}()
	return a.entry.plugin.Handle(a.ctx, a.task, a)
}

// stop ends the attempt's context, and aborts it when the grace is over. A later
// stop can shorten the grace, and never changes the cause.
func (a *attempt) stop(cause error, grace time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.cause == nil {
		a.cause = cause
		a.cancel(cause)
	}
	if a.aborted {
		return
	}
	if grace <= 0 {
		if a.grace != nil {
			a.grace.Stop()
		}
		a.aborted = true
		close(a.abort)
		return
	}
	if a.grace == nil {
		a.grace = time.AfterFunc(grace, func() { a.stop(cause, 0) })
	}
}

// outcome says how the attempt ends.
func (a *attempt) outcome(result json.RawMessage, err error, cause error) FinishRequest {
	f := FinishRequest{Now: sdk.Now()}
	var limit *sdk.Error
	cancelled := (*errCancelled)(nil)
	switch {
	case errors.As(cause, &limit):
		return a.failed(f, limit) // even if the handler did not notice
	case err == nil:
		return a.completed(f, result)
	case errors.As(cause, &cancelled):
		f.State, f.Reason = sdk.StateCancelled, cancelled.reason
		return f
	case errors.Is(cause, errDeadline):
		return a.failed(f, sdk.Errorf(sdk.CodeExpired, "it did not end before its deadline, %s", a.task.Deadline))
	case errors.Is(cause, errTimeout):
		return a.failed(f, sdk.Errorf(sdk.CodeTimeout, "the attempt took longer than its timeout of %s", a.task.Timeout))
	case errors.Is(err, sdk.ErrNotStarted):
	case errors.Is(cause, errDrained), errors.Is(err, sdk.ErrBystander):
		if a.task.MaxAttempts == 1 { // at most once, and it may have run in part
			return a.failed(f, sdk.Errorf(sdk.CodePluginCrashed, "%v; it may not run again since max_attempts is 1", err))
		}
	default:
		return a.failed(f, sdk.AsError(err))
	}
	f.State, f.Reason = sdk.StateQueued, ""
	return f
}

// completed ends a task whose handler came to its end, unless what it did does not fit
// together.
func (a *attempt) completed(f FinishRequest, result json.RawMessage) FinishRequest {
	if a.replay {
		if op := a.ops.forgotten(); op != nil {
			return a.failed(f, Mismatch(op.Name, op.Occurrence, op.Op+" "+op.Target, ""))
		}
	}
	result, bad := a.checkResult(result)
	if bad != nil {
		return a.failed(f, bad)
	}
	f.State, f.Result = sdk.StateCompleted, result
	return f
}

// failed decides between another attempt and the end.
func (a *attempt) failed(f FinishRequest, e *sdk.Error) FinishRequest {
	e = cleanError(e)
	f.Error = e
	if !e.Retryable || a.task.Attempt >= a.task.MaxAttempts {
		f.State = sdk.StateFailed
		return f
	}
	f.State = sdk.StateRetrying
	var policy *sdk.RetryPolicy
	if a.kind != nil {
		policy = a.kind.Retry
	}
	f.RunAt = f.Now.Add(a.r.backoff(policy, a.task.Attempt, e))
	return f
}

// maxErrorText bounds what a plugin can make the store keep of an error.
const maxErrorText = 8 << 10

func cleanError(e *sdk.Error) *sdk.Error {
	c := *e
	c.Fields = nil
	if !validCode(c.Code) {
		c.Code = sdk.CodeHandlerError
	}
	c.Message = cleanString(c.Message, maxErrorText)
	return &c
}

// maxCode is how long a plugin's own error code may be.
const maxCode = 64

// validCode reports whether a code is one in lower_snake.
func validCode(code string) bool {
	return code != "" && len(code) <= maxCode && strings.Trim(code, "abcdefghijklmnopqrstuvwxyz0123456789_") == ""
}

// cleanString makes s valid UTF-8 without NUL; what is beyond n bytes becomes an ellipsis.
func cleanString(s string, n int) string {
	if len(s) > n {
		for range utf8.UTFMax - 1 {
			if n > 0 && !utf8.RuneStart(s[n]) {
				n-- // not within a character
			}
		}
		s = s[:n] + "…"
	}
	if cleanText(s) {
		return s
	}
	return string(bytes.ReplaceAll(bytes.ToValidUTF8([]byte(s), []byte("\uFFFD")), []byte{0}, []byte("\uFFFD")))
}

func (a *attempt) checkResult(result json.RawMessage) (json.RawMessage, *sdk.Error) {
	if len(result) == 0 {
		result = json.RawMessage("null")
	}
	if limit := a.r.cfg.Limits.Result; len(result) > limit {
		return nil, sdk.Errorf(sdk.CodeLimitExceeded, "result %s", sizeMessage(len(result), limit, "limits.result"))
	}
	var compact bytes.Buffer
	if !utf8.Valid(result) || json.Compact(&compact, result) != nil {
		return nil, sdk.Errorf(sdk.CodeInvalidResult, "the result is not JSON in UTF-8")
	}
	result = compact.Bytes()
	if tooDeep(result) {
		return nil, sdk.Errorf(sdk.CodeInvalidResult, "the result is nested more than %d deep", maxNesting)
	}
	if fields := a.kind.result.check("result", result); len(fields) > 0 {
		return nil, &sdk.Error{Code: sdk.CodeInvalidResult, Message: describe(fields)}
	}
	return result, nil
}

// finish writes the outcome. While the store cannot take it, for whatever reason, the
// claim is kept and it is tried again, so that a full disk loses nothing: as long as this
// node lives nobody else would end the task.
func (a *attempt) finish(f FinishRequest) {
	f.Fence = a.fence()
	f.AppendRequest.Events, f.AppendRequest.Progress = a.out.close()
	for {
		errs, err := a.r.store.Finish(context.Background(), []FinishRequest{f})
		switch {
		case err == nil && errs[0] == nil:
			if f.State == sdk.StateRetrying {
				a.r.dispatch.due(f.RunAt)
			}
			return
		case err == nil && errors.Is(errs[0], ErrFenced):
			a.r.log.Warn("dropped the result of an attempt that no longer counts", "task", a.task.ID, "attempt", a.task.Attempt)
			return
		case err == nil && sdk.CodeOf(errs[0]) == sdk.CodeLimitExceeded:
			// Its last events are beyond the caps: it ends without them.
			e := sdk.AsError(errs[0])
			e.Retryable = false
			f.Events, f.Progress = nil, nil
			f = a.failed(f, e)
			continue
		case err == nil:
			err = errs[0]
		}
		a.r.log.Error("cannot store the end of an attempt; trying again", "task", a.task.ID, "error", err, "after", soon)
		select {
		case <-time.After(soon):
		case <-a.r.dispatch.giveUp:
			return // the next start takes it back
		}
	}
}
