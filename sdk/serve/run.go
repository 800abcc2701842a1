package serve

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"

	"github.com/nagatha/nagatha-runtime/sdk"
	"github.com/nagatha/nagatha-runtime/sdk/wire"
)

// run is one attempt in the plugin, and the Host that its handler gets.
type run struct {
	loop     *loop
	id       uint64
	task     *sdk.Task
	ctx      context.Context
	cancel   context.CancelCauseFunc
	deadline *deadline     // nil: none
	over     chan struct{} // closed once the result is sent; nil between tasks

	mu    sync.Mutex
	last  uint64
	calls map[uint64]chan *wire.Reply
}

var _ sdk.Host = (*run)(nil)

// run sees the task to its end.
func (r *run) run() {
	payload, fault := attempt(func() (json.RawMessage, error) {
		return r.loop.plugin.Handle(r.ctx, r.task, r) // the host's end checks that it is JSON
	})
	if r.deadline != nil {
		r.deadline.end()
	}
	r.cancel(nil)
	res := &wire.Result{Run: r.id, Payload: payload, Error: fault}
	if err := r.loop.conn.Send(res); err != nil {
		// Too large to send: the run must have an end all the same.
		r.loop.send(&wire.Result{Run: r.id, Error: wire.FromError(err)})
	}
	close(r.over)
}

// attempt calls the plugin's code and turns a panic into an error. The text of an error
// is the plugin's code too.
func attempt(f func() (json.RawMessage, error)) (payload json.RawMessage, fault *wire.Error) {
	defer func() {
		if p := recover(); p != nil {
			stack := debug.Stack()
			payload, fault = nil, wire.FromError(sdk.Errorf(sdk.CodeHandlerError, "panic: %v\n%s", p, stack[:min(len(stack), 4<<10)]))
		}
	}()
	payload, err := f()
	return payload, wire.FromError(err)
}

// outputChunk is the most bytes of one output message; longer ones are split.
const outputChunk = 64 << 10

// Progress implements sdk.Host.
func (r *run) Progress(done, total float64, message string) {
	r.loop.send(&wire.Progress{Run: r.id, Progress: sdk.Progress{Progress: done, Total: total, Message: message}})
}

// Log implements sdk.Host.
func (r *run) Log(level slog.Level, message string, args ...any) {
	var attrs json.RawMessage
	if len(args) > 0 {
		m := map[string]any{}
		var rec slog.Record
		rec.Add(args...)
		rec.Attrs(func(a slog.Attr) bool {
			v := a.Value.Resolve().Any()
			if err, ok := v.(error); ok {
				v = err.Error()
			}
			if _, err := json.Marshal(v); err != nil {
				v = fmt.Sprint(v)
			}
			m[a.Key] = v
			return true
		})
		attrs, _ = json.Marshal(m) // each value was tried
	}
	r.loop.send(&wire.Log{Run: r.id, Level: int(level), Message: message, Attrs: attrs})
}

// Output implements sdk.Host.
func (r *run) Output(stream string, data []byte) {
	for len(data) > 0 {
		n := cut(data)
		r.loop.send(&wire.Output{Run: r.id, Stream: stream, Data: data[:n]})
		data = data[n:]
	}
}

// cut is where to split output: at a character's border where there is one near,
// so that text stays text.
func cut(data []byte) int {
	if len(data) <= outputChunk {
		return len(data)
	}
	for n := outputChunk; n > outputChunk-4; n-- {
		if data[n]&0xC0 != 0x80 { // not the middle of a UTF-8 sequence
			return n
		}
	}
	return outputChunk
}

// Call implements sdk.Host.
func (r *run) Call(ctx context.Context, op string, request []byte) ([]byte, error) {
	ch := make(chan *wire.Reply, 1)
	r.mu.Lock()
	r.last++
	id := r.last
	if r.calls == nil {
		r.calls = map[uint64]chan *wire.Reply{}
	}
	r.calls[id] = ch
	r.mu.Unlock()
	defer func() {
		r.mu.Lock()
		delete(r.calls, id)
		r.mu.Unlock()
	}()
	if err := r.loop.conn.Send(&wire.Call{Run: r.id, Call: id, Op: op, Payload: request}); err != nil {
		return nil, sdk.AsError(err)
	}
	select {
	case m := <-ch:
		if m.Error != nil {
			return nil, m.Error.SDK()
		}
		return m.Payload, nil
	case <-r.over:
		return nil, sdk.Errorf(sdk.CodeUnavailable, "%s: the attempt is over", op)
	case <-ctx.Done():
		return nil, sdk.Errorf(sdk.CodeCancelled, "%s: %v", op, context.Cause(ctx))
	}
}

func (r *run) reply(m *wire.Reply) {
	r.mu.Lock()
	ch := r.calls[m.Call]
	r.mu.Unlock()
	if ch != nil {
		select {
		case ch <- m:
		default: // answered twice
		}
	}
}
