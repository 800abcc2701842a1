package api

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/nagatha/nagatha-runtime/sdk"
)

// The table is part of the protocol.
func TestWireOf(t *testing.T) {
	for _, tt := range []struct {
		code        sdk.Code
		rpc, status int
	}{
		{sdk.CodeParse, -32700, 400},
		{sdk.CodeInvalidRequest, -32600, 400},
		{sdk.CodeMethodNotFound, -32601, 405},
		{sdk.CodeInvalid, -32602, 422},
		{sdk.CodeUnauthorized, -32001, 401},
		{sdk.CodeForbidden, -32003, 403},
		{sdk.CodeNotFound, -32004, 404},
		{sdk.CodeConflict, -32009, 409},
		{sdk.CodeBadCursor, -32010, 400},
		{sdk.CodeLimitExceeded, -32013, 413},
		{sdk.CodeRateLimited, -32029, 429},
		{sdk.CodeUnavailable, -32053, 503},
		{sdk.CodeInternal, -32603, 500},
		{sdk.CodeBudgetExceeded, -32603, 500},
	} {
		if w := wireOf(tt.code); w.rpc != tt.rpc || w.status != tt.status {
			t.Errorf("%s is %d/%d, want %d/%d", tt.code, w.rpc, w.status, tt.rpc, tt.status)
		}
	}
}

func TestAsErrorHidesCauses(t *testing.T) {
	shown, known := asError(errors.New("open /srv/secret/nagatha.db: permission denied"))
	if known || shown.Code != sdk.CodeInternal || strings.Contains(shown.Message, "secret") {
		t.Errorf("shown %v, known %v", shown, known)
	}
	shown, known = asError(fmt.Errorf("submit: %w", sdk.Invalid("kind", "is required")))
	if !known || shown.Code != sdk.CodeInvalid || len(shown.Fields) != 1 {
		t.Errorf("shown %v, known %v", shown, known)
	}
	if shown, _ := asError(context.DeadlineExceeded); shown.Code != sdk.CodeUnavailable {
		t.Errorf("a deadline is %s", shown.Code)
	}
}

// TestLimitStatus: too large is 413, too many at present is 429 and worth another try.
func TestLimitStatus(t *testing.T) {
	large := newProblem(sdk.Errorf(sdk.CodeLimitExceeded, "the payload is too large"))
	full := newProblem(&sdk.Error{Code: sdk.CodeLimitExceeded, Message: "the queue is full", Retryable: true})
	if large.Status != 413 || large.header != nil || full.Status != 429 || full.header.Get("Retry-After") == "" {
		t.Errorf("%d %v, %d %v", large.Status, large.header, full.Status, full.header)
	}
}
