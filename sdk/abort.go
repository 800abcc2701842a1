package sdk

import "context"

type abortKey struct{}

// WithAbort returns a context that carries abort, the channel that closes when
// the runtime stops waiting for an attempt whose context has ended.
//
// An attempt is stopped in two steps. Its context ends first: the handler is
// told and may still return a result. When the grace is over (5 s after a
// cancel, 500 ms after a timeout, at once with mode "force") abort closes, and
// a carrier must make Handle return by killing what runs it.
func WithAbort(ctx context.Context, abort <-chan struct{}) context.Context {
	return context.WithValue(ctx, abortKey{}, abort)
}

// Aborted returns the channel of [WithAbort]. Without one it returns
// ctx.Done(): nobody grants a grace.
func Aborted(ctx context.Context) <-chan struct{} {
	if ch, ok := ctx.Value(abortKey{}).(<-chan struct{}); ok {
		return ch
	}
	return ctx.Done()
}
