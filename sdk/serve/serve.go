// Package serve runs a plugin: it is the one line of a plugin's main.
//
//	func main() { serve.Main(plugin) }
//
// Built for a machine, the plugin is a process that the runtime starts; built
// with GOOS=wasip1 GOARCH=wasm, it is a module that the runtime loads. The
// source is the same.
//
// # Why
//
// Both transports carry the same messages (sdk/wire), so there is one loop. It is
// linked into every guest, and therefore small.
package serve

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"runtime/debug"
	"sync"
	"time"

	"github.com/nagatha/nagatha-runtime/sdk"
	"github.com/nagatha/nagatha-runtime/sdk/wire"
)

// Loop serves a plugin over conn until the host has gone or asks it to leave,
// and returns once its runs have ended, or have had [farewell] to. It returns the
// error of a conversation that broke.
func Loop(p sdk.Plugin, conn wire.Conn) error {
	l := &loop{plugin: p, conn: conn, runs: map[uint64]*run{}}
	l.ctx, l.cancel = context.WithCancelCause(context.Background())
	defer l.cancel(errLeaving)

	info, err := json.Marshal(p.Info())
	if err != nil {
		return err
	}
	if err := conn.Send(&wire.Manifest{Version: wire.Version, Info: info}); err != nil {
		return err
	}
	for {
		m, err := conn.Recv()
		if errors.Is(err, io.EOF) {
			err = nil
			m = &wire.Shutdown{}
		}
		if err != nil {
			l.leave()
			return err
		}
		switch m := m.(type) {
		case *wire.Configure:
			l.send(&wire.Result{Error: wire.FromError(l.configure(m.Config)), Payload: []byte("null")})
		case *wire.Task:
			l.start(m)
		case *wire.Reply:
			l.reply(m)
		case *wire.Cancel:
			l.stop(m)
		case *wire.Shutdown:
			l.leave()
			return nil
		}
	}
}

// farewell is how long runs may take to end when the plugin is shut down.
const farewell = 2 * time.Second

var errLeaving = errors.New("the plugin is being shut down")

type loop struct {
	plugin sdk.Plugin
	conn   wire.Conn
	ctx    context.Context
	cancel context.CancelCauseFunc

	mu   sync.Mutex
	runs map[uint64]*run
	wg   sync.WaitGroup
}

// send drops its error: a conversation that broke ends Recv as well.
func (l *loop) send(m wire.Message) { _ = l.conn.Send(m) }

func (l *loop) configure(config json.RawMessage) error {
	if c, ok := l.plugin.(sdk.Configurer); ok {
		return c.Configure(l.ctx, config)
	}
	return nil
}

func (l *loop) start(m *wire.Task) {
	r := &run{loop: l, id: m.Run, calls: map[uint64]chan *wire.Reply{}}
	ctx, cancel := context.WithCancelCause(l.ctx)
	r.cancel = cancel
	stop := func() {}
	if m.Deadline != 0 {
		var c context.CancelFunc
		ctx, c = context.WithDeadline(ctx, m.Deadline.Time())
		stop = c
	}
	l.mu.Lock()
	l.runs[m.Run] = r
	l.mu.Unlock()
	task := m.Task
	l.wg.Go(func() {
		payload, err := r.handle(ctx, &task)
		stop()
		cancel(nil)
		l.mu.Lock()
		delete(l.runs, m.Run)
		l.mu.Unlock()
		res := &wire.Result{Run: m.Run, Payload: payload, Error: wire.FromError(err)}
		if err := l.conn.Send(res); err != nil {
			// Too large to send: the run must have an end all the same.
			l.send(&wire.Result{Run: m.Run, Error: wire.FromError(err)})
		}
	})
}

func (l *loop) find(id uint64) *run {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.runs[id]
}

func (l *loop) reply(m *wire.Reply) {
	if r := l.find(m.Run); r != nil {
		r.reply(m)
	}
}

func (l *loop) stop(m *wire.Cancel) {
	if r := l.find(m.Run); r != nil {
		r.cancel(errors.New(m.Reason))
	}
}

// leave ends every run and closes the plugin.
func (l *loop) leave() {
	l.cancel(errLeaving)
	done := make(chan struct{})
	go func() {
		l.wg.Wait()
		close(done)
	}()
	t := time.NewTimer(farewell)
	defer t.Stop()
	select {
	case <-done:
	case <-t.C:
	}
	if c, ok := l.plugin.(io.Closer); ok {
		_ = c.Close()
	}
}

// handle calls the plugin and turns a panic into an error.
func (r *run) handle(ctx context.Context, task *sdk.Task) (payload json.RawMessage, err error) {
	defer func() {
		if p := recover(); p != nil {
			stack := debug.Stack()
			payload, err = nil, sdk.Errorf(sdk.CodeHandlerError, "panic: %v\n%s", p, stack[:min(len(stack), 4<<10)])
		}
	}()
	return r.loop.plugin.Handle(ctx, task, r) // the host's end checks that it is JSON
}
