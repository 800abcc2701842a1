package runtime

import (
	"cmp"
	"context"
	"math/rand/v2"
	"time"

	"github.com/nagatha/nagatha-runtime/sdk"
)

// backoff is how long to wait after failed attempt n (from 1): a random time up
// to the exponential bound ("full jitter", from the AWS Architecture Blog's
// comparison of 2015), unless the handler asked for a delay of its own.
func (r *Runtime) backoff(p *sdk.RetryPolicy, n int, e *sdk.Error) time.Duration {
	if e.After > 0 {
		return min(e.After, maxAhead)
	}
	base, most := r.cfg.Retry.Backoff, r.cfg.Retry.MaxBackoff
	if p != nil {
		base = cmp.Or(p.Backoff.Std(), base)
		most = cmp.Or(p.MaxBackoff.Std(), most)
	}
	// A plugin that crashed is back, or its kinds are not claimed: waiting here
	// as well would only delay its tasks.
	if e.Code == sdk.CodePluginCrashed || e.Code == sdk.CodeOutOfMemory {
		return 0
	}
	bound := min(base, most)
	for range n - 1 {
		if bound > most/2 { // to double it would be too much, or overflow
			bound = most
			break
		}
		bound *= 2
	}
	return rand.N(max(1, bound))
}

// Retry opens a new life of a failed or cancelled task. Any other state is
// CodeConflict.
func (r *Runtime) Retry(ctx context.Context, id string) (sdk.Task, error) {
	out, err := r.store.Retry(ctx, []string{id})
	if err != nil {
		return sdk.Task{}, err
	}
	if out[0].Err != nil {
		return sdk.Task{}, out[0].Err
	}
	r.explain(&out[0].Task)
	return out[0].Task, nil
}
