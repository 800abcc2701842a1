package storetest

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nagatha/nagatha-runtime/runtime"
	"github.com/nagatha/nagatha-runtime/sdk"
)

func testPublish(t *testing.T, open Open) {
	var got []string
	var fail error
	f := setup(t, open, Options{Outbox: func(events []sdk.Event) error {
		for _, e := range events {
			got = append(got, e.ID)
		}
		return fail
	}})
	before, err := f.Store.Head(t.Context())
	if err != nil || before.Epoch == "" {
		t.Fatal(before, err)
	}
	e := sdk.Event{ID: "1", Source: "s", Type: "demo.ping", Subject: "sub", Time: 5, Data: json.RawMessage(`{"a":1}`), TraceParent: "00-trace"}
	if err := f.Store.Publish(t.Context(), runtime.Fence{}, []sdk.Event{e, {ID: "2", Source: "s", Type: "demo.pong"}}); err != nil {
		t.Fatal(err)
	}
	entries, err := f.Store.Log(t.Context(), before.Pos, 10)
	if err != nil || len(entries) != 2 || entries[0].Event == nil || entries[0].Event.ID != "1" || string(entries[0].Event.Data) != `{"a":1}` ||
		entries[0].Event.Subject != "sub" || entries[0].Event.TraceParent != "00-trace" || entries[1].Pos != entries[0].Pos+1 {
		t.Errorf("log: %+v, %v", entries, err)
	}
	fail = errors.New("the bus is broken")
	if err := f.Store.Publish(t.Context(), runtime.Fence{}, []sdk.Event{{ID: "3", Source: "s", Type: "demo.ping"}}); err == nil {
		t.Error("published without the bus")
	}
	fail = nil
	if after, err := f.Store.Head(t.Context()); err != nil || after.Pos != before.Pos+2 {
		t.Errorf("head %+v after %+v, %v", after, before, err)
	}
	// What the runtime says about itself is logged, and no message.
	got = append(got[:2:2], "-")
	if err := f.Store.Publish(t.Context(), runtime.Fence{}, []sdk.Event{{ID: "4", Source: "s", Type: "system.status"}, {ID: "5", Source: "s", Type: "demo.ping"}}); err != nil {
		t.Fatal(err)
	}
	if entries, err := f.Store.Log(t.Context(), before.Pos+2, 10); err != nil || len(entries) != 2 || entries[0].Event.ID != "4" {
		t.Errorf("log: %+v, %v", entries, err)
	}
	if strings.Join(got, " ") != "1 2 - 5" {
		t.Errorf("the bus got %v", got)
	}
}

func testData(t *testing.T, open Open) {
	f := setup(t, open, Options{})
	ctx := t.Context()
	version := func(n int64) *int64 { return &n }
	set := func(ns string, req sdk.KVSet) (sdk.KVSetReply, error) {
		if req.Value == nil {
			req.Value = json.RawMessage(`1`)
		}
		return f.Store.KVSet(ctx, ns, runtime.Fence{}, req)
	}
	r, err := set("a", sdk.KVSet{Key: "k", Value: json.RawMessage(`null`)})
	if err != nil || !r.Created || r.Item.Version != 1 {
		t.Errorf("first: %+v, %v", r, err)
	}
	if r, err := set("a", sdk.KVSet{Key: "k", Value: json.RawMessage(`{"x":"ü"}`)}); err != nil || r.Created || r.Item.Version != 2 {
		t.Errorf("second: %+v, %v", r, err)
	}
	for name, req := range map[string]sdk.KVSet{"old": {Key: "k", IfVersion: version(1)}, "none": {Key: "k", IfVersion: version(0)}, "absent": {Key: "new", IfVersion: version(1)}} {
		if _, err := set("a", req); sdk.CodeOf(err) != sdk.CodeConflict {
			t.Errorf("if_version %s: %v", name, err)
		}
	}
	if _, err := set("a", sdk.KVSet{Key: "k", IfVersion: version(2)}); err != nil {
		t.Errorf("if_version: %v", err)
	}
	if _, err := set("a", sdk.KVSet{Key: "new", IfVersion: version(0)}); err != nil {
		t.Errorf("if absent: %v", err)
	}
	if g, err := f.Store.KVGet(ctx, "b", sdk.KVGet{Key: "k"}); err != nil || g.Item != nil {
		t.Errorf("another namespace: %+v, %v", g, err)
	}
	for name, req := range map[string]sdk.KVSet{"empty": {}, "long": {Key: pad(513)}, "nul": {Key: "a\x00b"}, "utf8": {Key: "\xff"},
		"value": {Key: "k", Value: json.RawMessage(`{`)}, "text": {Key: "k", Text: "\xff"}, "ttl": {Key: "k", TTL: -1}} {
		if _, err := set("a", req); sdk.CodeOf(err) != sdk.CodeInvalid {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, k := range []string{"p/1", "p/2", "p/3", "p%", "p0"} {
		if _, err := set("list", sdk.KVSet{Key: k}); err != nil {
			t.Fatal(err)
		}
	}
	page, err := f.Store.KVList(ctx, "list", sdk.KVList{Prefix: "p/", Limit: 2})
	if err != nil || len(page.Items) != 2 || page.Next != "p/2" {
		t.Errorf("first page: %+v, %v", page, err)
	}
	page, err = f.Store.KVList(ctx, "list", sdk.KVList{Prefix: "p/", Limit: 2, After: page.Next})
	if err != nil || len(page.Items) != 1 || page.Next != "" || page.Items[0].Key != "p/3" {
		t.Errorf("second page: %+v, %v", page, err)
	}
	if all, err := f.Store.KVList(ctx, "list", sdk.KVList{}); err != nil || len(all.Items) != 5 {
		t.Errorf("all: %+v, %v", all, err)
	}
	if d, err := f.Store.KVDelete(ctx, "a", runtime.Fence{}, sdk.KVDelete{Key: "k", IfVersion: version(9)}); sdk.CodeOf(err) != sdk.CodeConflict {
		t.Errorf("delete of another version: %+v, %v", d, err)
	}
	for _, want := range []bool{true, false} {
		if d, err := f.Store.KVDelete(ctx, "a", runtime.Fence{}, sdk.KVDelete{Key: "k"}); err != nil || d.Deleted != want {
			t.Errorf("delete: %+v, %v", d, err)
		}
	}
}

func testDataTTL(t *testing.T, open Open) {
	c := &clock{at: sdk.Now()}
	f := setup(t, open, Options{Now: c.now})
	ctx := t.Context()
	for i := range 3 {
		_, err := f.Store.KVSet(ctx, "ns", runtime.Fence{}, sdk.KVSet{Key: fmt.Sprint(i), Value: json.RawMessage(`1`), Text: "word",
			TTL: sdk.Duration(time.Duration(i) * time.Minute)})
		if err != nil {
			t.Fatal(err)
		}
	}
	count := func() (n int) {
		list, err1 := f.Store.KVList(ctx, "ns", sdk.KVList{})
		search, err2 := f.Store.KVSearch(ctx, "ns", sdk.KVSearch{Query: "words"})
		got, err3 := f.Store.KVGet(ctx, "ns", sdk.KVGet{Key: "1"})
		if err := errors.Join(err1, err2, err3); err != nil {
			t.Fatal(err)
		}
		if len(list.Items) != len(search.Hits) || (got.Item != nil) != (len(list.Items) == 3) {
			t.Errorf("list %d, search %d, get %v", len(list.Items), len(search.Hits), got.Item)
		}
		return len(list.Items)
	}
	if n := count(); n != 3 {
		t.Errorf("at first: %d", n)
	}
	c.advance(time.Minute) // exact: not a moment later
	if n := count(); n != 2 {
		t.Errorf("after a minute: %d", n)
	}
	zero := int64(0)
	r, err := f.Store.KVSet(ctx, "ns", runtime.Fence{}, sdk.KVSet{Key: "1", Value: json.RawMessage(`2`), IfVersion: &zero})
	if err != nil || !r.Created || r.Item.Version != 1 {
		t.Errorf("an expired item is not absent: %+v, %v", r, err)
	}
	c.advance(time.Hour)
	if d, err := f.Store.KVDelete(ctx, "ns", runtime.Fence{}, sdk.KVDelete{Key: "2"}); err != nil || d.Deleted {
		t.Errorf("an expired item was deleted: %+v, %v", d, err)
	}
}

func testDataSearch(t *testing.T, open Open) {
	f := setup(t, open, Options{})
	ctx := t.Context()
	for key, text := range map[string]string{"job": "Bob works at Acme", "pet": "Bob has a cat, the cat sleeps", "food": "Alice likes apples"} {
		if _, err := f.Store.KVSet(ctx, "ns", runtime.Fence{}, sdk.KVSet{Key: key, Value: json.RawMessage(`1`), Text: text}); err != nil {
			t.Fatal(err)
		}
	}
	search := func(ns string, q sdk.KVSearch) []string {
		t.Helper()
		r, err := f.Store.KVSearch(ctx, ns, q)
		if err != nil {
			t.Fatalf("%q: %v", q.Query, err)
		}
		var keys []string
		for i, h := range r.Hits {
			if i > 0 && h.Score > r.Hits[i-1].Score {
				t.Errorf("%q: not ranked: %+v", q.Query, r.Hits)
			}
			keys = append(keys, h.Key)
		}
		return keys
	}
	for query, want := range map[string]string{
		"where do I work?": "job", "cats": "pet", "Bob cat": "pet job", "apple": "food", "unknown": "", "": "", "?!": "",
		`"Bob" OR (`: "job pet", "bob* NEAR acme": "job pet", "text:bob": "job pet", "the": "pet", "-apples": "food",
	} {
		got := search("ns", sdk.KVSearch{Query: query})
		if strings.Join(got, " ") != want && !(len(got) == 2 && want == "job pet") {
			t.Errorf("%q finds %v, want %s", query, got, want)
		}
	}
	// Words are words whatever stands between them.
	mixed := "mail bob@example.org, see https://example.org/a/path.html?x=1 or build-4.2.1 of 2026-01-31, snake_case ÜBER"
	if _, err := f.Store.KVSet(ctx, "mixed", runtime.Fence{}, sdk.KVSet{Key: "m", Value: json.RawMessage(`1`), Text: mixed}); err != nil {
		t.Fatal(err)
	}
	for _, query := range []string{"bob", "example", "bob@example.org", "path", "html", "build 4", "2026", "31", "case", "snake_case", "über"} {
		if got := search("mixed", sdk.KVSearch{Query: query}); len(got) != 1 {
			t.Errorf("%q is not found", query)
		}
	}
	if got := search("other", sdk.KVSearch{Query: "bob"}); got != nil {
		t.Errorf("another namespace finds %v", got)
	}
	if got := search("ns", sdk.KVSearch{Query: "bob", Prefix: "pe"}); len(got) != 1 {
		t.Errorf("by prefix: %v", got)
	}
	if got := search("ns", sdk.KVSearch{Query: "bob", Limit: 1}); len(got) != 1 {
		t.Errorf("limited: %v", got)
	}
	// What changes is found as it is now, what goes is not found.
	if _, err := f.Store.KVSet(ctx, "ns", runtime.Fence{}, sdk.KVSet{Key: "job", Value: json.RawMessage(`1`), Text: "Bob rests"}); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Store.KVDelete(ctx, "ns", runtime.Fence{}, sdk.KVDelete{Key: "pet"}); err != nil {
		t.Fatal(err)
	}
	if got := search("ns", sdk.KVSearch{Query: "acme cat resting"}); len(got) != 1 || got[0] != "job" {
		t.Errorf("after the change: %v", got)
	}
}

func testPrune(t *testing.T, open Open) {
	f := setup(t, open, Options{})
	ctx := t.Context()
	keyed := f.newTask("a.b")
	keyed.IdempotencyKey, keyed.BodyHash, keyed.Delivery = "k", "h", "m"
	f.submit(keyed)
	f.mustFinish(end(f.claimOne("a.b"), sdk.StateCompleted))
	failed := f.submit(f.newTask("a.c"))[0].Task.ID
	f.mustFinish(end(f.claimOne("a.c"), sdk.StateFailed))
	queued := f.submit(f.newTask("a.d"))[0].Task.ID
	if err := f.Store.Publish(ctx, runtime.Fence{}, []sdk.Event{{ID: "1", Source: "s", Type: "x.y"}}); err != nil {
		t.Fatal(err)
	}
	now := sdk.Now()
	req := runtime.PruneRequest{Now: now, Limit: 100}
	if n, err := f.Store.Prune(ctx, req); n != 0 || err != nil {
		t.Errorf("nothing is old: %d, %v", n, err)
	}
	req.CompletedBefore, req.EventsBefore = now+1, now+1
	if n, err := f.Store.Prune(ctx, req); n == 0 || err != nil {
		t.Errorf("pruned %d, %v", n, err)
	}
	if _, err := f.Store.Task(ctx, keyed.Task.ID); sdk.CodeOf(err) != sdk.CodeNotFound {
		t.Errorf("the old task: %v", err)
	}
	f.events(failed)
	f.wantState(queued, sdk.StateQueued)
	head, err := f.Store.Head(ctx)
	if err != nil || head.Pruned == 0 || head.Pruned > head.Pos {
		t.Errorf("head %+v, %v", head, err)
	}
	rest, err := f.Store.Log(ctx, 0, 100)
	for _, e := range rest {
		if e.Task == nil || e.Task.Task == keyed.Task.ID {
			t.Errorf("still in the log: %+v", e)
		}
	}
	if err != nil || len(rest) != 6 {
		t.Errorf("%d entries, %v", len(rest), err)
	}
	keyed.Task.ID = "tsk_again"
	if out := f.submit(keyed); out[0].Duplicate || out[0].Err != nil {
		t.Errorf("its key is not free: %+v", out[0])
	}
}
