package runtime

import (
	"context"
	"time"

	"github.com/nagatha/nagatha-runtime/sdk"
)

// Backoff is how long to wait after failed attempt n.
func (r *Runtime) Backoff(p *sdk.RetryPolicy, n int) time.Duration {
	return r.backoff(p, n, &sdk.Error{Code: sdk.CodeHandlerError})
}

// FireDue is what the loop of schedules does at a moment.
func (r *Runtime) FireDue(ctx context.Context, now sdk.Time) (sdk.Time, error) {
	return r.fireDue(ctx, now)
}

// CronTicks returns what finds the first tick of a cron line after a moment.
func CronTicks(line, zone string) (next func(sdk.Time) (sdk.Time, error), err error) {
	c, err := newCron(line, zone)
	if err != nil {
		return nil, err
	}
	return c.next, nil
}

// PlanTicks is which ticks of a schedule fire at now, and which comes next.
func PlanTicks(s sdk.Schedule, since, now sdk.Time) (fire []sdk.Time, next sdk.Time, err error) {
	p, err := planTicks(&Schedule{Schedule: s, Since: since}, now)
	return p.fire, p.next, err
}

// Looks returns what a node on a shared database does at each beat, when it compares
// what the store says runs on it with what does.
func (r *Runtime) Looks() (look func(context.Context)) {
	var seen strays
	return func(ctx context.Context) { r.checkHeld(ctx, &seen) }
}
