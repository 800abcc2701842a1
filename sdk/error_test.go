package sdk

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestAsError(t *testing.T) {
	plain := errors.New("boom")
	coded := Errorf(CodeUnavailable, "server down")
	for _, c := range []struct {
		name string
		err  error
		want Error
	}{
		{"plain", plain, Error{Code: CodeHandlerError, Message: "boom", Retryable: true}},
		{"permanent", Permanent(plain), Error{Code: CodeHandlerError, Message: "boom"}},
		{"at once", RetryAfter(plain, 0), Error{Code: CodeHandlerError, Message: "boom", Retryable: true, After: time.Millisecond}},
		{"later", RetryAfter(plain, time.Minute), Error{Code: CodeHandlerError, Message: "boom", Retryable: true, After: time.Minute}},
		{"coded", fmt.Errorf("call: %w", coded), Error{Code: CodeUnavailable, Message: "server down", Retryable: true}},
		{"coded, permanent", Permanent(coded), Error{Code: CodeUnavailable, Message: "server down"}},
	} {
		got := AsError(c.err)
		if got.Code != c.want.Code || got.Message != c.want.Message || got.Retryable != c.want.Retryable || got.After != c.want.After {
			t.Errorf("%s: got %+v, want %+v", c.name, *got, c.want)
		}
	}
	if AsError(nil) != nil || Permanent(nil) != nil || RetryAfter(nil, 1) != nil {
		t.Error("nil must stay nil")
	}
	if !coded.Retryable || AsError(Permanent(coded)).Retryable {
		t.Error("AsError must not change the error it finds")
	}
	if !errors.Is(fmt.Errorf("x: %w", coded), &Error{Code: CodeUnavailable}) || errors.Is(coded, &Error{Code: CodeConflict}) {
		t.Error("errors.Is must compare codes")
	}
}

// A nil *Error in an error is not nil, and must not bring down who looks at it.
func TestNilError(t *testing.T) {
	var none *Error
	var err error = none
	if e := AsError(fmt.Errorf("run: %w", err)); e.Code != CodeHandlerError || !strings.Contains(e.Message, "nil *sdk.Error") {
		t.Errorf("got %+v", e)
	}
	if CodeOf(err) != "" || errors.Is(err, &Error{Code: CodeConflict}) || errors.Is(Errorf(CodeConflict, "x"), err) || err.Error() == "" {
		t.Errorf("got %q, %v", CodeOf(err), err)
	}
}
