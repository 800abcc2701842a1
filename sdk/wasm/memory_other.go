//go:build !unix && !wasip1

package wasm

import "context"

// memory is on Go's heap here.
type memory struct{}

func withMemory(ctx context.Context) (context.Context, *memory) { return ctx, &memory{} }

func (*memory) free() {}
