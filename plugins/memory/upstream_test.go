package main

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nagatha/nagatha-runtime/sdk"
	"github.com/nagatha/nagatha-runtime/sdk/sdktest"
)

// The measured defects of the system that this one replaces, one test each.

func fails(t *testing.T, host sdk.Host, kind, payload string, code sdk.Code, text string) {
	t.Helper()
	_, err := plugin().Handle(t.Context(), sdktest.Task("memory."+kind, payload), host)
	if sdk.CodeOf(err) != code || !strings.Contains(fmt.Sprint(err), text) {
		t.Errorf("%s %s: %v, want %s with %q", kind, payload, err, code, text)
	}
}

func keysOf(m map[string]any) string {
	var out []string
	for _, e := range m["entries"].([]any) {
		out = append(out, e.(map[string]any)["key"].(string))
	}
	return strings.Join(out, " ")
}

// published counts events by type.
func published(h *sdktest.Host) map[string]int {
	out := map[string]int{}
	for _, e := range h.Published {
		out[strings.TrimPrefix(e.Type, "memory.entry.")]++
	}
	return out
}

func TestUpstreamSessionValueOverwroteGlobal(t *testing.T) {
	h := sdktest.NewHost()
	run(t, h, "set", `{"section":"user_preferences","key":"x","value":"global"}`)
	run(t, h, "set", `{"section":"user_preferences","key":"x","value":"mine","session":"1"}`)
	if got := entryOf(t, run(t, h, "get", `{"section":"user_preferences","key":"x"}`))["value"]; got != "global" {
		t.Errorf("the global value is %v", got)
	}
}

func TestUpstreamSessionThenGlobalFailedForever(t *testing.T) {
	h := sdktest.NewHost()
	run(t, h, "set", `{"section":"notes","key":"x","value":1,"session":"1"}`)
	run(t, h, "set", `{"section":"notes","key":"x","value":2}`)
	run(t, h, "set", `{"section":"notes","key":"x","value":3,"session":"1"}`)
	for payload, want := range map[string]float64{`{"section":"notes","key":"x"}`: 2, `{"section":"notes","key":"x","session":"1"}`: 3} {
		if got := entryOf(t, run(t, h, "get", payload))["value"]; got != want {
			t.Errorf("%s: %v", payload, got)
		}
	}
}

func TestUpstreamSessionDeleteRemovedGlobal(t *testing.T) {
	h := sdktest.NewHost()
	run(t, h, "set", `{"section":"notes","key":"x","value":1}`)
	if m := run(t, h, "delete", `{"section":"notes","key":"x","session":"1"}`); m["deleted"] != false {
		t.Errorf("deleted %v", m)
	}
	if m := run(t, h, "get", `{"section":"notes","key":"x"}`); m["found"] != true {
		t.Error("the global entry is gone")
	}
}

func TestUpstreamHistoryOfOtherSessions(t *testing.T) {
	h, clock := clocked()
	for _, e := range []string{`"z","session":"1"`, `"2026-01-01T10:00:00_1","session":"1"`, `"m","session":"2"`, `"a"`} {
		run(t, h, "set", `{"section":"command_history","value":{"command":"ls"},"key":`+e+`}`)
		*clock = clock.Add(time.Second)
	}
	for payload, want := range map[string]string{
		`{"session":"1"}`: "2026-01-01T10:00:00_1 z", `{"session":"2"}`: "m", `{"session":"3"}`: "", `{}`: "a m 2026-01-01T10:00:00_1 z",
	} {
		if got := keysOf(run(t, h, "history", payload)); got != want {
			t.Errorf("%s: %s, want %s", payload, got, want)
		}
	}
	m := run(t, h, "history", `{"limit":3}`)
	m = run(t, h, "history", `{"limit":3,"cursor":"`+m["next_cursor"].(string)+`"}`)
	if keysOf(m) != "z" || m["next_cursor"] != "" {
		t.Errorf("second page: %v", m)
	}
	fails(t, h, "history", `{"cursor":"%"}`, sdk.CodeInvalid, "cursor")
}

func TestUpstreamUnexpiredReadAsAbsent(t *testing.T) {
	h, clock := clocked()
	run(t, h, "set", `{"section":"temporary","key":"x","value":1,"ttl":"1m"}`)
	*clock = clock.Add(time.Minute - time.Millisecond)
	if m := run(t, h, "get", `{"section":"temporary","key":"x"}`); m["found"] != true {
		t.Errorf("a millisecond before its end: %v", m)
	}
	*clock++
	if m := run(t, h, "get", `{"section":"temporary","key":"x"}`); m["found"] != false {
		t.Errorf("at its end: %v", m)
	}
}

func TestUpstreamExpiredKeysWereListed(t *testing.T) {
	h, clock := clocked()
	run(t, h, "set", `{"section":"temporary","key":"x","value":"word"}`)
	run(t, h, "set", `{"section":"command_history","key":"x","value":"word","ttl":"1h"}`)
	*clock = clock.Add(time.Hour)
	if got := keysOf(run(t, h, "list", `{"section":"temporary"}`)) + keysOf(run(t, h, "history", `{}`)); got != "" {
		t.Errorf("listed %s", got)
	}
	if m := run(t, h, "search", `{"query":"word"}`); len(m["results"].([]any)) != 0 {
		t.Errorf("found %v", m)
	}
}

func TestUpstreamStorageErrorsWereSwallowed(t *testing.T) {
	h := sdktest.NewHost()
	for _, op := range []string{sdk.OpKVSet, sdk.OpKVGet, sdk.OpKVApply, sdk.OpKVList, sdk.OpKVSearch, sdk.OpKVCount, sdk.OpKVClear} {
		h.Denied[op] = true
	}
	for kind, payload := range map[string]string{
		"set": `{"section":"notes","key":"x","value":1}`, "get": `{"section":"notes","key":"x"}`, "delete": `{"section":"notes","key":"x"}`,
		"list": `{"section":"notes"}`, "search": `{"query":"x"}`, "remember": `{"fact":"x"}`, "recall": `{"query":"x"}`, "forget": `{"subject":"x"}`,
		"history": `{}`, "stats": `{}`, "clear": `{"section":"notes","confirm":true}`, "cleanup": `{}`, "optimize": `{}`, "export": `{}`, "end_session": `{"session":"1"}`,
		"import": `{"entries":[{"section":"notes","key":"n","value":1,"version":1,"created_at":"2026-01-31T08:00:00Z","updated_at":"2026-01-31T08:00:00Z"}]}`,
	} {
		fails(t, h, kind, payload, sdk.CodeCapabilityDenied, "not granted")
	}
}

func TestUpstreamKeysWithColonsWereCut(t *testing.T) {
	h := sdktest.NewHost()
	key := `2026-01-01T10:00:00+00:00_session:1/ü ~`
	run(t, h, "set", `{"section":"command_history","key":"`+key+`","value":1,"session":"a:b/c"}`)
	if got := keysOf(run(t, h, "list", `{"section":"command_history","session":"a:b/c"}`)); got != key {
		t.Errorf("listed as %s", got)
	}
}

func TestUpstreamNullWasAbsent(t *testing.T) {
	h := sdktest.NewHost()
	run(t, h, "set", `{"section":"notes","key":"x","value":null}`)
	if m := run(t, h, "get", `{"section":"notes","key":"x"}`); m["found"] != true || entryOf(t, m)["value"] != nil {
		t.Errorf("null: %v", m)
	}
	if m := run(t, h, "get", `{"section":"notes","key":"y"}`); m["found"] != false || m["entry"] != nil {
		t.Errorf("absent: %v", m)
	}
	fails(t, h, "set", `{"section":"notes","key":"x"}`, sdk.CodeInvalid, "value")
}

func TestUpstreamSearchWasASubstring(t *testing.T) {
	h := sdktest.NewHost()
	run(t, h, "set", `{"section":"facts","key":"job","value":"Bob works at Acme"}`)
	run(t, h, "set", `{"section":"notes","key":"acb","value":"acb"}`)
	for query, want := range map[string]int{"where do I work?": 1, "a%b": 0, "a_b": 0, `\"works\" OR (`: 1, "acme NEAR*": 1} {
		if got := run(t, h, "search", `{"query":"`+query+`"}`)["results"].([]any); len(got) != want {
			t.Errorf("%s finds %v, want %d", query, got, want)
		}
	}
	if got := recallTexts(t, h, `{"query":"where do I work?"}`); got != "Bob works at Acme" {
		t.Errorf("recall: %s", got)
	}
}

func TestUpstreamStatsOverlookedSessions(t *testing.T) {
	h := sdktest.NewHost()
	run(t, h, "set", `{"section":"notes","key":"x","value":1}`)
	run(t, h, "set", `{"section":"notes","key":"x","value":1,"session":"1"}`)
	run(t, h, "set", `{"section":"session_state","key":"x","value":1,"session":"1"}`)
	run(t, h, "set", `{"section":"temporary","key":"x","value":1}`)
	run(t, h, "remember", `{"fact":"one","subject":"s"}`)
	run(t, h, "remember", `{"fact":"two","subject":"s"}`)
	m := run(t, h, "stats", `{}`)
	notes := m["sections"].(map[string]any)["notes"].(map[string]any)
	temp := m["sections"].(map[string]any)["temporary"].(map[string]any)
	if m["total_entries"] != 5.0 || m["superseded_facts"] != 1.0 || len(m["sections"].(map[string]any)) != 4 ||
		notes["entries"] != 2.0 || notes["session_entries"] != 1.0 || temp["expiring"] != 1.0 {
		t.Errorf("stats: %v", m)
	}
}

func TestUpstreamCleanupDidNothing(t *testing.T) {
	h, clock := clocked()
	for i := range 7 {
		run(t, h, "set", fmt.Sprintf(`{"section":"temporary","key":"k%d","value":1,"ttl":"%dm"}`, i, i+1))
	}
	run(t, h, "set", `{"section":"cache","key":"x","value":1,"ttl":"1m","session":"s"}`)
	*clock = clock.Add(5 * time.Minute)
	m := run(t, h, "cleanup", `{}`)
	by := m["cleaned_sections"].(map[string]any)
	if m["cleaned_entries"] != 6.0 || by["temporary"] != 5.0 || by["cache"] != 1.0 || m["memory_stats"].(map[string]any)["total_entries"] != 2.0 {
		t.Errorf("cleanup: %v", m)
	}
	if m := run(t, h, "cleanup", `{}`); m["cleaned_entries"] != 0.0 {
		t.Errorf("again: %v", m)
	}
	if n := published(h)["expired"]; n != 6 || len(h.Items) != 2 {
		t.Errorf("%d events, left %v", n, h.Items)
	}
}

func TestUpstreamSessionDataOutlivedItsSession(t *testing.T) {
	h := sdktest.NewHost()
	for _, session := range []string{"ses_1", "ses_10"} {
		for _, section := range []string{"session_state", "notes"} {
			run(t, h, "set", `{"section":"`+section+`","key":"x","value":1,"session":"`+session+`"}`)
		}
	}
	if got := plugin().Info().Subscriptions; !slices.Contains(got, sdk.Subscription{Type: "agent.session.deleted", Kind: "memory.end_session"}) {
		t.Errorf("subscriptions: %v", got)
	}
	m := run(t, h, "end_session", `{"event":{"id":"1","source":"plugin/agent","type":"agent.session.deleted","time":"2026-01-01T00:00:00Z","data":{"session":"ses_1","title":"x"}}}`)
	if m["cleared"] != 1.0 || m["session"] != "ses_1" {
		t.Errorf("end: %v", m)
	}
	for payload, want := range map[string]bool{
		`"section":"session_state","session":"ses_1"`: false, `"section":"session_state","session":"ses_10"`: true,
		`"section":"notes","session":"ses_1"`: true,
	} {
		if m := run(t, h, "get", `{"key":"x",`+payload+`}`); m["found"] != want {
			t.Errorf("%s: %v", payload, m)
		}
	}
	fails(t, h, "end_session", `{"event":{"data":{}}}`, sdk.CodeInvalid, "session")
}

func TestUpstreamUpdatesWereCalledCreated(t *testing.T) {
	h, clock := clocked()
	for range 2 {
		run(t, h, "set", `{"section":"notes","key":"x","value":1}`)
		run(t, h, "remember", `{"fact":"x","subject":"s"}`) // the second tells nothing new
	}
	run(t, h, "remember", `{"fact":"y","subject":"s"}`)
	run(t, h, "delete", `{"section":"facts","key":"s"}`)
	run(t, h, "set", `{"section":"notes","key":"t","value":1,"ttl":"1m"}`)
	*clock = clock.Add(time.Minute)
	run(t, h, "set", `{"section":"notes","key":"t","value":1,"ttl":"1m"}`)
	*clock = clock.Add(time.Minute)
	run(t, h, "delete", `{"section":"notes","key":"t"}`)
	want := map[string]int{"created": 4, "updated": 2, "deleted": 1, "expired": 2}
	if got := published(h); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("published %v, want %v", got, want)
	}
}

func TestUpstreamClearIgnoredTheSession(t *testing.T) {
	h := sdktest.NewHost()
	fill := func() {
		for _, session := range []string{"", `,"session":"1"`, `,"session":"2"`} {
			run(t, h, "set", `{"section":"facts","key":"x","value":1`+session+`}`)
			run(t, h, "set", `{"section":"facts","key":"x","value":2`+session+`}`)
		}
		run(t, h, "set", `{"section":"notes","key":"x","value":1}`)
	}
	fill()
	fails(t, h, "clear", `{"section":"facts"}`, sdk.CodeInvalid, "confirm: must be true to delete the 3 entries")
	if m := run(t, h, "clear", `{"section":"facts","session":"1","confirm":true}`); m["cleared"] != 1.0 || len(h.Items) != 5 {
		t.Errorf("of one session: %v, left %d", m, len(h.Items))
	}
	if m := run(t, h, "clear", `{"section":"facts","confirm":true}`); m["cleared"] != 2.0 || len(h.Items) != 1 {
		t.Errorf("of all: %v, left %d", m, len(h.Items))
	}
}

func TestUpstreamKeysOfFactsWereRandom(t *testing.T) {
	h := sdktest.NewHost()
	a := run(t, h, "remember", `{"fact":"Bob likes tea."}`)
	b := run(t, h, "remember", `{"fact":"bob  likes tea"}`)
	if a["created"] != true || b["created"] != false || len(h.Items) != 1 {
		t.Errorf("%v, then %v", a, b)
	}
	run(t, h, "remember", `{"fact":"Bob likes milk"}`)
	if got := recallTexts(t, h, `{"query":"Bob likes tea"}`); got != "Bob likes tea.; Bob likes milk" {
		t.Errorf("without subjects nothing supersedes: %s", got)
	}
}
