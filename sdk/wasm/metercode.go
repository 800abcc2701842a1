//go:build !wasip1

package wasm

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
)

// code rewrites all functions and adds the one that looks at the outside.
func (m *metering) code(body []byte) ([]byte, error) {
	r := reader{b: body}
	n := r.u32()
	if r.err == nil && n != m.functions-m.imported {
		return nil, fmt.Errorf("it declares %d functions and has the code of %d", m.functions-m.imported, n)
	}
	out := append(make([]byte, 0, len(body)+len(body)/4), leb(n+1)...)
	f := function{count: m.count(), weigh: m.weigh(), globals: m.globals, functions: m.functions}
	for range n {
		code := r.take(r.u32())
		if r.err != nil {
			return nil, r.err
		}
		if err := f.rewrite(code); err != nil {
			return nil, err
		}
		out = binary.AppendUvarint(out, uint64(len(f.out)))
		out = append(out, f.out...)
	}
	if err := r.end(); err != nil {
		return nil, err
	}
	if f.cost > maxCost {
		return nil, errors.New("to compile it would take minutes: its largest functions branch too much, or have too many variables")
	}
	look := slices.Concat([]byte{0, // no locals
		// Growing memory by nothing is what every module can do that leaves compiled code.
		opI32Const, 0, opMemoryGrow, 0, opDrop,
		opI32Const}, sleb(stride), []byte{opGlobalSet}, leb(m.fuel()), []byte{
		opGlobalGet}, leb(m.stop()), []byte{opIf, emptyBlock, opUnreachable, opEnd, opEnd})
	out = append(out, leb(uint32(len(look)))...)
	return append(out, look...), nil
}

// count is the code that is added to loops and functions.
func (m *metering) count() []byte {
	fuel := leb(m.fuel())
	return slices.Concat(
		[]byte{opBlock, emptyBlock, opGlobalGet}, fuel, []byte{opI32Const, 1, opI32Sub, opGlobalSet}, fuel,
		[]byte{opGlobalGet}, fuel, []byte{opBrIf, 0, opCall}, leb(m.check()), []byte{opEnd})
}

// weigh is the code that is added to instructions that fill or copy any number of bytes,
// the top of the stack. Each 4 KiB of them are a count.
func (m *metering) weigh() []byte {
	fuel, size := leb(m.fuel()), leb(m.size())
	return slices.Concat(
		[]byte{opGlobalSet}, size, []byte{opBlock, emptyBlock, opGlobalGet}, fuel, []byte{opGlobalGet}, size,
		[]byte{opI32Const, 12, opI32ShrU, opI32Sub, opGlobalSet}, fuel,
		[]byte{opGlobalGet}, fuel, []byte{opI32Const, 0, opI32GtS, opBrIf, 0, opCall}, leb(m.check()), []byte{opEnd, opGlobalGet}, size)
}

// maxLocals is the most variables of a function, as in browsers.
const maxLocals = 50_000

// maxCost is the most that it may cost to compile a module, which nothing can interrupt:
// about a minute. wazero takes the square of a function's branches, and each variable costs
// too. A small module of Go's has some 20 million, esbuild's of 14 MB 1.7 billion and the
// largest of Rust's that were tried 2.9.
const maxCost = 6_000_000_000

// function is one function's code on its way through meter.
type function struct {
	count, weigh       []byte
	globals, functions uint32 // how many the module has without what is added

	cost int    // of all functions, see maxCost
	out  []byte // valid until the next rewrite
}

func (f *function) rewrite(code []byte) error {
	r := reader{b: code}
	locals := uint64(0)
	r.list(func(r *reader) {
		locals += uint64(r.u32())
		r.valtype()
	})
	if locals > maxLocals {
		return fmt.Errorf("a function has %d locals, at most %d can be had", locals, maxLocals)
	}
	f.out = append(f.out[:0], code[:len(code)-len(r.b)]...)
	body := len(f.out)
	calls := false
	loops := false   // the first thing that it decides is a loop, which counts
	decides := false // it has decided something
	branches := 0
	for r.more() {
		before := r.b
		op := r.byte()
		index := r.operands(op)
		switch op {
		case opLoop:
			loops = loops || !decides
			branches += 3 // with the count
		case opBlock, opIf, opBr, opBrIf:
			branches++
		case opBrTable:
			branches += len(before) - len(r.b)
		case opCall, opCallIndirect, opReturnCall, opReturnCallIndirect:
			calls = true
		}
		if (op == opCall || op == opReturnCall) && index >= f.functions || (op == opGlobalGet || op == opGlobalSet) && index >= f.globals {
			return fmt.Errorf("its code refers to what is not there: index %d", index) // but will be
		}
		if op == opBulk && ofAnySize(before[1]) {
			f.out = append(f.out, f.weigh...)
		}
		decides = decides || decide(op)
		f.out = append(f.out, before[:len(before)-len(r.b)]...)
		if op == opLoop {
			f.out = append(f.out, f.count...)
		}
	}
	f.cost += branches*branches + int(locals)
	if calls && !loops {
		f.out = slices.Insert(f.out, body, f.count...)
	}
	return r.err
}
