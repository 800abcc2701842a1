package runtime_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/nagatha/nagatha-runtime/runtime"
	"github.com/nagatha/nagatha-runtime/sdk"
)

// What is rare in a long log is found in several calls, none of which reads the
// whole log: replies of the same connection wait for each.
func TestWatchLooksInSteps(t *testing.T) {
	e := setup(t, runtime.Config{}, echo)
	many := make([]sdk.Submission, 1000)
	for i := range many {
		many[i] = sdk.Submission{Kind: "no.body"} // two events each
	}
	for range 5 {
		if _, err := e.Submit(t.Context(), "", many); err != nil {
			t.Fatal(err)
		}
	}
	rare := e.submit(sdk.Submission{Kind: "so.rare"})
	w, err := e.Watch(t.Context(), runtime.WatchRequest{Topics: []string{"kind.so.rare"}, From: "start"}, func() {})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	steps := 0
	for {
		notices, err := w.Next(t.Context(), 1)
		if err != nil {
			t.Fatal(err)
		}
		if len(notices) > 0 && notices[0].Method == "event" {
			if id := notices[0].Entry.Task.Task; id != rare.ID || steps < 2 {
				t.Errorf("found %s after %d steps, want %s after several", id, steps, rare.ID)
			}
			return
		}
		if len(notices) == 0 && !w.More() {
			t.Fatal("it gave up")
		}
		steps++
	}
}

// A watcher may close while it holds a lock for which its own wake waits: the store's
// writer, which wakes it, must not be one of three that wait for each other.
func TestCloseDuringWake(t *testing.T) {
	for name, req := range map[string]func(task string) runtime.WatchRequest{
		"task":   func(id string) runtime.WatchRequest { return runtime.WatchRequest{Task: id} },
		"topics": func(string) runtime.WatchRequest { return runtime.WatchRequest{Topics: []string{"kind.>"}} },
	} {
		t.Run(name, func(t *testing.T) {
			e := setup(t, runtime.Config{}, echo)
			task := e.submit(sdk.Submission{Kind: "no.body"})
			var mu sync.Mutex
			waking := make(chan struct{}, 100)
			w, err := e.Watch(t.Context(), req(task.ID), func() {
				waking <- struct{}{}
				mu.Lock()
				defer mu.Unlock()
			})
			if err != nil {
				t.Fatal(err)
			}
			mu.Lock()
			var cancel sync.WaitGroup
			cancel.Go(func() {
				if _, err := e.Cancel(context.Background(), task.ID, false, ""); err != nil {
					t.Error(err)
				}
			})
			<-waking
			closed := make(chan struct{})
			go func() {
				defer close(closed)
				w.Close()
			}()
			select {
			case <-closed:
			case <-time.After(10 * time.Second):
				t.Error("Close waits for the wake, which waits for who closes")
			}
			mu.Unlock()
			cancel.Wait()
			<-closed
		})
	}
}

// drainWatch reads a watch to its end, limit notices at a time.
func (e *engine) drainWatch(req runtime.WatchRequest, limit int) (methods []string, events []runtime.Notice) {
	e.Helper()
	news := make(chan struct{}, 1)
	w, err := e.Watch(e.Context(), req, func() {
		select {
		case news <- struct{}{}:
		default:
		}
	})
	if err != nil {
		e.Fatal(err)
	}
	defer w.Close()
	for {
		notices, err := w.Next(e.Context(), limit)
		for _, n := range notices {
			methods = append(methods, n.Method)
			if n.Method == "event" {
				events = append(events, n)
			}
		}
		if err == io.EOF {
			return methods, events
		}
		if err != nil {
			e.Fatal(err)
		}
		if len(notices) == 0 {
			select {
			case <-news:
			case <-time.After(time.Minute):
				e.Fatalf("no end after %v", methods)
			}
		}
	}
}

func TestWatch(t *testing.T) {
	e := setup(t, runtime.Config{}, handler("t.steps", func(_ context.Context, _ *sdk.Task, h sdk.Host) (json.RawMessage, error) {
		for i := range 20 {
			h.Progress(float64(i), 20, "")
			h.Output("out", fmt.Appendf(nil, "%d ", i))
		}
		return nil, nil
	}))
	for _, limit := range []int{1, 2, 3, 44, 64} { // 44 is all of them: a full last page
		id := e.submit(sdk.Submission{Kind: "t.steps"}).ID
		methods, events := e.drainWatch(runtime.WatchRequest{Task: id}, limit)
		if methods[0] != "snapshot" || slices.Index(methods, "live") < 0 || len(events) != 44 {
			t.Errorf("limit %d: %d events, %v", limit, len(events), methods)
		}
		for i, n := range events {
			if n.Entry.Task.Seq != int64(i+1) {
				t.Fatalf("limit %d: event %d has seq %d", limit, i+1, n.Entry.Task.Seq)
			}
		}
		// From each cursor the rest follows.
		for _, i := range []int{0, 17, 43} {
			_, rest := e.drainWatch(runtime.WatchRequest{Task: id, From: events[i].Cursor}, limit)
			if len(rest) != 43-i || len(rest) > 0 && rest[0].Entry.Task.Seq != int64(i+2) {
				t.Errorf("limit %d: %d events after the %dth", limit, len(rest), i+1)
			}
		}
		if _, last := e.drainWatch(runtime.WatchRequest{Task: id, Last: 5}, limit); len(last) != 5 || last[0].Entry.Task.Seq != 40 {
			t.Errorf("limit %d: last 5: %d", limit, len(last))
		}
		if _, only := e.drainWatch(runtime.WatchRequest{Task: id, Types: []string{sdk.EventQueued}}, limit); len(only) != 1 {
			t.Errorf("limit %d: by type: %d", limit, len(only))
		}
		if methods, now := e.drainWatch(runtime.WatchRequest{Task: id, From: "now"}, limit); len(now) != 0 || !slices.Equal(methods, []string{"snapshot", "live"}) {
			t.Errorf("limit %d: from now: %v", limit, methods)
		}
	}
}

func TestWatchCoalesces(t *testing.T) {
	e := setup(t, runtime.Config{}, handler("t.steps", func(_ context.Context, _ *sdk.Task, h sdk.Host) (json.RawMessage, error) {
		for i := range 9 {
			h.Progress(float64(i), 9, "")
		}
		h.Output("a", []byte("x"))
		h.Output("a", []byte("y"))
		h.Output("b", []byte("z"))
		return nil, nil
	}))
	id := e.wait(e.submit(sdk.Submission{Kind: "t.steps"}).ID).ID
	_, events := e.drainWatch(runtime.WatchRequest{Task: id, Coalesce: true}, 64)
	var got []string
	for _, n := range events {
		got = append(got, fmt.Sprintf("%d-%d %s", n.FromSeq, n.Entry.Task.Seq, n.Entry.Task.Data))
	}
	want := []string{`0-1 {}`, `0-2 {}`, "", `4-12 {"progress":8,"total":9,"message":""}`, `13-14 {"stream":"a","offset":0,"text":"xy"}`,
		`0-15 {"stream":"b","offset":0,"text":"z"}`, `0-16 {"result":null}`}
	want[2] = got[2]
	if !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
}

func TestWatchTopicsAndGaps(t *testing.T) {
	e := setup(t, runtime.Config{}, echo)
	first := e.wait(e.submit(sdk.Submission{Kind: "t.echo"}).ID)
	read := func(req runtime.WatchRequest) (*runtime.Watch, []runtime.Notice) {
		t.Helper()
		w, err := e.Watch(t.Context(), req, func() {})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(w.Close)
		var all []runtime.Notice
		for {
			n, err := w.Next(t.Context(), 3)
			if err != nil {
				t.Fatal(err)
			}
			if all = append(all, n...); len(n) == 0 {
				return w, all
			}
		}
	}
	for topic, want := range map[string]int{"kind.t.echo": 4, "kind.t.*": 4, "queue.default": 4, "task." + first.ID: 4, "kind.other.*": 0, "event.>": 0} {
		if _, got := read(runtime.WatchRequest{Topics: []string{topic}, From: "start"}); len(got) != want {
			t.Errorf("%s: %d notices, want %d", topic, len(got), want)
		}
	}
	_, all := read(runtime.WatchRequest{Topics: []string{"kind.>"}, From: "start"})
	if _, rest := read(runtime.WatchRequest{Topics: []string{"kind.>"}, From: all[1].Cursor}); len(rest) != 2 {
		t.Errorf("after the second: %d", len(rest))
	}
	if _, last := read(runtime.WatchRequest{Topics: []string{"kind.>"}, Last: 3}); len(last) != 3 || last[0].Entry.Task.Seq != 2 {
		t.Errorf("last 3: %d", len(last))
	}
	if _, err := e.Publish(t.Context(), []sdk.Event{{Type: "demo.ping"}}); err != nil {
		t.Fatal(err)
	}
	if _, got := read(runtime.WatchRequest{Topics: []string{"event.demo.*"}, From: "start"}); len(got) != 1 || got[0].Entry.Event.Type != "demo.ping" {
		t.Errorf("events: %+v", got)
	}

	// History that is gone is never silent.
	backup := filepath.Join(t.TempDir(), "backup.db")
	if err := e.store.Backup(t.Context(), backup); err != nil {
		t.Fatal(err)
	}
	e.stop()
	e = open(t, backup, runtime.Config{}, echo)
	if w, got := read(runtime.WatchRequest{Topics: []string{"kind.>"}, From: all[1].Cursor}); w.Recovered() || got[0].Method != "gap" || len(got) != 5 {
		t.Errorf("another history: %v, %+v", w.Recovered(), got)
	}
	methods, events := e.drainWatch(runtime.WatchRequest{Task: first.ID, From: all[1].Cursor}, 10)
	if !slices.Equal(methods[:2], []string{"gap", "snapshot"}) || len(events) != 4 {
		t.Errorf("another history of a task: %v", methods)
	}
	for _, bad := range []runtime.WatchRequest{{}, {Task: "a", Topics: []string{"kind.x"}}, {Topics: []string{"x.y"}}, {Topics: []string{">"}},
		{Topics: []string{"kind.a..b"}}, {Task: first.ID, From: "nonsense"}, {Task: first.ID, Last: -1}, {Task: "tsk_none"}} {
		if _, err := e.Watch(t.Context(), bad, func() {}); sdk.CodeOf(err) == "" {
			t.Errorf("%+v: %v", bad, err)
		}
	}
}

// asked is a store that remembers how many rows of the log were asked for.
type asked struct {
	runtime.Store
	rows int
}

func (s *asked) Log(ctx context.Context, after int64, limit int) ([]runtime.LogEntry, error) {
	s.rows += limit
	return s.Store.Log(ctx, after, limit)
}

// A watcher that wants a few events, which may be large, is not read hundreds.
func TestWatchReadsWhatItWants(t *testing.T) {
	e := setup(t, runtime.Config{}, echo)
	for range 100 {
		e.submit(sdk.Submission{Kind: "no.body"})
	}
	store := &asked{Store: e.store}
	watcher, err := runtime.New(runtime.Config{Store: store})
	if err != nil {
		t.Fatal(err)
	}
	w, err := watcher.Watch(t.Context(), runtime.WatchRequest{Topics: []string{"kind.no.body"}, From: "start"}, func() {})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if notices, err := w.Next(t.Context(), 4); err != nil || len(notices) != 4 || store.rows > 4+8 { // a row that tells of the node may come first
		t.Errorf("%d notices of %d rows, %v", len(notices), store.rows, err)
	}
}

// Who wants published events is not kept busy, or told that it lags, by those of tasks.
func TestWatchOfPublishedEvents(t *testing.T) {
	e := setup(t, runtime.Config{}, echo)
	if _, err := e.Publish(t.Context(), []sdk.Event{{Type: "door.opened", Source: "me"}}); err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for range 600 {
		all.Go(func() { e.submit(sdk.Submission{Kind: "no.body"}) })
	}
	all.Wait()
	store := &asked{Store: e.store}
	watcher, err := runtime.New(runtime.Config{Store: store})
	if err != nil {
		t.Fatal(err)
	}
	for _, req := range []runtime.WatchRequest{{Topics: []string{"event.>"}, Last: 3}, {Topics: []string{"system.queue.*", "event.door.*"}, From: "start"}} {
		w, err := watcher.Watch(t.Context(), req, func() {})
		if err != nil {
			t.Fatal(err)
		}
		defer w.Close()
		notices, err := w.Next(t.Context(), 10)
		if err != nil || len(notices) != 1 || notices[0].Entry == nil || notices[0].Entry.Event.Type != "door.opened" || store.rows > 0 {
			t.Errorf("%+v, %d rows of the log, %v", notices, store.rows, err)
		}
		if notices, err = w.Next(t.Context(), 10); err != nil || len(notices) > 0 || w.More() {
			t.Errorf("again: %+v, %v", notices, err)
		}
	}
}

// lateTask is a store in which something happens right after a task was read.
type lateTask struct {
	runtime.Store
	then func()
}

func (s *lateTask) Task(ctx context.Context, id string) (sdk.Task, error) {
	t, err := s.Store.Task(ctx, id)
	if f := s.then; f != nil {
		s.then = nil
		f()
	}
	return t, err
}

// TestEndWhileOpening: a task that ends in the moment in which somebody begins to watch
// it from now on is seen to end.
func TestEndWhileOpening(t *testing.T) {
	gate := make(chan struct{})
	e := setup(t, runtime.Config{}, handler("t.gate", func(context.Context, *sdk.Task, sdk.Host) (json.RawMessage, error) {
		<-gate
		return nil, nil
	}))
	id := e.submit(sdk.Submission{Kind: "t.gate"}).ID
	e.until(id, sdk.StateRunning)
	late := &lateTask{Store: e.store}
	watcher, err := runtime.New(runtime.Config{Store: late})
	if err != nil {
		t.Fatal(err)
	}
	late.then = func() {
		close(gate)
		e.wait(id)
	}
	w, err := watcher.Watch(t.Context(), runtime.WatchRequest{Task: id, From: "now"}, func() {})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	notices, err := w.Next(t.Context(), 100)
	seen := false
	for _, n := range notices {
		seen = seen || n.Task != nil && n.Task.State.Terminal() || n.Entry != nil && n.Entry.Task.End
	}
	if !seen || !errors.Is(err, io.EOF) {
		t.Errorf("the end was not seen: %+v, %v", notices, err)
	}
}
