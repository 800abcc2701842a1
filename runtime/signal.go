package runtime

import (
	"bytes"
	"context"
	"encoding/json"
	"strings"
	"unicode/utf8"

	"github.com/nagatha/nagatha-runtime/sdk"
)

const maxSignal = 128

func validSignal(name string) bool {
	return name != "" && len(name) <= maxSignal && cleanText(name) && strings.TrimSpace(name) == name
}

func badSignal(name string) *sdk.Error {
	return sdk.Invalid("name", "%.140q: want 1 to %d bytes of UTF-8 without NUL or space around them", name, maxSignal)
}

// Signal hands data, which may be empty, to a task that has not ended: to the
// handler that waits for a signal of this name, or to the next that will.
func (r *Runtime) Signal(ctx context.Context, id, name string, data json.RawMessage) error {
	if !validSignal(name) {
		return badSignal(name)
	}
	if len(data) == 0 {
		data = json.RawMessage("null")
	}
	if len(data) > r.cfg.Limits.Payload {
		return &sdk.Error{Code: sdk.CodeLimitExceeded, Message: "data is larger than limits.payload",
			Fields: []sdk.Field{{Field: "data", Message: sizeMessage(len(data), r.cfg.Limits.Payload, "limits.payload")}}}
	}
	var compact bytes.Buffer
	if !utf8.Valid(data) || json.Compact(&compact, data) != nil {
		return sdk.Invalid("data", "is not JSON in UTF-8")
	}
	return r.store.Signal(ctx, SignalRequest{Task: id, Name: name, Data: compact.Bytes(), Now: sdk.Now()})
}

// Decide answers an approval. by says who decided.
func (r *Runtime) Decide(ctx context.Context, by, id string, approve bool, digest, comment string) (sdk.Approval, error) {
	if len(comment) > maxComment || !cleanText(comment) {
		return sdk.Approval{}, sdk.Invalid("comment", "want at most %d bytes of UTF-8 without NUL", maxComment)
	}
	return r.store.Decide(ctx, DecideRequest{ID: id, Approve: approve, Digest: digest, By: by, Comment: comment, Now: sdk.Now()})
}

const maxComment = 4 << 10

// Approval returns one approval, or CodeNotFound.
func (r *Runtime) Approval(ctx context.Context, id string) (sdk.Approval, error) {
	list, err := r.store.Approvals(ctx, ApprovalFilter{ID: id, Limit: 1, Now: sdk.Now()})
	if err == nil && len(list) == 0 {
		err = sdk.Errorf(sdk.CodeNotFound, "there is no approval %.80q", id)
	}
	if err != nil {
		return sdk.Approval{}, err
	}
	return list[0], nil
}

// Approvals lists approvals, oldest first: those that can be decided, or with a
// state or all set others. Next is the cursor of the next page, or "".
func (r *Runtime) Approvals(ctx context.Context, f ApprovalFilter) (page []sdk.Approval, next string, err error) {
	if f.Limit == 0 {
		f.Limit = 50
	}
	if f.Limit < 1 || f.Limit > 1000 {
		return nil, "", sdk.Invalid("limit", "want 1 to 1000, not %d", f.Limit)
	}
	if f.After != "" && !strings.HasPrefix(f.After, "apr_") {
		return nil, "", sdk.Errorf(sdk.CodeBadCursor, "%.80q is no cursor: send the next_cursor of the page before", f.After)
	}
	f.Now = sdk.Now()
	f.Limit++
	page, err = r.store.Approvals(ctx, f)
	if len(page) == f.Limit {
		page = page[:f.Limit-1]
		next = page[len(page)-1].ID
	}
	return page, next, err
}
