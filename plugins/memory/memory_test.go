package main

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nagatha/nagatha-runtime/sdk"
	"github.com/nagatha/nagatha-runtime/sdk/sdktest"
)

// run calls a handler in this process and returns its result.
func run(t *testing.T, host sdk.Host, kind, payload string) map[string]any {
	t.Helper()
	got, err := plugin().Handle(t.Context(), sdktest.Task("memory."+kind, payload), host)
	if err != nil {
		t.Fatalf("%s %s: %v", kind, payload, err)
	}
	var m map[string]any
	if err := json.Unmarshal(got, &m); err != nil {
		t.Fatal(err)
	}
	return m
}

func entryOf(t *testing.T, m map[string]any) map[string]any {
	t.Helper()
	e, ok := m["entry"].(map[string]any)
	if !ok {
		t.Fatalf("no entry in %v", m)
	}
	return e
}

func TestSetGetDelete(t *testing.T) {
	h := sdktest.NewHost()
	if m := run(t, h, "set", `{"section":"facts","key":"a/b","value":null}`); m["created"] != true || entryOf(t, m)["version"] != 1.0 {
		t.Errorf("first set: %v", m)
	}
	m := run(t, h, "get", `{"section":"facts","key":"a/b"}`)
	if e := entryOf(t, m); m["found"] != true || e["value"] != nil || e["key"] != "a/b" || e["expires_at"] != nil {
		t.Errorf("null is a value: %v", m)
	}
	if m := run(t, h, "get", `{"section":"facts","key":"other"}`); m["found"] != false || m["entry"] != nil {
		t.Errorf("absent: %v", m)
	}
	if m := run(t, h, "set", `{"section":"facts","key":"a/b","value":[1],"if_version":1}`); m["created"] != false {
		t.Errorf("second set: %v", m)
	}
	if m := run(t, h, "delete", `{"section":"facts","key":"a/b"}`); m["deleted"] != true {
		t.Errorf("delete: %v", m)
	}
	if m := run(t, h, "delete", `{"section":"facts","key":"a/b"}`); m["deleted"] != false {
		t.Errorf("delete again: %v", m)
	}
	var types []string
	for _, e := range h.Published {
		types = append(types, e.Type)
	}
	if got := strings.Join(types, " "); got != "memory.entry.created memory.entry.updated memory.entry.deleted" {
		t.Errorf("published %s", got)
	}
}

func TestSessionsAreApart(t *testing.T) {
	h := sdktest.NewHost()
	run(t, h, "set", `{"section":"notes","key":"x","value":"global"}`)
	run(t, h, "set", `{"section":"notes","key":"x","value":"mine","session":"s/1"}`)
	for payload, want := range map[string]any{
		`{"section":"notes","key":"x"}`:                                 "global",
		`{"section":"notes","key":"x","session":"s/1"}`:                 "mine",
		`{"section":"notes","key":"x","session":"s2","fallback":true}`:  "global",
		`{"section":"notes","key":"x","session":"s/1","fallback":true}`: "mine",
	} {
		if got := entryOf(t, run(t, h, "get", payload))["value"]; got != want {
			t.Errorf("%s: %v, want %v", payload, got, want)
		}
	}
	if m := run(t, h, "get", `{"section":"notes","key":"x","session":"s2"}`); m["found"] != false {
		t.Errorf("without fallback: %v", m)
	}
	_, err := plugin().Handle(t.Context(), sdktest.Task("memory.set", `{"section":"session_state","key":"x","value":1}`), h)
	if sdk.CodeOf(err) != sdk.CodeInvalid || !strings.Contains(err.Error(), "session") {
		t.Errorf("session_state without a session: %v", err)
	}
}

func TestTTL(t *testing.T) {
	now := sdk.Now()
	h := sdktest.NewHost()
	h.Now = func() sdk.Time { return now }
	run(t, h, "set", `{"section":"temporary","key":"a","value":1}`)
	run(t, h, "set", `{"section":"temporary","key":"b","value":1,"ttl":"0s"}`)
	run(t, h, "set", `{"section":"facts","key":"c","value":1,"ttl":"1m"}`)
	now = now.Add(time.Minute)
	if m := run(t, h, "get", `{"section":"facts","key":"c"}`); m["found"] != false {
		t.Errorf("after its ttl: %v", m)
	}
	if m := run(t, h, "get", `{"section":"temporary","key":"a"}`); m["found"] != true {
		t.Errorf("within the hour: %v", m)
	}
	now = now.Add(time.Hour)
	if m := run(t, h, "list", `{"section":"temporary"}`); len(m["entries"].([]any)) != 1 {
		t.Errorf("after the hour: %v", m)
	}
}

func TestList(t *testing.T) {
	h := sdktest.NewHost()
	for _, k := range []string{"a1", "a2", "a3", "b1"} {
		run(t, h, "set", `{"section":"s","key":"`+k+`","value":1}`)
	}
	run(t, h, "set", `{"section":"s-other","key":"a9","value":1}`)
	m := run(t, h, "list", `{"section":"s","prefix":"a","limit":2}`)
	if len(m["entries"].([]any)) != 2 || m["next_cursor"] == "" {
		t.Fatalf("first page: %v", m)
	}
	m = run(t, h, "list", `{"section":"s","prefix":"a","limit":2,"cursor":"`+m["next_cursor"].(string)+`"}`)
	if len(m["entries"].([]any)) != 1 || m["next_cursor"] != "" {
		t.Errorf("second page: %v", m)
	}
	if _, err := plugin().Handle(t.Context(), sdktest.Task("memory.list", `{"section":"s","cursor":"%%"}`), h); sdk.CodeOf(err) != sdk.CodeInvalid {
		t.Errorf("a bad cursor: %v", err)
	}
}

func TestSearch(t *testing.T) {
	h := sdktest.NewHost()
	run(t, h, "set", `{"section":"facts","key":"job","value":{"who":"Bob","where":"Acme"}}`)
	run(t, h, "set", `{"section":"facts","key":"job","value":"Acme is secret","session":"other"}`)
	run(t, h, "set", `{"section":"notes","key":"n","value":"Acme sells anvils"}`)
	for payload, want := range map[string]int{
		`{"query":"acme"}`: 2, `{"query":"acme","section":"facts"}`: 1, `{"query":"acme","session":"other"}`: 3,
		`{"query":"acme","limit":1}`: 1, `{"query":"nothing of it"}`: 0,
	} {
		if got := run(t, h, "search", payload)["results"].([]any); len(got) != want {
			t.Errorf("%s: %v, want %d", payload, got, want)
		}
	}
}

// Numbers are found as they were written.
func TestSearchNumbers(t *testing.T) {
	h := sdktest.NewHost()
	run(t, h, "set", `{"section":"notes","key":"n","value":{"phone":5551234567,"order":[12345678901234567890],"pi":3.25}}`)
	for _, query := range []string{"5551234567", "12345678901234567890", "3.25"} {
		if got := run(t, h, "search", `{"query":"`+query+`"}`)["results"].([]any); len(got) != 1 {
			t.Errorf("%s: %v", query, got)
		}
	}
}

func TestWithoutGrants(t *testing.T) {
	h := sdktest.NewHost()
	h.Denied[sdk.OpPublish] = true
	run(t, h, "set", `{"section":"facts","key":"a","value":1}`)
	h.Denied[sdk.OpKVGet] = true
	if _, err := plugin().Handle(t.Context(), sdktest.Task("memory.get", `{"section":"facts","key":"a"}`), h); sdk.CodeOf(err) != sdk.CodeCapabilityDenied {
		t.Errorf("without the store: %v", err)
	}
}

// Chinese, Japanese and Thai have no spaces between words.
func TestSearchWithoutSpaces(t *testing.T) {
	h := sdktest.NewHost()
	run(t, h, "set", `{"section":"notes","key":"zh","value":"我在北京工作"}`)
	run(t, h, "set", `{"section":"notes","key":"ja","value":"ボブは東京のAcme社で働いています"}`)
	run(t, h, "set", `{"section":"notes","key":"th","value":"ฉันทำงานที่กรุงเทพ"}`)
	run(t, h, "remember", `{"fact":"他住在上海"}`)
	for query, want := range map[string]string{"北京": "zh", "在北京吗？": "zh", "京": "zh ja", "東京": "ja", "Acme": "ja", "กรุงเทพ": "th", "海京": ""} {
		found := []string{}
		for _, r := range run(t, h, "search", `{"query":"`+query+`","section":"notes"}`)["results"].([]any) {
			found = append(found, entryOf(t, r.(map[string]any))["key"].(string))
		}
		if slices.Sort(found); strings.Join(found, " ") != sortedWords(want) {
			t.Errorf("%s finds %v, want %q", query, found, want)
		}
	}
	if got := run(t, h, "recall", `{"query":"谁在上海?"}`)["facts"].([]any); len(got) != 1 {
		t.Errorf("recall: %v", got)
	}
	for in, want := range map[string]string{"plain Grüße": "plain Grüße", "北": " 北 ", "a北京b": "a 北 北京 京 b"} {
		if got := divide(in, true); got != want {
			t.Errorf("%q becomes %q, want %q", in, got, want)
		}
	}
}

func sortedWords(s string) string {
	words := strings.Fields(s)
	slices.Sort(words)
	return strings.Join(words, " ")
}

func TestIfVersion(t *testing.T) {
	h := sdktest.NewHost()
	set := func(condition string) error {
		_, err := plugin().Handle(t.Context(), sdktest.Task("memory.set", `{"section":"notes","key":"a/b","value":1,"if_version":`+condition+`}`), h)
		return err
	}
	for _, step := range []struct{ version, want string }{
		{"1", `key "a/b" has version 0, not 1; read it again`},
		{"0", ""},
		{"0", `key "a/b" has version 1, not 0; read it again`},
		{"1", ""},
		{"1", `key "a/b" has version 2, not 1; read it again`},
		{"2", ""},
	} {
		err := set(step.version)
		if step.want == "" && err == nil {
			continue
		}
		if sdk.CodeOf(err) != sdk.CodeConflict || sdk.AsError(err).Message != step.want {
			t.Errorf("if_version %s: %v, want %s", step.version, err, step.want)
		}
	}
	run(t, h, "delete", `{"section":"notes","key":"a/b"}`)
	if err := set("0"); err != nil {
		t.Errorf("after a delete: %v", err)
	}
}

// dying is a host on which an attempt dies when it publishes: what was stored before is
// stored, and nobody would hear of it.
type dying struct{ *sdktest.Host }

func (d dying) Call(ctx context.Context, op string, request []byte) ([]byte, error) {
	if op == sdk.OpPublish {
		return nil, sdk.Errorf(sdk.CodeNodeLost, "dead")
	}
	return d.Host.Call(ctx, op, request)
}

// An entry and the event that tells of it are stored together.
func TestChangeAndEventAreOne(t *testing.T) {
	h := sdktest.NewHost()
	for _, step := range []struct{ kind, payload string }{
		{"set", `{"section":"notes","key":"k","value":1}`},
		{"set", `{"section":"notes","key":"k","value":2}`},
		{"delete", `{"section":"notes","key":"k"}`},
		{"remember", `{"fact":"Bob works at Acme","subject":"job"}`},
		{"remember", `{"fact":"Bob works at Globex","subject":"job"}`},
		{"forget", `{"subject":"job"}`},
	} {
		if _, err := plugin().Handle(t.Context(), sdktest.Task("memory."+step.kind, step.payload), dying{h}); err != nil {
			t.Errorf("%s %s: %v", step.kind, step.payload, err)
		}
	}
	var types []string
	for _, e := range h.Published {
		types = append(types, strings.TrimPrefix(e.Type, "memory.entry."))
	}
	if got := strings.Join(types, " "); got != "created updated deleted created updated deleted" {
		t.Errorf("told: %s", got)
	}
}

// hasty is a host whose clock has gone on by the time that a write is read again.
type hasty struct{ *sdktest.Host }

func (h hasty) Call(ctx context.Context, op string, request []byte) ([]byte, error) {
	reply, err := h.Host.Call(ctx, op, request)
	if op == sdk.OpCommit {
		later := h.Now().Add(time.Second)
		h.Now = func() sdk.Time { return later }
	}
	return reply, err
}

func TestEntryThatExpiredAtOnce(t *testing.T) {
	h := sdktest.NewHost()
	h.Now = func() sdk.Time { return sdk.TimeOf(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)) }
	m := run(t, hasty{h}, "set", `{"section":"notes","key":"k","value":1,"ttl":"10ms"}`)
	if e := entryOf(t, m); m["created"] != true || e["expires_at"] == nil || e["version"] != 1.0 {
		t.Errorf("%v", m)
	}
}

// An entry of all sessions has an empty session, so what an entry says can be sent back.
// Where empty would mean everything, it is refused.
func TestEmptySession(t *testing.T) {
	for _, h := range plugin().Info().Handlers {
		var schema struct {
			Properties map[string]struct {
				MinLength int `json:"minLength"`
			}
		}
		if err := json.Unmarshal(h.PayloadSchema, &schema); err != nil {
			t.Fatal(err)
		}
		session, ok := schema.Properties["session"]
		if strict := h.Kind == "memory.clear" || h.Kind == "memory.end_session"; ok && (session.MinLength > 0) != strict {
			t.Errorf("%s: a session has at least %d characters", h.Kind, session.MinLength)
		}
	}
	h := sdktest.NewHost()
	run(t, h, "set", `{"section":"notes","key":"k","value":1}`)
	e := entryOf(t, run(t, h, "get", `{"section":"notes","key":"k","session":""}`))
	if m := run(t, h, "delete", `{"section":"notes","key":"k","session":"`+e["session"].(string)+`"}`); m["deleted"] != true {
		t.Errorf("%v", m)
	}
}
