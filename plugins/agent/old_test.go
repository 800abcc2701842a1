package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/nagatha/nagatha-runtime/sdk"
)

// TestOldDefects has a case for each defect of the system that this one replaces.
func TestOldDefects(t *testing.T) {
	said := func(w *world) (out []string) {
		for _, m := range w.model.last().Messages {
			out = append(out, m.Role+": "+m.Text)
		}
		return out
	}
	answer := func(_ int, _ Request, on func(Delta)) (Reply, error) { return text("ok", on) }

	t.Run("history was sent newest first, and a repeated message dropped", func(t *testing.T) {
		w := setup(t, `{}`)
		w.model.say = answer
		for _, m := range []string{"one", "two", "one"} {
			w.chat("s", m)
		}
		if got := strings.Join(said(w), ", "); got != "user: one, assistant: ok, user: two, assistant: ok, user: one" {
			t.Error(got)
		}
	})
	t.Run("an error was stored as the assistant's words", func(t *testing.T) {
		w := setup(t, `{}`)
		w.model.say = script(errors.New("down"), "hello")
		task := w.task("chat", `{"session":"s","message":"hi"}`)
		if _, err := w.handle(t.Context(), task); err == nil {
			t.Fatal("no error")
		}
		w.wantKept("s", "user: hi")
	})
	t.Run("one round of tools, and a call of the model for each result", func(t *testing.T) {
		w := setup(t, `{}`)
		w.echoes("demo.echo")
		w.model.say = script([]ToolCall{toolOf("a", "demo_echo", `{"n":1}`), toolOf("b", "demo_echo", `{"n":2}`), toolOf("c", "demo_echo", `{"n":3}`)},
			toolOf("d", "demo_echo", `{"n":4}`), toolOf("e", "demo_echo", `{"n":5}`), "done")
		if m := w.chat("s", "go"); m["steps"] != 4.0 || len(w.ran) != 5 {
			t.Errorf("%v", m)
		}
		if len(w.model.last().Tools) != 1 {
			t.Error("the calls after the first have no tools")
		}
		paired(t, w.model.last())
	})
	t.Run("a tool whose arguments were not JSON was called without any", func(t *testing.T) {
		w := setup(t, `{}`)
		w.echoes("demo.echo")
		w.model.say = script(toolOf("a", "demo_echo", `{"n":`), "done")
		if w.chat("s", "go"); len(w.ran) != 0 {
			t.Errorf("%+v", w.ran)
		}
	})
	t.Run("a tool that failed was followed by another of its name", func(t *testing.T) {
		w := setup(t, `{"tools":{"mcp.>":"auto"}}`)
		w.echoes("memory.set")
		w.mcp(`[{"server":"memory","name":"set","input_schema":{"type":"object"}}]`,
			func(json.RawMessage) (any, *sdk.Error) { return nil, sdk.Errorf(sdk.CodeHandlerError, "broken") })
		w.model.say = script(toolOf("a", "mcp.memory.set", `{}`), "done")
		m := w.chat("s", "go")
		if call := m["tool_calls"].([]any)[0].(map[string]any); len(w.ran) != 2 || w.ran[1].Kind != "mcp.call_tool" || call["is_error"] != true {
			t.Errorf("%+v %v", w.ran, call)
		}
	})
	t.Run("a description of null crashed, and so did more than 125 tools", func(t *testing.T) {
		w := setup(t, `{"tools":{"mcp.>":"auto"}}`)
		var list []string
		for i := range 200 {
			list = append(list, fmt.Sprintf(`{"server":"many","name":"tool%d","description":null,"input_schema":null}`, i))
		}
		w.mcp("["+strings.Join(list, ",")+"]", nil)
		w.model.say = answer
		w.chat("s", "go")
		if req := w.model.last(); len(req.Tools) != maxTools || strings.Contains(req.System, "tool7") {
			t.Errorf("%d tools; system %s", len(req.Tools), req.System)
		}
	})
	t.Run("each message began a new session", func(t *testing.T) {
		w := setup(t, `{}`)
		w.model.say = answer
		m := w.chat("", "one")
		if again := w.chat(m["session"].(string), "two"); again["session"] != m["session"] || len(said(w)) != 3 {
			t.Errorf("%v: %v", again, said(w))
		}
	})
	t.Run("the base URL could not be set", func(t *testing.T) {
		a := &agent{}
		if err := a.configure(t.Context(), json.RawMessage(`{"model":"m","base_url":"http://127.0.0.1:11434/v1"}`)); err != nil || a.model == nil {
			t.Error(err)
		}
	})
	t.Run("a session of the client's own name was another one, and its answer was not written back", func(t *testing.T) {
		w := setup(t, `{}`)
		w.model.say = answer
		id := "0b0e7c3e-9c5f-4a52-8a35-0d2a5b3c1f10"
		if m := w.chat(id, "hi"); m["session"] != id {
			t.Errorf("%v", m)
		}
		w.wantKept(id, "user: hi", "assistant: ok")
		if m := w.chat(id, "/new"); m["session"] == id || m["session"] == "" {
			t.Errorf("/new stays in %v", m["session"])
		}
	})
	t.Run("a conversation that was too long was answered with an apology", func(t *testing.T) {
		w := setup(t, `{}`)
		w.model.say = script("one", because(sdk.Errorf(sdk.CodeLimitExceeded, "too long"), errContextLength), "the summary", "two")
		w.chat("s", strings.Repeat("first ", 500))
		if m := w.chat("s", "second"); m["response"] != "two" || !strings.Contains(w.model.last().System, "the summary") {
			t.Errorf("%v, system %s", m, w.model.last().System)
		}
	})
	t.Run("names of tools were too long, doubled, or overwrote each other", func(t *testing.T) {
		w := setup(t, `{"tools":{"mcp.>":"auto"}}`)
		long := strings.Repeat("x", 60)
		w.mcp(fmt.Sprintf(`[{"server":"fs.one","name":"read"},{"server":"fs_one","name":"read"},{"server":"other","name":"read"},{"server":%q,"name":%q}]`, long, long), nil)
		w.model.say = answer
		w.chat("s", "go")
		names := map[string]bool{}
		for _, tool := range w.model.last().Tools {
			names[tool.Name] = len(tool.Name) <= 64
		}
		if len(names) != 4 || len(w.model.last().Tools) != 4 || !names["other_read"] {
			t.Errorf("%v", names)
		}
		for name, ok := range names {
			if !ok {
				t.Errorf("%s has %d letters", name, len(name))
			}
		}
	})
	t.Run("the model was told the result as the program prints it, and of no error", func(t *testing.T) {
		w := setup(t, `{"tools":{"mcp.>":"auto"}}`)
		w.mcp(`[{"server":"files","name":"read"}]`,
			func(json.RawMessage) (any, *sdk.Error) {
				return json.RawMessage(`{"content":[{"type":"text","text":"no such file"}],"is_error":true}`), nil
			})
		w.model.say = script(toolOf("a", "files_read", `{}`), "done")
		w.chat("s", "go")
		if m := w.model.last().Messages[2]; m.Text != "no such file" || !m.IsError {
			t.Errorf("%+v", m)
		}
	})
	t.Run("what the model used was not recorded", func(t *testing.T) {
		w := setup(t, `{}`)
		w.model.say = answer
		w.chat("s", "go")
		var data struct {
			Model   string `json:"model"`
			Session string `json:"session"`
			Input   int    `json:"input_tokens"`
			Output  int    `json:"output_tokens"`
		}
		if len(w.Published) != 1 || json.Unmarshal(w.Published[0].Data, &data) != nil || data.Model != "fake-1" || data.Session != "s" || data.Input != 100 || data.Output != 10 {
			t.Errorf("%+v", w.Published)
		}
	})
	t.Run("without a model it pretended to answer", func(t *testing.T) {
		w := setup(t, `{}`)
		w.agent.model, w.agent.Model = nil, ""
		if m := w.chat("s", "hello"); m["stop_reason"] != "no_model" || !strings.Contains(m["response"].(string), "OPENAI_MODEL") {
			t.Errorf("%v", m)
		}
		w.wantKept("s")
	})
}
