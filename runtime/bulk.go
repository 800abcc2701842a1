package runtime

import (
	"context"
	"fmt"
	"slices"

	"github.com/nagatha/nagatha-runtime/sdk"
)

// BulkRequest is one action on every task that a filter selects.
type BulkRequest struct {
	Action   string // cancel, retry, delete
	Filter   TaskFilter
	DryRun   bool // only count
	Expected *int // do nothing if the filter selects another number
	Force    bool // of a cancel
	Reason   string
}

// bulkBatch is how many tasks one transaction changes.
const bulkBatch = 200

// Bulk performs an action on many tasks, in batches. Matched is how many the filter
// selects among those that the action can concern: cancel those that have not ended,
// retry failed and cancelled ones, delete those that have ended.
func (r *Runtime) Bulk(ctx context.Context, q BulkRequest) (sdk.BulkResult, error) {
	var result sdk.BulkResult
	var able []sdk.State
	switch q.Action {
	case "cancel":
		able = []sdk.State{sdk.StateScheduled, sdk.StateQueued, sdk.StateRunning, sdk.StateWaiting, sdk.StateRetrying}
	case "retry":
		able = []sdk.State{sdk.StateFailed, sdk.StateCancelled}
	case "delete":
		able = []sdk.State{sdk.StateCompleted, sdk.StateFailed, sdk.StateCancelled}
	default:
		return result, sdk.Invalid("action", "want \"cancel\", \"retry\" or \"delete\", not %.80q", q.Action)
	}
	f := q.Filter
	if len(f.States) == 0 && len(f.Kinds) == 0 && f.Queue == "" && len(f.Labels) == 0 && f.Parent == "" && f.Schedule == "" && f.Query == "" {
		return result, sdk.Invalid("filter", "want at least one of state, kind, queue, label, parent, schedule and q")
	}
	f.States = slices.DeleteFunc(able, func(s sdk.State) bool { return len(q.Filter.States) > 0 && !slices.Contains(q.Filter.States, s) })
	if err := checkFilter(&q.Filter, "filter."); err != nil {
		return result, err
	}
	if len(q.Reason) > maxLabelValue || !cleanText(q.Reason) {
		return result, sdk.Invalid("reason", "want at most %d characters of UTF-8 without NUL", maxLabelValue)
	}
	act := func(ids []string) error {
		for batch := range slices.Chunk(ids, bulkBatch) {
			n, err := r.bulk(ctx, q, batch)
			result.Changed += n
			if err != nil {
				return err
			}
		}
		return nil
	}
	// Where a number is expected, tasks are counted before the first is changed, and those
	// that were counted, no more than expected, are remembered. Else no page of ids is kept.
	var counted []string
	for f.Limit, f.Cursor = 1000, ""; len(f.States) > 0; {
		page, err := r.store.TaskIDs(ctx, f)
		if err != nil {
			return result, err
		}
		result.Matched += len(page)
		switch {
		case q.DryRun:
		case q.Expected == nil:
			err = act(page)
		case result.Matched <= *q.Expected:
			counted = append(counted, page...)
		}
		if err != nil || len(page) < f.Limit {
			if err != nil {
				return result, err
			}
			break
		}
		f.Cursor = page[len(page)-1]
	}
	if q.Expected != nil && *q.Expected != result.Matched {
		return result, &sdk.Error{Code: sdk.CodeConflict,
			Message: fmt.Sprintf("the filter selects %d tasks, not the expected %d; nothing was done", result.Matched, *q.Expected),
			Fields:  []sdk.Field{{Field: "expected_count", Message: "is not how many tasks the filter selects"}}}
	}
	return result, act(counted)
}

// bulk acts on one batch. A task that has moved on meanwhile is left alone.
func (r *Runtime) bulk(ctx context.Context, q BulkRequest, ids []string) (n int, err error) {
	switch q.Action {
	case "cancel":
		reqs := make([]CancelRequest, len(ids))
		for i, id := range ids {
			reqs[i] = CancelRequest{ID: id, Now: sdk.Now(), Force: q.Force, Reason: q.Reason}
		}
		out, err := r.store.Cancel(ctx, reqs)
		for _, c := range out {
			if c.Err == nil && (c.Token != 0 || c.Task.State == sdk.StateCancelled) {
				n++
			}
		}
		return n, err
	case "retry":
		out, err := r.store.Retry(ctx, ids)
		for _, c := range out {
			if c.Err == nil {
				n++
			}
		}
		return n, err
	}
	return r.store.Delete(ctx, ids)
}
