package main

import (
	"encoding/json"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nagatha/nagatha-runtime/sdk"
)

// as runs a kind as a task of an owner.
func (w *world) as(owner, kind, payload string) (map[string]any, error) {
	w.Helper()
	w.fresh()
	task := w.task(kind, payload)
	task.Owner = owner
	return w.handle(w.Context(), task)
}

// TestSessionsInOrderOfUse: the first one is that which nagatha chat --continue goes on
// in, also of sessions that an earlier version made.
func TestSessionsInOrderOfUse(t *testing.T) {
	w := setup(t, `{}`)
	w.model.say = func(_ int, _ Request, on func(Delta)) (Reply, error) { return text("ok", on) }
	old := &session{ID: "old", CreatedAt: sdk.Now().Add(-time.Hour), Next: 1}
	if err := old.save(t.Context(), w.Host); err != nil {
		t.Fatal(err)
	}
	want := func(want ...string) {
		t.Helper()
		var got []string
		for _, s := range w.run("sessions", `{}`)["sessions"].([]any) {
			got = append(got, s.(map[string]any)["session"].(string))
		}
		if !slices.Equal(got, want) {
			t.Errorf("sessions %q, want %q", got, want)
		}
	}
	next := func(session string) { // the clock goes on
		for now := sdk.Now(); sdk.Now() == now; {
			runtime.Gosched()
		}
		w.chat(session, "hi")
	}
	next("a")
	next("b")
	want("b", "a", "old")
	next("a")
	want("a", "b", "old")
	next("old")
	next("old")
	want("old", "a", "b")
	w.run("delete_session", `{"session":"old"}`)
	want("a", "b")
}

// TestOwnersAreApart: two people who call a session the same do not meet in it, and
// neither finds the other's.
func TestOwnersAreApart(t *testing.T) {
	w := setup(t, `{}`)
	var places []string
	w.offer("notes.add", sdk.KindInfo{Tool: true, PayloadSchema: json.RawMessage(`{"type":"object","properties":{"session":{"type":"string"}}}`)},
		func(p json.RawMessage) (any, *sdk.Error) { places = append(places, string(p)); return p, nil })
	w.model.say = func(n int, req Request, on func(Delta)) (Reply, error) {
		if req.Messages[len(req.Messages)-1].Role == "user" {
			return calls(toolOf("c", "notes_add", "{}"))
		}
		return text("noted", on)
	}
	must := func(owner, kind, payload string) map[string]any {
		t.Helper()
		m, err := w.as(owner, kind, payload)
		if err != nil {
			t.Fatalf("%s: %s %s: %v", owner, kind, payload, err)
		}
		return m
	}
	owners := []string{"admin", "ann", "bob"}
	for _, owner := range owners {
		if m := must(owner, "chat", `{"session":"x","message":"the secret of `+owner+`"}`); m["session"] != "x" {
			t.Errorf("%s is in session %v", owner, m["session"])
		}
		for _, m := range w.model.last().Messages {
			for _, other := range owners {
				if other != owner && strings.Contains(m.Text, other) {
					t.Errorf("for %s the model is told %q", owner, m.Text)
				}
			}
		}
	}
	if places[0] == places[1] || places[1] == places[2] {
		t.Errorf("other plugins cannot tell the sessions apart: %s", places)
	}
	must("ann", "chat", `{"message":"/new mine"}`)
	for owner, n := range map[string]int{"admin": 1, "ann": 2, "bob": 1, "cid": 0} {
		if list := must(owner, "sessions", `{}`)["sessions"].([]any); len(list) != n {
			t.Errorf("%s has %d sessions, want %d: %v", owner, len(list), n, list)
		}
		said := must(owner, "chat", `{"message":"/sessions"}`)["response"].(string)
		if strings.Count(said, "messages") != n || strings.Contains(said, ownerMark) {
			t.Errorf("%s: %s", owner, said)
		}
	}
	// The runtime's own tasks have no owner, and are the administrator's.
	if h := must("", "history", `{"session":"x"}`); h["session"] != "x" || !strings.Contains(string(mustJSON(h)), "the secret of admin") {
		t.Errorf("%v", h)
	}
	for _, q := range [][2]string{{"history", `{"session":"x"}`}, {"rename", `{"session":"x","title":"mine"}`}, {"summarize", `{"session":"x"}`}, {"chat", `{"message":"/switch x"}`}} {
		if _, err := w.as("cid", q[0], q[1]); sdk.CodeOf(err) != sdk.CodeNotFound || strings.Contains(err.Error(), "cid") {
			t.Errorf("%s: %v", q[0], err)
		}
	}
	if _, err := w.as("admin", "chat", `{"message":"/switch x@bob"}`); sdk.CodeOf(err) != sdk.CodeNotFound {
		t.Errorf("%v", err)
	}
	if m := must("cid", "delete_session", `{"session":"x"}`); m["deleted"] != false {
		t.Errorf("%v", m)
	}
	if m := must("ann", "delete_session", `{"session":"x"}`); m["deleted"] != true {
		t.Errorf("%v", m)
	}
	if list := must("ann", "sessions", `{}`)["sessions"].([]any); len(list) != 1 {
		t.Errorf("ann has %v", list)
	}
	if h := must("bob", "history", `{"session":"x"}`); !strings.Contains(string(mustJSON(h)), "the secret of bob") {
		t.Errorf("%v", h)
	}
}
