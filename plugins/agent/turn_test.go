package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nagatha/nagatha-runtime/sdk"
)

func TestTurn(t *testing.T) {
	w := setup(t, `{}`)
	w.model.say = script("Hello Ada.", "You are Ada.")
	m := w.chat("s1", "I am Ada")
	if m["response"] != "Hello Ada." || m["stop_reason"] != "end" || m["session"] != "s1" || m["steps"] != 1.0 {
		t.Errorf("result %v", m)
	}
	if u := m["usage"].(map[string]any); u["input_tokens"] != 100.0 || u["output_tokens"] != 10.0 || u["cost_usd"] != nil {
		t.Errorf("usage %v", u)
	}
	w.chat("s1", "Who am I?")
	var said []string
	for _, m := range w.model.last().Messages {
		said = append(said, m.Role+": "+m.Text)
	}
	if want := []string{"user: I am Ada", "assistant: Hello Ada.", "user: Who am I?"}; !slices.Equal(said, want) {
		t.Errorf("the model was told %q", said)
	}
	w.wantKept("s1", "user: I am Ada", "assistant: Hello Ada.", "user: Who am I?", "assistant: You are Ada.")
	lines := strings.Join(w.Lines(), "\n")
	if !strings.Contains(lines, "output response Hello") || !strings.Contains(lines, "output response  Ada.") {
		t.Errorf("not streamed:\n%s", lines)
	}
	if len(w.Published) != 2 || w.Published[0].Type != "usage.recorded" || w.Published[0].ID == w.Published[1].ID ||
		!strings.Contains(string(w.Published[0].Data), `"input_tokens":100`) {
		t.Errorf("published %+v", w.Published)
	}
	if !strings.Contains(w.model.last().System, "You are Nagatha") {
		t.Errorf("system: %s", w.model.last().System)
	}
}

// TestTurnWithoutSession: each is a session of its own, with an id that clients get.
func TestTurnWithoutSession(t *testing.T) {
	w := setup(t, `{}`)
	w.model.say = script("a", "b")
	one := w.chat("", "x")
	if lines := strings.Join(w.Lines(), "\n"); !strings.Contains(lines, "[type session session "+one["session"].(string)+"]") {
		t.Errorf("whoever cancels the turn is not told its session:\n%s", lines)
	}
	two := w.chat("", "y")
	if one["session"] == two["session"] || !strings.HasPrefix(one["session"].(string), "ses_") || !strings.HasPrefix(one["message_id"].(string), "msg_") {
		t.Errorf("%v %v", one, two)
	}
}

// TestMessagesOfTwoLives: a task that is retried after others have spoken adds messages of
// its own, whose ids are not those of its first life.
func TestMessagesOfTwoLives(t *testing.T) {
	w := setup(t, `{}`)
	w.model.say = script("a", "b", "c")
	task := w.task("chat", `{"session":"s","message":"x"}`)
	for life := 1; life <= 2; life++ {
		task.Life = life
		w.fresh()
		if _, err := w.handle(t.Context(), task); err != nil {
			t.Fatal(err)
		}
		if life == 1 {
			w.chat("s", "y")
		}
	}
	seen := map[any]bool{}
	for _, m := range w.run("history", `{"session":"s"}`)["messages"].([]any) {
		seen[m.(map[string]any)["id"]] = true
	}
	if len(seen) != 6 {
		t.Errorf("6 messages have %d ids: %v", len(seen), seen)
	}
}

// TestTitleOfOddText: a title is searched for, which takes no NUL; the message stays as it
// is.
func TestTitleOfOddText(t *testing.T) {
	w := setup(t, `{}`)
	w.model.say = script("a")
	w.chat("s", "one\x00two\x1b[31m\nthree")
	w.wantKept("s", "user: one\x00two\x1b[31m\nthree", "assistant: a")
	if m := w.run("rename", `{"session":"s","title":"x\u0000y"}`); m["title"] != "x y" {
		t.Errorf("renamed: %v", m)
	}
	w.run("chat", `{"message":"/new a\u0000b"}`)
	for _, s := range w.run("sessions", `{}`)["sessions"].([]any) {
		if title := s.(map[string]any)["title"]; title != "x y" && title != "a b" {
			t.Errorf("title %q", title)
		}
	}
}

func TestAttachments(t *testing.T) {
	w := setup(t, `{}`)
	w.model.say = script("ok")
	m := w.run("chat", `{"session":"s","message":"read this","attachments":[{"name":"a.txt","text":"the text"}],"user_message_id":"msg_mine","stream":false}`)
	if !strings.Contains(w.model.last().Messages[0].Text, "the text") || strings.Contains(strings.Join(w.Lines(), ""), "output response") {
		t.Errorf("%+v %v", w.model.last(), w.Lines())
	}
	h := w.run("history", `{"session":"s"}`)
	if list := h["messages"].([]any); list[0].(map[string]any)["id"] != "msg_mine" || list[1].(map[string]any)["id"] != m["message_id"] {
		t.Errorf("history %v", h)
	}
}

func TestParallelCalls(t *testing.T) {
	w := setup(t, `{}`)
	w.echoes("demo.echo")
	var list []ToolCall
	for i := range 6 {
		list = append(list, toolOf(fmt.Sprint("c", i), "demo_echo", fmt.Sprintf(`{"n":%d}`, i)))
	}
	w.model.say = script(list, "done")
	m := w.chat("s", "go")
	if m["response"] != "done" || len(m["tool_calls"].([]any)) != 6 || len(w.ran) != 6 {
		t.Errorf("%v", m)
	}
	req := w.model.last()
	paired(t, req)
	for i, m := range req.Messages[2:8] {
		if m.Text != fmt.Sprintf(`{"n":%d}`, i) || m.CallID != fmt.Sprint("c", i) {
			t.Errorf("result %d: %+v", i, m)
		}
	}
	for _, sub := range w.ran {
		if sub.MaxAttempts != 1 || sub.Expires == 0 {
			t.Errorf("a child that may have effects: %+v", sub)
		}
	}
}

func TestLimits(t *testing.T) {
	same := func(n int, _ Request, _ func(Delta)) (Reply, error) {
		return calls(toolOf(fmt.Sprint("c", n), "demo_echo", fmt.Sprintf(`{"n":%d}`, n)))
	}
	for _, c := range []struct {
		config, stop string
		steps, calls int
	}{
		{`{"limits":{"steps":3}}`, "max_steps", 3, 3},
		{`{"limits":{"tool_calls":2}}`, "max_tool_calls", 3, 3},
		{`{"limits":{"tokens":250}}`, "token_limit", 3, 3},
		{`{"limits":{"cost_usd":0.5}}`, "cost_limit", 2, 2},
	} {
		w := setup(t, c.config)
		w.echoes("demo.echo")
		w.offer("usage.cost", sdk.KindInfo{}, func(p json.RawMessage) (any, *sdk.Error) {
			return map[string]float64{"cost_usd": 0.25 * float64(strings.Count(string(p), `"model"`))}, nil
		})
		w.model.say = same
		m := w.chat("s", "go")
		if m["stop_reason"] != c.stop || m["steps"] != float64(c.steps) || len(m["tool_calls"].([]any)) != c.calls {
			t.Errorf("%s: %v", c.config, m)
		}
		if m["usage"].(map[string]any)["cost_usd"] != 0.25*float64(c.steps) {
			t.Errorf("%s: %v", c.config, m["usage"])
		}
		// The conversation can go on.
		w.model.say = func(_ int, req Request, on func(Delta)) (Reply, error) { paired(t, req); return text("on we go", on) }
		if m := w.chat("s", "continue"); m["response"] != "on we go" {
			t.Errorf("%s: %v", c.config, m)
		}
	}
}

// slow ends with its context.
func slow(partial string) func(ctx context.Context, on func(Delta)) (Reply, error) {
	return func(ctx context.Context, on func(Delta)) (Reply, error) {
		on(Delta{Text: partial})
		<-ctx.Done()
		return Reply{Message: Message{Role: "assistant", Text: partial}, Model: "fake-1"}, fmt.Errorf("model call: %w", context.Cause(ctx))
	}
}

type slowModel struct {
	f func(ctx context.Context, on func(Delta)) (Reply, error)
}

func (s slowModel) Stream(ctx context.Context, _ sdk.Host, _ Request, on func(Delta)) (Reply, error) {
	return s.f(ctx, on)
}

func TestTimeLimit(t *testing.T) {
	w := setup(t, `{"limits":{"time":"20ms"}}`)
	w.agent.model = slowModel{slow("Once upon")}
	if m := w.chat("s", "tell"); m["stop_reason"] != "time_limit" || m["response"] != "Once upon" {
		t.Errorf("%v", m)
	}
	w.wantKept("s", "user: tell", "assistant: Once upon (cut)")
}

// TestCancelKeepsText: what was said is kept, marked as cut, and the conversation goes on.
func TestCancelKeepsText(t *testing.T) {
	w := setup(t, `{}`)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	w.agent.model = slowModel{func(ctx context.Context, on func(Delta)) (Reply, error) {
		cancel()
		return slow("Once upon")(ctx, on)
	}}
	_, err := w.handle(ctx, w.task("chat", `{"session":"s","message":"tell"}`))
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("the turn ended with %v", err)
	}
	w.wantKept("s", "user: tell", "assistant: Once upon (cut)")
	if len(w.Published) != 1 || !strings.HasSuffix(w.Published[0].ID, "-cut") {
		t.Errorf("what was used up to then: %+v", w.Published)
	}
	w.agent.model = w.model
	w.model.say = script("a time.")
	w.chat("s", "go on")
	w.wantKept("s", "user: tell", "assistant: Once upon (cut)", "user: go on", "assistant: a time.")
	if got := w.model.last().Messages[1].Text; !strings.Contains(got, "stopped here") {
		t.Errorf("the model was told %q", got)
	}
}

// TestErrorsAreErrors: what goes wrong is never stored as something that was said.
func TestErrorsAreErrors(t *testing.T) {
	w := setup(t, `{}`)
	w.model.say = script(sdk.Permanent(sdk.Errorf(sdk.CodeUnauthorized, "the key is wrong")))
	_, err := w.handle(t.Context(), w.task("chat", `{"session":"s","message":"hi"}`))
	if sdk.CodeOf(err) != sdk.CodeUnauthorized || sdk.AsError(err).Retryable {
		t.Errorf("%v", err)
	}
	w.wantKept("s", "user: hi")
}

// TestCrashes ends the turn after each of its operations, once in every place, and
// lets it go on: the result is that of a turn without a crash, no tool is called
// twice, and the model only once more where its answer was not recorded.
func TestCrashes(t *testing.T) {
	replies := []any{[]ToolCall{toolOf("c1", "demo_echo", `{"n":1}`), toolOf("c2", "demo_ask", `{"n":2}`)}, toolOf("c3", "demo_echo", `{"n":3}`), "done"}
	want := []string{"user: go", "assistant:  →demo_echo →demo_ask", `tool: {"n":1}`, `tool: {"n":2}`, "assistant:  →demo_echo", `tool: {"n":3}`, "assistant: done"}
	for at := 1; ; at++ {
		w := setup(t, `{"tools":{"demo.ask":"ask"}}`)
		w.echoes("demo.echo")
		w.echoes("demo.ask")
		w.offer("memory.recall", sdk.KindInfo{}, func(json.RawMessage) (any, *sdk.Error) { return map[string]any{"facts": []any{}}, nil })
		w.offer("usage.reserve", sdk.KindInfo{}, func(json.RawMessage) (any, *sdk.Error) { return map[string]any{"reserved_usd": nil}, nil })
		w.model.say = func(_ int, req Request, on func(Delta)) (Reply, error) { // by what was said, since it may be asked again
			n := 0
			for _, m := range req.Messages {
				if m.Role == "assistant" {
					n++
				}
			}
			return script(replies...)(n, req, on)
		}
		task := w.task("chat", `{"session":"s","message":"go"}`)
		w.crashAt = at
		_, err := w.handle(t.Context(), task)
		if err == nil {
			if at < 20 {
				t.Errorf("the turn has only %d operations", at)
			}
			return
		}
		w.rerun()
		m, err := w.handle(t.Context(), task)
		if err != nil {
			t.Fatalf("crash after %d operations: %v", at, err)
		}
		if m["response"] != "done" || m["steps"] != 3.0 {
			t.Errorf("crash after %d: %v", at, m)
		}
		if got := w.kept("s"); !slices.Equal(got, want) {
			t.Errorf("crash after %d operations: kept\n%s", at, strings.Join(got, "\n"))
		}
		made := 0
		for _, sub := range w.ran {
			if strings.HasPrefix(sub.Kind, "demo.") {
				made++
			}
		}
		if made != 3 || len(w.model.requests) > 4 || len(w.asked) != 1 {
			t.Errorf("crash after %d operations: %d tool calls, %d of the model, %d questions", at, made, len(w.model.requests), len(w.asked))
		}
		ids := map[string]bool{}
		for _, e := range w.Published {
			ids[e.ID] = true
		}
		if len(ids) != 3 {
			t.Errorf("crash after %d operations: usage %v", at, ids)
		}
	}
}

// TestRetriedByHand: another life of a failed turn takes the place of the first.
func TestRetriedByHand(t *testing.T) {
	w := setup(t, `{}`)
	w.echoes("demo.echo")
	w.model.say = script(toolOf("c1", "demo_echo", `{}`), sdk.Permanent(errors.New("broken")), "all well")
	task := w.task("chat", `{"session":"s","message":"go"}`)
	if _, err := w.handle(t.Context(), task); err == nil {
		t.Fatal("it did not fail")
	}
	w.fresh()
	task.Life = 2
	if m, err := w.handle(t.Context(), task); err != nil || m["response"] != "all well" {
		t.Fatalf("%v %v", m, err)
	}
	w.wantKept("s", "user: go", "assistant: all well")
}

// TestFlat: the work of a turn does not grow with the conversation, nor its requests
// beyond the window.
func TestFlat(t *testing.T) {
	w := setup(t, `{"context_window":4000,"max_output_tokens":400}`)
	for i := range 20 {
		w.echoes(fmt.Sprintf("demo.tool%d", i))
	}
	w.model.say = func(_ int, req Request, on func(Delta)) (Reply, error) {
		paired(t, req)
		if requestBytes(req) > 4*4000 {
			t.Errorf("a request of %d bytes", requestBytes(req))
		}
		if m := req.Messages[len(req.Messages)-1]; m.Role == "user" && req.System != summaryPrompt {
			return Reply{Message: Message{Role: "assistant", Calls: []ToolCall{toolOf("c", "demo_tool3", `{"text":"`+strings.Repeat("x", 300)+`"}`)}}, Stop: stopToolCalls}, nil
		}
		on(Delta{Text: "fine"})
		return Reply{Message: Message{Role: "assistant", Text: "fine"}, Stop: stopEnd}, nil
	}
	var ops []int
	began := time.Now()
	for i := range 50 {
		w.chat("s", fmt.Sprintf("turn %d %s", i, strings.Repeat("word ", 20)))
		ops = append(ops, w.ops)
	}
	if most := slices.Max(ops); most > slices.Min(ops)+8 {
		t.Errorf("host calls per turn: %v", ops)
	}
	if n := len(w.kept("s")); n != 200 {
		t.Errorf("%d messages are kept", n)
	}
	s, _ := findSession(t.Context(), w.Host, "s")
	if s.SummaryUpTo < 100 || s.Messages != 200 {
		t.Errorf("session %+v", s)
	}
	t.Logf("50 turns in %v, %d to %d host calls", time.Since(began), slices.Min(ops), slices.Max(ops))
}
