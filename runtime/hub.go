package runtime

import (
	"strings"
	"sync"
	"sync/atomic"

	"github.com/nagatha/nagatha-runtime/sdk"
)

// hub wakes those who watch the log. It carries no events: it only says that
// there are some, and readers read the store.
type hub struct {
	mu     sync.RWMutex
	tasks  map[string]map[*taskWatcher]struct{}
	topics map[*topicWatcher]struct{}
	head   atomic.Int64 // the log's position after the last commit heard of
}

type taskWatcher struct{ wake func(Change) }

type topicWatcher struct {
	patterns []string
	wake     func(head int64)
}

func (h *hub) init() {
	h.tasks = map[string]map[*taskWatcher]struct{}{}
	h.topics = map[*topicWatcher]struct{}{}
}

// watchTask calls wake, which must not block, on each change of the task until
// the returned func is called, and perhaps once more after that.
func (h *hub) watchTask(id string, wake func(Change)) (stop func()) {
	w := &taskWatcher{wake}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.tasks[id] == nil {
		h.tasks[id] = map[*taskWatcher]struct{}{}
	}
	h.tasks[id][w] = struct{}{}
	return func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		delete(h.tasks[id], w)
		if len(h.tasks[id]) == 0 {
			delete(h.tasks, id)
		}
	}
}

// watchTopics calls wake when a commit may have added to one of the topics.
func (h *hub) watchTopics(patterns []string, wake func(head int64)) (stop func()) {
	w := &topicWatcher{patterns, wake}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.topics[w] = struct{}{}
	return func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		delete(h.topics, w)
	}
}

// committed wakes whom a commit concerns. It does so without the lock: a watcher may
// stop while it holds one that its wake waits for.
func (h *hub) committed(c Commit) {
	raise(&h.head, c.Head)
	for _, wake := range h.concerned(c) {
		wake()
	}
}

func (h *hub) concerned(c Commit) (wakes []func()) {
	h.mu.RLock()
	defer h.mu.RUnlock()
	if c.All {
		for id, watchers := range h.tasks {
			for w := range watchers {
				wakes = append(wakes, func() { w.wake(Change{ID: id}) })
			}
		}
	} else if len(h.tasks) > 0 {
		for _, change := range c.Tasks {
			for w := range h.tasks[change.ID] {
				wakes = append(wakes, func() { w.wake(change) })
			}
		}
	}
	for w := range h.topics {
		if c.All || w.concerns(c) {
			wakes = append(wakes, func() { w.wake(c.Head) })
		}
	}
	return wakes
}

func (w *topicWatcher) concerns(c Commit) bool {
	for _, t := range c.Tasks {
		if matchTask(w.patterns, t.ID, t.Kind, t.Queue) {
			return true
		}
	}
	for _, typ := range c.Published {
		if matchEvent(w.patterns, typ) {
			return true
		}
	}
	return false
}

// matchTask reports whether a task's events belong to one of the topics: they
// stand in three, task.<id>, kind.<kind> and queue.<name>.
func matchTask(patterns []string, id, kind, queue string) bool {
	for _, p := range patterns {
		root, rest, _ := strings.Cut(p, ".")
		switch root {
		case "task":
			if sdk.MatchPattern(rest, id) {
				return true
			}
		case "kind":
			if sdk.MatchPattern(rest, kind) {
				return true
			}
		case "queue":
			if sdk.MatchPattern(rest, queue) {
				return true
			}
		}
	}
	return false
}

// matchEvent does the same for a published event: event.<type>, or the type
// itself where it begins with system.
func matchEvent(patterns []string, typ string) bool {
	topic := "event." + typ
	if strings.HasPrefix(typ, "system.") {
		topic = typ
	}
	for _, p := range patterns {
		if sdk.MatchPattern(p, topic) {
			return true
		}
	}
	return false
}
