package main

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nagatha/nagatha-runtime/sdk"
	"github.com/nagatha/nagatha-runtime/sdk/sdktest"
)

func TestOnce(t *testing.T) {
	w := newWorld(t, "")
	r := w.one("create", `{"say":"in 5 seconds stretch"}`)
	if r["text"] != "stretch" || r["status"] != "pending" || r["due_at"] != "2026-01-28T09:00:05.000Z" || r["recurrence"] != "" || r["zone"] != "UTC" {
		t.Errorf("created %v", r)
	}
	id := r["id"].(string)
	w.advance(4999 * time.Millisecond)
	w.wantDue("")
	w.advance(time.Millisecond)
	w.wantDue("stretch@28T09:00:05#1")
	w.advance(24 * time.Hour)
	w.wantDue("stretch@28T09:00:05#1")
	m := w.run("get", `{"id":"`+id+`"}`)
	r, log := m["reminder"].(map[string]any), m["deliveries"].([]any)
	if r["status"] != "due" || r["due_at"] != nil || r["occurrence"] != 1.0 || len(log) != 1 {
		t.Errorf("then %v, %v", r, log)
	}
	if d := log[0].(map[string]any); d["channel"] != "event" || d["status"] != "delivered" || d["message_id"] != id+"_1" || w.host.Published[0].ID != id+"_1" {
		t.Errorf("delivery log %v", d)
	}
	if r = w.one("complete", `{"id":"`+id+`"}`); r["status"] != "completed" || r["completed_at"] == nil {
		t.Errorf("completed %v", r)
	}
	if m := w.run("delete", `{"id":"`+id+`"}`); m["deleted"] != true {
		t.Error("it was not deleted")
	}
	if m := w.run("delete", `{"id":"`+id+`"}`); m["deleted"] != false {
		t.Error("it was deleted twice")
	}
	if len(w.host.Items) != 1 { // the delivery log, which goes after a month
		t.Errorf("left behind: %v", w.host.Items)
	}
	w.advance(31 * 24 * time.Hour)
	if m := w.run("list", `{"status":"all"}`); len(m["reminders"].([]any)) != 0 {
		t.Errorf("still there: %v", m)
	}
}

func TestWaysToSayWhen(t *testing.T) {
	w := newWorld(t, `{"zone":"Europe/Berlin"}`)
	for payload, want := range map[string]string{
		`{"text":"a","at":"tomorrow at 9am"}`:                                    "2026-01-29T08:00:00.000Z",
		`{"text":"a","at":"tomorrow at 9am","zone":"Asia/Kolkata"}`:              "2026-01-29T03:30:00.000Z",
		`{"text":"a","in":"10 minutes"}`:                                         "2026-01-28T09:10:00.000Z",
		`{"text":"a","in":"1h"}`:                                                 "2026-01-28T10:00:00.000Z",
		`{"text":"a","recurrence":"0 12 * * *"}`:                                 "2026-01-28T11:00:00.000Z",
		`{"text":"a","at":"2026-01-31 08:00","recurrence":"weekdays"}`:           "2026-02-02T07:00:00.000Z",
		`{"text":"a","at":"2026-01-31T08:00:00+02:00","recurrence":"0 8 1 * *"}`: "2026-02-01T07:00:00.000Z",
	} {
		if r := w.one("create", payload); r["due_at"] != want {
			t.Errorf("%s: %v, want %s", payload, r["due_at"], want)
		}
	}
	for payload, want := range map[string]string{
		`{"text":"a"}`:                                  "say when",
		`{"in":"5 minutes"}`:                            "text",
		`{"text":"  ","in":"5 minutes"}`:                "text",
		`{"text":"a","at":"at noon","in":"5 minutes"}`:  "one of at, in and say",
		`{"text":"a","say":"in 5 minutes b"}`:           "leave text out",
		`{"text":"a","at":"2026-01-28T09:00:00Z"}`:      "in the past",
		`{"text":"a","at":"soon"}`:                      timeGrammar,
		`{"text":"a","in":"soon"}`:                      spanGrammar,
		`{"text":"a","in":"1 h","recurrence":"hourly"}`: "cron line",
		`{"text":"a","in":"1 h","zone":"Mars/Olympus"}`: "no time zone",
		`{"text":"a","in":"1 h","zone":"Local"}`:        "no time zone",
		`{"text":"a","in":"1 h","channels":["phone"]}`:  "no channel",
		`{"text":"a","in":"1 h","todo":"todo_none"}`:    "no to-do",
		`{"text":"a","recurrence":"0 0 31 2 *"}`:        "no date",
	} {
		if _, err := w.try("create", payload); err == nil || !strings.Contains(err.Error(), want) || sdk.AsError(err).Retryable {
			t.Errorf("%s: %v, want %q and no retry", payload, err, want)
		}
	}
}

// An attempt that was cut runs again: the reminder is the same, and so is its time,
// however long the task had to wait.
func TestCreateAgain(t *testing.T) {
	w := newWorld(t, "")
	task := sdktest.Task("reminders.create", `{"say":"in 5 seconds stretch"}`)
	task.CreatedAt, task.RunAt = w.now, w.now
	first, err := w.handle(task)
	if err != nil {
		t.Fatal(err)
	}
	w.now = w.now.Add(3 * time.Second)
	task.Attempt, task.RunAt = 2, w.now
	second, err := w.handle(task)
	if err != nil || fmt.Sprint(first) != fmt.Sprint(second) {
		t.Errorf("again: %v, %v; first %v", second, err, first)
	}
	w.advance(time.Hour)
	w.wantDue("stretch@28T09:00:05#1")
}

func TestSnoozeAndUpdate(t *testing.T) {
	w := newWorld(t, "")
	id := w.one("create", `{"say":"in 10 minutes tea"}`)["id"].(string)
	w.advance(5 * time.Minute)
	if r := w.one("snooze", `{"id":"`+id+`","for":"20 minutes"}`); r["due_at"] != "2026-01-28T09:25:00.000Z" {
		t.Errorf("snoozed %v", r)
	}
	w.advance(10 * time.Minute) // the old timer has nothing to do
	w.wantDue("")
	w.advance(10 * time.Minute)
	w.wantDue("tea@28T09:25:00#1")
	w.one("snooze", `{"id":"`+id+`","for":"5 minutes"}`)
	w.advance(time.Hour)
	w.wantDue("tea@28T09:25:00#1 tea@28T09:30:00#2")

	if r := w.one("update", `{"id":"`+id+`","text":"coffee","at":"tomorrow at 8am","recurrence":"daily"}`); r["status"] != "pending" || r["due_at"] != "2026-01-29T08:00:00.000Z" {
		t.Errorf("updated %v", r)
	}
	// A series that is snoozed goes on at its own time.
	w.advance(22 * time.Hour)
	w.one("snooze", `{"id":"`+id+`","for":"90 minutes"}`)
	w.advance(24 * time.Hour)
	w.wantDue("tea@28T09:25:00#1 tea@28T09:30:00#2 coffee@29T08:00:00#3 coffee@29T09:55:00#4 coffee@30T08:00:00#5")
	if r := w.one("update", `{"id":"`+id+`","recurrence":null}`); r["recurrence"] != "" || r["due_at"] != "2026-01-31T08:00:00.000Z" {
		t.Errorf("once %v", r)
	}
	if r := w.one("complete", `{"id":"`+id+`"}`); r["due_at"] != nil {
		t.Errorf("completed %v", r)
	}
	w.advance(48 * time.Hour)
	if got := len(w.host.Published); got != 5 {
		t.Errorf("%d events after it was completed", got)
	}
	if _, err := w.try("snooze", `{"id":"`+id+`","for":"1 h"}`); sdk.CodeOf(err) != sdk.CodeInvalid {
		t.Errorf("snoozed what is completed: %v", err)
	}
	for _, kind := range []string{"get", "complete", "update"} {
		if _, err := w.try(kind, `{"id":"rem_none"}`); sdk.CodeOf(err) != sdk.CodeNotFound {
			t.Errorf("%s of none: %v", kind, err)
		}
	}
}

func TestRecurring(t *testing.T) {
	w := newWorld(t, "")
	w.one("create", `{"text":"rent","at":"2026-01-31T08:00:00Z","recurrence":"monthly"}`)
	w.advance(100 * 24 * time.Hour)
	w.wantDue("rent@31T08:00:00#1 rent@28T08:00:00#2 rent@31T08:00:00#3 rent@30T08:00:00#4")
	list := w.run("list", `{}`)["reminders"].([]any)
	if len(list) != 1 || list[0].(map[string]any)["due_at"] != "2026-05-31T08:00:00.000Z" {
		t.Errorf("next: %v", list)
	}
}

// A timer cannot be set for longer than ten years: a later one is set again on the way.
func TestFarAway(t *testing.T) {
	w := newWorld(t, "")
	w.one("create", `{"text":"leap","at":"2027-01-01T08:00:00Z","recurrence":"0 8 29 2 */7"}`) // a Sunday: 2032, 2060
	w.advance(20 * 366 * 24 * time.Hour)
	w.wantDue("leap@29T08:00:00#1")
	w.advance(15 * 366 * 24 * time.Hour)
	w.wantDue("leap@29T08:00:00#1 leap@29T08:00:00#2")
}

// Whatever attempt is cut, and wherever a change gets in between: an occurrence is
// published once, and the series goes on.
func TestRaces(t *testing.T) {
	w := newWorld(t, "")
	id := w.one("create", `{"text":"a","in":"1 minute","recurrence":"daily"}`)["id"].(string)
	p := w.plugin
	w.now = w.now.Add(time.Minute)
	// A snooze comes between the reading and the commit of the timer.
	snoozed := false
	w.plugin = between{p, func(op string) error {
		if op == sdk.OpCommit && !snoozed {
			snoozed = true
			in := &world{T: t, host: w.host, plugin: p, now: w.now, tasks: 100, taken: w.taken}
			in.one("snooze", `{"id":"`+id+`","for":"1 h"}`)
			w.timers = append(w.timers, in.timers...)
			w.taken = in.taken
		}
		return nil
	}}
	w.advance(0)
	w.wantDue("")
	w.plugin = p
	w.advance(time.Hour)
	w.wantDue("a@28T10:01:00#1")
	// The attempt is cut before its commit, and after it.
	for _, after := range []bool{false, true} {
		cut := false
		w.plugin = between{p, func(op string) error {
			if op != sdk.OpCommit || cut {
				return nil
			}
			cut = true
			if after {
				return errAfter
			}
			return errCut
		}}
		w.advance(24 * time.Hour)
	}
	w.wantDue("a@28T10:01:00#1 a@29T09:01:00#2 a@30T09:01:00#3")
}
