//go:build unix

package wasm

import (
	"bytes"
	"testing"
	"unsafe"
)

// TestMemoryGrowsInPlace: what the guest has written stays where it is, what is new is
// zero, and there is no more than was reserved.
func TestMemoryGrowsInPlace(t *testing.T) {
	m := &memory{}
	lm := m.Allocate(pageBytes, 4*pageBytes)
	b := lm.Reallocate(pageBytes)
	at := unsafe.SliceData(b)
	copy(b, "hello")
	for _, pages := range []uint64{2, 4} {
		b = lm.Reallocate(pages * pageBytes)
		if uint64(len(b)) != pages*pageBytes || unsafe.SliceData(b) != at || !bytes.HasPrefix(b, []byte("hello\x00")) {
			t.Fatalf("%d pages: %d bytes, moved %t, %q", pages, len(b), unsafe.SliceData(b) != at, b[:6])
		}
		b[len(b)-1] = 1
	}
	if b := lm.Reallocate(5 * pageBytes); b != nil {
		t.Errorf("beyond the limit there are %d bytes", len(b))
	}
	lm.Free() // by wazero, while the guest may still run
	if b[0] != 'h' {
		t.Error("it is gone before its time")
	}
	m.free()
	m.free()
	if m.space != nil {
		t.Error("it is still there")
	}
	if huge := m.Allocate(0, 1<<62).Reallocate(pageBytes); len(huge) != pageBytes {
		t.Errorf("where no space can be reserved there are %d bytes", len(huge))
	}
}
