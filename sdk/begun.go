package sdk

import "context"

type begunKey struct{}

// WithBegun returns a context that lets a carrier say when an attempt that had to
// wait for a free place has got one: an attempt's timeout begins there. begun is
// called at most once.
func WithBegun(ctx context.Context, begun func()) context.Context {
	return context.WithValue(ctx, begunKey{}, begun)
}

// Begun says that an attempt begins. Carriers call it; without [WithBegun] it does
// nothing.
func Begun(ctx context.Context) {
	if f, ok := ctx.Value(begunKey{}).(func()); ok {
		f()
	}
}
