package runtime

import (
	"context"
	"io"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/nagatha/nagatha-runtime/sdk"
)

// WatchRequest says what to follow and from where.
type WatchRequest struct {
	Task   string   // either a task
	Topics []string // or topics: task.<id>, kind.<kind>, queue.<name>, event.<type>, system.<…>

	// From is "start", "now", or a cursor; "" means start for a task and now for
	// topics. Last, where not 0, asks for the last events instead.
	From string
	Last int

	Types    []string // exact event types; empty: all
	Coalesce bool     // merge progress and output that wait
}

// Notice is one thing that a watcher is told: Method is the name of the
// protocol's notification.
type Notice struct {
	Method  string    // event, snapshot, live, gap, lag
	Cursor  string    // with event
	Entry   *LogEntry // with event
	FromSeq int64     // with a merged event: the first seq in it
	Task    *sdk.Task // with snapshot
	Reason  string    // with gap
	Behind  int64     // with lag
}

// Watch is a cursor over the log. It owns no events and no goroutine; a watcher
// that reads slowly lags, and loses nothing. Its methods are for one goroutine.
type Watch struct {
	r    *Runtime
	req  WatchRequest
	stop func()

	epoch     string
	pos       int64 // topics: everything up to here was read
	seq       int64 // task: likewise
	recovered bool
	gap       string

	first  []Notice // before anything else
	live   bool     // task: the live notice was sent
	ended  bool     // task: its latest life's end was read
	full   bool     // task: the last page was full, so there may be more
	lagged bool
	news   atomic.Int64 // the highest seq or position heard of
	look   atomic.Bool  // there is news of which the number is not known
	head   int64        // topics: the log's position when they were opened
	// log reads what the topics may select: the whole log, or published events alone.
	log  func(ctx context.Context, after int64, limit int) ([]LogEntry, error)
	more bool // topics: the last Next stopped while it looked for something
}

// lagFrom is how far behind a watcher must be to be told.
const lagFrom = 1000

// Watch opens a cursor. wake is called, from any goroutine, whenever Next may
// have something new, and perhaps once more after Close; it must not block. Close it
// when done.
func (r *Runtime) Watch(ctx context.Context, req WatchRequest, wake func()) (*Watch, error) {
	if (req.Task == "") == (len(req.Topics) == 0) {
		return nil, sdk.Invalid("task", "give either task or topics")
	}
	if req.Last < 0 || req.Last > 100_000 {
		return nil, sdk.Invalid("last", "want 1 to 100000, not %d", req.Last)
	}
	if req.Last > 0 && req.From != "" {
		return nil, sdk.Invalid("last", "give last or from, not both")
	}
	for _, t := range req.Topics {
		if !validTopic(t) {
			return nil, sdk.Invalid("topics", "%.80q: want task.<id>, kind.<kind>, queue.<name>, event.<type> or system.<name>, with * for one level and > for the rest", t)
		}
	}
	w := &Watch{r: r, req: req, recovered: true}

	// Listen before looking, so that nothing falls between the two.
	if req.Task != "" {
		w.stop = r.hub.watchTask(req.Task, func(c Change) {
			if c.Seq == 0 {
				w.look.Store(true)
			}
			raise(&w.news, c.Seq)
			wake()
		})
	} else {
		w.log = r.store.Log
		if w.published() {
			w.log = r.store.Published
		}
		w.stop = r.hub.watchTopics(req.Topics, func(head int64) { raise(&w.news, head); wake() })
	}
	var err error
	if req.Task != "" {
		err = w.openTask(ctx)
	} else {
		err = w.openTopics(ctx)
	}
	if err != nil {
		w.stop()
		return nil, err
	}
	return w, nil
}

func raise(v *atomic.Int64, to int64) {
	for {
		old := v.Load()
		if to <= old || v.CompareAndSwap(old, to) {
			return
		}
	}
}

func validTopic(t string) bool {
	root, rest, ok := strings.Cut(t, ".")
	return ok && slices.Contains([]string{"task", "kind", "queue", "event", "system"}, root) && sdk.ValidPattern(rest)
}

// Recovered is false only when history that a cursor pointed to is lost; the
// first notice is then the gap.
func (w *Watch) Recovered() bool { return w.recovered }

// Close ends the watch. It never waits for a wake that is under way.
func (w *Watch) Close() { w.stop() }

// More reports whether the last Next may have returned nothing only because it
// had looked through enough of the log for one call: call it again.
func (w *Watch) More() bool { return w.more }

// Next returns at most about limit notices and never waits for news: none means
// that wake will be called, or More. After the last notice of a task that has ended it
// returns io.EOF.
func (w *Watch) Next(ctx context.Context, limit int) ([]Notice, error) {
	out := w.first
	w.first = nil
	if w.ended {
		return out, io.EOF
	}
	var err error
	if w.req.Task != "" {
		out, err = w.nextTask(ctx, out, limit)
	} else {
		out, err = w.nextTopics(ctx, out, limit)
	}
	if w.req.Coalesce {
		out = coalesce(out)
	}
	return out, err
}

func (w *Watch) nextTask(ctx context.Context, out []Notice, limit int) ([]Notice, error) {
	if look := w.look.Swap(false); w.live && !w.full && !look && w.news.Load() <= w.seq {
		return out, nil
	}
	w.full = false
	// While nothing is wanted by type, go on reading: returning nothing would
	// mean that there is no more.
	for len(out) < limit {
		entries, err := w.r.store.TaskEvents(ctx, w.req.Task, w.seq, limit)
		if err != nil {
			return out, err
		}
		if w.live {
			out = w.lag(out, w.news.Load()-w.seq)
		}
		for i := range entries {
			e := &entries[i]
			w.seq = e.Task.Seq
			w.ended = e.Task.End
			if w.wants(e.Task.Type) {
				out = append(out, w.event(e, e.Task.Seq))
			}
		}
		if len(entries) == limit {
			continue
		}
		if !w.live {
			w.live = true
			out = append(out, Notice{Method: "live"})
		}
		return w.endOfTask(ctx, out, len(entries))
	}
	w.ended, w.full = false, true // there may be more behind it
	return out, nil
}

// endOfTask decides, once the log is read to its present end, whether the task's
// latest life has ended.
func (w *Watch) endOfTask(ctx context.Context, out []Notice, read int) ([]Notice, error) {
	if !w.ended && read > 0 {
		return out, nil
	}
	if !w.ended {
		// Nothing new. It ended before the cursor, or goes on.
		last, err := w.r.store.TaskEvents(ctx, w.req.Task, max(0, w.seq-1), 2)
		if err != nil {
			return out, err
		}
		w.ended = len(last) == 1 && last[0].Task.Seq == w.seq && last[0].Task.End
	}
	if w.ended {
		return out, io.EOF
	}
	return out, nil
}

func (w *Watch) nextTopics(ctx context.Context, out []Notice, limit int) ([]Notice, error) {
	// As many rows as are wanted, since each may be large; where few of them are, more
	// at a time.
	page := min(limit, maxPage)
	w.more = false
	for read := 0; len(out) < limit; read, page = read+page, min(2*page, maxPage) {
		if w.more = read >= maxLook; w.more {
			return out, nil
		}
		upTo := max(w.news.Load(), w.head)
		if w.pos >= upTo {
			return out, nil
		}
		entries, err := w.log(ctx, w.pos, page)
		if err != nil {
			return out, err
		}
		if len(entries) == page || !w.published() {
			out = w.lag(out, upTo-w.pos)
		}
		for i := range entries {
			e := &entries[i]
			if len(out) >= limit {
				return out, nil
			}
			w.pos = e.Pos
			if w.selects(e) {
				seq := int64(0)
				if e.Task != nil {
					seq = e.Task.Seq
				}
				out = append(out, w.event(e, seq))
			}
		}
		if len(entries) < page {
			w.pos = max(w.pos, upTo) // nothing stands between: pruned, not selected, or read
			return out, nil
		}
	}
	return out, nil
}

// published reports whether all topics are about published events.
func (w *Watch) published() bool {
	return !slices.ContainsFunc(w.req.Topics, func(t string) bool {
		return !strings.HasPrefix(t, "event.") && !strings.HasPrefix(t, "system.")
	})
}

// maxLook is how many rows of the log one Next looks through for what it wants:
// some milliseconds, so that a narrow topic over a long log does not keep the
// replies of its connection waiting.
const maxLook = 4096

// maxPage is how many rows one query of it reads.
const maxPage = 256

// lag tells once that the watcher is far behind, until it has caught up.
func (w *Watch) lag(out []Notice, behind int64) []Notice {
	switch {
	case behind > lagFrom && !w.lagged:
		w.lagged = true
		return append(out, Notice{Method: "lag", Behind: behind})
	case behind < lagFrom/10:
		w.lagged = false
	}
	return out
}

func (w *Watch) wants(typ string) bool {
	return len(w.req.Types) == 0 || slices.Contains(w.req.Types, typ)
}

func (w *Watch) selects(e *LogEntry) bool {
	if e.Task != nil {
		return w.wants(e.Task.Type) && matchTask(w.req.Topics, e.Task.Task, e.Kind, e.Queue)
	}
	return w.wants(e.Event.Type) && matchEvent(w.req.Topics, e.Event.Type)
}

func (w *Watch) event(e *LogEntry, seq int64) Notice {
	return Notice{Method: "event", Cursor: cursor{w.epoch, e.Pos, seq}.String(), Entry: e}
}
