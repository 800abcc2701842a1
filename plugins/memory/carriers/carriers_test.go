// Package carriers tests the memory plugin on both carriers. It is apart because the
// race detector makes wazero's compiler too slow.
package carriers

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nagatha/nagatha-runtime/sdk"
	"github.com/nagatha/nagatha-runtime/sdk/process"
	"github.com/nagatha/nagatha-runtime/sdk/sdktest"
)

func TestMain(m *testing.M) {
	process.Supervise()
	os.Exit(m.Run())
}

func TestBothCarriers(t *testing.T) {
	sdktest.Carriers(t, "github.com/nagatha/nagatha-runtime/plugins/memory", sdktest.Options{Config: json.RawMessage(`{"default_ttl":"1h"}`), Instances: 3},
		func(t *testing.T, p sdktest.Plugin) {
			sdktest.Conformance(t, p)
			clock := sdk.TimeOf(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC))
			h := sdktest.NewHost()
			h.Now = func() sdk.Time { return clock }
			want := func(kind, payload string, texts ...string) {
				t.Helper()
				got, err := p.Run(t, "memory."+kind, payload, h)
				for _, text := range texts {
					if err != nil || !strings.Contains(got, text) {
						t.Errorf("%s %s: %s, %v; want %s", kind, payload, got, err, text)
					}
				}
			}
			want("set", `{"section":"notes","key":"k","value":{"a":[1,"two"]}}`, `"created":true`, `"expires_at":"2026-03-01T13:00:00.000Z"`)
			want("search", `{"query":"two"}`, `"key":"k"`)
			want("remember", `{"fact":"Bob works at Acme","subject":"job","source":"Bob"}`, `"created":true`, `"superseded":null`)
			clock = clock.Add(time.Minute)
			want("remember", `{"fact":"Bob works at Globex","subject":"job"}`, `"superseded":"fct_`)
			want("recall", `{"query":"where does Bob work?"}`, `"fact":"Bob works at Globex"`, `"score":2`)
			want("recall", `{"query":"where does Bob work?","as_of":"2026-03-01T12:00:30Z"}`, `[{"id":"fct_`, `"fact":"Bob works at Acme"`, `"source":"Bob"`)
			want("forget", `{"subject":"job"}`, `{"forgotten":1}`)
			want("set", `{"section":"session_state","key":"k","value":1,"session":"s"}`, `"session":"s"`)
			want("end_session", `{"event":{"id":"1","data":{"session":"s"}}}`, `"cleared":1`)
			want("history", `{}`, `{"entries":[],"next_cursor":""}`)
			clock = clock.Add(time.Hour)
			want("cleanup", `{}`, `"cleaned_entries":1`, `"total_entries":0`, `"superseded_facts":2`)
			want("export", `{}`, `"next_cursor":""`, `"superseded_at":"2026`)
			want("clear", `{"section":"facts","confirm":true}`, `{"cleared":0}`)
			testRivals(t, p, h)
			if err := p.Launch(t).Configure(t.Context(), json.RawMessage(`{"default_ttl":"soon"}`)); err == nil {
				t.Error("a bad default_ttl passed")
			}
		})
}

// testRivals lets many write one subject at once: each belief is kept, and follows on
// the one before it.
func testRivals(t *testing.T, p sdktest.Plugin, h *sdktest.Host) {
	const n = 30
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() {
			task := sdktest.Task("memory.remember", fmt.Sprintf(`{"fact":"rival number%d","subject":"rivals"}`, i))
			task.ID = fmt.Sprint("tsk_", i)
			if got, err := p.Handle(t.Context(), task, h); err != nil || !strings.Contains(string(got), `"created":true`) {
				t.Errorf("%d: %s, %v", i, got, err)
			}
		})
	}
	all.Wait()
	type version struct {
		Fact struct {
			RecordedAt   sdk.Time `json:"recorded_at"`
			SupersededAt sdk.Time `json:"superseded_at"`
		} `json:"fact"`
		First sdk.Time `json:"first"`
	}
	var out struct {
		Entries []version `json:"entries"`
	}
	got, err := p.Run(t, "memory.export", `{"section":"facts","limit":1000}`, h)
	if err != nil || json.Unmarshal([]byte(got), &out) != nil || len(out.Entries) != n {
		t.Fatalf("%d versions, %v", len(out.Entries), err)
	}
	slices.SortFunc(out.Entries, func(a, b version) int { return int(a.Fact.RecordedAt - b.Fact.RecordedAt) })
	for i, v := range out.Entries {
		next := sdk.Time(0)
		if i+1 < n {
			next = out.Entries[i+1].Fact.RecordedAt
		}
		if v.Fact.SupersededAt != next || v.First != out.Entries[0].Fact.RecordedAt {
			t.Errorf("version %d: %+v", i, v)
		}
	}
}
