package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/nagatha/nagatha-runtime/sdk"
)

// TestContextLengthError: the server's word counts, whatever was estimated: the
// context is shortened once and the call made again.
func TestContextLengthError(t *testing.T) {
	w := setup(t, `{}`)
	w.echoes("demo.echo")
	big := `{"text":"` + strings.Repeat("y", 6000) + `"}`
	w.model.say = script(toolOf("c1", "demo_echo", big), "noted")
	w.chat("s", "remember the number 42")
	n := len(w.model.requests)
	w.model.say = func(i int, req Request, on func(Delta)) (Reply, error) {
		paired(t, req)
		switch {
		case req.System == summaryPrompt:
			return text("The number is 42.", on)
		case i == n:
			return Reply{}, fmt.Errorf("400: %w", errContextLength)
		}
		return text("It is 42.", on)
	}
	if m := w.chat("s", "which number?"); m["response"] != "It is 42." {
		t.Errorf("%v", m)
	}
	before, after := w.model.requests[n], w.model.last()
	if requestBytes(after) >= requestBytes(before)/2+200 {
		t.Errorf("it has %d bytes after %d", requestBytes(after), requestBytes(before))
	}
	if kept := w.kept("s"); len(kept) != 6 || !strings.Contains(kept[1], "demo_echo") || !strings.Contains(kept[2], strings.Repeat("y", 6000)) {
		t.Errorf("the originals: %.200q", kept)
	}

	// It does not try for ever.
	w.model.say = func(int, Request, func(Delta)) (Reply, error) { return Reply{}, sdk.Permanent(errContextLength) }
	n = len(w.model.requests)
	w.fresh()
	if _, err := w.handle(t.Context(), w.task("chat", `{"session":"s","message":"more"}`)); err == nil || len(w.model.requests) > n+3 {
		t.Errorf("after %d calls: %v", len(w.model.requests)-n, err)
	}
}

// TestFreshResults: results that the model has not seen yet are cut where they do not
// fit into the window together, each visibly; small ones and the originals stay whole.
func TestFreshResults(t *testing.T) {
	w := setup(t, `{"context_window":8000,"max_output_tokens":1000}`)
	w.echoes("demo.echo")
	var list []ToolCall
	for i := range 10 {
		list = append(list, toolOf(fmt.Sprint("c", i), "demo_echo", fmt.Sprintf(`{"n":%d}`, i)))
	}
	w.answers["demo.echo"] = func(p json.RawMessage) (any, *sdk.Error) {
		if string(p) == `{"n":3}` {
			return "short", nil
		}
		return strings.Repeat("é", 4000), nil
	}
	w.model.say = script(list, "read them")
	w.chat("s", "read all")
	req := w.model.last()
	paired(t, req)
	if got, most := requestBytes(req), 7000*4; got > most || got < most/2 {
		t.Errorf("told %d bytes, want at most %d, and not much less", got, most)
	}
	for i, m := range req.Messages[2:] {
		if whole := m.Text == `"short"`; whole != (i == 3) || !whole && !strings.Contains(m.Text, "[cut here: these are the first") {
			t.Errorf("result %d: …%q", i, m.Text[max(0, len(m.Text)-80):])
		}
	}
	if kept := w.kept("s"); len(kept) != 13 || !strings.Contains(kept[2], strings.Repeat("é", 4000)) {
		t.Errorf("the originals: %.200q", kept)
	}
}

// TestManyTools: what is kept word for word leaves room for what every request has,
// such as the descriptions of tools, even if that is most of the window. It is not
// summarized anew in each turn.
func TestManyTools(t *testing.T) {
	w := setup(t, `{"context_window":8000,"max_output_tokens":1000}`)
	w.offer("demo.echo", sdk.KindInfo{Tool: true, PayloadSchema: json.RawMessage(`{"type":"object","properties":{"x":{"type":"string","description":"` +
		strings.Repeat("d", 21000) + `"}}}`)}, nil)
	summaries := 0
	w.model.say = func(_ int, req Request, on func(Delta)) (Reply, error) {
		if req.System == summaryPrompt {
			summaries++
			return text("in short", on)
		}
		r, err := text("ok", on)
		r.Usage = nil // nothing is learnt
		return r, err
	}
	for i := range 12 {
		w.chat("s", fmt.Sprint(i, strings.Repeat(" word", 200)))
		if got, most := requestBytes(w.model.last()), 7000*4; got > most {
			t.Errorf("message %d: told %d bytes, want at most %d", i, got, most)
		}
	}
	if summaries == 0 || summaries > 6 {
		t.Errorf("%d summaries", summaries)
	}
}

func TestSummarize(t *testing.T) {
	w := setup(t, `{}`)
	w.model.say = script("Hello Ada.", "Ada said hello.", "Hello again.")
	w.chat("s", "I am Ada")
	m := w.run("summarize", `{"session":"s"}`)
	if m["summary"] != "Ada said hello." || m["summarized"] != 2.0 {
		t.Errorf("%v", m)
	}
	if n := len(w.Published); n != 2 {
		t.Errorf("the summary's own call is not recorded: %+v", w.Published)
	}
	if m := w.run("summarize", `{"session":"s"}`); m["summarized"] != 2.0 || len(w.model.requests) != 2 {
		t.Errorf("again: %v after %d calls", m, len(w.model.requests))
	}
	w.chat("s", "me again")
	req := w.model.last()
	if len(req.Messages) != 1 || !strings.Contains(req.System, "Ada said hello.") {
		t.Errorf("told %+v", req)
	}
	w.wantKept("s", "user: I am Ada", "assistant: Hello Ada.", "user: me again", "assistant: Hello again.")
}

func TestLongSummary(t *testing.T) {
	w := setup(t, `{"context_window":2000}`)
	n := 0
	w.agent.model = w.model
	w.model.say = func(_ int, req Request, on func(Delta)) (Reply, error) {
		n++
		if requestBytes(req) > 2000*4+8<<10 {
			t.Errorf("a part of %d bytes", requestBytes(req))
		}
		return text(fmt.Sprint("summary ", n), on)
	}
	var list []message
	for i := range 40 {
		list = append(list, message{N: i + 1, Role: "user", Text: strings.Repeat("w", 1000)})
	}
	got, _, err := w.agent.summary(t.Context(), w, "fake", "", list, 0.25)
	if err != nil || n < 5 || got != fmt.Sprint("summary ", n) {
		t.Errorf("%q after %d parts, %v", got, n, err)
	}
	if first := w.model.requests[1].Messages[0].Text; !strings.HasPrefix(first, "Summary of what came before:\nsummary 1") {
		t.Errorf("the second part begins %.80q", first)
	}
}

// TestMemories: what is remembered is told with its source, as notes.
func TestMemories(t *testing.T) {
	w := setup(t, `{}`)
	query := ""
	w.offer("memory.recall", sdk.KindInfo{Tool: true}, func(p json.RawMessage) (any, *sdk.Error) {
		query = string(p)
		return json.RawMessage(`{"facts":[{"id":"fct_1","fact":"Bob works at Acme","source":"user","recorded_at":"2026-01-02T03:04:05Z"}]}`), nil
	})
	w.model.say = script("At Acme.")
	m := w.chat("s", "where does Bob work?")
	if s := w.model.last().System; !strings.Contains(s, "- Bob works at Acme [user, noted 2026-01-02]") || !strings.Contains(query, "where does Bob work?") {
		t.Errorf("query %s, system %s", query, s)
	}
	if list := m["memories"].([]any); len(list) != 1 || list[0].(map[string]any)["id"] != "fct_1" {
		t.Errorf("%v", m)
	}
	// Without an answer the turn goes on.
	w = setup(t, `{}`)
	w.offer("memory.recall", sdk.KindInfo{}, func(json.RawMessage) (any, *sdk.Error) { return nil, sdk.Errorf(sdk.CodeUnavailable, "down") })
	w.model.say = script("I do not know.")
	if m := w.chat("s", "where does Bob work?"); m["response"] != "I do not know." {
		t.Errorf("%v", m)
	}
}

// TestDialogue: a conversation that was cut anywhere is one that a server takes.
func TestDialogue(t *testing.T) {
	all := []message{
		{Role: "user", Text: "go"}, {Role: "assistant", Calls: []toolCall{{ID: "a", Name: "x", Arguments: "{}"}, {ID: "b", Name: "x", Arguments: "{"}}},
		{Role: "tool", CallID: "b", Text: "B"}, {Role: "tool", CallID: "a", Text: "A"}, {Role: "assistant", Text: "done"},
		{Role: "user", Text: "more"}, {Role: "assistant", Calls: []toolCall{{ID: "c", Name: "x"}}}, {Role: "user", Text: "still there?"},
	}
	for n := range all {
		for from := range n + 1 {
			paired(t, Request{Messages: dialogue(all[from : n+1])})
		}
	}
	got := dialogue(all)
	if got[2].Text != "A" || got[3].Text != "B" || got[1].Calls[1].Arguments != "{}" || got[7].Text != interrupted || !got[7].IsError {
		t.Errorf("%+v", got)
	}
}

// TestTokensAreLearnt: a server that counts more tokens than estimated makes the
// estimate grow, also for the next turn.
func TestTokensAreLearnt(t *testing.T) {
	w := setup(t, `{}`)
	w.model.say = func(_ int, req Request, on func(Delta)) (Reply, error) {
		r, err := text("ok", on)
		r.Usage = &Usage{InputTokens: requestBytes(req) / 2, OutputTokens: 1}
		return r, err
	}
	for range 8 {
		w.chat("s", strings.Repeat("dense ", 100))
	}
	s, err := findSession(t.Context(), w.Host, "s")
	if err != nil || s.TokensPerByte < 0.4 || s.TokensPerByte > 0.5 {
		t.Errorf("%+v, %v", s, err)
	}
}
