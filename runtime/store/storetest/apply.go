package storetest

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nagatha/nagatha-runtime/runtime"
	"github.com/nagatha/nagatha-runtime/sdk"
)

func put(key, value string, ifVersion ...int64) sdk.KVWrite {
	w := sdk.KVSet{Key: key, Value: json.RawMessage(value)}
	if len(ifVersion) > 0 {
		w.IfVersion = &ifVersion[0]
	}
	return sdk.KVWrite{Set: &w}
}

func drop(key string, ifVersion ...int64) sdk.KVWrite {
	w := sdk.KVDelete{Key: key}
	if len(ifVersion) > 0 {
		w.IfVersion = &ifVersion[0]
	}
	return sdk.KVWrite{Delete: &w}
}

// contents is a namespace as "key=value/version".
func (f *fixture) contents(ns string) string {
	f.Helper()
	page, err := f.Store.KVList(f.Context(), ns, sdk.KVList{Limit: 1000})
	if err != nil {
		f.Fatal(err)
	}
	var out []string
	for _, it := range page.Items {
		out = append(out, fmt.Sprintf("%s=%s/%d", it.Key, it.Value, it.Version))
	}
	return strings.Join(out, " ")
}

func testApply(t *testing.T, open Open) {
	c := &clock{at: sdk.Now()}
	f := setup(t, open, Options{Now: c.now})
	apply := func(writes ...sdk.KVWrite) ([]sdk.KVResult, error) {
		r, err := f.Store.KVApply(t.Context(), "ns", runtime.Fence{}, sdk.KVApply{Writes: writes})
		return r.Results, err
	}
	want := func(content string) {
		t.Helper()
		if got := f.contents("ns"); got != content {
			t.Fatalf("stored %s, want %s", got, content)
		}
	}
	got, err := apply(put("b", `1`, 0), put("a", `null`), drop("none"))
	if err != nil || len(got) != 3 || got[0] != (sdk.KVResult{Key: "b", Version: 1, Created: true}) ||
		got[1] != (sdk.KVResult{Key: "a", Version: 1, Created: true}) || got[2] != (sdk.KVResult{Key: "none"}) {
		t.Fatalf("first: %+v, %v", got, err)
	}
	want("a=null/1 b=1/1")
	// One condition that is not met undoes the whole request, wherever it stands.
	for name, writes := range map[string][]sdk.KVWrite{
		"first":          {put("a", `2`, 7), put("b", `2`), put("c", `2`)},
		"last":           {put("b", `2`), put("c", `2`), drop("b2"), put("a", `2`, 0)},
		"delete":         {put("b", `2`), drop("a", 2)},
		"absent":         {put("b", `2`, 1), put("c", `2`, 1)},
		"delete of none": {put("b", `2`, 1), drop("c", 1)},
	} {
		if _, err := apply(writes...); sdk.CodeOf(err) != sdk.CodeConflict || errors.Is(err, runtime.ErrFenced) {
			t.Errorf("%s: %v", name, err)
		}
		want("a=null/1 b=1/1")
	}
	got, err = apply(put("b", `2`, 1), drop("a", 1), put("c", `3`, 0), drop("none", 0))
	if err != nil || got[0] != (sdk.KVResult{Key: "b", Version: 2}) || got[1] != (sdk.KVResult{Key: "a", Deleted: true}) {
		t.Fatalf("second: %+v, %v", got, err)
	}
	want("b=2/2 c=3/1")

	var many []sdk.KVWrite
	for i := range sdk.MaxKVApply + 1 {
		many = append(many, put(fmt.Sprint("m", i), `1`))
	}
	for name, writes := range map[string][]sdk.KVWrite{"none": nil, "too many": many, "twice": {put("x", `1`), drop("x")}, "neither": {{}},
		"both": {{Set: put("x", `1`).Set, Delete: drop("x").Delete}}, "key": {put("x", `1`), put("", `1`)}, "value": {put("x", `1`), put("y", `{`)}} {
		if _, err := apply(writes...); sdk.CodeOf(err) != sdk.CodeInvalid {
			t.Errorf("%s: %v", name, err)
		}
	}
	want("b=2/2 c=3/1")
	if _, err := apply(many[:sdk.MaxKVApply]...); err != nil {
		t.Error(err)
	}
	for _, w := range many[:sdk.MaxKVApply] {
		if _, err := apply(drop(w.Set.Key, 1)); err != nil {
			t.Fatal(err)
		}
	}

	// What has expired is absent: it begins again at version 1, and is not deleted.
	short := put("b", `4`, 2)
	short.Set.TTL = sdk.Duration(time.Minute)
	if _, err := apply(short, put("c", `4`)); err != nil {
		t.Fatal(err)
	}
	c.advance(time.Minute)
	want("c=4/2")
	if got, err := apply(drop("b", 0)); err != nil || got[0].Deleted {
		t.Errorf("an expired item was deleted: %+v, %v", got, err)
	}
	if got, err := apply(put("b", `5`, 0)); err != nil || !got[0].Created {
		t.Errorf("an expired item is not absent: %+v, %v", got, err)
	}
	want("b=5/1 c=4/2")
	if it, err := f.Store.KVGet(t.Context(), "ns", sdk.KVGet{Key: "b"}); err != nil || it.Item.CreatedAt != c.now() {
		t.Errorf("it was created at %+v, %v", it.Item, err)
	}

	// An attempt that no longer counts writes nothing.
	f.submit(f.newTask("a.b"))
	task := f.claimOne("a.b")
	req := sdk.KVApply{Writes: []sdk.KVWrite{put("b", `6`), put("d", `6`)}}
	if _, err := f.Store.KVApply(t.Context(), "ns", fence(task), req); err != nil {
		t.Error(err)
	}
	f.mustFinish(end(task, sdk.StateCompleted))
	if _, err := f.Store.KVApply(t.Context(), "ns", fence(task), req); !errors.Is(err, runtime.ErrFenced) {
		t.Errorf("after its end: %v", err)
	}
	want("b=6/2 c=4/2 d=6/1")
}

// testApplyTogether has callers count in the same two keys at once, so that many share
// a tick: each conflict is one caller's own, both keys move together, and nothing is
// lost.
func testApplyTogether(t *testing.T, open Open) {
	f := setup(t, open, Options{})
	const callers, rounds = 12, 15
	conflicts := make([]int, callers)
	var wg sync.WaitGroup
	for i := range callers {
		wg.Go(func() {
			for n := 0; n < rounds; {
				a, err := f.Store.KVGet(t.Context(), "ns", sdk.KVGet{Key: "a"})
				if err != nil {
					t.Error(err)
					return
				}
				count, version := int64(0), int64(0)
				if a.Item != nil {
					version = a.Item.Version
					_ = json.Unmarshal(a.Item.Value, &count)
				}
				next := fmt.Sprint(count + 1)
				_, err = f.Store.KVApply(t.Context(), "ns", runtime.Fence{}, sdk.KVApply{Writes: []sdk.KVWrite{
					put(fmt.Sprintf("mine/%d/%d", i, n), next, 0), put("a", next, version), put("b", next, version)}})
				switch sdk.CodeOf(err) {
				case "":
					n++
				case sdk.CodeConflict:
					conflicts[i]++
				default:
					t.Error(err)
					return
				}
			}
		})
		wg.Go(func() { // others in the same ticks are none the worse
			for n := range rounds {
				if r, err := f.Store.KVSet(t.Context(), "ns", runtime.Fence{}, sdk.KVSet{Key: fmt.Sprint("other/", i), Value: []byte(`1`)}); err != nil || r.Item.Version != int64(n+1) {
					t.Errorf("set %d: %+v, %v", n, r, err)
				}
			}
		})
	}
	wg.Wait()
	total := fmt.Sprint(callers * rounds)
	for _, key := range []string{"a", "b"} {
		if it, err := f.Store.KVGet(t.Context(), "ns", sdk.KVGet{Key: key}); err != nil || string(it.Item.Value) != total || fmt.Sprint(it.Item.Version) != total {
			t.Errorf("%s: %+v, %v, want %s", key, it.Item, err, total)
		}
	}
	page, err := f.Store.KVList(t.Context(), "ns", sdk.KVList{Prefix: "mine/", Limit: 1000})
	seen := map[string]bool{}
	for _, it := range page.Items {
		seen[string(it.Value)] = true
	}
	if err != nil || len(page.Items) != callers*rounds || len(seen) != callers*rounds {
		t.Errorf("%d items with %d values, %v", len(page.Items), len(seen), err)
	}
	t.Logf("conflicts: %v", conflicts)
}
