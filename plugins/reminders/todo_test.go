package main

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nagatha/nagatha-runtime/sdk"
)

func (w *world) count(typ string) (n int) {
	for _, e := range w.host.Published {
		if e.Type == typ {
			n++
		}
	}
	return n
}

func TestTodos(t *testing.T) {
	w := newWorld(t, "")
	d := w.one("todo_add", `{"title":" Pay rent ","priority":"high","due":"in 3 days","remind":"2 hours","tags":["home","home","money"]}`)
	id := d["id"].(string)
	if d["title"] != "Pay rent" || d["status"] != "pending" || d["due_at"] != "2026-01-31T09:00:00.000Z" || fmt.Sprint(d["tags"]) != "[home money]" || len(d["reminders"].([]any)) != 1 {
		t.Errorf("added %v", d)
	}
	// The reminder follows the to-do.
	w.one("todo_update", `{"id":"`+id+`","due":"in 5 days","status":"in_progress","description":"by bank"}`)
	r := w.run("list", `{"todo":"`+id+`"}`)["reminders"].([]any)
	if len(r) != 1 || r[0].(map[string]any)["due_at"] != "2026-02-02T07:00:00.000Z" || r[0].(map[string]any)["text"] != "Pay rent" {
		t.Errorf("its reminder %v", r)
	}
	extra := w.one("create", `{"todo":"`+id+`"}`) // text and time of the to-do
	if extra["text"] != "Pay rent" || extra["due_at"] != "2026-02-02T09:00:00.000Z" {
		t.Errorf("another %v", extra)
	}
	w.advance(5 * 24 * time.Hour)
	w.wantDue("Pay rent@02T07:00:00#1 Pay rent@02T09:00:00#1")
	m := w.run("process_due", `{}`)
	if m["due_tasks"] != 1.0 || fmt.Sprint(m["processed_tasks"]) != "[map[due_at:2026-02-02T09:00:00.000Z id:"+id+" title:Pay rent]]" || w.count("todo.due") != 1 {
		t.Errorf("when it is due: %v", m)
	}
	if m = w.run("process_due", `{}`); m["due_tasks"] != 0.0 || w.count("todo.due") != 1 {
		t.Errorf("noticed again: %v", m)
	}
	if d = w.one("todo_complete", `{"id":"`+id+`"}`); d["status"] != "completed" || d["completed_at"] == nil {
		t.Errorf("completed %v", d)
	}
	if m := w.run("list", `{"status":"completed"}`); len(m["reminders"].([]any)) != 2 {
		t.Errorf("its reminders: %v", m)
	}
	if m := w.run("todo_delete", `{"id":"`+id+`"}`); m["deleted"] != true {
		t.Errorf("deleted %v", m)
	}
	if m := w.run("list", `{"status":"all"}`); len(m["reminders"].([]any)) != 0 {
		t.Errorf("its reminders, after it was deleted: %v", m)
	}
	for key := range w.host.Items {
		if !strings.HasPrefix(key, "delivery/") {
			t.Errorf("left behind: %s", key)
		}
	}
	if _, err := w.try("todo_get", `{"id":"`+id+`"}`); sdk.CodeOf(err) != sdk.CodeNotFound {
		t.Errorf("got it: %v", err)
	}
}

// What is done needs no reminder, also where the timer is quicker than the change.
func TestDoneNeedsNoReminder(t *testing.T) {
	w := newWorld(t, "")
	id := w.one("todo_add", `{"title":"a","due":"in 1 hour","remind":"0 minutes"}`)["id"].(string)
	w.one("todo_update", `{"id":"`+id+`","status":"cancelled"}`)
	b := w.one("todo_add", `{"title":"b","due":"in 1 hour","remind":"10 minutes"}`)["id"].(string)
	d, _, _ := load[todo](t.Context(), w.host, todoKey(b))
	d.Status = completed // as if only the to-do had been written
	item := w.host.Items[todoKey(b)]
	item.Value = []byte(strings.Replace(string(item.Value), `"pending"`, `"completed"`, 1))
	w.host.Items[todoKey(b)] = item
	w.advance(2 * time.Hour)
	w.wantDue("")
	if m := w.run("process_due", `{}`); m["due_reminders"] != 0.0 || w.count("todo.due") != 0 {
		t.Errorf("sweep: %v", m)
	}
	if _, err := w.try("create", `{"todo":"`+id+`","text":"x","in":"1 h"}`); sdk.CodeOf(err) != sdk.CodeInvalid {
		t.Errorf("a reminder of what is cancelled: %v", err)
	}
}

func TestTodoRefusals(t *testing.T) {
	w := newWorld(t, "")
	for payload, want := range map[string]string{
		`{"title":" "}`:                                            "text",
		`{"title":"a","due":"soon"}`:                               timeGrammar,
		`{"title":"a","due":"2020-01-01 08:00"}`:                   "in the past",
		`{"title":"a","remind":"10 minutes"}`:                      "needs due",
		`{"title":"a","due":"in 5 minutes","remind":"10 minutes"}`: "in the past",
		`{"title":"a","due":"in 5 minutes","remind":"often"}`:      spanGrammar,
		`{"title":"a","zone":"Mars"}`:                              "no time zone",
	} {
		if _, err := w.try("todo_add", payload); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", payload, err, want)
		}
	}
	if len(w.host.Items) != 0 {
		t.Errorf("stored %v", w.host.Items)
	}
}

func TestTodoList(t *testing.T) {
	w := newWorld(t, "")
	for i := range 5 {
		w.one("todo_add", fmt.Sprintf(`{"title":"t%d","priority":"%s","due":"in %d hours","tags":["g%d"]}`, i, []string{"low", "high"}[i%2], i+1, i%3))
	}
	first := w.run("todo_list", `{"limit":1}`)["todos"].([]any)[0].(map[string]any)["id"].(string)
	w.one("todo_complete", `{"id":"`+first+`"}`)
	for payload, want := range map[string]string{
		`{}`: "t1t2t3t4", `{"status":"all"}`: "t0t1t2t3t4", `{"status":"completed"}`: "t0", `{"priority":"high"}`: "t1t3", `{"tag":"g1"}`: "t1t4",
		`{"due_before":"in 3 hours and 1 second"}`: "t1t2", `{"query":"t3"}`: "t3", `{"query":"t0"}`: "", `{"query":"t0","status":"all"}`: "t0", `{"status":"cancelled"}`: "",
	} {
		got := ""
		for _, d := range w.run("todo_list", payload)["todos"].([]any) {
			got += d.(map[string]any)["title"].(string)
		}
		if got != want {
			t.Errorf("%s: %s, want %s", payload, got, want)
		}
	}
}

func TestNotes(t *testing.T) {
	w := newWorld(t, "")
	long := strings.Repeat("lorem ", 1000)
	id := w.one("note_add", `{"title":"Wifi","content":"The password is on the router. `+long+`","tags":["home"]}`)["id"].(string)
	w.one("note_add", `{"title":"Cake","content":"Flour and eggs"}`)
	got := w.run("note_search", `{"query":"password"}`)["notes"].([]any)
	if len(got) != 1 || got[0].(map[string]any)["truncated"] != true || len(got[0].(map[string]any)["content"].(string)) > 2000 {
		t.Errorf("found %v", got)
	}
	if n := w.one("note_get", `{"id":"`+id+`"}`); n["truncated"] != false || !strings.HasSuffix(n["content"].(string), long) {
		t.Error("the whole note is not whole")
	}
	if got := w.run("note_search", `{"limit":1}`); len(got["notes"].([]any)) != 1 || got["next_cursor"] == "" {
		t.Errorf("a page: %v", got)
	}
	if got := w.run("note_search", `{"tag":"home"}`)["notes"].([]any); len(got) != 1 {
		t.Errorf("by tag: %v", got)
	}
	if n := w.one("note_update", `{"id":"`+id+`","content":null,"tags":null}`); n["content"] != "" || len(n["tags"].([]any)) != 0 || n["title"] != "Wifi" {
		t.Errorf("cleared %v", n)
	}
	if got := w.run("note_search", `{"query":"password"}`)["notes"].([]any); len(got) != 0 {
		t.Errorf("found what is gone: %v", got)
	}
	if m := w.run("note_delete", `{"id":"`+id+`"}`); m["deleted"] != true {
		t.Errorf("deleted %v", m)
	}
	for _, kind := range []string{"note_get", "note_update"} {
		if _, err := w.try(kind, `{"id":"`+id+`"}`); sdk.CodeOf(err) != sdk.CodeNotFound {
			t.Errorf("%s: %v", kind, err)
		}
	}
}
