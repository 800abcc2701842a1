package runtime

import "context"

// Epoch names the history that cursors point into. It changes when a backup is
// restored, so that a client can tell that what it kept belongs to another log.
func (r *Runtime) Epoch(ctx context.Context) (string, error) {
	head, err := r.store.Head(ctx)
	return head.Epoch, err
}
