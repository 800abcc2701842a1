//go:build !wasip1

package wasm

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/nagatha/nagatha-runtime/sdk"
)

// Handle implements sdk.Plugin: the attempt takes a free slot of an instance, or
// a new instance, or waits for one of them.
func (p *Plugin) Handle(ctx context.Context, task *sdk.Task, host sdk.Host) (json.RawMessage, error) {
	in, err := p.acquire(ctx)
	if err != nil {
		return nil, err
	}
	defer p.release(in)
	if !sdk.Begun(ctx) {
		return nil, sdk.ErrNotStarted
	}
	start := time.Now()
	defer func() { p.took(time.Since(start)) }()
	return in.session.Run(ctx, task, host, func() {
		in.kill(fmt.Errorf("%w: %w", sdk.ErrBystander,
			sdk.Errorf(sdk.CodePluginCrashed, "the instance was closed because another attempt in it did not stop")))
	})
}

// Ahead is how many attempts more than fit at once are welcome: they wait here for a
// free instance. Where attempts are short, fetching them one by one would take longer
// than running them; where they are long, another node should have them.
func (p *Plugin) Ahead() int {
	took := time.Duration(p.pace.Load())
	if took == 0 || took > aheadFor/2 {
		return 0
	}
	return min(int(aheadFor/took), maxAhead) * p.Capacity()
}

// aheadFor is how much work an instance has waiting.
const (
	aheadFor = 10 * time.Millisecond
	maxAhead = 64
)

// took notes how long an attempt took, in a moving average.
func (p *Plugin) took(d time.Duration) {
	old := p.pace.Load()
	if old == 0 {
		old = int64(d)
	}
	p.pace.Store(max(1, old+(int64(d)-old)/8)) // a lost update does no harm
}

func (p *Plugin) acquire(ctx context.Context) (*instance, error) {
	for {
		p.mu.Lock()
		if p.closed {
			p.mu.Unlock()
			return nil, sdk.ErrNotStarted
		}
		for _, in := range p.pool {
			if in.alive() && in.runs < p.cfg.Concurrency && in.served < p.cfg.MaxTasks {
				in.runs++
				in.served++
				p.mu.Unlock()
				return in, nil
			}
		}
		if len(p.pool)+p.starting < p.cfg.Instances {
			p.starting++
			config := p.configured
			p.mu.Unlock()
			return p.grow(ctx, config)
		}
		free := p.free
		p.mu.Unlock()
		select {
		case <-free:
		case <-ctx.Done():
			return nil, fmt.Errorf("%w: %w", sdk.ErrNotStarted, context.Cause(ctx))
		}
	}
}

// grow starts an instance, configures it, and takes its first slot.
func (p *Plugin) grow(ctx context.Context, config json.RawMessage) (*instance, error) {
	// Not under the attempt's context: a half-started instance would be lost.
	start, cancel := context.WithTimeout(context.WithoutCancel(ctx), p.cfg.StartTimeout)
	defer cancel()
	var in *instance
	m, err := p.load(start)
	if err == nil {
		in, err = p.instantiate(start, m)
	}
	if err == nil && config != nil {
		if err = in.session.Configure(start, config); err != nil {
			in.kill(err)
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.starting--
	p.wake()
	if err != nil {
		return nil, sdk.Errorf(sdk.CodePluginCrashed, "start another instance: %v", err)
	}
	if p.closed {
		in.leave()
		return nil, sdk.ErrNotStarted
	}
	in.runs, in.served = 1, 1
	p.pool = append(p.pool, in)
	return in, nil
}

// release gives a slot back. An instance that has served enough leaves with its
// last run; its memory goes with it.
func (p *Plugin) release(in *instance) {
	p.mu.Lock()
	in.runs--
	worn := in.runs == 0 && (in.served >= p.cfg.MaxTasks || in.bytes() > uint32(p.cfg.Memory/4*3))
	if worn {
		p.remove(in)
	}
	if in.runs == 0 {
		p.rest(in)
	}
	p.wake()
	p.mu.Unlock()
	if worn {
		in.leave()
	}
}

// remove takes an instance out of the pool. The caller holds mu.
func (p *Plugin) remove(in *instance) {
	for i, other := range p.pool {
		if other == in {
			p.pool = append(p.pool[:i], p.pool[i+1:]...)
			return
		}
	}
}

// gone takes an instance that has ended out of the pool.
func (p *Plugin) gone(in *instance) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.remove(in)
	p.wake()
}

// wake lets those look again who wait for a slot. The caller holds mu.
func (p *Plugin) wake() {
	if !p.closed {
		close(p.free)
		p.free = make(chan struct{})
	}
}
