package client

import (
	"context"
	"net/http"
	"net/url"

	"github.com/nagatha/nagatha-runtime/sdk"
)

// Queues lists the queues with what is in them.
func (c *Client) Queues(ctx context.Context) ([]sdk.QueueStatus, error) {
	var r struct {
		Queues []sdk.QueueStatus `json:"queues"`
	}
	err := c.get(ctx, "/queues", &r)
	return r.Queues, err
}

// Queue returns one queue.
func (c *Client) Queue(ctx context.Context, name string) (sdk.QueueStatus, error) {
	var q sdk.QueueStatus
	err := c.get(ctx, "/queues/"+url.PathEscape(name), &q)
	return q, err
}

// PauseQueue keeps a queue from starting tasks, on every node and over restarts.
// Tasks that run go on.
func (c *Client) PauseQueue(ctx context.Context, name string) (sdk.QueueStatus, error) {
	var q sdk.QueueStatus
	err := c.do(ctx, http.MethodPost, "/queues/"+url.PathEscape(name)+"/pause", nil, &q)
	return q, err
}

// ResumeQueue lets a paused queue go on.
func (c *Client) ResumeQueue(ctx context.Context, name string) (sdk.QueueStatus, error) {
	var q sdk.QueueStatus
	err := c.do(ctx, http.MethodPost, "/queues/"+url.PathEscape(name)+"/resume", nil, &q)
	return q, err
}

// What can be done to many tasks at once.
const (
	BulkCancel = "cancel" // those that have not ended
	BulkRetry  = "retry"  // those that failed or were cancelled
	BulkDelete = "delete" // those that have ended, with their events
)

// BulkRequest asks for one action on all tasks that a filter selects.
type BulkRequest struct {
	Action string      // BulkCancel, BulkRetry, BulkDelete
	Filter ListRequest // at least one condition; Limit and Cursor do not count
	DryRun bool        // only count them
	// Expected, where not nil, is how many tasks must match; otherwise nothing
	// happens and the error is CodeConflict.
	Expected *int

	Force  bool   // of a cancel: do not wait for handlers to stop by themselves
	Reason string // of a cancel
}

// Bulk cancels, retries or deletes many tasks, in many small steps: it may take
// long, and is bounded by ctx alone. The server goes on when ctx ends. It is not
// sent again when the connection breaks.
func (c *Client) Bulk(ctx context.Context, req BulkRequest) (sdk.BulkResult, error) {
	body := struct {
		Action   string      `json:"action"`
		Filter   ListRequest `json:"filter"`
		DryRun   bool        `json:"dry_run,omitempty"`
		Expected *int        `json:"expected_count,omitempty"`
		Mode     string      `json:"mode,omitempty"`
		Reason   string      `json:"reason,omitempty"`
	}{req.Action, req.Filter, req.DryRun, req.Expected, "", req.Reason}
	body.Filter.Limit, body.Filter.Cursor = 0, ""
	if req.Force {
		body.Mode = "force"
	}
	var out sdk.BulkResult
	err := c.patient().do(ctx, http.MethodPost, "/tasks/bulk", body, &out)
	return out, err
}
