// Package wasm is the carrier that runs a plugin as a WebAssembly module. In a
// module, [Guest] is the plugin's end of the conversation.
package wasm

import (
	"io"
	"maps"
	"runtime"
	"runtime/metrics"
	"sync"
	"unsafe"

	"github.com/nagatha/nagatha-runtime/sdk"
	"github.com/nagatha/nagatha-runtime/sdk/wire"
)

//go:wasmimport nagatha_v1 recv
func hostRecv(ptr unsafe.Pointer, capacity uint32, timeoutMS int32) int32

//go:wasmimport nagatha_v1 send
func hostSend(ptr unsafe.Pointer, length uint32)

// Guest returns the plugin's end of the conversation. There is one.
//
// A module has one thread: while it waits in the host, no goroutine runs. So it
// waits without limit only when no run is in flight. Otherwise it asks how many
// goroutines could run: if some can they are let, and if none can it waits a
// moment, so that timers fire. While all runs wait durably the moments grow further,
// up to a second: a timer, such as that of a context around the wait, fires a little
// late, and a module that waits for days costs next to nothing.
func Guest() wire.Conn {
	return &guest{buf: make([]byte, 16<<10), waits: map[[2]uint64]bool{}, runs: map[uint64]int{}}
}

type guest struct {
	buf []byte

	mu       sync.Mutex
	inflight int                // runs without a durable wait
	runs     map[uint64]int     // durable waits of each
	waits    map[[2]uint64]bool // the same, by run and call
	out      []byte             // reused; send copies it
}

const (
	shutDown = -1
	// The wait grows while nothing happens, up to where a timer's delay would be
	// felt.
	minWait = 1
	maxWait = 16
	maxPark = 1000 // where all runs wait durably
)

// Recv implements wire.Conn.
func (g *guest) Recv() (wire.Message, error) {
	// Let what the last message started run, and perhaps finish: then there is nothing
	// to ask for, and the goroutine's memory is used again.
	runtime.Gosched()
	wait := int32(0)
	for {
		n := hostRecv(unsafe.Pointer(&g.buf[0]), uint32(len(g.buf)), g.timeout(&wait))
		switch {
		case n == shutDown:
			return nil, io.EOF
		case n == 0:
			runtime.Gosched()
			continue
		case int(n) > len(g.buf):
			g.buf = make([]byte, n)
			continue
		}
		// The message keeps its bytes, the buffer is used again.
		m, err := wire.DecodeToPlugin(append([]byte(nil), g.buf[:n]...))
		if err != nil {
			return nil, err
		}
		g.mu.Lock()
		switch m := m.(type) {
		case *wire.Task:
			g.runs[m.Run] = 0
			g.inflight++
		case *wire.Cancel: // a run that waits has something to do again
			for call := range g.waits {
				if call[0] == m.Run {
					g.answered(call)
				}
			}
		case *wire.Reply:
			if call := [2]uint64{m.Run, m.Call}; g.waits[call] {
				g.answered(call)
			}
		}
		g.mu.Unlock()
		return m, nil
	}
}

// answered ends a durable wait. The caller holds mu.
func (g *guest) answered(call [2]uint64) {
	delete(g.waits, call)
	run := call[0]
	if g.runs[run]--; g.runs[run] == 0 {
		g.inflight++
	}
}

// timeout is how long the next recv may wait, in milliseconds, or −1.
func (g *guest) timeout(wait *int32) int32 {
	g.mu.Lock()
	busy, waits := g.inflight > 0, len(g.waits) > 0
	g.mu.Unlock()
	if !busy && !waits {
		return -1 // asking for runnable goroutines costs more than a small task
	}
	if runnable() > 0 {
		*wait = 0
		return 0
	}
	most := int32(maxWait)
	if !busy {
		most = maxPark
	}
	*wait = min(max(*wait*2, minWait), most)
	return *wait
}

// runnable is how many goroutines could run if this one let them.
func runnable() uint64 {
	s := []metrics.Sample{{Name: "/sched/goroutines/runnable:goroutines"}}
	metrics.Read(s)
	return s[0].Value.Uint64()
}

// Send implements wire.Conn.
func (g *guest) Send(m wire.Message) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	b, err := wire.Append(g.out[:0], m)
	if err != nil {
		return err
	}
	hostSend(unsafe.Pointer(&b[0]), uint32(len(b)))
	if g.out = b; cap(b) > 256<<10 {
		g.out = nil
	}
	switch m := m.(type) {
	case *wire.Result:
		if m.Run != 0 {
			if g.runs[m.Run] == 0 {
				g.inflight--
			} else { // nobody waits for the answers any more
				maps.DeleteFunc(g.waits, func(call [2]uint64, _ bool) bool { return call[0] == m.Run })
			}
			delete(g.runs, m.Run)
		}
	case *wire.Call:
		if m.Op == sdk.OpRun || m.Op == sdk.OpAwait || m.Op == sdk.OpApprove {
			g.waits[[2]uint64{m.Run, m.Call}] = true
			if g.runs[m.Run]++; g.runs[m.Run] == 1 {
				g.inflight--
			}
		}
	}
	return nil
}
