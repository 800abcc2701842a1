package runtime

import (
	"context"

	"github.com/nagatha/nagatha-runtime/sdk"
)

// QueueStore keeps what limits queues and concurrency keys over all nodes.
type QueueStore interface {
	// SetQueues says what limits hold. It is called once, before anything else.
	SetQueues(queues []QueueLimits)

	// Pause stops a queue from starting tasks, on every node, or lets it go on.
	Pause(ctx context.Context, queue string, paused bool) error
	// Paused reports whether a queue is paused, as far as this node has heard.
	Paused(queue string) bool

	// RateLimited reports whether a queue's rate holds tasks back at present.
	RateLimited(queue string) bool

	// QueueCounts counts what is in each queue.
	QueueCounts(ctx context.Context) (map[string]QueueCount, error)
}

// QueueLimits is what a queue may take.
type QueueLimits struct {
	Name string
	// Depth is how many tasks may wait in it (scheduled, queued, retrying); 0: any
	// number. A submit beyond it is refused with CodeLimitExceeded.
	Depth int
	// KeyConcurrency is how many tasks with one concurrency key run at once.
	KeyConcurrency int
	Rate, KeyRate  Rate
}

// Rate is how many tasks may start in a period; the zero Rate does not limit. Burst
// is how many may start at once after a pause; 0 is a twentieth of a second's worth,
// and at least 1.
type Rate struct {
	N      int
	Period sdk.Duration
	Burst  int
}

// QueueCount is what is in a queue.
type QueueCount struct {
	Running, Queued int
	Scheduled       int      // and retrying; Depth bounds it together with Queued
	Oldest          sdk.Time // run_at of the queued task that has waited longest; 0: none
}
