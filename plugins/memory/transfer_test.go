package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/nagatha/nagatha-runtime/sdk"
	"github.com/nagatha/nagatha-runtime/sdk/sdktest"
)

// exportAll returns the pages of an export.
func exportAll(t *testing.T, host sdk.Host, limit int) []map[string]any {
	t.Helper()
	var pages []map[string]any
	for cursor := ""; ; {
		got, err := plugin().Handle(t.Context(), sdktest.Task("memory.export", fmt.Sprintf(`{"limit":%d,"cursor":%q}`, limit, cursor)), host)
		if err != nil {
			t.Fatal(err)
		}
		var m map[string]any
		dec := json.NewDecoder(bytes.NewReader(got))
		dec.UseNumber() // so that the test loses no digits
		if err := dec.Decode(&m); err != nil {
			t.Fatal(err)
		}
		pages = append(pages, m)
		if len(pages) > 1000 {
			t.Fatal("it does not end")
		}
		if cursor = m["next_cursor"].(string); cursor == "" {
			return pages
		}
	}
}

func importAll(t *testing.T, host sdk.Host, pages []map[string]any, mode string) (imported, skipped float64) {
	t.Helper()
	for _, p := range pages {
		p := maps.Clone(p)
		p["mode"] = mode
		b, err := json.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		m := run(t, host, "import", string(b))
		imported += m["imported"].(float64)
		skipped += m["skipped"].(float64)
	}
	return imported, skipped
}

func TestExportImport(t *testing.T) {
	h, clock := clocked()
	for i, payload := range []string{
		`{"section":"notes","key":"n:1/ü","value":{"a":[1,null,"x<y"]}}`,
		`{"section":"notes","key":"n:1/ü","value":{"a":12345678901234567890}}`,
		`{"section":"notes","key":"n","value":null,"session":"s:1"}`,
		`{"section":"temporary","key":"t","value":"soon"}`,
		`{"section":"command_history","key":"b","value":"first"}`,
		`{"section":"command_history","key":"a","value":"second"}`,
		`{"section":"facts","key":"pet","value":"Bob has a cat"}`,
		`{"section":"facts","key":"pet","value":{"dog":"Rex"}}`,
	} {
		run(t, h, "set", payload)
		*clock = clock.Add(time.Duration(i+1) * time.Second)
	}
	run(t, h, "remember", `{"fact":"Bob lives in Rome","subject":"home","valid_from":"2024-01-01T00:00:00Z","source":"Bob"}`)
	run(t, h, "remember", `{"fact":"Bob lived in Oslo","subject":"home","valid_from":"2020-01-01T00:00:00Z"}`)
	run(t, h, "remember", `{"fact":"Bob likes tea"}`)
	run(t, h, "remember", `{"fact":"gone","subject":"g"}`)
	run(t, h, "forget", `{"subject":"g"}`)

	pages := exportAll(t, h, 3)
	for _, limit := range []int{1, 4, 1000} {
		count := func(pages []map[string]any) (n int) {
			for _, p := range pages {
				n += len(p["entries"].([]any))
			}
			return n
		}
		if got := exportAll(t, h, limit); count(got) != len(h.Items) || count(pages) != len(h.Items) {
			t.Errorf("by %d: %d records of %d items", limit, count(got), len(h.Items))
		}
	}
	to, at := clocked()
	*at = *clock
	if n, skipped := importAll(t, to, pages, "skip"); n != float64(len(h.Items)) || skipped != 0 {
		t.Errorf("imported %v, skipped %v", n, skipped)
	}
	items := func(h *sdktest.Host) map[string]string {
		out := map[string]string{}
		for key, it := range h.Items {
			var v any
			_ = json.Unmarshal(it.Value, &v)
			it.Value = nil
			out[key] = fmt.Sprint(v, it)
		}
		return out
	}
	if a, b := items(h), items(to); !reflect.DeepEqual(a, b) {
		t.Errorf("they differ:\n%v\n%v", a, b)
	}
	if !strings.Contains(fmt.Sprint(string(to.Items[itemKey("notes", "", "n:1/ü")].Value)), "12345678901234567890") {
		t.Error("a large number lost digits")
	}
	if got, want := keysOf(run(t, to, "history", `{}`)), "a b"; got != want {
		t.Errorf("history: %s", got)
	}
	if got := recallTexts(t, to, `{"subject":"home","as_of":"2021-01-01T00:00:00Z"}`); got != "Bob lived in Oslo" {
		t.Errorf("as of 2021: %s", got)
	}
	if n, skipped := importAll(t, to, pages, "skip"); n != 0 || skipped != float64(len(h.Items)) {
		t.Errorf("again: %v, %v", n, skipped)
	}
	if n, _ := importAll(t, to, pages, "replace"); n != float64(len(h.Items)) || len(to.Items) != len(h.Items) {
		t.Errorf("replaced %v, now %d", n, len(to.Items))
	}
	// Another belief is superseded by an import, not overwritten.
	other, at := clocked()
	*at = *clock
	run(t, other, "remember", `{"fact":"Bob lives in Paris","subject":"home"}`)
	*at = at.Add(time.Hour)
	importAll(t, other, pages, "replace")
	for as, want := range map[string]string{"": "Bob lives in Rome", `,"as_of":"` + clock.Add(time.Minute).String() + `"`: "Bob lives in Paris"} {
		if got := recallTexts(t, other, `{"subject":"home"`+as+`}`); got != want {
			t.Errorf("%s: %s", as, got)
		}
	}
	// What has expired since is not taken in.
	late, at := clocked()
	*at = clock.Add(2 * time.Hour)
	if n, skipped := importAll(t, late, pages, "skip"); n != float64(len(h.Items))-1 || skipped != 1 {
		t.Errorf("later: %v, %v", n, skipped)
	}
	if got := run(t, h, "export", `{"section":"facts"}`)["entries"].([]any); len(got) != 6 {
		t.Errorf("facts: %d", len(got))
	}
}

func TestImportRefuses(t *testing.T) {
	h := sdktest.NewHost()
	good := `"version":1,"created_at":"2026-01-31T08:00:00Z","updated_at":"2026-01-31T08:00:00Z"`
	for payload, text := range map[string]string{
		`{"section":"Bad","key":"k","value":1,` + good + `}`:               "section",
		`{"section":"~facts","key":"k","value":1,` + good + `}`:            "section",
		`{"section":"notes","key":"","value":1,` + good + `}`:              "key",
		`{"section":"notes","key":"k",` + good + `}`:                       "value",
		`{"section":"notes","key":"k","value":1}`:                          "version",
		`{"section":"facts","key":"k","value":1,` + good + `}`:             "fact",
		`{"section":"session_state","key":"k","value":1,` + good + `}`:     "session",
		`{"section":"n","key":"k","value":1,"fact":{"id":1},` + good + `}`: "payload",
	} {
		_, err := plugin().Handle(t.Context(), sdktest.Task("memory.import", `{"entries":[{"section":"ok","key":"k","value":1,`+good+`},`+payload+`]}`), h)
		if err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("%s: %v", payload, err)
		}
	}
	if len(h.Items) != 0 {
		t.Errorf("imported %v", h.Items)
	}
	fails(t, h, "export", `{"cursor":"%"}`, sdk.CodeInvalid, "cursor")
}

func TestQuota(t *testing.T) {
	h := sdktest.NewHost()
	p := plugin()
	if err := p.(sdk.Configurer).Configure(t.Context(), json.RawMessage(`{"max_entries":3,"max_bytes":"2000","max_value":"1KiB"}`)); err != nil {
		t.Fatal(err)
	}
	call := func(kind, payload string) error {
		_, err := p.Handle(t.Context(), sdktest.Task("memory."+kind, payload), h)
		return err
	}
	set := func(key string, size int) error {
		return call("set", fmt.Sprintf(`{"section":"n","key":%q,"value":%q}`, key, strings.Repeat("x", size)))
	}
	if err := set("large", 1024); sdk.CodeOf(err) != sdk.CodeLimitExceeded || !strings.Contains(err.Error(), "max_value") {
		t.Errorf("a large value: %v", err)
	}
	for i := range 3 {
		if err := set(fmt.Sprint(i), 10); err != nil {
			t.Fatal(err)
		}
	}
	for kind, payload := range map[string]string{"set": `{"section":"n","key":"4","value":1}`, "remember": `{"fact":"x"}`,
		"import": `{"entries":[{"section":"n","key":"5","value":1,"version":1,"created_at":"2026-01-31T08:00:00Z","updated_at":"2026-01-31T08:00:00Z"}]}`} {
		if err := call(kind, payload); sdk.CodeOf(err) != sdk.CodeLimitExceeded || !strings.Contains(err.Error(), "3 of 3 entries") || sdk.AsError(err).Retryable {
			t.Errorf("%s beyond max_entries: %v", kind, err)
		}
	}
	if err := set("1", 1000); err != nil {
		t.Errorf("in place of another: %v", err)
	}
	if err := set("2", 1020); sdk.CodeOf(err) != sdk.CodeLimitExceeded || !strings.Contains(err.Error(), "max_bytes") {
		t.Errorf("beyond max_bytes: %v", err)
	}
	if err := call("delete", `{"section":"n","key":"1"}`); err != nil {
		t.Fatal(err)
	}
	if err := set("4", 10); err != nil {
		t.Errorf("there is room again: %v", err)
	}
	for _, bad := range []string{`{"max_value":"1MiB"}`, `{"max_bytes":"many"}`, `{"max_value":"0"}`, `{"default_ttl":"-1s"}`} {
		if err := plugin().(sdk.Configurer).Configure(t.Context(), json.RawMessage(bad)); err == nil {
			t.Errorf("%s passed", bad)
		}
	}
}

func TestOptimize(t *testing.T) {
	h, clock := clocked()
	run(t, h, "remember", `{"fact":"Bob likes tea"}`)
	run(t, h, "remember", `{"fact":"Bob likes tea.","subject":"drink"}`)
	run(t, h, "remember", `{"fact":"Bob likes tea","session":"s"}`)
	run(t, h, "remember", `{"fact":"Bob likes milk"}`)
	run(t, h, "set", `{"section":"temporary","key":"x","value":1}`)
	*clock = clock.Add(time.Hour)
	m := run(t, h, "optimize", `{}`)
	if m["facts_consolidated"] != 1.0 || m["cleaned_entries"] != 1.0 || m["memory_stats"].(map[string]any)["superseded_facts"] != 1.0 {
		t.Errorf("optimize: %v", m)
	}
	if got := recallTexts(t, h, `{"query":"tea"}`); got != "Bob likes tea." {
		t.Errorf("left: %s", got)
	}
}

func TestPagesFitAResult(t *testing.T) {
	h, clock := clocked()
	long := strings.Repeat("word ", 6000) // 30 KB
	for i := range 20 {
		run(t, h, "set", fmt.Sprintf(`{"section":"command_history","key":"k%02d","value":%q}`, i, long))
		*clock++
	}
	for kind, first := range map[string]string{"list": "k00", "history": "k19"} {
		var keys []string
		for cursor := ""; ; {
			section := ""
			if kind == "list" {
				section = `"section":"command_history",`
			}
			got, err := plugin().Handle(t.Context(), sdktest.Task("memory."+kind, `{`+section+`"cursor":"`+cursor+`"}`), h)
			if err != nil || len(got) > 200<<10 {
				t.Fatalf("%s: %d bytes, %v", kind, len(got), err)
			}
			var m map[string]any
			_ = json.Unmarshal(got, &m)
			keys = append(keys, strings.Fields(keysOf(m))...)
			if cursor = m["next_cursor"].(string); cursor == "" {
				break
			}
		}
		if len(keys) != 20 || keys[0] != first {
			t.Errorf("%s: %v", kind, keys)
		}
	}
	if m := run(t, h, "search", `{"query":"word","limit":100}`); len(m["results"].([]any)) != 5 {
		t.Errorf("%d results", len(m["results"].([]any)))
	}
	pages := exportAll(t, h, 1000)
	to := sdktest.NewHost()
	if n, _ := importAll(t, to, pages, "skip"); len(pages) != 4 || n != 20 {
		t.Errorf("%d pages, imported %v", len(pages), n)
	}
}
