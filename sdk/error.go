package sdk

import (
	"errors"
	"fmt"
	"time"
)

// Code says what went wrong, in lower_snake. The first group are a task's
// errors, the second a request's; some are both.
type Code = string

// The codes.
const (
	CodeHandlerError     Code = "handler_error"     // the handler returned an error or panicked
	CodeTimeout          Code = "timeout"           // the attempt took longer than its timeout
	CodeExpired          Code = "expired"           // it did not start, or end, in time
	CodePluginCrashed    Code = "plugin_crashed"    // the process or instance ended under it
	CodePluginProtocol   Code = "plugin_protocol"   // the plugin sent what is no message
	CodeOutOfMemory      Code = "out_of_memory"     // beyond the plugin's limits.memory
	CodeInvalidPayload   Code = "invalid_payload"   // does not fit the kind's schema (found after submit)
	CodeInvalidResult    Code = "invalid_result"    // not JSON, or does not fit the kind's schema
	CodeCapabilityDenied Code = "capability_denied" // a host call without a grant
	CodeBudgetExceeded   Code = "budget_exceeded"
	CodeNodeLost         Code = "node_lost" // the runtime that ran it died
	CodeDependencyFailed Code = "dependency_failed"
	CodeReplayMismatch   Code = "replay_mismatch"
	CodeCancelled        Code = "cancelled"

	CodeInvalid        Code = "invalid"
	CodeParse          Code = "parse_error"
	CodeInvalidRequest Code = "invalid_request"
	CodeMethodNotFound Code = "method_not_found"
	CodeUnauthorized   Code = "unauthorized"
	CodeForbidden      Code = "forbidden"
	CodeNotFound       Code = "not_found"
	CodeConflict       Code = "conflict"
	CodeBadCursor      Code = "bad_cursor"
	CodeRateLimited    Code = "rate_limited"
	CodeLimitExceeded  Code = "limit_exceeded" // larger than a configured cap
	CodeUnavailable    Code = "unavailable"    // not now, or not in this build
	CodeInternal       Code = "internal"
)

// Error is the one coded error that crosses every wire.
type Error struct {
	Code      Code    `json:"code"`
	Message   string  `json:"message"`
	Retryable bool    `json:"retryable"`
	Fields    []Field `json:"fields,omitempty"` // what is wrong with a request

	// After asks for this delay before the next attempt instead of the kind's
	// backoff; 0 leaves the backoff.
	After time.Duration `json:"-"`
}

// Field names one wrong field of a request, by its dotted path.
type Field struct {
	Field   string `json:"field"`
	Message string `json:"message"`
}

// Error returns the message with its code.
func (e *Error) Error() string {
	if e == nil {
		return "a nil *sdk.Error"
	}
	return e.Code + ": " + e.Message
}

// Is reports whether target is an *Error with the same code, so that
// errors.Is(err, &sdk.Error{Code: sdk.CodeConflict}) works.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && e != nil && t != nil && t.Code == e.Code && t.Message == ""
}

// Errorf makes an [Error] whose Retryable follows from the code.
func Errorf(code Code, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...), Retryable: retryable(code)}
}

// Invalid is a [CodeInvalid] error about one field of a request.
func Invalid(field, format string, args ...any) *Error {
	msg := fmt.Sprintf(format, args...)
	return &Error{Code: CodeInvalid, Message: field + ": " + msg, Fields: []Field{{field, msg}}}
}

func retryable(code Code) bool {
	switch code {
	case CodeHandlerError, CodeTimeout, CodePluginCrashed, CodeOutOfMemory, CodeNodeLost,
		CodeRateLimited, CodeUnavailable, CodeInternal:
		return true
	}
	return false
}

// AsError finds the [Error] in err's chain. Any other error becomes a retryable
// [CodeHandlerError] with its text, which is what a handler's error means; nil
// stays nil. A nil *Error in an error is an error, as Go has it.
func AsError(err error) *Error {
	if err == nil {
		return nil
	}
	var e *Error
	switch {
	case !errors.As(err, &e):
		e = &Error{Code: CodeHandlerError, Message: err.Error(), Retryable: true}
	case e == nil:
		e = &Error{Code: CodeHandlerError, Message: "a nil *sdk.Error was returned as an error, which is not nil: return nil where there is none", Retryable: true}
	default:
		c := *e
		e = &c
	}
	var p *permanent
	if errors.As(err, &p) {
		e.Retryable = false
	}
	var a *retryAfter
	if errors.As(err, &a) {
		e.After = max(a.delay, time.Millisecond) // 0 would be the kind's backoff
	}
	return e
}

// CodeOf returns the code of the [Error] in err's chain, or "" if there is none.
func CodeOf(err error) Code {
	var e *Error
	if errors.As(err, &e) && e != nil {
		return e.Code
	}
	return ""
}

// Permanent wraps a handler's error: the task fails without another attempt.
func Permanent(err error) error {
	if err == nil {
		return nil
	}
	return &permanent{err}
}

type permanent struct{ error }

func (p *permanent) Unwrap() error { return p.error }

// RetryAfter wraps a handler's error: the next attempt starts after delay, not
// after the kind's backoff; 0 is at once. It does not make an error retryable that is
// not, and the attempt counts towards max_attempts.
func RetryAfter(err error, delay time.Duration) error {
	if err == nil {
		return nil
	}
	return &retryAfter{err, delay}
}

type retryAfter struct {
	error
	delay time.Duration
}

func (r *retryAfter) Unwrap() error { return r.error }

// ErrBystander is in the chain of a carrier's error when the attempt ended only
// because another attempt's process or instance was killed on purpose. The
// engine queues such an attempt again without counting it.
var ErrBystander = errors.New("another attempt of this plugin had to be killed")

// ErrNotStarted is in the chain of an error when the plugin went away before the
// attempt reached it. The engine queues such an attempt again without counting
// it.
var ErrNotStarted = errors.New("the plugin went away before the attempt began")
