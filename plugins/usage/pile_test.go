package main

import (
	"context"
	"encoding/json"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/nagatha/nagatha-runtime/sdk"
	"github.com/nagatha/nagatha-runtime/sdk/sdktest"
)

// gate is a host whose first write waits until enough others want to write.
type gate struct {
	sdk.Host
	wait func()
	fail error // of that write, which is then not made
	once *sync.Once

	mu      *sync.Mutex
	applies *int
}

func (g gate) Call(ctx context.Context, op string, request []byte) ([]byte, error) {
	if op == sdk.OpKVApply {
		g.mu.Lock()
		*g.applies++
		g.mu.Unlock()
		first := false
		g.once.Do(func() { first = true; g.wait() })
		if first && g.fail != nil {
			return nil, g.fail
		}
	}
	return g.Host.Call(ctx, op, request)
}

// together has records made at once: the first one's write begins when all others
// wait. It returns what each said and how many writes there were.
func together(t *testing.T, u *usage, store sdk.Host, fail error, payloads ...string) (docs []doc, errs []error, applies int) {
	t.Helper()
	docs, errs = make([]doc, len(payloads)), make([]error, len(payloads))
	begun := make(chan struct{})
	host := gate{Host: store, fail: fail, once: &sync.Once{}, mu: &sync.Mutex{}, applies: &applies, wait: func() {
		close(begun)
		u.awaitPile(len(payloads) - 1)
	}}
	p := sdk.New(sdk.Info{Name: "usage", Version: "1"}, u.kinds()...)
	var wg sync.WaitGroup
	for i, payload := range payloads {
		wg.Go(func() { docs[i], errs[i] = handle(t.Context(), p, host, "record", payload) })
		if i == 0 {
			<-begun
		}
	}
	wg.Wait()
	return docs, errs, applies
}

// awaitPile returns when so many wait.
func (u *usage) awaitPile(n int) {
	for {
		u.pile.mu.Lock()
		waits := len(u.pile.waiting)
		u.pile.mu.Unlock()
		if waits == n {
			return
		}
		runtime.Gosched()
	}
}

func recordOf(id string, input int) string {
	return fmt.Sprintf(`{"id":%q,"time":"2026-09-01T12:00:00Z","model":"gpt-5","provider":"openai","session":"s","input_tokens":%d,"output_tokens":1}`, id, input)
}

// What waits while one record is written is written in one transaction.
func TestRecordsTogetherCostOneTransaction(t *testing.T) {
	store := sdktest.NewHost()
	var payloads []string
	for i := range 40 {
		payloads = append(payloads, recordOf(fmt.Sprint("r", i), i))
	}
	docs, errs, applies := together(t, newUsage(), store, nil, payloads...)
	for i := range docs {
		if errs[i] != nil || docs[i]["created"] != true || docs[i].at("record.id") != fmt.Sprint("r", i) {
			t.Errorf("%s: %v, %v", payloads[i], docs[i], errs[i])
		}
	}
	if applies != 2 {
		t.Errorf("%d transactions for one record and 39 that waited", applies)
	}
	if n := consistent(t, store); n != 40 {
		t.Errorf("%d records", n)
	}
}

// A set is no larger than a transaction may be, also where each record has a session,
// a cell and a reservation of its own, of yesterday.
func TestSetFitsATransaction(t *testing.T) {
	store := sdktest.NewHost()
	b := &bench{T: t, Plugin: plugin(), host: store}
	var payloads []string
	for i := range 40 {
		b.run("reserve", fmt.Sprintf(`{"id":"h%d","model":"gpt-5","session":"t%d","input_tokens":1,"output_tokens":1}`, i, i))
		payloads = append(payloads, fmt.Sprintf(`{"id":"r%d","time":"2026-09-01T12:00:00Z","model":"unknown","provider":"x","session":"s%d","input_tokens":1,"output_tokens":1,"reservation":"h%d"}`, i, i, i))
	}
	_, errs, applies := together(t, newUsage(), store, nil, payloads...)
	for _, err := range errs {
		if err != nil {
			t.Error(err)
		}
	}
	if applies > 6 {
		t.Errorf("%d transactions", applies)
	}
	if n := consistent(t, store); n != 40 {
		t.Errorf("%d records", n)
	}
	b.want(b.run("budget", `{}`), "day.reserved_usd", 0)
}

// Whoever is taken off the pile hears what came of it, so that nobody waits for ever.
func TestEverybodyHears(t *testing.T) {
	store := sdktest.NewHost()
	for _, fail := range []error{nil, &sdk.Error{Code: sdk.CodeCancelled, Message: "no"}} {
		u := newUsage()
		var all []*wanted
		for i := range 40 {
			r := record{ID: fmt.Sprint("r", i), Day: "2026-09-01", call: call{Model: "unknown", Session: fmt.Sprint("s", i)}}
			all = append(all, &wanted{record: r, done: make(chan verdict, 1)})
			u.pile.add(all[i])
		}
		u.turn <- struct{}{}
		err := u.lead(t.Context(), gate{Host: store, fail: fail, once: &sync.Once{}, mu: &sync.Mutex{}, applies: new(int), wait: func() {}}, all[7])
		<-u.turn
		want, heard := stored, 0
		if fail != nil {
			want = spoilt
		}
		for _, w := range all {
			if len(w.done) == 0 {
				continue
			}
			if v := <-w.done; v != want {
				t.Errorf("%s heard %d, want %d", w.ID, v, want)
			}
			heard++
		}
		if heard < 15 || heard+len(u.pile.waiting) != 40 || (err == nil) != (fail == nil) {
			t.Errorf("%d heard, %d wait, %v", heard, len(u.pile.waiting), err)
		}
	}
}

// One that cannot be recorded is nobody else's trouble, and the same call told of
// twice at once counts once.
func TestBadCompany(t *testing.T) {
	store := sdktest.NewHost()
	b := &bench{T: t, Plugin: plugin(), host: store}
	b.run("record", recordOf("old", 1))
	b.run("record", `{"id":"x","time":"2026-08-01T12:00:00Z","model":"spoilt","input_tokens":1,"output_tokens":1}`)
	for key, it := range store.Items {
		if strings.HasPrefix(key, cellKeys) && strings.Contains(string(it.Value), "spoilt") {
			it.Value = json.RawMessage(`"rubbish"`)
			store.Items[key] = it
		}
	}
	docs, errs, _ := together(t, newUsage(), store, nil, recordOf("first", 1), recordOf("old", 2), recordOf("old", 1), recordOf("twin", 3), recordOf("twin", 3),
		recordOf("other", 4), `{"id":"y","time":"2026-08-01T12:00:00Z","model":"spoilt","input_tokens":1,"output_tokens":1}`)
	if sdk.CodeOf(errs[1]) != sdk.CodeConflict || errs[6] == nil || sdk.CodeOf(errs[6]) == sdk.CodeConflict {
		t.Errorf("%v", errs)
	}
	for _, i := range []int{0, 2, 3, 4, 5} {
		if errs[i] != nil {
			t.Errorf("%d: %v", i, errs[i])
		}
	}
	if docs[2]["created"] != false || docs[3]["created"] == docs[4]["created"] {
		t.Errorf("%v", docs)
	}
	b.want(b.run("report", `{"from":"2026-09-01"}`), "total.requests", 4, "total.input_tokens", 1+1+3+4)
}

// An attempt that no longer counts, and was to write for others, takes none of them
// with it.
func TestWriterThatNoLongerCounts(t *testing.T) {
	store := sdktest.NewHost()
	fenced := &sdk.Error{Code: sdk.CodeCancelled, Message: "the attempt no longer counts"}
	u := newUsage()
	if _, errs, _ := together(t, u, store, fenced, recordOf("first", 1)); errs[0] == nil {
		t.Error("it was written")
	}
	_, errs, _ := together(t, u, store, nil, recordOf("a", 1), recordOf("b", 1), recordOf("c", 1))
	for _, err := range errs {
		if err != nil {
			t.Error(err)
		}
	}
	// Three are in one set, and its writer is cut.
	cut := cutting{Host: store, n: new(int), mu: &sync.Mutex{}}
	p := sdk.New(sdk.Info{Name: "usage", Version: "1"}, u.kinds()...)
	u.turn <- struct{}{}
	var wg sync.WaitGroup
	faults := make([]error, 3)
	for i := range faults {
		wg.Go(func() { _, faults[i] = handle(t.Context(), p, cut, "record", recordOf(fmt.Sprint("d", i), 1)) })
	}
	u.awaitPile(len(faults))
	<-u.turn
	wg.Wait()
	for _, err := range faults {
		if err != nil {
			t.Error(err)
		}
	}
	if n := consistent(t, store); n != 6 {
		t.Errorf("%d records", n)
	}
}

// cutting refuses the first write.
type cutting struct {
	sdk.Host
	mu *sync.Mutex
	n  *int
}

func (c cutting) Call(ctx context.Context, op string, request []byte) ([]byte, error) {
	if op == sdk.OpKVApply {
		c.mu.Lock()
		*c.n++
		first := *c.n == 1
		c.mu.Unlock()
		if first {
			return nil, &sdk.Error{Code: sdk.CodeCancelled, Message: "the attempt no longer counts"}
		}
	}
	return c.Host.Call(ctx, op, request)
}

// One who stops waiting leaves no record behind, unless it is being written.
func TestLeavingThePile(t *testing.T) {
	u := newUsage()
	u.turn <- struct{}{}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	store := sdktest.NewHost()
	if _, err := handle(ctx, sdk.New(sdk.Info{Name: "usage", Version: "1"}, u.kinds()...), store, "record", recordOf("a", 1)); err == nil {
		t.Error("it was recorded")
	}
	if len(u.pile.waiting) != 0 || len(store.Items) != 0 {
		t.Errorf("%d wait, %d rows", len(u.pile.waiting), len(store.Items))
	}
}

// What an instance remembers of the totals decides nothing: another may have changed
// them.
func TestBudgetIsAskedOfTheStore(t *testing.T) {
	const config = `{"budgets":{"day":0.01},"prices":{"p/*":{"input":1,"output":1}}}`
	a, b := setup(t, config), setup(t, config)
	b.host = a.host
	const call = `"model":"m","provider":"p","input_tokens":6000,"output_tokens":0}`
	a.run("reserve", `{"id":"x",`+call)
	a.run("record", `{"id":"r","model":"m","provider":"p","input_tokens":1,"output_tokens":0}`) // it has seen the day
	b.run("release", `{"id":"x"}`)
	a.run("reserve", `{"id":"y",`+call)
	b.refused(sdk.CodeBudgetExceeded, "reserve", `{"id":"z",`+call)
	a.run("reset", `{}`)
	b.run("record", `{"id":"s","model":"m","provider":"p","input_tokens":2,"output_tokens":0}`) // it thinks of the period before
	a.want(a.run("report", `{}`), "period", 1, "total.input_tokens", 2)
	a.consistent()
}
