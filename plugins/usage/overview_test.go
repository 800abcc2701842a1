package main

import (
	"context"
	"encoding/json"
	"fmt"
	"reflect"
	"sync"
	"testing"

	"github.com/nagatha/nagatha-runtime/sdk"
)

// older makes of the store what an earlier version would have left, which counted by
// session only, and of the plugin one that has just been started.
func (b *bench) older() {
	b.Helper()
	kv := sdk.NewKV(b.host)
	if _, err := kv.Clear(b.Context(), sdk.KVClear{Prefix: wholeKeys, Limit: 1000}); err != nil {
		b.Fatal(err)
	}
	if _, err := kv.Delete(b.Context(), overviewKey); err != nil {
		b.Fatal(err)
	}
	b.Plugin = plugin()
	if err := b.Plugin.(sdk.Configurer).Configure(b.Context(), json.RawMessage(`{}`)); err != nil {
		b.Fatal(err)
	}
}

// TestOverviewOfAnEarlierVersion: a database of one shows in overviews all that it holds,
// and what was recorded since is not counted twice.
func TestOverviewOfAnEarlierVersion(t *testing.T) {
	b := setup(t, `{}`)
	record := func(id, day, more string) {
		b.run("record", fmt.Sprintf(`{"id":%q,"time":"2026-09-%sT00:00:00Z","model":"gpt-5","input_tokens":1000000,"output_tokens":1%s}`, id, day, more))
	}
	for i := range 120 { // more kinds than one transaction has room for
		record(fmt.Sprint("kind", i), "01", fmt.Sprintf(`,"kind":"k%d","session":"s%d"`, i, i%7))
	}
	record("other", "02", `,"session":"s1"`)
	b.run("record", `{"id":"unknown","time":"2026-09-02T00:00:00Z","model":"nobody-knows-it","input_tokens":7,"output_tokens":1}`)
	b.run("reset", `{}`)
	record("now", "03", `,"session":"s1"`)
	queries := []string{`{"period":0}`, `{}`, `{"period":0,"group_by":"model"}`, `{"period":0,"group_by":"kind","kind":"k3"}`, `{"period":0,"from":"2026-09-02"}`}
	ask := func() (all []doc) {
		for _, q := range queries {
			all = append(all, b.run("report", q))
		}
		d := b.run("track", `{}`)
		delete(d, "timestamp")
		return append(all, d)
	}
	want := ask()
	b.older()
	if got := ask(); !reflect.DeepEqual(got, want) {
		t.Errorf("got %v\nwant %v", got, want)
	}

	b.older()
	record("since", "03", `,"session":"s2"`)
	b.want(b.run("track", `{}`), "total_requests", 2)
	b.want(b.run("report", `{"from":"2026-09-03"}`), "total.requests", 2, "total.cost_usd", 2.50002)
	b.older()
	b.want(b.run("reset", `{}`), "archived.total.requests", 122) // the first reset again, since it is the same task

	// It is done once: the next overview reads one row more than it shows.
	b.older()
	b.run("track", `{}`)
	b.Plugin = plugin()
	calls := 0
	b.host = watched{b.host, func([]byte) { calls++ }}
	if b.run("track", `{}`); calls > 3 {
		t.Errorf("a later overview made %d calls of the store", calls)
	}
}

// TestOverviewWhileOthersRecord: nothing that is recorded while the rows are made is lost
// or counted twice, by whichever instance.
func TestOverviewWhileOthersRecord(t *testing.T) {
	b := setup(t, `{}`)
	const before, each = 50, 40
	for i := range before {
		b.run("record", fmt.Sprintf(`{"id":"b%d","model":"gpt-5","input_tokens":1,"output_tokens":1,"session":"s%d"}`, i, i))
	}
	b.older()
	var wg sync.WaitGroup
	for n := range 4 {
		p := plugin()
		if err := p.(sdk.Configurer).Configure(t.Context(), json.RawMessage(`{}`)); err != nil {
			t.Fatal(err)
		}
		wg.Go(func() {
			for i := range each {
				if _, err := handle(context.WithoutCancel(t.Context()), p, b.host, "record",
					fmt.Sprintf(`{"id":"w%d-%d","model":"gpt-5","input_tokens":1,"output_tokens":1,"session":"s%d"}`, n, i, i)); err != nil {
					t.Error(err)
				}
				if i == each/2 {
					if _, err := handle(t.Context(), p, b.host, "track", `{}`); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	wg.Wait()
	b.want(b.run("report", `{}`), "total.requests", before+4*each)
	b.want(b.run("report", `{"group_by":"session"}`), "total.requests", before+4*each)
}
