package main

import (
	"fmt"
	"sync/atomic"
	"time"
)

// meter counts, and notes when certain counts are reached.
type meter struct {
	n     atomic.Int64
	marks []*mark
}

type mark struct {
	count  int64
	when   time.Time
	memory float64 // MiB, of this process
	hit    chan struct{}
}

func newMeter(counts ...int64) *meter {
	m := &meter{}
	for _, c := range counts {
		m.marks = append(m.marks, &mark{count: c, hit: make(chan struct{})})
	}
	return m
}

func (m *meter) add(k int64) {
	if k == 0 {
		return
	}
	now := m.n.Add(k)
	for _, k2 := range m.marks {
		if now-k < k2.count && k2.count <= now {
			k2.when, k2.memory = time.Now(), resident()
			close(k2.hit)
		}
	}
}

// patience is how long no progress at all may last.
const patience = time.Minute

// wait waits for the i-th mark; it fails when nothing moves any more.
func (m *meter) wait(b *bed, i int) error {
	seen := m.n.Load()
	for {
		select {
		case <-m.marks[i].hit:
			return nil
		case <-b.ctx.Done():
			return b.ctx.Err()
		case <-time.After(patience):
			if now := m.n.Load(); now != seen {
				seen = now
				continue
			}
			return fmt.Errorf("stuck after %d of %d tasks", seen, m.marks[i].count)
		}
	}
}

// at is the i-th mark, once wait has returned.
func (m *meter) at(i int) *mark { return m.marks[i] }
