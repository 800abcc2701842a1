//go:build !wasip1

package wasm

// The instructions that meter writes or looks for.
const (
	opUnreachable        = 0x00
	opBlock              = 0x02
	opLoop               = 0x03
	opIf                 = 0x04
	opEnd                = 0x0B
	opBr                 = 0x0C
	opBrIf               = 0x0D
	opBrTable            = 0x0E
	opReturn             = 0x0F
	opCall               = 0x10
	opCallIndirect       = 0x11
	opReturnCall         = 0x12
	opReturnCallIndirect = 0x13
	opDrop               = 0x1A
	opGlobalGet          = 0x23
	opGlobalSet          = 0x24
	opMemoryGrow         = 0x40
	opI32Const           = 0x41
	opI32Eqz             = 0x45
	opI32GtS             = 0x4A
	opI32Sub             = 0x6B
	opI32ShrU            = 0x76
	opBulk               = 0xFC
	emptyBlock           = 0x40
)

// memarg skips the place of a load or a store.
func (r *reader) memarg() {
	r.u32()
	r.u32()
}

// operands skips what follows an instruction, and returns the first index of it, if it is
// one with an index. The list is that of the WebAssembly core specification 2.0, chapter
// 5.4, with tail calls.
func (r *reader) operands(op byte) (index uint32) {
	switch {
	case op == opBlock || op == opLoop || op == opIf: // the block's type
		r.number()
	case op == opBrTable:
		for n := r.u32(); n > 0 && r.err == nil; n-- {
			r.u32()
		}
		r.u32()
	case op == opCallIndirect || op == opReturnCallIndirect:
		index = r.u32()
		r.u32()
	case op == opBr || op == opBrIf || op == opCall || op == opReturnCall,
		op >= 0x20 && op <= 0x26, // locals, globals, tables
		op == 0xD2:               // ref.func
		index = r.u32()
	case op == 0x1C: // select with its types
		r.take(r.u32())
	case op >= 0x28 && op <= 0x3E: // loads and stores
		r.memarg()
	case op == 0x3F || op == opMemoryGrow || op == 0xD0: // memory.size, ref.null
		r.byte()
	case op == opI32Const || op == 0x42:
		r.number()
	case op == 0x43:
		r.take(4)
	case op == 0x44:
		r.take(8)
	case op == opBulk:
		r.bulk(r.second())
	case op == 0xFD:
		r.vector(r.second())
	case op == opUnreachable || op == 0x01 || op == 0x05 || op == opEnd || op == opReturn || op == opDrop || op == 0x1B,
		op >= opI32Eqz && op <= 0xC4, op == 0xD1: // arithmetic and the like
	default:
		r.fail("the instruction 0x%02x is not known", op)
	}
	return index
}

// second reads the rest of an instruction of two parts, in its shortest form: longer ones
// are read in more than one way.
func (r *reader) second() uint32 {
	before := len(r.b)
	op := r.u32()
	if n := before - len(r.b); r.err == nil && (op >= 1<<8 || n != len(leb(op))) {
		r.fail("the second part of an instruction, %d in %d bytes, is not known", op, n)
	}
	return op
}

// bulk skips the operands of an instruction behind 0xFC.
func (r *reader) bulk(op uint32) {
	switch op {
	case 0, 1, 2, 3, 4, 5, 6, 7: // saturating conversions
	case 8: // memory.init
		r.u32()
		r.byte()
	case 10: // memory.copy
		r.take(2)
	case 11: // memory.fill
		r.byte()
	case 9, 13, 15, 16, 17: // data.drop, elem.drop, table.grow, table.size, table.fill
		r.u32()
	case 12, 14: // table.init, table.copy
		r.u32()
		r.u32()
	default:
		r.fail("the instruction 0xfc %d is not known", op)
	}
}

// ofAnySize reports whether an instruction behind 0xFC fills or copies as much as it is
// told: memory.init, memory.copy, memory.fill, table.init, table.copy, table.fill.
func ofAnySize(op byte) bool {
	return op == 8 || op == 10 || op == 11 || op == 12 || op == 14 || op == 17
}

// vector skips the operands of an instruction behind 0xFD.
func (r *reader) vector(op uint32) {
	switch {
	case op <= 11 || op == 92 || op == 93: // loads and stores
		r.memarg()
	case op == 12 || op == 13: // v128.const, i8x16.shuffle
		r.take(16)
	case op >= 21 && op <= 34: // one lane
		r.byte()
	case op >= 84 && op <= 91: // one lane to or from memory
		r.memarg()
		r.byte()
	}
}

// decide reports whether what follows an instruction may not be run after it, or be run
// again.
func decide(op byte) bool {
	return op >= opBlock && op <= opReturnCallIndirect && op != opEnd || op == opUnreachable
}
