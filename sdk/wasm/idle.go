//go:build !wasip1

package wasm

import (
	"context"
	"log/slog"
	"runtime/debug"
	"time"
)

// rest notes that an instance has nothing to do from now on. The caller holds mu.
func (p *Plugin) rest(in *instance) {
	in.since = time.Now()
	if p.cfg.Idle <= 0 || p.closed || p.watching {
		return
	}
	p.watching = true
	if p.idle == nil {
		p.idle = time.AfterFunc(p.cfg.Idle, p.retire)
		return
	}
	p.idle.Reset(p.cfg.Idle)
}

// retire lets the instances go that have had nothing to do for long enough, and with
// the last of them the module.
func (p *Plugin) retire() {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return
	}
	var stay, leave []*instance
	now, next := time.Now(), time.Duration(0)
	for _, in := range p.pool {
		left := p.cfg.Idle - now.Sub(in.since)
		switch {
		case in.runs > 0: // its release looks again
			stay = append(stay, in)
		case left > 0:
			stay = append(stay, in)
			if next == 0 || left < next {
				next = left
			}
		default:
			leave = append(leave, in)
		}
	}
	p.pool = stay
	p.watching = next > 0
	if p.watching {
		p.idle.Reset(next)
	}
	var unused *module
	if len(stay) == 0 && p.starting == 0 {
		unused, p.module = p.module, nil
	}
	p.all.Add(1) // while mu says that the plugin is open
	p.mu.Unlock()
	defer p.all.Done()
	for _, in := range leave {
		in.leave()
	}
	ctx, cancel := context.WithTimeout(context.Background(), grace)
	defer cancel()
	for _, in := range leave {
		select {
		case <-in.ended:
		case <-ctx.Done():
			in.kill(errClosed)
		case <-p.done:
			in.kill(errClosed)
		}
	}
	if err := unused.close(context.Background()); err != nil {
		p.cfg.Log(slog.LevelWarn, "free the module: "+err.Error())
	}
	if unused != nil {
		debug.FreeOSMemory() // wazero leaves unmapping the code to the garbage collector
	}
}

// grace is for leaving.
const grace = 5 * time.Second
