package storetest

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nagatha/nagatha-runtime/runtime"
	"github.com/nagatha/nagatha-runtime/sdk"
)

func testDataBulk(t *testing.T, open Open) {
	c := &clock{at: sdk.Now()}
	f := setup(t, open, Options{Now: c.now})
	ctx := t.Context()
	set := func(key string, ttl time.Duration) {
		t.Helper()
		if _, err := f.Store.KVSet(ctx, "ns", runtime.Fence{}, sdk.KVSet{Key: key, Value: json.RawMessage(`"ü"`), TTL: sdk.Duration(ttl)}); err != nil {
			t.Fatal(err)
		}
	}
	count := func(prefix string) sdk.KVCountReply {
		t.Helper()
		r, err := f.Store.KVCount(ctx, "ns", sdk.KVCount{Prefix: prefix})
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	clear := func(q sdk.KVClear) string {
		t.Helper()
		r, err := f.Store.KVClear(ctx, "ns", runtime.Fence{}, q)
		if err != nil {
			t.Fatal(err)
		}
		return strings.Join(r.Keys, " ")
	}
	if _, err := f.Store.KVSet(ctx, "other", runtime.Fence{}, sdk.KVSet{Key: "a/1", Value: json.RawMessage(`1`), TTL: sdk.Duration(time.Minute)}); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"a/1", "a/2", "b/1"} {
		set(key, 0)
	}
	set("a/3", time.Minute)
	set("a/4", 2*time.Minute)
	if got := count("a/"); got != (sdk.KVCountReply{Items: 4, Bytes: 16, Expiring: 2}) {
		t.Errorf("count: %+v", got)
	}
	if got := count("c"); got != (sdk.KVCountReply{}) {
		t.Errorf("count of nothing: %+v", got)
	}
	if got := clear(sdk.KVClear{Expired: true}); got != "" {
		t.Errorf("too early: %s", got)
	}
	c.advance(2 * time.Minute)
	// The runtime leaves what has expired to the plugin for a day.
	if n, err := f.Store.Prune(ctx, runtime.PruneRequest{Now: c.now().Add(23 * time.Hour), Limit: 100}); n != 0 || err != nil {
		t.Errorf("pruned %d, %v", n, err)
	}
	if got := count(""); got != (sdk.KVCountReply{Items: 3, Bytes: 12}) {
		t.Errorf("count without what has expired: %+v", got)
	}
	if got := clear(sdk.KVClear{Prefix: "b/", Expired: true}); got != "" {
		t.Errorf("of another prefix: %s", got)
	}
	if got := clear(sdk.KVClear{Expired: true, Limit: 1}); got != "a/3" {
		t.Errorf("the first that expired: %s", got)
	}
	// It is back before anybody cleared it.
	if r, err := f.Store.KVSet(ctx, "ns", runtime.Fence{}, sdk.KVSet{Key: "a/4", Value: json.RawMessage(`"ü"`)}); err != nil || !r.Created || !r.Expired {
		t.Errorf("in place of what has expired: %+v, %v", r, err)
	}
	if got := clear(sdk.KVClear{Expired: true}); got != "" {
		t.Errorf("what is there again: %s", got)
	}
	if got := clear(sdk.KVClear{Prefix: "a/", Limit: 2}); got != "a/1 a/2" {
		t.Errorf("all: %s", got)
	}
	if got := clear(sdk.KVClear{Prefix: "a/", Limit: 2}); got != "a/4" {
		t.Errorf("the rest: %s", got)
	}
	if got := clear(sdk.KVClear{Prefix: "a/"}); got != "" {
		t.Errorf("again: %s", got)
	}
	if r, err := f.Store.KVClear(ctx, "ns", runtime.Fence{Task: "tsk_none", Token: 1}, sdk.KVClear{}); err != runtime.ErrFenced || len(r.Keys) > 0 { //nolint:errorlint // the very error
		t.Errorf("of an attempt that does not count: %+v, %v", r, err)
	}
	if got := count(""); got.Items != 1 {
		t.Errorf("left: %+v", got)
	}
	if n, err := f.Store.Prune(ctx, runtime.PruneRequest{Now: c.now().Add(25 * time.Hour), Limit: 100}); n != 1 || err != nil {
		t.Errorf("pruned of the other namespace: %d, %v", n, err)
	}
}

func testDataStamp(t *testing.T, open Open) {
	c := &clock{at: sdk.Now()}
	f := setup(t, open, Options{Now: c.now})
	ctx := t.Context()
	set := func(q sdk.KVSet) (sdk.KVSetReply, error) {
		q.Key, q.Value = "k", json.RawMessage(`1`)
		return f.Store.KVSet(ctx, "ns", runtime.Fence{}, q)
	}
	as := sdk.KVStamp{Version: 7, CreatedAt: 1000, UpdatedAt: 2000, ExpiresAt: c.now().Add(time.Minute)}
	want := sdk.Item{Key: "k", Value: json.RawMessage(`1`), Version: 7, CreatedAt: 1000, UpdatedAt: 2000, ExpiresAt: as.ExpiresAt}
	if r, err := set(sdk.KVSet{As: &as}); err != nil || !r.Created || !reflect.DeepEqual(r.Item, want) {
		t.Errorf("as it was: %+v, %v", r, err)
	}
	if g, err := f.Store.KVGet(ctx, "ns", sdk.KVGet{Key: "k"}); err != nil || g.Item == nil || !reflect.DeepEqual(*g.Item, want) {
		t.Errorf("read: %+v, %v", g.Item, err)
	}
	if r, err := set(sdk.KVSet{}); err != nil || r.Created || r.Item.Version != 8 || r.Item.CreatedAt != 1000 {
		t.Errorf("the next: %+v, %v", r, err)
	}
	for _, bad := range []sdk.KVStamp{{}, {Version: 1}, {Version: 0, CreatedAt: 1, UpdatedAt: 1}} {
		if _, err := set(sdk.KVSet{As: &bad}); sdk.CodeOf(err) != sdk.CodeInvalid {
			t.Errorf("%+v: %v", bad, err)
		}
	}
}

func testDataPages(t *testing.T, open Open) {
	c := &clock{at: sdk.Now()}
	f := setup(t, open, Options{Now: c.now})
	ctx := t.Context()
	set := func(key string, size int) {
		t.Helper()
		value := json.RawMessage(`"` + strings.Repeat("x", size) + `"`)
		if _, err := f.Store.KVSet(ctx, "ns", runtime.Fence{}, sdk.KVSet{Key: key, Value: value, Text: "word " + key}); err != nil {
			t.Fatal(err)
		}
	}
	// Newest first; what was made in the same moment, by key.
	for i, key := range []string{"c/1", "a/2", "a/1", "a/9", "b/1"} {
		if i != 2 {
			c.advance(time.Second)
		}
		set(key, 1)
	}
	for prefix, want := range map[string]string{"": "b/1 a/9 a/1 a/2 c/1", "a/": "a/9 a/1 a/2"} {
		for limit := 1; limit <= 5; limit++ {
			var got []string
			after := ""
			for {
				page, err := f.Store.KVList(ctx, "ns", sdk.KVList{Prefix: prefix, After: after, Limit: limit, Newest: true})
				if err != nil || len(page.Items) > limit {
					t.Fatalf("%+v, %v", page, err)
				}
				for _, it := range page.Items {
					got = append(got, it.Key)
				}
				if after = page.Next; after == "" {
					break
				}
			}
			if strings.Join(got, " ") != want {
				t.Errorf("newest of %q by %d: %v, want %s", prefix, limit, got, want)
			}
		}
	}
	if _, err := f.Store.KVList(ctx, "ns", sdk.KVList{After: "a/1", Newest: true}); sdk.CodeOf(err) != sdk.CodeInvalid {
		t.Errorf("the cursor of another order: %v", err)
	}
	for query, want := range map[string][]string{"a/ b/": {"a/1", "a/2", "a/9", "b/1"}, "c/1 d/": {"c/1"}, "d/": nil} {
		r, err := f.Store.KVSearch(ctx, "ns", sdk.KVSearch{Query: "word", Prefixes: strings.Fields(query)})
		var got []string
		for _, h := range r.Hits {
			got = append(got, h.Key)
		}
		slices.Sort(got)
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("search in %s: %v, %v", query, got, err)
		}
	}
	if _, err := f.Store.KVSearch(ctx, "ns", sdk.KVSearch{Query: "word", Prefixes: make([]string, 101)}); sdk.CodeOf(err) != sdk.CodeInvalid {
		t.Errorf("too many prefixes: %v", err)
	}
	// Large values make smaller pages.
	for i := range 12 {
		set(fmt.Sprintf("large/%02d", i), 200<<10)
	}
	var sizes []int
	for after := ""; ; {
		page, err := f.Store.KVList(ctx, "ns", sdk.KVList{Prefix: "large/", After: after})
		if err != nil {
			t.Fatal(err)
		}
		sizes = append(sizes, len(page.Items))
		if after = page.Next; after == "" {
			break
		}
	}
	if !slices.Equal(sizes, []int{6, 6}) {
		t.Errorf("pages of %v items", sizes)
	}
	if r, err := f.Store.KVSearch(ctx, "ns", sdk.KVSearch{Query: "large"}); err != nil || len(r.Hits) != 6 {
		t.Errorf("%d hits, %v", len(r.Hits), err)
	}
}

// testDataSearchPlan: how much else a plugin has stored makes a search no slower.
// SQLite, left alone, goes through all of it and asks the index about each.
func testDataSearchPlan(t *testing.T, open Open) {
	f := setup(t, open, Options{})
	ctx := t.Context()
	var all sync.WaitGroup
	for i := range 40 {
		all.Go(func() {
			var writes []sdk.KVWrite
			for j := range 100 {
				writes = append(writes, sdk.KVWrite{Set: &sdk.KVSet{Key: fmt.Sprintf("facts/%02d/%02d", i, j), Value: json.RawMessage(`1`), Text: fmt.Sprintf("note number%d", i*100+j)}})
			}
			if _, err := f.Store.KVApply(ctx, "ns", runtime.Fence{}, sdk.KVApply{Writes: writes}); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if _, err := f.Store.KVSet(ctx, "small", runtime.Fence{}, sdk.KVSet{Key: "facts/1", Value: json.RawMessage(`1`), Text: "note number777"}); err != nil {
		t.Fatal(err)
	}
	best := func(ns string) time.Duration {
		least := time.Hour
		for range 5 {
			start := time.Now()
			r, err := f.Store.KVSearch(ctx, ns, sdk.KVSearch{Query: "number777", Prefix: "facts/"})
			if err != nil || len(r.Hits) != 1 {
				t.Fatalf("%d hits, %v", len(r.Hits), err)
			}
			least = min(least, time.Since(start))
		}
		return least
	}
	if small, large := best("small"), best("ns"); large > 10*small+100*time.Millisecond {
		t.Errorf("among 4,000 items %v, for one %v", large, small)
	}
}
