//go:build !wasip1

package wasm

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
)

// reader takes a WebAssembly binary apart. After the first error everything is empty.
type reader struct {
	b   []byte
	err error
}

var errShort = errors.New("it ends in the middle")

func (r *reader) more() bool { return r.err == nil && len(r.b) > 0 }

func (r *reader) fail(format string, args ...any) {
	if r.err == nil {
		r.err = fmt.Errorf(format, args...)
	}
	r.b = nil
}

func (r *reader) short() {
	if r.err == nil {
		r.err = errShort
	}
	r.b = nil
}

// end returns the first error. What is left is one.
func (r *reader) end() error {
	if r.more() {
		r.fail("%d bytes are left behind a list", len(r.b))
	}
	return r.err
}

func (r *reader) byte() byte {
	if len(r.b) == 0 {
		r.short()
		return 0
	}
	b := r.b[0]
	r.b = r.b[1:]
	return b
}

func (r *reader) take(n uint32) []byte {
	if uint64(n) > uint64(len(r.b)) {
		r.short()
		return nil
	}
	b := r.b[:n]
	r.b = r.b[n:]
	return b
}

func (r *reader) u32() uint32 {
	if len(r.b) > 0 && r.b[0] < 0x80 { // most are small
		v := uint32(r.b[0])
		r.b = r.b[1:]
		return v
	}
	v, n := binary.Uvarint(r.b)
	if n == 0 {
		r.short()
		return 0
	}
	if n < 0 || n > 5 || v > 1<<32-1 {
		r.fail("a number is too large")
		return 0
	}
	r.b = r.b[n:]
	return uint32(v)
}

// number skips a number of up to 64 bits.
func (r *reader) number() {
	for range 10 {
		if r.byte() < 0x80 {
			return
		}
	}
	r.fail("a number is too long")
}

// list reads a list and returns how long it is. It is no longer than there are bytes:
// wazero makes room for as many entries as a list says it has.
func (r *reader) list(entry func(*reader)) uint32 {
	n := r.u32()
	if uint64(n) > uint64(len(r.b)) {
		r.fail("a list of %d entries has %d bytes", n, len(r.b))
	}
	for i := uint32(0); i < n && r.err == nil; i++ {
		entry(r)
	}
	return n
}

func (r *reader) valtype() {
	if t := r.byte(); r.err == nil && (t < 0x7B || t > 0x7F) && t != 0x70 && t != 0x6F {
		r.fail("the type 0x%02x is not known", t)
	}
}

func (r *reader) functype() {
	if form := r.byte(); r.err == nil && form != 0x60 {
		r.fail("a type of the form 0x%02x is not known", form)
	}
	parameters, results := r.list((*reader).valtype), r.list((*reader).valtype)
	if parameters > maxParameters || results > maxResults {
		r.fail("a function has %d parameters and %d results, at most %d and %d can be had", parameters, results, maxParameters, maxResults)
	}
}

// Two bytes of code that call a function make all its results, each of which costs wazero
// some hundred bytes.
const (
	maxParameters = 100
	maxResults    = 16
)

// limits skips the size of a table or memory.
func (r *reader) limits() {
	if r.byte()&1 != 0 {
		r.u32()
	}
	r.u32()
}

// Most tables, and most entries of each: eight bytes of the runtime's memory an entry,
// which no other limit counts.
const (
	maxTables  = 16
	maxEntries = 1 << 20
)

// tables returns the list of tables, none of which can grow beyond maxEntries.
func (r *reader) tables() []byte {
	var out []byte
	n := r.list(func(r *reader) {
		kind, form := r.byte(), r.byte()
		least, most := r.u32(), uint32(maxEntries)
		if form == 1 {
			most = r.u32()
		}
		if r.err == nil && (kind != 0x70 && kind != 0x6F || form > 1) {
			r.fail("a table of the form 0x%02x 0x%02x is not known", kind, form)
		}
		if least > maxEntries {
			r.fail("a table has %d entries, at most %d can be had", least, maxEntries)
		}
		out = slices.Concat(out, []byte{kind, 1}, leb(least), leb(min(most, maxEntries)))
	})
	if n > maxTables {
		r.fail("it has %d tables, at most %d can be had", n, maxTables)
	}
	return append(leb(n), out...)
}

// expression skips a constant.
func (r *reader) expression() {
	for r.more() {
		op := r.byte()
		r.operands(op)
		if op == opEnd {
			return
		}
	}
	r.short()
}

// elements skips what a table begins with.
func (r *reader) elements() {
	const passive, explicit, expressions = 1, 2, 4
	flags := r.u32()
	if flags&passive == 0 {
		if flags&explicit != 0 {
			r.u32()
		}
		r.expression()
	}
	if flags&(passive|explicit) != 0 {
		r.byte()
	}
	if flags&expressions != 0 {
		r.list((*reader).expression)
	} else {
		r.list(func(r *reader) { r.u32() })
	}
}

// data skips what memory begins with.
func (r *reader) data() {
	switch flags := r.u32(); flags {
	case 0:
		r.expression()
	case 1: // for memory.init
	case 2:
		r.u32()
		r.expression()
	default:
		r.fail("data of the form %d is not known", flags)
	}
	r.take(r.u32())
}
