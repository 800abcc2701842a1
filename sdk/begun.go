package sdk

import "context"

type begunKey struct{}

// WithBegun returns a context that lets a carrier say when an attempt that had to
// wait for a free place has got one: an attempt's timeout begins there. begun is
// called at most once, and returns false if the attempt is not wanted any more.
func WithBegun(ctx context.Context, begun func() bool) context.Context {
	return context.WithValue(ctx, begunKey{}, begun)
}

// Begun says that an attempt begins. Carriers call it; where it returns false they
// return [ErrNotStarted] instead of running the attempt. Without [WithBegun] it returns
// true.
func Begun(ctx context.Context) bool {
	f, ok := ctx.Value(begunKey{}).(func() bool)
	return !ok || f()
}
