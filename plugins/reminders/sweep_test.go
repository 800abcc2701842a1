package main

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"
)

func TestLostTimers(t *testing.T) {
	w := newWorld(t, "")
	w.one("create", `{"say":"in 10 minutes kept"}`)
	w.lose = true
	w.one("create", `{"say":"in 10 minutes lost"}`)
	w.one("create", `{"text":"series","in":"10 minutes","recurrence":"daily"}`)
	w.lose = false
	w.now = w.now.Add(10*time.Minute + time.Second) // nothing has run yet
	if m := w.run("process_due", `{}`); m["due_reminders"] != 0.0 || len(m["processed_reminders"].([]any)) != 0 {
		t.Errorf("within the grace: %v", m)
	}
	w.now = w.now.Add(time.Minute)
	m := w.run("process_due", `{}`)
	if m["due_reminders"] != 3.0 || len(m["processed_reminders"].([]any)) != 3 || m["due_tasks"] != 0.0 || m["timestamp"] == nil {
		t.Errorf("sweep: %v", m)
	}
	want := "kept@28T09:10:00#1 lost@28T09:10:00#1 series@28T09:10:00#1"
	w.wantDue(want)
	w.advance(0) // the timer that was only late
	if m := w.run("process_due", `{}`); m["due_reminders"] != 0.0 {
		t.Errorf("sweep again: %v", m)
	}
	w.advance(24 * time.Hour) // the series goes on
	w.wantDue(want + " series@29T09:10:00#2")
}

// One reminder that cannot be made due keeps nobody else waiting, and is told.
func TestSweepGoesOn(t *testing.T) {
	w := newWorld(t, "")
	w.lose = true
	bad := w.one("create", `{"say":"in 10 minutes bad"}`)["id"].(string)
	w.one("create", `{"say":"in 11 minutes good"}`)
	w.one("todo_add", `{"title":"todo","due":"in 1 minute"}`)
	item := w.host.Items[reminderKey(bad)]
	item.Value = []byte(strings.Replace(string(item.Value), `"UTC"`, `"Mars"`, 1))
	w.host.Items[reminderKey(bad)] = item
	w.advance(time.Hour)
	if _, err := w.try("process_due", `{}`); err == nil || !strings.Contains(err.Error(), bad) {
		t.Errorf("sweep: %v", err)
	}
	w.wantDue("good@28T09:11:00#1")
	if w.count("todo.due") != 1 {
		t.Error("the to-do was not noticed")
	}
}

// What a sweep did fits in its result, however long the texts are: the next goes on.
func TestLargeSweep(t *testing.T) {
	w := newWorld(t, "")
	w.lose = true
	const many = 200
	for range many {
		w.one("create", `{"in":"10 minutes","text":"`+strings.Repeat("🎉", 1000)+`"}`)
		w.one("todo_add", `{"title":"`+strings.Repeat("<", 255)+`","due":"in 1 minute"}`)
	}
	w.now = w.now.Add(time.Hour)
	reminders, todos := 0.0, 0.0
	for range 20 {
		m := w.run("process_due", `{}`)
		if b, _ := json.Marshal(m); len(b) > 250<<10 {
			t.Errorf("a result of %d bytes", len(b))
		}
		reminders, todos = reminders+m["due_reminders"].(float64), todos+m["due_tasks"].(float64)
	}
	if reminders != many || todos != many || w.count("todo.due") != many {
		t.Errorf("%v reminders, %v to-dos", reminders, todos)
	}
}

// errCut is what a host answers whose attempt is cut.
var errCut = errors.New("cut")

func TestDowntime(t *testing.T) {
	for _, c := range []struct {
		name, payload, want string
		down                time.Duration
	}{
		{"an hour, once", `{"say":"in 10 minutes a"}`, "a@28T09:10:00#1", time.Hour},
		{"an hour, every minute", `{"text":"a","recurrence":"* * * * *"}`, "a@28T09:01:00#1+59 a@28T10:01:00#2", time.Hour},
		{"a month, daily", `{"text":"a","in":"10 minutes","recurrence":"daily"}`, "a@28T09:10:00#1+29", 30 * 24 * time.Hour},
		{"a month, every minute", `{"text":"a","recurrence":"* * * * *"}`, "a@28T09:01:00#1+43199 a@27T09:01:00#2", 30 * 24 * time.Hour},
		{"a month, monthly", `{"text":"a","at":"2026-01-31T08:00:00Z","recurrence":"monthly"}`, "a@31T08:00:00#1", 30 * 24 * time.Hour},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, "")
			w.one("create", c.payload)
			w.down(c.down)
			w.advance(time.Minute)
			w.wantDue(c.want)
		})
	}
}

// A month of a reminder every minute costs no more than a moment.
func BenchmarkCatchUp(b *testing.B) {
	r, _ := parseRecurrence("* * * * *", time.UTC)
	start := wednesday
	for b.Loop() {
		r.missed(start, start, start.Add(30*24*time.Hour))
	}
}
