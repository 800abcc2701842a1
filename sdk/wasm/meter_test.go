//go:build !wasip1

package wasm

import (
	"bytes"
	"context"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tetratelabs/wazero"
)

// assemble makes a module of functions; the first is _start and has no parameters, the
// others have one, an i32. All are in table 0. It has one global, a mutable i32.
func assemble(more []byte, functions ...[]byte) []byte {
	part := func(id byte, entries ...[]byte) []byte {
		body := slices.Concat(leb(uint32(len(entries))), slices.Concat(entries...))
		return slices.Concat([]byte{id}, leb(uint32(len(body))), body)
	}
	var types, codes [][]byte
	var all []byte
	for i, f := range functions {
		types = append(types, []byte{byte(min(i, 1))})
		code := slices.Concat([]byte{0}, f, []byte{opEnd})
		codes = append(codes, append(leb(uint32(len(code))), code...))
		all = append(all, byte(i))
	}
	n := byte(len(functions))
	return slices.Concat([]byte("\x00asm\x01\x00\x00\x00"),
		part(sectionType, []byte{0x60, 0, 0}, []byte{0x60, 1, 0x7F, 0}),
		part(sectionFunction, types...),
		part(4, []byte{0x70, 0, n}), // the table
		part(sectionMemory, []byte{0, 1}),
		part(sectionGlobal, []byte{0x7F, 1, opI32Const, 7, opEnd}),
		part(sectionExport, export("memory", 2, 0), export("_start", 0, 0)),
		more,
		part(sectionElement, slices.Concat([]byte{0, opI32Const, 0, opEnd, n}, all)),
		part(sectionCode, codes...))
}

var (
	forever = []byte{opLoop, emptyBlock, 0x0C, 0, opEnd}
	// twice calls function 1, which calls itself twice, 60 deep.
	twice   = []byte{opI32Const, 60, opCall, 1}
	descend = []byte{
		0x20, 0, opI32Eqz, opBrIf, 0, // at the bottom
		0x20, 0, opI32Const, 1, opI32Sub, opCall, 1,
		0x20, 0, opI32Const, 1, opI32Sub, opCall, 1,
	}
	descendIndirectly = []byte{
		0x20, 0, opI32Eqz, opBrIf, 0,
		0x20, 0, opI32Const, 1, opI32Sub, opI32Const, 1, opCallIndirect, 1, 0,
		0x20, 0, opI32Const, 1, opI32Sub, opI32Const, 1, opCallIndirect, 1, 0,
	}
	startSection = []byte{sectionStart, 1, 0}
)

// TestCompilesForever: a module that would keep the compiler busy for minutes, or until the
// memory is full, is refused before. Nothing could interrupt that.
func TestCompilesForever(t *testing.T) {
	for name, c := range map[string]struct{ module, want string }{
		"branches":   {string(assemble(nil, slices.Repeat([]byte{opI32Const, 1, opIf, emptyBlock, opEnd}, 100_000))), "branch too much"},
		"loops":      {string(assemble(nil, slices.Repeat([]byte{opLoop, emptyBlock, opEnd}, 40_000))), "branch too much"},
		"a table":    {string(assemble(nil, slices.Concat([]byte{opI32Const, 0, opBrTable}, leb(100_000), make([]byte, 100_001)))), "branch too much"},
		"results":    {"\x00asm\x01\x00\x00\x00\x01\x18\x01\x60\x00\x14" + strings.Repeat("\x7f", 20), "20 results"},
		"parameters": {"\x00asm\x01\x00\x00\x00\x01\x6d\x01\x60\x69" + strings.Repeat("\x7f", 105) + "\x00", "105 parameters"},
	} {
		if _, err := meter([]byte(c.module)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestEndless: whatever a guest does without an end, it is ended, and the collector of
// the runtime's garbage does not wait for that.
func TestEndless(t *testing.T) {
	for name, module := range map[string][]byte{
		"a loop":              assemble(nil, forever),
		"a table of branches": assemble(nil, []byte{opLoop, emptyBlock, opI32Const, 0, 0x0E, 1, 0, 0, opEnd}),
		"a loop behind calls": assemble(nil, append([]byte{opI32Const, 0, opCall, 1}, forever...), nil),
		"recursion":           assemble(nil, twice, descend),
		"indirect recursion":  assemble(nil, twice, descendIndirectly),
		// 90 MiB are filled in each turn.
		"fills":              assemble(nil, slices.Concat([]byte{opI32Const}, sleb(1500), []byte{opMemoryGrow, 0, opDrop, opLoop, emptyBlock, opI32Const, 0, opI32Const, 0, opI32Const}, sleb(90<<20), []byte{0xFC, 11, 0, 0x0C, 0, opEnd})),
		"its start function": assemble(startSection, forever),
		// Vectors that are added in a loop, one of their instructions in two bytes.
		"vectors": assemble(nil, []byte{opLoop, emptyBlock, opI32Const, 1, 0xFD, 17, opI32Const, 2, 0xFD, 17, 0xFD, 0xAE, 1, opDrop, 0x0C, 0, opEnd}),
	} {
		t.Run(name, func(t *testing.T) {
			loaded := make(chan error)
			go func() {
				p, err := Load(context.Background(), Config{Name: "test", Module: module, StartTimeout: 100 * time.Millisecond})
				if err == nil {
					_ = p.Close(context.Background())
				}
				loaded <- err
			}()
			for {
				runtime.GC()
				select {
				case err := <-loaded:
					if err == nil || !strings.Contains(err.Error(), "no manifest within") {
						t.Error(err)
					}
					return
				default:
				}
			}
		})
	}
}

// TestMeterRefuses: a module cannot reach what is added to it, or hide code from meter.
func TestMeterRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		module []byte
		want   string
	}{
		"not a module":      {[]byte("\x7fELF, and more"), "no WebAssembly"},
		"its fuel":          {assemble(nil, []byte{opI32Const, 1, opGlobalSet, 1}), "not there: index 1"},
		"whether to stop":   {assemble(nil, []byte{opI32Const, 0, opGlobalSet, 2}), "not there: index 2"},
		"a look":            {assemble(nil, []byte{opGlobalGet, 2, opDrop}), "not there: index 2"},
		"its check":         {assemble(nil, []byte{opCall, 1}), "not there: index 1"},
		"a long vector op":  {assemble(nil, append([]byte{0xFD, 0x8C, 0x00, opEnd}, append(forever, make([]byte, 10)...)...)), "second part"},
		"a long bulk op":    {assemble(nil, []byte{0xFC, 0x80, 0x00}), "second part"},
		"a strange op":      {assemble(nil, []byte{0x06, emptyBlock, opEnd}), "0x06"},
		"an endless number": {assemble(nil, append([]byte{opI32Const}, bytes.Repeat([]byte{0x80}, 12)...)), "too long"},
		"many exports":      {slices.Concat(assemble(nil)[:8], []byte{sectionExport, 5}, leb(1<<31)), "2147483648 entries has 0 bytes"},
		"many locals":       {slices.Concat(assemble(nil)[:8], []byte{1, 4, 1, 0x60, 0, 0, 3, 2, 1, 0, 5, 3, 1, 0, 1, 10, 10, 1, 8, 1, 0x80, 0x80, 0x80, 0x80, 8, 0x7F, opEnd}), "2147483648 locals"},
		"a large table":     {slices.Concat(assemble(nil)[:8], []byte{sectionTable, 8, 1, 0x70, 0}, leb(1<<31)), "a table has 2147483648 entries"},
		"a type too many":   {slices.Concat(assemble(nil)[:8], []byte{sectionFunction, 2, 1, 5}), "type 5 of 0"},
		"without memory":    {[]byte("\x00asm\x01\x00\x00\x00"), "no memory"},
		"cut":               {assemble(nil, forever)[:61], "ends in the middle"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := meter(c.module); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
}

// FuzzMeter: what wazero compiles, it compiles with counts.
func FuzzMeter(f *testing.F) {
	f.Add(assemble(nil, forever))
	f.Add(assemble(startSection, twice, descend))
	f.Add(assemble(nil, twice, descendIndirectly))
	f.Add(assemble(nil, []byte{opI32Const, 1, 0xFD, 17, 0xFD, 0xAE, 1, opDrop}))
	f.Add(assemble(nil, []byte{opI32Const, 0, opI32Const, 0, opI32Const, 0, 0xFC, 11, 0, 0xD0, 0x70, opDrop, 0x42, 0xFF, 0, opDrop, 0x44, 0, 0, 0, 0, 0, 0, 0, 0, opDrop}))
	ctx := context.Background()
	r := wazero.NewRuntime(ctx)
	f.Cleanup(func() { _ = r.Close(ctx) })
	compiles := func(module []byte) bool {
		code, err := validate(ctx, r, module)
		if err == nil {
			_ = code.Close(ctx)
		}
		return err == nil
	}
	f.Fuzz(func(t *testing.T, module []byte) {
		metered, err := meter(module)
		if err != nil && !strings.Contains(err.Error(), "instruction") {
			return // wazero might take more memory than there is
		}
		if compiles(module) && (err != nil || !compiles(metered)) {
			t.Errorf("wazero takes it, but not with counts: %v", err)
		}
	})
}

// TestTables: a table does not grow without limit, which memory's limit says nothing of.
func TestTables(t *testing.T) {
	grow := slices.Concat([]byte{0xD0, 0x70, opI32Const}, sleb(1<<24), []byte{0xFC, 15, 0,
		opI32Const, 0x7F, 0x47, opIf, emptyBlock, opUnreachable, opEnd}) // it is not −1: it has grown
	if _, err := Load(t.Context(), Config{Name: "test", Module: assemble(nil, grow)}); err == nil || !strings.Contains(err.Error(), "exited with code 0") {
		t.Error(err)
	}
}

// TestPanic: a module that wazero panics on is an error.
func TestPanic(t *testing.T) {
	r := wazero.NewRuntime(t.Context())
	module := []byte("\x00asm\x01\x00\x00\x00\x01\x04\x01\x60\x00\x00\x03\x03\x02\x00\x30\x0a\x09\x02\x04\x00\x10\x01\x0b\x02\x00\x0b")
	if _, err := validate(t.Context(), r, module); err == nil || !strings.Contains(err.Error(), "it is broken") {
		t.Error(err)
	}
	if err := r.Close(t.Context()); err != nil {
		t.Error(err)
	}
}

func BenchmarkMeter(b *testing.B) {
	module, err := os.ReadFile("../../build/plugins/agent.wasm")
	if err != nil {
		b.Skip("make build first")
	}
	b.SetBytes(int64(len(module)))
	for b.Loop() {
		if _, err := meter(module); err != nil {
			b.Fatal(err)
		}
	}
}
