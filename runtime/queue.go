package runtime

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/nagatha/nagatha-runtime/sdk"
)

// QueueStatus returns what is in the queues and what limits them.
func (r *Runtime) QueueStatus(ctx context.Context) ([]sdk.QueueStatus, error) {
	counts, err := r.store.QueueCounts(ctx)
	if err != nil {
		return nil, err
	}
	now := sdk.Now()
	out := make([]sdk.QueueStatus, 0, len(r.cfg.Queues))
	for _, q := range r.cfg.Queues {
		c := counts[q.Name]
		s := sdk.QueueStatus{
			Name: q.Name, Concurrency: q.Concurrency, Running: c.Running, Queued: c.Queued, Scheduled: c.Scheduled, Paused: r.store.Paused(q.Name),
			Rate: q.Rate.String(), KeyRate: q.KeyRate.String(), KeyConcurrency: max(1, q.KeyConcurrency), DepthLimit: q.Depth,
		}
		if c.Oldest != 0 {
			s.OldestWait = sdk.Duration(max(0, now.Sub(c.Oldest)))
		}
		out = append(out, s)
	}
	return out, nil
}

// Queue is QueueStatus for one queue, or CodeNotFound.
func (r *Runtime) Queue(ctx context.Context, name string) (sdk.QueueStatus, error) {
	all, err := r.QueueStatus(ctx)
	if err != nil {
		return sdk.QueueStatus{}, err
	}
	for _, q := range all {
		if q.Name == name {
			return q, nil
		}
	}
	return sdk.QueueStatus{}, sdk.Errorf(sdk.CodeNotFound, "there is no queue %.80q; config.hcl has %s", name, strings.Join(r.dispatch.names(), ", "))
}

// Pause keeps a queue from starting tasks, on every node and until it is resumed;
// what runs goes on. Doing it twice is no error.
func (r *Runtime) Pause(ctx context.Context, name string, paused bool) (sdk.QueueStatus, error) {
	if _, err := r.Queue(ctx, name); err != nil {
		return sdk.QueueStatus{}, err
	}
	if err := r.store.Pause(ctx, name, paused); err != nil {
		return sdk.QueueStatus{}, err
	}
	fact := factQueueResumed
	if paused {
		fact = factQueuePaused
	}
	r.Tell(fact, name, map[string]string{"queue": name})
	return r.Queue(ctx, name)
}

// String is the rate as config.hcl has it, such as "100/s"; "" for none.
func (r Rate) String() string {
	if r.N == 0 {
		return ""
	}
	unit := r.Period.String()
	switch r.Period.Std() {
	case time.Second:
		unit = "s"
	case time.Minute:
		unit = "m"
	case time.Hour:
		unit = "h"
	}
	return fmt.Sprintf("%d/%s", r.N, unit)
}
