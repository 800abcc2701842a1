package main

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/nagatha/nagatha-runtime/sdk"
	"github.com/nagatha/nagatha-runtime/sdk/sdktest"
)

// clocked is a host whose time stands still until it is told.
func clocked() (*sdktest.Host, *sdk.Time) {
	at, _ := time.Parse(time.RFC3339, "2026-03-01T12:00:00Z")
	clock := sdk.TimeOf(at)
	h := sdktest.NewHost()
	h.Now = func() sdk.Time { return clock }
	return h, &clock
}

// recallTexts returns the sentences that recall finds.
func recallTexts(t *testing.T, host sdk.Host, payload string) string {
	t.Helper()
	var out []string
	for _, f := range run(t, host, "recall", payload)["facts"].([]any) {
		out = append(out, f.(map[string]any)["fact"].(string))
	}
	return strings.Join(out, "; ")
}

func TestFactsAreSuperseded(t *testing.T) {
	h, clock := clocked()
	start := *clock
	m := run(t, h, "remember", `{"fact":"Bob works at Acme","subject":"job","source":"Bob"}`)
	f := m["fact"].(map[string]any)
	if m["created"] != true || m["superseded"] != nil || f["source"] != "Bob" || f["valid_to"] != nil || f["valid_from"] != f["recorded_at"] {
		t.Errorf("first: %v", m)
	}
	if m := run(t, h, "remember", `{"fact":"bob works at  Acme.","subject":"job"}`); m["created"] != false || m["fact"].(map[string]any)["id"] != f["id"] {
		t.Errorf("the same again: %v", m)
	}
	*clock = clock.Add(time.Hour)
	m = run(t, h, "remember", `{"fact":"Bob works at Globex","subject":"job","source":"his boss"}`)
	if m["superseded"] != f["id"] {
		t.Errorf("second: %v", m)
	}
	run(t, h, "remember", `{"fact":"Alice works at Initech","subject":"Alice's job"}`)
	now := clock.Add(time.Minute)
	for payload, want := range map[string]string{
		`{"query":"where does Bob work?"}`:                                       "Bob works at Globex; Alice works at Initech",
		`{"query":"Acme"}`:                                                       "",
		`{"query":"Acme","as_of":"` + start.String() + `"}`:                      "Bob works at Acme",
		`{"query":"Globex","as_of":"` + start.String() + `"}`:                    "",
		`{"query":"Globex","as_of":"` + now.String() + `"}`:                      "Bob works at Globex",
		`{"query":"bob","as_of":"` + start.Add(-1e6).String() + `"}`:             "",
		`{"subject":"job"}`:                                                      "Bob works at Globex",
		`{"subject":"job","as_of":"` + start.Add(59*time.Minute).String() + `"}`: "Bob works at Acme",
		`{"subject":"job","query":"pizza"}`:                                      "",
		`{"subject":"jo","query":"bob"}`:                                         "",
		`{"query":"works","limit":1,"subject":"Alice's job"}`:                    "Alice works at Initech",
	} {
		if got := recallTexts(t, h, payload); got != want {
			t.Errorf("%s: %s, want %s", payload, got, want)
		}
	}
	e := entryOf(t, run(t, h, "get", `{"section":"facts","key":"job"}`))
	if p := e["fact"].(map[string]any); e["value"] != "Bob works at Globex" || e["version"] != 2.0 || p["source"] != "his boss" || p["subject"] != "job" {
		t.Errorf("as an entry: %v", e)
	}
	if m := run(t, h, "search", `{"query":"Acme"}`); len(m["results"].([]any)) != 0 {
		t.Errorf("search finds what is not believed: %v", m)
	}
}

func TestSetAndDeleteOfFactsKeepHistory(t *testing.T) {
	h, clock := clocked()
	start := *clock
	step := func() { *clock = clock.Add(time.Hour) }
	if m := run(t, h, "set", `{"section":"facts","key":"pet","value":"Bob has a cat"}`); m["created"] != true || entryOf(t, m)["version"] != 1.0 {
		t.Errorf("first: %v", m)
	}
	step()
	if m := run(t, h, "set", `{"section":"facts","key":"pet","value":{"dog":"Rex"}}`); m["created"] != false || entryOf(t, m)["version"] != 2.0 {
		t.Errorf("second: %v", m)
	}
	step()
	if m := run(t, h, "delete", `{"section":"facts","key":"pet"}`); m["deleted"] != true {
		t.Errorf("delete: %v", m)
	}
	if m := run(t, h, "delete", `{"section":"facts","key":"pet"}`); m["deleted"] != false {
		t.Errorf("delete again: %v", m)
	}
	step()
	run(t, h, "remember", `{"fact":"Bob has a fish","subject":"pet"}`)
	for i, want := range []string{"Bob has a cat", `{"dog":"Rex"}`, "", "Bob has a fish"} {
		if got := recallTexts(t, h, fmt.Sprintf(`{"subject":"pet","as_of":"%s"}`, start.Add(time.Duration(i)*time.Hour+time.Minute))); got != want {
			t.Errorf("after %d hours: %s, want %s", i, got, want)
		}
	}
	_, err := plugin().Handle(t.Context(), sdktest.Task("memory.set", `{"section":"facts","key":"pet","value":1,"if_version":9}`), h)
	if sdk.CodeOf(err) != sdk.CodeConflict {
		t.Errorf("another version: %v", err)
	}
}

func TestValidFrom(t *testing.T) {
	h, clock := clocked()
	run(t, h, "remember", `{"fact":"Bob lives in Rome","subject":"home","valid_from":"2024-01-01T00:00:00Z"}`)
	*clock = clock.Add(time.Hour)
	// What is told late of an earlier time is history, and not what is believed.
	run(t, h, "remember", `{"fact":"Bob lived in Oslo","subject":"home","valid_from":"2020-01-01T00:00:00Z"}`)
	run(t, h, "remember", `{"fact":"Bob lived in Oslo","subject":"home","valid_from":"2020-01-01T00:00:00Z"}`) // a repetition
	run(t, h, "remember", `{"fact":"Bob lived in Bern","subject":"home","valid_from":"2022-01-01T00:00:00Z"}`)
	for as, want := range map[string]string{"2019-01-01": "", "2021-06-01": "Bob lived in Oslo", "2022-01-01": "Bob lived in Bern", "2025-01-01": "Bob lives in Rome", "2026-04-01": "Bob lives in Rome"} {
		for _, q := range []string{`"subject":"home"`, `"query":"Bob"`} {
			if got := recallTexts(t, h, `{`+q+`,"as_of":"`+as+`T00:00:00Z"}`); got != want {
				t.Errorf("%s as of %s: %q, want %q", q, as, got, want)
			}
		}
	}
	ends := map[any]any{}
	for _, as := range []string{"2021", "2023"} {
		f := run(t, h, "recall", `{"subject":"home","as_of":"`+as+`-06-01T00:00:00Z"}`)["facts"].([]any)[0].(map[string]any)
		ends[f["fact"]] = f["valid_to"]
	}
	if ends["Bob lived in Oslo"] != "2022-01-01T00:00:00.000Z" || ends["Bob lived in Bern"] != "2024-01-01T00:00:00.000Z" {
		t.Errorf("valid_to: %v", ends)
	}
	// A fact that does not say since when is superseded by what holds since before it
	// was told: that is a correction.
	run(t, h, "remember", `{"fact":"Bob has a car","subject":"car"}`)
	told := *clock
	*clock = clock.Add(time.Hour)
	run(t, h, "remember", `{"fact":"Bob sold his car","subject":"car","valid_from":"2026-02-01T00:00:00Z"}`)
	if got := recallTexts(t, h, `{"subject":"car"}`); got != "Bob sold his car" {
		t.Errorf("corrected: %s", got)
	}
	if got := recallTexts(t, h, `{"subject":"car","as_of":"`+told.String()+`"}`); got != "Bob has a car" {
		t.Errorf("believed before the correction: %s", got)
	}
	_, err := plugin().Handle(t.Context(), sdktest.Task("memory.remember", `{"fact":"x","valid_from":"2030-01-01T00:00:00Z"}`), h)
	if sdk.CodeOf(err) != sdk.CodeInvalid || !strings.Contains(err.Error(), "still to come") {
		t.Errorf("of the future: %v", err)
	}
}

func TestForget(t *testing.T) {
	h, clock := clocked()
	id := run(t, h, "remember", `{"fact":"Bob is 40","subject":"age"}`)["fact"].(map[string]any)["id"].(string)
	*clock = clock.Add(time.Hour)
	second := run(t, h, "remember", `{"fact":"Bob is 41","subject":"age"}`)["fact"].(map[string]any)["id"].(string)
	forget := func(payload string) any { return run(t, h, "forget", payload)["forgotten"] }
	if n := forget(`{"id":"fct_none"}`); n != 0.0 {
		t.Errorf("an unknown id: %v", n)
	}
	if n := forget(`{"id":"` + id + `"}`); n != 0.0 {
		t.Errorf("what is not believed any more: %v", n)
	}
	if n := forget(`{"id":"` + second + `"}`); n != 1.0 {
		t.Errorf("by id: %v", n)
	}
	if got := recallTexts(t, h, `{"query":"Bob"}`); got != "" {
		t.Errorf("still believed: %s", got)
	}
	as := `{"query":"Bob","as_of":"` + clock.Add(-1e6).String() + `"}`
	if got := recallTexts(t, h, as); got != "Bob is 40" {
		t.Errorf("what was believed: %s", got)
	}
	if n := forget(`{"id":"` + id + `","erase":true}`); n != 1.0 || recallTexts(t, h, as) != "" {
		t.Errorf("erased by id: %v", n)
	}
	run(t, h, "remember", `{"fact":"Bob is 42","subject":"age"}`)
	if n := forget(`{"subject":"age","erase":true}`); n != 2.0 || len(h.Items) != 0 {
		t.Errorf("erased: %v, left %v", n, h.Items)
	}
	if _, err := plugin().Handle(t.Context(), sdktest.Task("memory.forget", `{}`), h); sdk.CodeOf(err) != sdk.CodeInvalid {
		t.Errorf("forget what? %v", err)
	}
}

func TestFactsOfVersion1(t *testing.T) {
	h, clock := clocked()
	h.Items[itemKey(facts, "", "job")] = sdktest.StoredItem{Text: "job Bob works at Acme",
		Item: sdk.Item{Key: itemKey(facts, "", "job"), Value: json.RawMessage(`"Bob works at Acme"`), Version: 3, CreatedAt: *clock, UpdatedAt: *clock}}
	start := *clock
	*clock = clock.Add(time.Hour)
	if got := recallTexts(t, h, `{"query":"acme"}`); got != "Bob works at Acme" {
		t.Errorf("recall: %s", got)
	}
	run(t, h, "remember", `{"fact":"Bob works at Globex","subject":"job"}`)
	for as, want := range map[sdk.Time]string{start: "Bob works at Acme", *clock: "Bob works at Globex"} {
		if got := recallTexts(t, h, `{"subject":"job","as_of":"`+as.String()+`"}`); got != want {
			t.Errorf("as of %s: %s", as, got)
		}
	}
}

func TestFactsOfSessions(t *testing.T) {
	h, _ := clocked()
	run(t, h, "remember", `{"fact":"the answer is 42","subject":"answer"}`)
	run(t, h, "remember", `{"fact":"the answer is 43","subject":"answer","session":"a"}`)
	for payload, want := range map[string]string{
		`{"query":"answer"}`:               "the answer is 42",
		`{"query":"answer","session":"b"}`: "the answer is 42",
		`{"query":"43","session":"a"}`:     "the answer is 43",
		`{"query":"43"}`:                   "",
	} {
		if got := recallTexts(t, h, payload); got != want {
			t.Errorf("%s: %s", payload, got)
		}
	}
	if n := len(run(t, h, "recall", `{"subject":"answer","session":"a"}`)["facts"].([]any)); n != 2 {
		t.Errorf("a session finds %d", n)
	}
}

// modelFact is a fact in the model: the rules of docs/memory.md, over a plain list.
type modelFact struct {
	text           string
	from, recorded sdk.Time
	stated         bool
	ended          sdk.Time // 0: believed
}

type model struct{ all []*modelFact }

func (m *model) believed() *modelFact {
	for _, f := range m.all {
		if f.ended == 0 {
			return f
		}
	}
	return nil
}

func (m *model) remember(text string, from, now sdk.Time) {
	f := &modelFact{text: text, from: now, recorded: now}
	if from != 0 {
		f.from, f.stated = from, true
	}
	switch was := m.believed(); {
	case was == nil:
	case f.stated && was.stated && f.from < was.from:
		f.ended = now
	default:
		was.ended = now
	}
	m.all = append(m.all, f)
}

func (m *model) asOf(at sdk.Time) string {
	if len(m.all) == 0 {
		return ""
	}
	if at >= m.all[0].recorded {
		for _, f := range m.all {
			if f.recorded <= at && (f.ended == 0 || at < f.ended) {
				return f.text
			}
		}
		return ""
	}
	best := &modelFact{}
	for _, f := range m.all {
		if f.from <= at && f.from >= best.from {
			best = f
		}
	}
	return best.text
}

// TestFactsModel compares remember, forget and recall with the model, for every
// moment that matters.
func TestFactsModel(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		h, clock := clocked()
		start := *clock
		models := map[string]*model{"a": {}, "ab": {}, "c d/e": {}}
		subjects := []string{"a", "ab", "c d/e"}
		moments := []sdk.Time{start.Add(-30 * time.Hour)}
		p := plugin()
		call := func(kind string, payload any) map[string]any {
			b, _ := json.Marshal(payload)
			got, err := p.Handle(t.Context(), sdktest.Task("memory."+kind, string(b)), h)
			if err != nil {
				r.Fatalf("%s %s: %v", kind, b, err)
			}
			var m map[string]any
			_ = json.Unmarshal(got, &m)
			return m
		}
		for i := range rapid.IntRange(1, 10).Draw(r, "steps") {
			*clock = clock.Add(time.Duration(rapid.IntRange(1, 4).Draw(r, "pause")) * time.Minute)
			subject := rapid.SampledFrom(subjects).Draw(r, "subject")
			m := models[subject]
			switch rapid.IntRange(0, 5).Draw(r, "what") {
			case 0:
				was := m.believed()
				if n := call("forget", map[string]any{"subject": subject})["forgotten"]; (n == 1.0) != (was != nil) {
					r.Fatalf("forgot %v of %v", n, was)
				}
				if was != nil {
					was.ended = *clock
				}
			case 1, 2:
				from := start.Add(time.Duration(rapid.IntRange(-20, 1).Draw(r, "from")) * time.Hour)
				from = min(from, *clock)
				text := fmt.Sprintf("word sentence%d", i)
				call("remember", map[string]any{"fact": text, "subject": subject, "valid_from": from})
				m.remember(text, from, *clock)
				moments = append(moments, from-1, from)
			default:
				text := fmt.Sprintf("word sentence%d", i)
				call("remember", map[string]any{"fact": text, "subject": subject})
				m.remember(text, 0, *clock)
			}
			moments = append(moments, *clock-1, *clock)
		}
		moments = append(moments, clock.Add(time.Hour))
		for i, at := range moments {
			var want []string
			for subject, m := range models {
				text := m.asOf(at)
				if text != "" {
					want = append(want, text)
				}
				if subject != subjects[i%len(subjects)] {
					continue // its turn is at another moment
				}
				var got []string
				for _, f := range call("recall", map[string]any{"subject": subject, "as_of": at})["facts"].([]any) {
					got = append(got, f.(map[string]any)["fact"].(string))
				}
				if strings.Join(got, "; ") != text {
					r.Fatalf("%s as of %s: %v, want %q", subject, at, got, text)
				}
			}
			var got []string
			for _, f := range call("recall", map[string]any{"query": "word", "as_of": at, "limit": 100})["facts"].([]any) {
				got = append(got, f.(map[string]any)["fact"].(string))
			}
			slices.Sort(want)
			slices.Sort(got)
			if !slices.Equal(got, want) {
				r.Fatalf("as of %s: %v, want %v", at, got, want)
			}
		}
		var want, got []string
		for _, m := range models {
			if f := m.believed(); f != nil {
				want = append(want, f.text)
			}
		}
		for _, f := range call("recall", map[string]any{"query": "word", "limit": 100})["facts"].([]any) {
			got = append(got, f.(map[string]any)["fact"].(string))
		}
		slices.Sort(want)
		slices.Sort(got)
		if !slices.Equal(got, want) {
			r.Fatalf("now: %v, want %v", got, want)
		}
	})
}
