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
}
