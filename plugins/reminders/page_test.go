package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nagatha/nagatha-runtime/sdk"
)

func TestListPages(t *testing.T) {
	w := newWorld(t, "")
	for i := range 7 {
		w.one("create", fmt.Sprintf(`{"text":"%d","in":"%d minutes"}`, i, 10-i))
	}
	texts := func(payload string) (string, string) {
		m := w.run("list", payload)
		s := ""
		for _, r := range m["reminders"].([]any) {
			s += r.(map[string]any)["text"].(string)
		}
		return s, m["next_cursor"].(string)
	}
	got, cursor := texts(`{"limit":5}`)
	rest, end := texts(`{"limit":5,"cursor":"` + cursor + `"}`)
	if got != "65432" || rest != "10" || end != "" {
		t.Errorf("by what is due next: %s, %s, %q", got, rest, end)
	}
	if got, end := texts(`{"status":"all","limit":7}`); got != "0123456" || end != "" {
		t.Errorf("all: %s, %q", got, end)
	}
	if got, end := texts(`{"status":"due"}`); got != "" || end != "" {
		t.Errorf("due: %s, %q", got, end)
	}
	for _, bad := range []string{"%%", "bm90ZS8"} {
		if _, err := w.try("list", `{"cursor":"`+bad+`"}`); sdk.CodeOf(err) != sdk.CodeInvalid {
			t.Errorf("cursor %s: %v", bad, err)
		}
	}
	// A page fits a result, whatever stands in it.
	for i := range 200 {
		w.one("create", fmt.Sprintf(`{"text":"%s","in":"%d minutes"}`, strings.Repeat("€", 999), 20+i))
	}
	seen, cursor := 0, ""
	for pages := 0; ; pages++ {
		m := w.run("list", `{"limit":200,"cursor":"`+cursor+`"}`)
		b, _ := json.Marshal(m)
		if len(b) > 256<<10 {
			t.Fatalf("a page of %d bytes", len(b))
		}
		seen += len(m["reminders"].([]any))
		if cursor = m["next_cursor"].(string); cursor == "" || pages > 20 {
			break
		}
	}
	if seen != 207 {
		t.Errorf("%d reminders on all pages", seen)
	}
}

// What is shown, and nothing else, is read: neither a list nor the sweep looks at all
// that is pending.
func TestManyPendingAreNotRead(t *testing.T) {
	w := newWorld(t, "")
	for i := range 200 {
		w.one("create", fmt.Sprintf(`{"text":"t%d","in":"1 day"}`, i))
	}
	over := w.one("create", `{"text":"over","in":"1 minute"}`)["id"].(string)
	done := w.one("create", `{"text":"done","in":"1 day"}`)["id"].(string)
	w.one("complete", `{"id":"`+done+`"}`)
	todo := w.one("todo_add", `{"title":"todo","due":"in 2 days","remind":"1 hour"}`)["id"].(string)
	w.advance(time.Minute)
	p, read := w.plugin, 0
	w.plugin = watched{p, func(_ string, reply []byte) { read += len(reply) }}
	for _, c := range []struct {
		kind, payload, member string
		want                  int
	}{
		{"list", `{"status":"due"}`, "reminders", 1},
		{"list", `{"status":"completed"}`, "reminders", 1},
		{"list", `{"todo":"` + todo + `"}`, "reminders", 1},
		{"list", `{"limit":2}`, "reminders", 2},
		{"list", `{"status":"all","limit":2}`, "reminders", 2},
		{"process_due", `{}`, "processed_reminders", 0},
	} {
		read = 0
		if got := w.run(c.kind, c.payload)[c.member].([]any); len(got) != c.want || read > 3000 {
			t.Errorf("%s %s: %d, %d bytes read", c.kind, c.payload, len(got), read)
		}
	}
	w.plugin = p
	// The indexes follow what becomes of a reminder.
	w.one("snooze", `{"id":"`+over+`","for":"1 hour"}`)
	w.one("update", `{"id":"`+done+`","in":"1 hour"}`)
	for _, status := range []string{"due", "completed"} {
		if got := w.run("list", `{"status":"`+status+`"}`)["reminders"].([]any); len(got) != 0 {
			t.Errorf("%s: %v", status, got)
		}
	}
	w.advance(time.Hour)
	if got := w.run("list", `{"status":"due"}`)["reminders"].([]any); len(got) != 2 {
		t.Errorf("due: %v", got)
	}
	w.run("delete", `{"id":"`+over+`"}`)
	w.one("complete", `{"id":"`+done+`"}`)
	for status, want := range map[string]int{"due": 0, "completed": 1} {
		if got := w.run("list", `{"status":"`+status+`"}`)["reminders"].([]any); len(got) != want {
			t.Errorf("%s: %v", status, got)
		}
	}
	for key := range w.host.Items {
		if strings.HasPrefix(key, overKeys+"due/") || strings.HasSuffix(key, over) && !strings.HasPrefix(key, "delivery/") {
			t.Errorf("%s was left behind", key)
		}
	}
}

// watched is a plugin whose host shows what it answers.
type watched struct {
	sdk.Plugin
	f func(op string, reply []byte)
}

func (p watched) Handle(ctx context.Context, task *sdk.Task, host sdk.Host) (json.RawMessage, error) {
	return p.Plugin.Handle(ctx, task, watchedHost{host, p.f})
}

type watchedHost struct {
	sdk.Host
	f func(op string, reply []byte)
}

func (h watchedHost) Call(ctx context.Context, op string, request []byte) ([]byte, error) {
	reply, err := h.Host.Call(ctx, op, request)
	h.f(op, reply)
	return reply, err
}
