package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/nagatha/nagatha-runtime/sdk"
)

// TestTurnsTakeTurns: who finds another turn in the session waits for its end.
func TestTurnsTakeTurns(t *testing.T) {
	w := setup(t, `{}`)
	var second map[string]any
	w.model.say = func(n int, _ Request, on func(Delta)) (Reply, error) { return text(fmt.Sprint("answer ", n), on) }
	w.chat("s", "one")
	// Another turn begins, and is cut off in the middle: it never ends by itself.
	s, err := findSession(t.Context(), w.Host, "s")
	if err != nil {
		t.Fatal(err)
	}
	s.Turn, s.LastTurn, s.TurnBase = "tsk_other", "tsk_other", 3
	other := message{ID: "m", N: 3, Role: "user", Text: "other", Task: "tsk_other"}
	write, _ := other.write("s")
	if err := s.save(t.Context(), w.Host, write); err != nil {
		t.Fatal(err)
	}
	waited := ""
	w.Answer = func(op string, request json.RawMessage) (any, error) {
		if op == sdk.OpAwait {
			waited = string(request)
			return sdk.AwaitReply{Outcome: &sdk.Outcome{ID: "tsk_other", State: sdk.StateCancelled}}, nil
		}
		return w.answer(op, request)
	}
	second = w.chat("s", "two")
	if !strings.Contains(waited, "tsk_other") || second["response"] != "answer 1" {
		t.Errorf("waited for %q: %v", waited, second)
	}
	w.wantKept("s", "user: one", "assistant: answer 0", "user: other", "user: two", "assistant: answer 1")

	// One that its own parent waits for must not wait for the parent.
	s, _ = findSession(t.Context(), w.Host, "s")
	s.Turn = "tsk_parent"
	if err := s.save(t.Context(), w.Host); err != nil {
		t.Fatal(err)
	}
	task := w.task("chat", `{"session":"s","message":"three"}`)
	task.Parent = "tsk_parent"
	w.fresh()
	if _, err := w.handle(t.Context(), task); sdk.CodeOf(err) != sdk.CodeConflict || !strings.Contains(err.Error(), "tsk_parent") {
		t.Errorf("%v", err)
	}
}

// TestOrderOfTurns: of those that wait the one that was submitted first is next, whoever
// of them looks first; and who was cancelled meanwhile keeps nobody waiting.
func TestOrderOfTurns(t *testing.T) {
	w := setup(t, `{}`)
	ended := map[string]map[string]bool{}
	look := func(id, want string) {
		t.Helper()
		if ended[id] == nil {
			ended[id] = map[string]bool{}
		}
		task := w.task("chat", "{}")
		task.ID = id
		turn := &turn{agent: w.agent, host: w.Host, task: task, in: chatRequest{Session: "s", Message: "from " + id}}
		got, err := turn.tryLock(t.Context(), ended[id])
		if err != nil || got.Busy != want {
			t.Errorf("%s finds %q, %v; want %q", id, got.Busy, err, want)
		}
		ended[id][got.Busy] = true // once it has waited
	}
	free := func() {
		t.Helper()
		if _, err := change(t.Context(), w.Host, "s", func(s *session) error { s.Turn, s.Next = "", s.TurnBase+1; return nil }); err != nil {
			t.Fatal(err)
		}
	}
	look("tsk_1", "")
	look("tsk_4", "tsk_1")
	look("tsk_2", "tsk_1")
	look("tsk_3", "tsk_1")
	free()
	look("tsk_4", "tsk_2")
	look("tsk_3", "tsk_2")
	look("tsk_2", "")
	look("tsk_3", "") // it has waited for tsk_2, which was killed and left the session as it was
	look("tsk_4", "tsk_3")
	free()
	look("tsk_4", "")
	if s, _ := findSession(t.Context(), w.Host, "s"); len(s.Waiting) != 0 || s.Turn != "tsk_4" {
		t.Errorf("%+v", s)
	}
	w.wantKept("s", "user: from tsk_1", "user: from tsk_2", "user: from tsk_3", "user: from tsk_4")
}

// TestEarlierTurnPasses: of two that are submitted together the second may come first,
// and gives way; but not to one that already waits for its end, or both would wait.
func TestEarlierTurnPasses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := setup(t, `{}`)
		turnOf := func(id string) *turn {
			task := w.task("chat", "{}")
			task.ID = id
			return &turn{agent: w.agent, host: w.Host, task: task, in: chatRequest{Session: "s", Message: "from " + id}, ended: map[string]bool{}}
		}
		look := func(turn *turn, want string) {
			t.Helper()
			got, err := turn.tryLock(t.Context(), turn.ended)
			if err != nil || got.Busy != want {
				t.Errorf("%s finds %q, %v; want %q", turn.task.ID, got.Busy, err, want)
			}
			turn.base = got.Base
		}
		passes := func(turn *turn, want bool) {
			t.Helper()
			if got, err := turn.giveWay(t.Context()); err != nil || (got.Base == 0) != want {
				t.Errorf("%s: %+v, %v", turn.task.ID, got, err)
			}
		}
		first, second := turnOf("tsk_1"), turnOf("tsk_2")
		look(second, "")
		passes(second, false) // there is nobody yet
		came := make(chan struct{})
		go func() {
			defer close(came)
			look(first, "")
		}()
		synctest.Wait() // it waits for a moment
		passes(second, true)
		passes(second, true) // the same, if it was cut before that was recorded
		<-came
		look(second, "tsk_1")
		w.wantKept("s", "user: from tsk_1")
		passes(first, false)
		if s, err := findSession(t.Context(), w.Host, "s"); err != nil || s.Title != "from tsk_1" || s.Next != 1 || s.TurnBase != 1 {
			t.Errorf("%+v, %v", s, err)
		}

		late := turnOf("tsk_0") // and later than a turn waits
		look(late, "tsk_1")
		passes(first, false)
		look(first, "") // its step is done again
		passes(first, false)
	})
}
