package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/nagatha/nagatha-runtime/runtime/store/storetest"
	"github.com/nagatha/nagatha-runtime/sdk"
)

// The memory plugin as its users meet it: on both carriers and both databases.

// memoryEntries is how many entries TestMemoryStaysBounded keeps.
var memoryEntries = flag.Int("memory-entries", 2000, "of TestMemoryStaysBounded; 50000 takes minutes")

func memoryDaemon(t *testing.T, carrier, base string) *daemon {
	t.Helper()
	file := `command = ["BIN/memory"]`
	if carrier == "wasm" {
		file = `wasm = "BIN/memory.wasm"`
	}
	config := "plugin \"memory\" {\n  " + file + "\n  grant {\n    store = true\n    publish = [\"memory.entry.*\"]\n  }\n  config {\n    max_entries = 200000\n  }\n}\n"
	if base == "postgres" {
		config += fmt.Sprintf("store \"postgres\" {\n  url = %q\n}\n", storetest.Postgres(t))
	}
	d := newDaemon(t, config)
	d.start()
	return d
}

// memory runs a kind of the plugin to its end and returns its result.
func (d *daemon) memory(kind, payload string) map[string]any {
	d.Helper()
	m := d.await(d.submit(`{"kind":"memory.` + kind + `","payload":` + payload + `}`))
	result, ok := m["result"].(map[string]any)
	if m["state"] != "completed" || !ok {
		d.Fatalf("%s %.200s is %v: %v", kind, payload, m["state"], m["error"])
	}
	return result
}

func (d *daemon) recall(payload string) string {
	d.Helper()
	var out []string
	for _, f := range d.memory("recall", payload)["facts"].([]any) {
		out = append(out, f.(map[string]any)["fact"].(string))
	}
	return strings.Join(out, "; ")
}

// until repeats a question until it is answered so.
func (d *daemon) until(what string, ok func() bool) {
	d.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			d.Fatalf("not in time: %s", what)
		}
	}
}

func TestMemory(t *testing.T) {
	for _, c := range [][2]string{{"process", "sqlite"}, {"wasm", "sqlite"}, {"process", "postgres"}} {
		t.Run(c[0]+" "+c[1], func(t *testing.T) {
			t.Parallel()
			d := memoryDaemon(t, c[0], c[1])

			// Facts, and their search.
			for _, f := range []string{
				`{"fact":"Bob works at Acme","subject":"Bob's job","source":"Bob"}`, `{"fact":"Alice likes apples and pears"}`,
				`{"fact":"Bob's cat is called Tom; Tom sleeps all day","subject":"Bob's cat"}`, `{"fact":"Write to bob@example.org about build-4.2"}`,
				`{"fact":"What we do where and when is what the work is"}`,
			} {
				d.memory("remember", f)
			}
			for query, want := range map[string]string{
				"where does Bob work?": "Bob works at Acme", "where do I work?": "Bob works at Acme", "cats": "Bob's cat", "does Alice like an apple?": "Alice likes",
				"bob@example.org": "Write to bob", "build 4": "Write to bob", `"Acme" AND (`: "Bob works at Acme", "acme* NEAR": "Bob works at Acme", "-acme": "Bob works at Acme",
			} {
				q, _ := json.Marshal(query)
				got := d.recall(`{"query":` + string(q) + `}`)
				if query == "where do I work?" && strings.Contains(got, want) { // two say "work"; which is first is the database's to say
					continue
				}
				if !strings.HasPrefix(got, want) {
					t.Errorf("%s: %s, want first %s", query, got, want)
				}
			}
			if got := d.recall(`{"query":"a%b"}`); got != "" {
				t.Errorf("a wildcard finds %s", got)
			}
			before := sdk.Now()
			second := d.memory("remember", `{"fact":"Bob works at Globex","subject":"Bob's job"}`)["fact"].(map[string]any)
			if got := d.recall(`{"query":"Where does Bob work?","limit":1}`); got != "Bob works at Globex" {
				t.Errorf("superseded: %s", got)
			}
			if got := d.recall(`{"query":"Where does Bob work?","limit":1,"as_of":"` + before.String() + `"}`); got != "Bob works at Acme" {
				t.Errorf("as of before: %s", got)
			}
			if m := d.memory("search", `{"query":"Bob's job","section":"facts","limit":1}`); !strings.Contains(fmt.Sprint(m), "Globex") {
				t.Errorf("search: %v", m)
			}

			// It is all there after the worst.
			d.kill()
			d.start()
			if m := d.memory("forget", `{"id":"`+second["id"].(string)+`"}`); m["forgotten"] != 1.0 {
				t.Errorf("forget: %v", m)
			}
			if got := d.recall(`{"subject":"Bob's job"}`); got != "" {
				t.Errorf("forgotten: %s", got)
			}

			// Many at once, on one subject.
			var ids []string
			for i := range 20 {
				ids = append(ids, d.submit(fmt.Sprintf(`{"kind":"memory.set","payload":{"section":"facts","key":"n","value":%d}}`, i)))
			}
			for _, id := range ids {
				if m := d.await(id); m["state"] != "completed" {
					t.Errorf("one of many: %v", m["error"])
				}
			}
			if m := d.memory("get", `{"section":"facts","key":"n"}`); m["entry"].(map[string]any)["version"] != 20.0 {
				t.Errorf("after many: %v", m)
			}

			// Expiry is exact, and counted.
			d.memory("set", `{"section":"temporary","key":"t","value":1,"ttl":"200ms"}`)
			d.until("it expires", func() bool { return d.memory("get", `{"section":"temporary","key":"t"}`)["found"] == false })
			m := d.memory("cleanup", `{}`)
			stats := m["memory_stats"].(map[string]any)
			if m["cleaned_entries"] != 1.0 || stats["total_entries"] != 5.0 || stats["superseded_facts"] != 21.0 {
				t.Errorf("cleanup: %v", m)
			}

			// A session ends.
			d.memory("set", `{"section":"session_state","key":"k","value":1,"session":"ses_1"}`)
			code, _ := d.rest("POST", "/api/v1/events", `{"specversion":"1.0","id":"e1","source":"agent","type":"agent.session.deleted","data":{"session":"ses_1"}}`, "Content-Type", "application/cloudevents+json")
			if code != http.StatusAccepted {
				t.Fatalf("publish: %d", code)
			}
			d.until("its state goes", func() bool {
				return d.memory("get", `{"section":"session_state","key":"k","session":"ses_1"}`)["found"] == false
			})

			// Out, and in again.
			page := d.memory("export", `{"limit":1000}`)
			if n := len(page["entries"].([]any)); n != 26 || page["next_cursor"] != "" {
				t.Errorf("%d records, next %v", n, page["next_cursor"])
			}
			if m := d.await(d.submit(`{"kind":"memory.clear","payload":{"section":"facts"}}`)); m["state"] != "failed" || !strings.Contains(fmt.Sprint(m["error"]), "confirm") {
				t.Errorf("cleared without a confirmation: %v", m)
			}
			if m := d.memory("clear", `{"section":"facts","confirm":true}`); m["cleared"] != 5.0 {
				t.Errorf("clear: %v", m)
			}
			b, err := json.Marshal(page)
			if err != nil {
				t.Fatal(err)
			}
			if m := d.memory("import", string(b)); m["imported"] != 26.0 {
				t.Errorf("import: %v", m)
			}
			if again := d.memory("export", `{"limit":1000}`); fmt.Sprint(again) != fmt.Sprint(page) {
				t.Errorf("not what went out:\n%v\n%v", page, again)
			}
		})
	}
}

// TestMemoryStaysBounded: with many entries, everything goes page by page and stays
// within its timeout and the module's memory.
func TestMemoryStaysBounded(t *testing.T) {
	d := memoryDaemon(t, "wasm", "sqlite")
	const perImport = 400
	took := map[string]time.Duration{}
	measured := func(kind, payload string) map[string]any {
		start := time.Now()
		m := d.memory(kind, payload)
		took[kind] = max(took[kind], time.Since(start))
		return m
	}
	at := sdk.Now()
	for n := 0; n < *memoryEntries; n += perImport {
		var page []string
		for i := n; i < n+perImport; i++ {
			expires := "null"
			section := "notes"
			if i%5 == 4 {
				section, expires = "temporary", `"`+at.Add(time.Hour).String()+`"`
			}
			page = append(page, fmt.Sprintf(`{"section":%q,"key":"k%06d","session":"","value":"note number%d is about the word%d and the common thing",
				"version":1,"created_at":%q,"updated_at":%q,"expires_at":%s}`, section, i, i, i%97, at, at, expires))
		}
		if m := measured("import", `{"entries":[`+strings.Join(page, ",")+`]}`); m["imported"] != float64(perImport) {
			t.Fatalf("import: %v", m)
		}
	}
	listed := 0
	for cursor := ""; ; {
		m := measured("list", `{"section":"notes","limit":1000,"cursor":"`+cursor+`"}`)
		listed += len(m["entries"].([]any))
		if cursor = m["next_cursor"].(string); cursor == "" {
			break
		}
	}
	if listed != *memoryEntries/5*4 {
		t.Errorf("listed %d", listed)
	}
	if m := measured("search", `{"query":"common thing number7"}`); len(m["results"].([]any)) != 10 || !strings.Contains(fmt.Sprint(m["results"].([]any)[0]), "number7 ") {
		t.Errorf("search: %v", m)
	}
	if m := measured("stats", `{}`); m["total_entries"] != float64(*memoryEntries) {
		t.Errorf("stats: %v", m)
	}
	for range 20 {
		measured("set", `{"section":"notes","key":"one","value":"more"}`)
	}
	measured("history", `{}`)
	measured("cleanup", `{}`)
	if m := measured("clear", `{"section":"temporary","confirm":true}`); m["cleared"] != float64(*memoryEntries/5) {
		t.Errorf("clear: %v", m)
	}
	measured("optimize", `{}`)
	t.Logf("with %d entries, the longest of each: %v", *memoryEntries, took)
}
