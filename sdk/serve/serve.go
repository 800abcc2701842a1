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
	"sync"
	"time"

	"github.com/nagatha/nagatha-runtime/sdk"
	"github.com/nagatha/nagatha-runtime/sdk/wire"
)

// Loop serves a plugin over conn until the host has gone or asks it to leave,
// and returns once its runs have ended, or have had [farewell] to. It returns the
// error of a conversation that broke.
func Loop(p sdk.Plugin, conn wire.Conn) error {
	l := &loop{plugin: p, conn: conn, runs: map[uint64]*run{}, next: make(chan *run, keep)}
	l.ctx, l.cancel = context.WithCancelCause(context.Background())
	defer l.cancel(errLeaving)

	info, err := json.Marshal(p.Info())
	if err != nil {
		return err
	}
	if err := conn.Send(&wire.Manifest{Version: wire.Version, Info: info}); err != nil {
		return err
	}
	l.between = &run{loop: l, ctx: l.ctx}
	if s, ok := p.(sdk.Starter); ok {
		s.Start(outside{l.between})
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
			payload, fault := attempt(func() (json.RawMessage, error) { return json.RawMessage("null"), l.configure(m.Config) })
			l.send(&wire.Result{Error: fault, Payload: payload})
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

	mu      sync.Mutex
	runs    map[uint64]*run
	idle    int  // goroutines that wait on next
	leaving bool // no task will come any more
	next    chan *run
	wg      sync.WaitGroup

	between *run // calls outside runs
}

// send drops its error: a conversation that broke ends Recv as well.
func (l *loop) send(m wire.Message) { _ = l.conn.Send(m) }

func (l *loop) configure(config json.RawMessage) error {
	if c, ok := l.plugin.(sdk.Configurer); ok {
		return c.Configure(l.ctx, config)
	}
	return nil
}

// start gives a task to an idle goroutine, or to a new one.
func (l *loop) start(m *wire.Task) {
	r := &run{loop: l, id: m.Run, task: &m.Task, over: make(chan struct{})}
	r.ctx, r.cancel = context.WithCancelCause(l.ctx)
	if m.Deadline != 0 {
		r.deadline = &deadline{Context: r.ctx, at: m.Deadline.Time()}
		r.ctx = r.deadline
	}
	l.mu.Lock()
	l.runs[m.Run] = r
	idle := l.idle > 0
	if idle {
		l.idle--
	}
	l.mu.Unlock()
	if idle {
		l.next <- r
		return
	}
	l.wg.Go(func() { l.work(r) })
}

// keep is how many goroutines that have run a task wait for another. A new one is not
// cheap: its stack grows with the first task.
const keep = 64

func (l *loop) work(r *run) {
	for r != nil {
		r.run()
		l.mu.Lock()
		delete(l.runs, r.id)
		stay := l.idle < keep && !l.leaving
		if stay {
			l.idle++
		}
		l.mu.Unlock()
		if !stay {
			return
		}
		r = <-l.next // nil: the plugin leaves
	}
}

func (l *loop) find(id uint64) *run {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.runs[id]
}

func (l *loop) reply(m *wire.Reply) {
	if m.Run == 0 {
		l.between.reply(m)
	} else if r := l.find(m.Run); r != nil {
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
	l.mu.Lock()
	l.leaving = true
	l.mu.Unlock()
	close(l.next)
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
