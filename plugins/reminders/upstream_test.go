package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/nagatha/nagatha-runtime/sdk"
)

// The defects of the old system, each of which was measured or read there: one test
// for each, so that "all of them gone" can be run.

func TestUpstreamMonthlyAndYearlyDrift(t *testing.T) { // 30 and 365 days
	if got := series(t, "monthly", "UTC", "2026-01-15T08:00:00Z", 3); got != "2026-01-15T08:00:00Z 2026-02-15T08:00:00Z 2026-03-15T08:00:00Z" {
		t.Error(got)
	}
	if got := series(t, "yearly", "UTC", "2027-03-15T08:00:00Z", 3); got != "2027-03-15T08:00:00Z 2028-03-15T08:00:00Z 2029-03-15T08:00:00Z" {
		t.Error(got)
	}
}

func TestUpstreamDaylightSavingIgnored(t *testing.T) {
	if got := series(t, "daily", "Europe/Berlin", "2026-03-28T08:00:00+01:00", 2); got != "2026-03-28T08:00:00+01:00 2026-03-29T08:00:00+02:00" {
		t.Error(got)
	}
}

func TestUpstreamBurstAfterDowntime(t *testing.T) {
	w := newWorld(t, "")
	w.one("create", `{"text":"a","in":"1 hour","recurrence":"daily"}`)
	w.down(10 * 24 * time.Hour)
	for range 10 { // one tick of the old loop each
		w.advance(time.Minute)
	}
	w.wantDue("a@28T10:00:00#1+9")
}

func TestUpstreamNotifiedTwiceAfterACrash(t *testing.T) {
	w := newWorld(t, "")
	w.one("create", `{"text":"a","in":"1 hour"}`)
	p, cut := w.plugin, false
	w.plugin = between{p, func(op string) error {
		if op == sdk.OpCommit && !cut {
			cut = true
			return errAfter
		}
		return nil
	}}
	w.advance(2 * time.Hour)
	w.wantDue("a@28T10:00:00#1")
}

func TestUpstreamFailingNotifierUnseenForever(t *testing.T) {
	w := withReceiver(t, newReceiver(t, 503))
	id := w.one("create", `{"text":"a","in":"1 hour"}`)["id"].(string)
	seen := false
	p := w.plugin
	w.plugin = between{p, func(op string) error {
		if op == sdk.OpHTTPStart { // before the second attempt
			item := w.host.Items[deliveryKey(delivery{Reminder: id, Occurrence: 1, Channel: "phone"})]
			seen = seen || strings.Contains(string(item.Value), `"retrying"`) && strings.Contains(string(item.Value), "503")
		}
		return nil
	}}
	w.advance(2 * time.Hour)
	if log := w.deliveries(id); !seen || log[1].Status != delivered || log[1].Attempts != 2 {
		t.Errorf("seen %v, then %+v", seen, log)
	}
}

func TestUpstreamDeliveredByHandEndsTheSeries(t *testing.T) {
	w := newWorld(t, "")
	w.lose = true
	w.one("create", `{"text":"a","in":"1 hour","recurrence":"daily"}`)
	w.lose = false
	w.now = w.now.Add(2 * time.Hour)
	w.run("process_due", `{}`)
	w.advance(24 * time.Hour)
	w.wantDue("a@28T10:00:00#1 a@29T10:00:00#2")
}

func TestUpstreamOverdueTodoTriggersNothing(t *testing.T) {
	w := newWorld(t, "")
	w.one("todo_add", `{"title":"a","due":"in 1 hour"}`)
	w.advance(2 * time.Hour)
	w.run("process_due", `{}`)
	if w.count("todo.due") != 1 {
		t.Error("nobody was told")
	}
}

func TestUpstreamProcessingWasAPlaceholder(t *testing.T) { // always zero, with a note
	w := newWorld(t, "")
	w.lose = true
	w.one("create", `{"text":"a","in":"1 hour"}`)
	w.one("todo_add", `{"title":"b","due":"in 1 hour"}`)
	w.advance(2 * time.Hour)
	m := w.run("process_due", `{}`)
	if m["due_reminders"] != 1.0 || m["due_tasks"] != 1.0 || len(m["processed_reminders"].([]any)) != 1 || len(m["processed_tasks"].([]any)) != 1 || m["note"] != nil {
		t.Error(m)
	}
}

func TestUpstreamNoReminderWithoutATask(t *testing.T) { // nor a text of its own
	w := newWorld(t, "")
	if r := w.one("create", `{"text":"only this","in":"1 hour"}`); r["text"] != "only this" || r["todo"] != "" {
		t.Error(r)
	}
}

func TestUpstreamNoSnooze(t *testing.T) {
	w := newWorld(t, "")
	id := w.one("create", `{"text":"a","in":"1 hour"}`)["id"].(string)
	w.advance(time.Hour)
	w.one("snooze", `{"id":"`+id+`","for":"10 minutes"}`)
	w.advance(time.Hour)
	w.wantDue("a@28T10:00:00#1 a@28T10:10:00#2")
}

func TestUpstreamFieldsCouldNotBeCleared(t *testing.T) {
	w := newWorld(t, "")
	id := w.one("todo_add", `{"title":"a","description":"d","priority":"urgent","due":"in 1 hour","remind":"10 minutes","tags":["x"]}`)["id"].(string)
	w.one("todo_update", `{"id":"`+id+`","title":"b"}`) // what is left out stays
	d := w.one("todo_update", `{"id":"`+id+`","description":null,"priority":null,"due":null,"tags":null}`)
	if d["title"] != "b" || d["description"] != "" || d["priority"] != "medium" || d["due_at"] != nil || fmt.Sprint(d["tags"]) != "[]" {
		t.Error(d)
	}
	w.advance(2 * time.Hour)
	w.wantDue("") // nor does its reminder come
}

// schemaRefuses reports whether the runtime would refuse a payload at submit.
func schemaRefuses(t *testing.T, kind, payload string) bool {
	t.Helper()
	h, ok := plugin().Info().Handler("reminders." + kind)
	if !ok {
		t.Fatalf("no kind %s", kind)
	}
	doc := must(jsonschema.UnmarshalJSON(bytes.NewReader(h.PayloadSchema)))
	c := jsonschema.NewCompiler()
	if err := c.AddResource("x.json", doc); err != nil {
		t.Fatal(err)
	}
	return must(c.Compile("x.json")).Validate(must(jsonschema.UnmarshalJSON(strings.NewReader(payload)))) != nil
}

func TestUpstreamNoValidation(t *testing.T) { // status and priority were free texts
	for payload, kind := range map[string]string{`{"title":"a","priority":"med"}`: "todo_add", `{"title":"a","priority":""}`: "todo_add", `{"title":""}`: "todo_add",
		`{"id":"x","status":"closed"}`: "todo_update", `{"id":"x","status":null}`: "todo_update", `{"id":"x","title":null}`: "todo_update", `{"status":"done"}`: "todo_list"} {
		if !schemaRefuses(t, kind, payload) {
			t.Errorf("%s takes %s", kind, payload)
		}
	}
	for payload, kind := range map[string]string{`{"title":"a","priority":"medium"}`: "todo_add", `{"id":"x","status":"cancelled","priority":null,"due":null,"tags":null}`: "todo_update"} {
		if schemaRefuses(t, kind, payload) {
			t.Errorf("%s refuses %s", kind, payload)
		}
	}
	for _, h := range plugin().Info().Handlers {
		if schemaRefuses(t, strings.TrimPrefix(h.Kind, "reminders."), string(h.Example)) {
			t.Errorf("%s refuses its example %s", h.Kind, h.Example)
		}
	}
}

func TestUpstreamNotesOnlyBySubstring(t *testing.T) { // no update, no delete; `a b` as one phrase
	w := newWorld(t, "")
	id := w.one("note_add", `{"title":"Job","content":"Bob works at Acme"}`)["id"].(string)
	if got := w.run("note_search", `{"query":"where does Bob work"}`)["notes"].([]any); len(got) != 1 {
		t.Error(got)
	}
	w.one("note_update", `{"id":"`+id+`","content":"Bob works at Zenith"}`)
	if got := w.run("note_search", `{"query":"Zenith"}`)["notes"].([]any); len(got) != 1 {
		t.Error(got)
	}
	w.run("note_delete", `{"id":"`+id+`"}`)
	if got := w.run("note_search", `{}`)["notes"].([]any); len(got) != 0 {
		t.Error(got)
	}
}

func TestUpstreamNonsenseMeantNow(t *testing.T) {
	if at, err := parseTime("at", "asdfgh qwerty", wednesday, time.UTC); err == nil {
		t.Errorf("it is %s", at)
	}
}

func TestUpstreamPastTimesAccepted(t *testing.T) {
	w := newWorld(t, "")
	if _, err := w.try("create", `{"text":"a","at":"2020-01-01T00:00:00Z"}`); err == nil || !strings.Contains(err.Error(), "in the past") {
		t.Error(err)
	}
}

func TestUpstreamOneTimeRepeatsForever(t *testing.T) {
	w := newWorld(t, "")
	w.one("create", `{"say":"in 1 minute a"}`)
	w.advance(24 * time.Hour)
	w.wantDue("a@28T09:01:00#1")
	if len(w.timers) != 0 {
		t.Errorf("more timers: %+v", w.timers)
	}
}

func TestUpstreamCronListsAndRangesMisread(t *testing.T) {
	for line, want := range map[string]string{"0 9 * * 1-5": "2026-01-29T09:00:00Z", "0,30 * * * *": "2026-01-28T09:30:00Z"} {
		r, err := parseRecurrence(line, time.UTC)
		if err != nil {
			t.Fatal(err)
		}
		if got := r.next(wednesday, wednesday).Format(time.RFC3339); got != want {
			t.Errorf("%s: %s, want %s", line, got, want)
		}
	}
}

func TestUpstreamIDsCollideWithinASecond(t *testing.T) {
	w := newWorld(t, "")
	a, b := w.one("create", `{"text":"a","in":"1 hour"}`), w.one("create", `{"text":"a","in":"1 hour"}`)
	if a["id"] == b["id"] {
		t.Error(a["id"])
	}
}

func TestUpstreamLocalTimesWithoutZone(t *testing.T) {
	w := newWorld(t, `{"zone":"Asia/Kolkata"}`)
	id := w.one("create", `{"text":"a","at":"at 18:00"}`)["id"].(string)
	w.advance(24 * time.Hour)
	var r reminder
	if err := json.Unmarshal(w.host.Items[reminderKey(id)].Value, &r); err != nil || r.LastDueAt.String() != "2026-01-28T12:30:00.000Z" {
		t.Errorf("%s, %v", r.LastDueAt, err)
	}
}
