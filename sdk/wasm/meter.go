//go:build !wasip1

package wasm

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
)

// What meter adds to a module's exports.
const (
	stopGlobal = "nagatha:stop"  // once it is not 0, the guest traps
	startFunc  = "nagatha:start" // the module's start function, where it has one
)

// stride is how many loops and calls a guest makes between two looks at the outside: a
// few microseconds' worth of them, which is how long the garbage collector of the whole
// runtime may have to wait for it.
const stride = 4096

// meter returns the module with a count in each loop and in each function that calls
// others. Every stride counts the guest leaves its compiled code for a moment, so that
// Go's scheduler can have the thread and the garbage collector its stop, and it traps if
// the global stopGlobal says so.
//
// # Why
//
// A guest is not preempted: Go's runtime waits for it. wazero's own remedy,
// WithCloseOnContextDone, leaves the compiled code in every turn of every loop, which
// makes a Go guest about four times as slow, and does not see recursion. A count costs
// two or three instructions.
//
// Nothing of the module changes its index: types, functions, globals and exports are
// added behind what is there. Its start function is exported instead of called, so that
// it too runs where it can be stopped.
func meter(module []byte) ([]byte, error) {
	m := metering{}
	if err := m.read(module); err != nil {
		return nil, err
	}
	return m.write()
}

// Section ids of the binary format.
const (
	sectionCustom    = 0
	sectionType      = 1
	sectionImport    = 2
	sectionFunction  = 3
	sectionTable     = 4
	sectionMemory    = 5
	sectionGlobal    = 6
	sectionExport    = 7
	sectionStart     = 8
	sectionElement   = 9
	sectionCode      = 10
	sectionData      = 11
	sectionDataCount = 12
)

type section struct {
	id   byte
	body []byte
}

// metering is a module on its way through meter.
type metering struct {
	sections []section

	types, imported, functions, globals uint32 // how many it has; functions and globals with those imported
	start                               *uint32
}

var errNoModule = errors.New("it is no WebAssembly module")

func (m *metering) read(module []byte) error {
	if !bytes.HasPrefix(module, []byte("\x00asm\x01\x00\x00\x00")) {
		return errNoModule
	}
	r := reader{b: module[8:]}
	memory, last := false, 0
	for r.more() {
		s := section{id: r.byte()}
		s.body = r.take(r.u32())
		body := reader{b: s.body}
		switch s.id {
		case sectionCustom: // names and lines of code that is another one now
			continue
		case sectionType:
			m.types = body.list((*reader).functype)
		case sectionImport:
			body.list(m.imports)
		case sectionFunction:
			m.functions += body.list(func(r *reader) {
				if index := r.u32(); index >= m.types {
					r.fail("a function is of type %d of %d", index, m.types)
				}
			})
		case sectionTable:
			s.body = body.tables()
		case sectionMemory:
			memory = body.list((*reader).limits) > 0
		case sectionGlobal:
			m.globals += body.list(func(r *reader) { r.take(2); r.expression() })
		case sectionExport:
			body.list(func(r *reader) { r.take(r.u32()); r.byte(); r.u32() })
		case sectionStart:
			start := body.u32()
			m.start = &start
		case sectionElement:
			body.list((*reader).elements)
		case sectionData:
			body.list((*reader).data)
		case sectionDataCount:
			body.u32()
		case sectionCode:
			body.b = nil // later
		default:
			return fmt.Errorf("a section of kind %d is not known", s.id)
		}
		if place(s.id) <= last {
			return fmt.Errorf("a section of kind %d is out of order", s.id)
		}
		last = place(s.id)
		if err := body.end(); err != nil {
			return err
		}
		if s.id != sectionStart {
			m.sections = append(m.sections, s)
		}
	}
	if r.err == nil && !memory {
		return errors.New("it has no memory of its own")
	}
	return r.err
}

// imports counts what takes an index in front of the module's own.
func (m *metering) imports(r *reader) {
	r.take(r.u32())
	r.take(r.u32())
	switch kind := r.byte(); kind {
	case 0: // a function
		r.u32()
		m.imported++
		m.functions++
	case 1: // a table
		r.byte()
		r.limits()
	case 2: // a memory
		r.limits()
	case 3: // a global
		r.take(2)
		m.globals++
	default:
		r.fail("an import of kind %d", kind)
	}
}

// Indices of what is added.
func (m *metering) fuel() uint32  { return m.globals }
func (m *metering) stop() uint32  { return m.globals + 1 }
func (m *metering) size() uint32  { return m.globals + 2 }
func (m *metering) check() uint32 { return m.functions }

func (m *metering) write() ([]byte, error) {
	// A section that is missing is made where the format wants it.
	for _, id := range []byte{sectionType, sectionFunction, sectionGlobal, sectionExport, sectionCode} {
		if slices.ContainsFunc(m.sections, func(s section) bool { return s.id == id }) {
			continue
		}
		at := slices.IndexFunc(m.sections, func(s section) bool { return place(s.id) > place(id) })
		if at < 0 {
			at = len(m.sections)
		}
		m.sections = slices.Insert(m.sections, at, section{id, []byte{0}})
	}
	size := 0
	for _, s := range m.sections {
		size += len(s.body)
	}
	out := append(make([]byte, 0, size+size/4), "\x00asm\x01\x00\x00\x00"...)
	for _, s := range m.sections {
		body := s.body
		var err error
		switch s.id {
		case sectionType:
			body, err = extend(body, 1, 0x60, 0, 0) // a function without parameters and results
		case sectionFunction:
			body, err = extend(body, 1, leb(m.types)...)
		case sectionGlobal: // three mutable i32
			added := append([]byte{0x7F, 1, opI32Const}, sleb(stride)...)
			zero := []byte{0x7F, 1, opI32Const, 0, opEnd}
			body, err = extend(body, 3, slices.Concat(added, []byte{opEnd}, zero, zero)...)
		case sectionExport:
			n, added := uint32(1), export(stopGlobal, 3, m.stop())
			if m.start != nil {
				n, added = 2, append(added, export(startFunc, 0, *m.start)...)
			}
			body, err = extend(body, n, added...)
		case sectionCode:
			body, err = m.code(body)
		}
		if err != nil {
			return nil, err
		}
		out = append(out, s.id)
		out = binary.AppendUvarint(out, uint64(len(body)))
		out = append(out, body...)
	}
	return out, nil
}

// place is where a section stands among the others: in the order of their ids, but the
// count of the data between elements and code.
func place(id byte) int {
	if id == sectionDataCount {
		return 2*sectionElement + 1
	}
	return 2 * int(id)
}

// extend adds n entries to a section that is a list.
func extend(body []byte, n uint32, entries ...byte) ([]byte, error) {
	r := reader{b: body}
	total := r.u32() + n
	return slices.Concat(leb(total), r.b, entries), r.err
}

func export(name string, kind byte, index uint32) []byte {
	return slices.Concat(leb(uint32(len(name))), []byte(name), []byte{kind}, leb(index))
}

func leb(v uint32) []byte { return binary.AppendUvarint(nil, uint64(v)) }

// sleb writes a signed number that is not negative.
func sleb(v uint32) []byte {
	b := leb(v)
	if last := len(b) - 1; b[last]&0x40 != 0 {
		b[last] |= 0x80
		b = append(b, 0)
	}
	return b
}
