package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// payload is 256 bytes of JSON.
var payload = json.RawMessage(`{"data":"` + strings.Repeat("x", 245) + `"}`)

// system is a task queue as the cases of this file need it. It has started
// nothing when it is opened.
type system interface {
	submit(k int) error // k tasks in one call, durable as configured
	start() error       // let work begin
	stop() error
}

// probe is what a system tells of its work. Started is called when a handler is
// entered, and may be nil; done counts tasks whose end is stored.
type probe struct {
	started func()
	done    *meter
}

// opener opens a system on an empty directory.
type opener func(b *bed, p *probe) (system, error)

// load is how a system is loaded.
type load struct {
	n, callers            int // tasks one by one, from so many goroutines
	sets, setCallers, set int // tasks in sets of set; 0 where it has no such call
}

const (
	measureSingly = "submit and drain, one by one"
	measureSets   = "submit and drain, in sets"
	measureSubmit = "submit alone"
	measureDrain  = "drain of a backlog"
)

// throughput measures submitting and working together, and the drain of what was
// submitted before.
func throughput(open opener, l load) func(b *bed) error {
	return func(b *bed) error {
		together := func(name string, callers, n, set int) error {
			m := newMeter(int64(n))
			s, err := open(b, &probe{done: m})
			if err != nil {
				return err
			}
			if err := s.start(); err != nil {
				return errors.Join(err, s.stop())
			}
			begin := time.Now()
			err = spread(callers, n, set, s.submit)
			if err == nil {
				err = m.wait(b, 0)
			}
			if err == nil {
				b.report(name, "/s", float64(n)/m.at(0).when.Sub(begin).Seconds())
			}
			return errors.Join(err, s.stop())
		}
		if err := together(measureSingly, l.callers, l.n, 1); err != nil {
			return fmt.Errorf("%s: %w", measureSingly, err)
		}
		n, callers, set := l.n, l.callers, 1
		if l.set > 0 {
			n, callers, set = l.sets, l.setCallers, l.set
			if err := together(measureSets, callers, n, set); err != nil {
				return fmt.Errorf("%s: %w", measureSets, err)
			}
		}
		m := newMeter(int64(n))
		s, err := open(b, &probe{done: m})
		if err != nil {
			return err
		}
		begin := time.Now()
		if err := spread(callers, n, set, s.submit); err != nil {
			return errors.Join(err, s.stop())
		}
		b.report(measureSubmit, "/s", float64(n)/time.Since(begin).Seconds())
		begin = time.Now()
		err = s.start()
		if err == nil {
			err = m.wait(b, 0)
		}
		if err == nil {
			b.report(measureDrain, "/s", float64(n)/m.at(0).when.Sub(begin).Seconds())
		}
		return errors.Join(err, s.stop())
	}
}

// backlog drains n tasks and compares the first tenth with the last.
func backlog(open opener, n int) func(b *bed) error {
	return func(b *bed) error {
		tenth := int64(n / 10)
		m := newMeter(tenth, int64(n)-tenth, int64(n))
		s, err := open(b, &probe{done: m})
		if err != nil {
			return err
		}
		begin := time.Now()
		if err := spread(4, n, 1000, s.submit); err != nil {
			return errors.Join(err, s.stop())
		}
		b.report(measureSubmit, "/s", float64(n)/time.Since(begin).Seconds())
		begin = time.Now()
		err = s.start()
		for i := range 3 {
			if err == nil {
				err = m.wait(b, i)
			}
		}
		if err == nil {
			first := float64(tenth) / m.at(0).when.Sub(begin).Seconds()
			last := float64(tenth) / m.at(2).when.Sub(m.at(1).when).Seconds()
			b.report(measureDrain, "/s", float64(n)/m.at(2).when.Sub(begin).Seconds())
			b.report("rate of the first tenth", "/s", first)
			b.report("rate of the last tenth", "/s", last)
			b.report("memory after the first tenth", "MiB", m.at(0).memory)
			b.report("memory after the last tenth", "MiB", m.at(2).memory)
		}
		return errors.Join(err, s.stop())
	}
}

const measureStart = "submit to handler"

// idle measures n tasks one at a time, with a pause after each.
func idle(open opener, n int) func(b *bed) error {
	return func(b *bed) error {
		entered := make(chan time.Time, 1)
		s, err := open(b, &probe{done: newMeter(), started: func() { entered <- time.Now() }})
		if err != nil {
			return err
		}
		err = s.start()
		took := make([]time.Duration, 0, n)
		for i := -3; i < n && err == nil; i++ {
			begin := time.Now()
			if err = s.submit(1); err != nil {
				break
			}
			select {
			case t := <-entered:
				if i >= 0 { // the first few warm up
					took = append(took, t.Sub(begin))
				}
			case <-time.After(30 * time.Second):
				err = errors.New("the handler is not called")
			case <-b.ctx.Done():
				err = b.ctx.Err()
			}
			time.Sleep(20*time.Millisecond + rand.N(100*time.Millisecond))
		}
		if err == nil {
			b.percentiles(measureStart, took)
		}
		return errors.Join(err, s.stop())
	}
}

func (b *bed) percentiles(name string, took []time.Duration) {
	slices.Sort(took)
	for _, p := range []int{50, 99} {
		d := took[min(len(took)*p/100, len(took)-1)]
		b.report(fmt.Sprintf("%s, p%d", name, p), "ms", float64(d)/float64(time.Millisecond))
	}
}

// spread calls submit for n tasks in all, set at a time, from so many goroutines.
func spread(callers, n, set int, submit func(k int) error) error {
	var next atomic.Int64
	var wg sync.WaitGroup
	errs := make([]error, callers)
	for g := range callers {
		wg.Go(func() {
			for errs[g] == nil {
				from := int(next.Add(int64(set))) - set
				if from >= n {
					return
				}
				errs[g] = submit(min(set, n-from))
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}
