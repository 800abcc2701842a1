//go:build unix

package wasm

import (
	"context"
	"syscall"

	"github.com/tetratelabs/wazero/experimental"
)

// memory is the linear memory of one instance, outside of Go's heap.
//
// # Why
//
// On the heap it is moved each time it grows, the old copies are garbage, and what is
// alive counts: with GOGC=400 the heap of a runtime whose instances have 80 MB may grow
// to 400. Here it is address space of which a page is taken when the guest first
// touches it, and all of it goes back to the system with the instance.
type memory struct {
	space []byte // reserved: the most that there can be
	used  int
}

// withMemory gives instances that are made under ctx a memory of their own, which is
// to be freed when the guest has ended for good.
func withMemory(ctx context.Context) (context.Context, *memory) {
	m := &memory{}
	return experimental.WithMemoryAllocator(ctx, m), m
}

// Allocate implements experimental.MemoryAllocator. A module has one memory.
func (m *memory) Allocate(_, limit uint64) experimental.LinearMemory {
	if m.space != nil || limit == 0 {
		return &heapMemory{}
	}
	// Reserved only, so that nothing is counted as used before it is.
	space, err := syscall.Mmap(-1, 0, int(limit), syscall.PROT_NONE, syscall.MAP_PRIVATE|syscall.MAP_ANON)
	if err != nil {
		return &heapMemory{}
	}
	m.space = space
	return m
}

// Reallocate implements experimental.LinearMemory: memory grows where it is.
func (m *memory) Reallocate(size uint64) []byte {
	if size > uint64(len(m.space)) {
		return nil // the guest is told that there is no more
	}
	if n := int(size); n > m.used {
		if syscall.Mprotect(m.space[m.used:n], syscall.PROT_READ|syscall.PROT_WRITE) != nil {
			return nil
		}
		m.used = n
	}
	return m.space[:size:size]
}

// Free implements experimental.LinearMemory. It does nothing: wazero calls it when the
// module is closed, and the guest may still run then.
func (m *memory) Free() {}

// free gives the memory back. Nothing may use it any more.
func (m *memory) free() {
	if m.space != nil {
		_ = syscall.Munmap(m.space)
		m.space, m.used = nil, 0
	}
}

// heapMemory is for systems that refuse a reservation.
type heapMemory struct{ b []byte }

func (m *heapMemory) Reallocate(size uint64) []byte {
	if n := int(size) - len(m.b); n > 0 {
		m.b = append(m.b, make([]byte, n)...)
	}
	return m.b[:size]
}

func (m *heapMemory) Free() {}
