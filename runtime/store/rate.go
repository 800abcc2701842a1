package store

import (
	"fmt"
	"time"

	"github.com/nagatha/nagatha-runtime/runtime"
	"github.com/nagatha/nagatha-runtime/sdk"
)

// Rate limits are kept by the generic cell rate algorithm (ITU-T I.371): one number
// a limit, the time at which the next start would be due if all had come evenly. A
// start is allowed while that time is less than a burst ahead of now. A clock that
// steps back leaves it too far ahead, which is cut to what a burst can make it; one
// that steps forward allows one burst. It may be a little too far ahead, since nodes'
// clocks differ: cutting that too would give what one node has used up to the next.

// cell is a rate limit's arithmetic, in microseconds.
type cell struct{ interval, burst int64 }

func cellOf(r runtime.Rate) cell {
	interval := max(1, r.Period.Std().Microseconds()/int64(r.N))
	burst := int64(r.Burst)
	if burst == 0 {
		burst = max(1, int64(time.Second/20/time.Microsecond)/interval)
	}
	return cell{interval, burst}
}

// allows says how many may start now, and from when the next may.
func (c cell) allows(tat, now int64) (n, next int64) {
	tat = c.settle(tat, now)
	n = (now + c.burst*c.interval - tat) / c.interval
	return n, tat + c.interval - c.burst*c.interval
}

// skew is how far the clocks of nodes may differ, in microseconds.
const skew = int64(10 * time.Second / time.Microsecond)

// settle brings a stored time up to now.
func (c cell) settle(tat, now int64) int64 {
	if most := now + c.burst*c.interval; tat > most+skew {
		return most
	}
	return max(tat, now)
}

// after is the time to store once n have started.
func (c cell) after(tat, now, n int64) int64 { return c.settle(tat, now) + n*c.interval }

// rate reads a limit's row, keeping other nodes off it.
func (t *tick) rate(queue, key string) (tat int64, err error) {
	found := false
	read := func() error {
		return t.query(`SELECT tat FROM rates WHERE queue = $1 AND key = $2`+t.dialect.hold,
			func(r Row) error { found = true; return r.Scan(&tat) }, queue, key)
	}
	if err = read(); err != nil || found {
		return tat, err
	}
	if _, err = t.exec(`INSERT INTO rates (queue, key, tat) VALUES ($1, $2, 0) ON CONFLICT DO NOTHING`, queue, key); err != nil {
		return 0, fmt.Errorf("make a rate limit's row: %w", err)
	}
	return tat, read()
}

func (t *tick) setRate(queue, key string, tat int64, due sdk.Time) error {
	_, err := t.exec(`UPDATE rates SET tat = $1, due = $2 WHERE queue = $3 AND key = $4`, tat, int64(due), queue, key)
	return err
}

// micros is a time as rates have it.
func micros(t sdk.Time) int64 { return int64(t) * 1000 }

// millis rounds up: looking too early would find nothing.
func millis(us int64) sdk.Time { return sdk.Time((us + 999) / 1000) }

// toll is what a lane's rate has to do with a claim.
type toll struct {
	queue       string
	cell        cell
	stored, tat int64
	left, used  int
	short       bool // it held tasks back
}

// rateOf says how many tasks of a lane may start.
func (t *tick) rateOf(lane *runtime.Lane) (*toll, error) {
	p := &toll{queue: lane.Queue, left: unlimited}
	rate := t.limitsOf(lane.Queue).Rate
	if rate.N == 0 {
		return p, nil
	}
	p.cell = cellOf(rate)
	var err error
	if p.stored, err = t.rate(lane.Queue, ""); err != nil {
		return p, fmt.Errorf("rate of queue %q: %w", lane.Queue, err)
	}
	now := micros(t.now)
	p.tat = p.cell.settle(p.stored, now)
	n, _ := p.cell.allows(p.tat, now)
	p.left = int(max(n, 0))
	return p, nil
}

const unlimited = 1 << 30

// affords reports whether one more task may start. What goes on after it waited has
// started before, and is free.
func (p *toll) affords(line int) bool {
	if line >= resumeLine || p.left > 0 {
		return true
	}
	p.short = true
	return false
}

func (p *toll) pay(line int) {
	if p.cell.interval > 0 && line < resumeLine {
		p.left--
		p.used++
	}
}

// payRates notes what a claim took, and when to look again where a rate allows no more.
func (t *tick) payRates(paid []*toll) error {
	for _, p := range paid {
		now := micros(t.now)
		p.tat = p.cell.after(p.tat, now, int64(p.used))
		// Without a start it changes only where the clock stepped back, and must
		// be kept then, or the limit would stand still until the old time comes.
		if p.used > 0 || p.tat < p.stored {
			if err := t.setRate(p.queue, "", p.tat, 0); err != nil {
				return fmt.Errorf("rate of queue %q: %w", p.queue, err)
			}
		}
		if n, next := p.cell.allows(p.tat, now); n <= 0 && (p.short || p.used > 0) {
			t.limited.Store(p.queue, millis(next))
			t.lookAgain(millis(next))
		}
	}
	return nil
}

// RateLimited implements runtime.Store.
func (s *Store) RateLimited(queue string) bool {
	until, ok := s.limited.Load(queue)
	return ok && until.(sdk.Time) > s.cfg.Now()
}
