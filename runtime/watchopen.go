package runtime

import "context"

// start reads where to begin from a cursor, and notes a gap where the history
// that it points to is not there any more.
func (w *Watch) start(head Head) (c cursor, ok bool, err error) {
	switch w.req.From {
	case "", "start", "now":
		return cursor{}, false, nil
	}
	c, err = parseCursor(w.req.From)
	if err != nil {
		return cursor{}, false, err
	}
	switch {
	case c.epoch != head.Epoch:
		w.gap = "the cursor belongs to another history: the database was restored or replaced"
	case c.pos > head.Pos:
		w.gap = "the cursor is ahead of the log: the database was replaced by an older one"
	case w.req.Task == "" && c.pos < head.Pruned:
		w.gap = "events after the cursor are past their retention"
	default:
		return c, true, nil
	}
	w.recovered = false
	w.first = append(w.first, Notice{Method: "gap", Reason: w.gap})
	return cursor{}, false, nil
}

func (w *Watch) openTask(ctx context.Context) error {
	head, err := w.r.store.Head(ctx)
	if err != nil {
		return err
	}
	w.epoch = head.Epoch
	c, ok, err := w.start(head)
	if err != nil {
		return err
	}
	switch {
	case ok:
		w.seq, err = w.seqOf(ctx, c)
	case w.req.From == "now":
		w.seq, err = w.lastSeq(ctx)
	case w.req.Last > 0:
		w.seq, err = w.lastTask(ctx)
	}
	if err != nil {
		return err
	}
	// The snapshot after the place: an end between the two is then in one of them at least.
	task, err := w.r.Task(ctx, w.req.Task)
	if err != nil {
		return err
	}
	w.first = append(w.first, Notice{Method: "snapshot", Task: &task})
	return nil
}

// seqOf finds the number of the task's last event at or before a cursor. Numbers
// and positions grow together, so it is a binary search.
func (w *Watch) seqOf(ctx context.Context, c cursor) (int64, error) {
	at := func(seq int64) (*LogEntry, error) {
		es, err := w.r.store.TaskEvents(ctx, w.req.Task, seq-1, 1)
		if err != nil || len(es) == 0 {
			return nil, err
		}
		return &es[0], nil
	}
	if c.seq > 0 {
		e, err := at(c.seq)
		if err != nil {
			return 0, err
		}
		if e != nil && e.Pos == c.pos {
			return c.seq, nil
		}
	}
	last, err := w.lastSeq(ctx)
	if err != nil {
		return 0, err
	}
	lo, hi := int64(0), last // the answer is in lo…hi
	for lo < hi {
		mid := (lo + hi + 1) / 2
		e, err := at(mid)
		if err != nil {
			return 0, err
		}
		if e != nil && e.Pos <= c.pos {
			lo = mid
		} else {
			hi = mid - 1
		}
	}
	return lo, nil
}

// lastSeq finds the number of the task's last event, by doubling and halving.
func (w *Watch) lastSeq(ctx context.Context) (int64, error) {
	exists := func(seq int64) (bool, error) {
		es, err := w.r.store.TaskEvents(ctx, w.req.Task, seq-1, 1)
		return len(es) > 0, err
	}
	hi := int64(1)
	for {
		ok, err := exists(hi)
		if err != nil {
			return 0, err
		}
		if !ok {
			break
		}
		hi *= 2
	}
	lo := hi / 2 // exists, or 0
	for lo+1 < hi {
		mid := (lo + hi) / 2
		ok, err := exists(mid)
		if err != nil {
			return 0, err
		}
		if ok {
			lo = mid
		} else {
			hi = mid
		}
	}
	return lo, nil
}

// lastTask finds the number after which the last req.Last wanted events stand.
func (w *Watch) lastTask(ctx context.Context) (int64, error) {
	last, err := w.lastSeq(ctx)
	if err != nil || len(w.req.Types) == 0 {
		return max(0, last-int64(w.req.Last)), err
	}
	return w.backwards(last, window, func(after, upTo int64) ([]int64, error) {
		es, err := w.r.store.TaskEvents(ctx, w.req.Task, after, int(upTo-after))
		var wanted []int64
		for _, e := range es {
			if w.wants(e.Task.Type) {
				wanted = append(wanted, e.Task.Seq)
			}
		}
		return wanted, err
	})
}

// window is how many numbers of the log one read backwards takes; where only
// published events are read, most numbers are none.
const (
	window          = 1000
	publishedWindow = 10_000
)

// backwards reads windows from the end of (0, last] until req.Last wanted
// numbers were found, and returns the place before the first of them.
func (w *Watch) backwards(last, size int64, wanted func(after, upTo int64) ([]int64, error)) (int64, error) {
	missing := w.req.Last
	for upTo := last; upTo > 0; {
		after := max(0, upTo-size)
		found, err := wanted(after, upTo)
		if err != nil {
			return 0, err
		}
		if len(found) >= missing {
			return found[len(found)-missing] - 1, nil
		}
		missing -= len(found)
		upTo = after
	}
	return 0, nil
}

func (w *Watch) openTopics(ctx context.Context) error {
	head, err := w.r.store.Head(ctx)
	if err != nil {
		return err
	}
	w.epoch, w.head = head.Epoch, head.Pos
	c, ok, err := w.start(head)
	switch {
	case err != nil:
		return err
	case ok:
		w.pos = c.pos
	case w.req.From == "start" || w.gap != "":
		w.pos = 0 // the oldest that is kept
	case w.req.Last > 0:
		size := int64(window)
		if w.published() {
			size = publishedWindow
		}
		w.pos, err = w.backwards(head.Pos, size, func(after, upTo int64) ([]int64, error) {
			es, err := w.log(ctx, after, int(upTo-after))
			var wanted []int64
			for i := range es {
				if es[i].Pos <= upTo && w.selects(&es[i]) {
					wanted = append(wanted, es[i].Pos)
				}
			}
			return wanted, err
		})
	default:
		w.pos = head.Pos
	}
	return err
}
