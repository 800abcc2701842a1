package runtime

import (
	"context"

	"github.com/nagatha/nagatha-runtime/sdk"
)

// Cancel asks for the end of a task and returns it at once, perhaps still
// running. A handler is told, and its result within 5 s still wins; with force
// it is not waited for. Cancelling a task that has ended, or twice, is no error.
func (r *Runtime) Cancel(ctx context.Context, id string, force bool, reason string) (sdk.Task, error) {
	if len(reason) > maxLabelValue || !cleanText(reason) {
		return sdk.Task{}, sdk.Invalid("reason", "want at most %d characters of UTF-8 without NUL", maxLabelValue)
	}
	req := CancelRequest{ID: id, Now: sdk.Now(), Force: force, Reason: reason}
	out, err := r.store.Cancel(ctx, []CancelRequest{req})
	if err != nil {
		return sdk.Task{}, err
	}
	c := out[0]
	if c.Err != nil {
		return sdk.Task{}, c.Err
	}
	return c.Task, nil // the commit has told whoever runs it
}

// cancelled stops an attempt as a cancel asks.
func (a *attempt) cancelled(c CancelRequest) {
	grace := graceCancel
	if c.Force {
		grace = 0
	}
	a.stop(&errCancelled{c.Reason}, grace)
}
