package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/nagatha/nagatha-runtime/sdk"
)

func TestPolicies(t *testing.T) {
	w := setup(t, `{"tools":{"demo.*":"auto","demo.ask":"ask","demo.never":"deny","mcp.files.>":"ask","mcp.files.read":"auto"}}`)
	for target, want := range map[string]string{"demo.echo": "auto", "demo.ask": "ask", "demo.never": "deny", "other.thing": "auto",
		"mcp.files.write": "ask", "mcp.files.read": "auto", "mcp.web.get": "auto"} {
		if got := w.agent.policy(&tool{target: target}); got != want {
			t.Errorf("%s: %s, want %s", target, got, want)
		}
	}
	if got := w.agent.policy(&tool{target: "mcp.web.drop", destructive: true}); got != "ask" {
		t.Errorf("a tool that destroys, and that nothing is said of: %s", got)
	}
	if err := (&agent{}).configure(t.Context(), json.RawMessage(`{"tools":{"a..b":"ask"}}`)); err == nil {
		t.Error("a bad pattern is taken")
	}
}

func TestApproval(t *testing.T) {
	w := setup(t, `{"tools":{"demo.ask":"ask","demo.never":"deny"}}`)
	for _, k := range []string{"demo.ask", "demo.never", "demo.echo"} {
		w.echoes(k)
	}
	w.decide = func(q sdk.ApproveRequest) sdk.Decision {
		return sdk.Decision{Approved: strings.Contains(string(q.Detail), `"n":1`), Comment: "not that one"}
	}
	w.model.say = script([]ToolCall{toolOf("c1", "demo_ask", `{"n":1}`), toolOf("c2", "demo_ask", `{"n":2}`), toolOf("c3", "demo_never", `{}`)}, "done")
	m := w.chat("s", "go")
	if len(w.ran) != 1 || len(w.asked) != 2 {
		t.Errorf("%d calls, %d questions", len(w.ran), len(w.asked))
	}
	for _, q := range w.asked { // the decision is bound to exactly this
		var d struct {
			Kind    string
			Payload json.RawMessage
			Session string
		}
		if json.Unmarshal(q.Detail, &d) != nil || d.Kind != "demo.ask" || d.Session != "s" || !strings.Contains(string(d.Payload), `"n"`) {
			t.Errorf("detail %s", q.Detail)
		}
	}
	results := w.model.last().Messages[2:]
	if results[0].IsError || !results[1].IsError || !strings.Contains(results[1].Text, "said no") || !strings.Contains(results[1].Text, "not that one") ||
		!strings.Contains(results[2].Text, "There is no tool") {
		t.Errorf("results %+v", results)
	}
	// What does not fit into the question is said to be missing, and is in the detail.
	long := `{"text":"` + strings.Repeat("z", 5000) + `","n":1}`
	w.model.say, w.model.requests = script(toolOf("c4", "demo_ask", long), "done"), nil
	w.chat("s", "go on")
	if q := w.asked[2]; !strings.Contains(q.Question, "the first 4000 of 5017 bytes") || !strings.Contains(string(q.Detail), long) {
		t.Errorf("question …%s", q.Question[3900:])
	}
	for _, offered := range w.model.requests[0].Tools {
		if offered.Name == "demo_never" {
			t.Error("a denied tool is shown to the model")
		}
	}
	if m["stop_reason"] != "end" {
		t.Errorf("%v", m)
	}
}

// TestBadArguments: what is not a JSON object is not called, and never repeated to a
// model as it was.
func TestBadArguments(t *testing.T) {
	w := setup(t, `{}`)
	w.echoes("demo.echo")
	w.model.say = script([]ToolCall{toolOf("c1", "demo_echo", `{"city":"Par`), toolOf("c2", "demo_echo", `[1]`), toolOf("c3", "demo_echo", ``)}, "done")
	w.chat("s", "go")
	req := w.model.last()
	paired(t, req)
	for i, c := range req.Messages[1].Calls {
		if c.Arguments != `{}` && i < 2 {
			t.Errorf("repeated to the model: %q", c.Arguments)
		}
	}
	if len(w.ran) != 1 || !req.Messages[2].IsError || !req.Messages[3].IsError || req.Messages[4].IsError {
		t.Errorf("%d calls; %+v", len(w.ran), req.Messages)
	}
}

func TestRepeatedCalls(t *testing.T) {
	w := setup(t, `{"limits":{"steps":50}}`)
	w.echoes("demo.echo")
	w.model.say = func(n int, _ Request, _ func(Delta)) (Reply, error) {
		return calls(toolOf(fmt.Sprint("c", n), "demo_echo", []string{`{"a":1,"b":2}`, `{"a":1, "b":2}`}[n%2]))
	}
	m := w.chat("s", "go")
	if m["stop_reason"] != "repeated_calls" || len(w.ran) != maxRepeats {
		t.Errorf("%d calls: %v", len(w.ran), m)
	}
	// A tool that says something new each time may be asked again and again.
	w = setup(t, `{"limits":{"steps":8}}`)
	n := 0
	w.offer("demo.clock", sdk.KindInfo{Tool: true}, func(json.RawMessage) (any, *sdk.Error) { n++; return n, nil })
	w.model.say = func(n int, _ Request, _ func(Delta)) (Reply, error) {
		return calls(toolOf(fmt.Sprint("c", n), "demo_clock", `{}`))
	}
	if m := w.chat("s", "go"); m["stop_reason"] != "max_steps" || n != 8 {
		t.Errorf("%d calls: %v", n, m)
	}
}

// TestUnknownOutcome: a call that may have taken effect is made again only when a
// person says so, or when it does no harm.
func TestUnknownOutcome(t *testing.T) {
	for _, code := range []string{sdk.CodePluginCrashed, sdk.CodeNodeLost, sdk.CodeTimeout} {
		for _, again := range []bool{true, false} {
			w := setup(t, `{}`)
			made := 0
			w.offer("demo.pay", sdk.KindInfo{Tool: true}, func(p json.RawMessage) (any, *sdk.Error) {
				if made++; made == 1 {
					return nil, sdk.Errorf(code, "it died")
				}
				return "paid", nil
			})
			w.decide = func(q sdk.ApproveRequest) sdk.Decision {
				if !strings.Contains(q.Question, "not known") || !strings.Contains(string(q.Detail), `"amount":5`) {
					t.Errorf("the question is %q about %s", q.Question, q.Detail)
				}
				return sdk.Decision{Approved: again}
			}
			w.model.say = script(toolOf("c1", "demo_pay", `{"amount":5}`), "done")
			w.chat("s", "go")
			res := w.model.last().Messages[2]
			if want := map[bool]int{true: 2, false: 1}[again]; made != want || res.IsError == again || len(w.asked) != 1 {
				t.Errorf("%s, again %v: made %d times, %d questions, %+v", code, again, made, len(w.asked), res)
			}
			if !again && !strings.Contains(res.Text, "not known") {
				t.Errorf("the model is told %q", res.Text)
			}
		}
	}
	w := setup(t, `{}`)
	w.offer("demo.look", sdk.KindInfo{Tool: true, ReadOnly: true}, func(json.RawMessage) (any, *sdk.Error) { return nil, sdk.Errorf(sdk.CodePluginCrashed, "it died") })
	w.offer("demo.fail", sdk.KindInfo{Tool: true}, func(json.RawMessage) (any, *sdk.Error) { return nil, sdk.Errorf(sdk.CodeHandlerError, "no use") })
	w.model.say = script([]ToolCall{toolOf("c1", "demo_look", `{}`), toolOf("c2", "demo_fail", `{}`)}, "done")
	w.chat("s", "go")
	for _, sub := range w.ran {
		if want := map[string]int{"demo.look": 3, "demo.fail": 1}[sub.Kind]; sub.MaxAttempts != want {
			t.Errorf("%s may be tried %d times", sub.Kind, sub.MaxAttempts)
		}
	}
	if len(w.asked) != 0 {
		t.Errorf("asked about what is known: %+v", w.asked)
	}
}

// TestMCPConnectionBroke: the plugin mcp fails the task itself when a server dies in
// a call; whether the tool had done its work is not known either.
func TestMCPConnectionBroke(t *testing.T) {
	w := setup(t, `{"tools":{"mcp.>":"auto"}}`)
	w.mcp(`[{"server":"files","name":"write","input_schema":{"type":"object"},"annotations":{"destructive":true}},
		{"server":"files","name":"off","input_schema":{"type":"object"},"enabled":false}]`,
		func(json.RawMessage) (any, *sdk.Error) {
			return nil, sdk.Errorf(sdk.CodeUnavailable, `MCP server "files": tools/call: the connection broke: EOF; it exited`)
		})
	w.decide = func(sdk.ApproveRequest) sdk.Decision { return sdk.Decision{} }
	w.model.say = script(toolOf("c1", "files_write", `{"path":"a"}`), "done")
	w.chat("s", "go")
	if len(w.asked) != 1 {
		t.Errorf("questions %+v", w.asked)
	}
	if offered := w.model.requests[0].Tools; len(offered) != 1 {
		t.Errorf("offered %+v", offered)
	}
}

// mcp makes the plugin mcp answer.
func (w *world) mcp(tools string, call func(json.RawMessage) (any, *sdk.Error)) {
	w.offer("mcp.list_tools", sdk.KindInfo{}, func(json.RawMessage) (any, *sdk.Error) { return json.RawMessage(`{"tools":` + tools + `}`), nil })
	w.offer("mcp.call_tool", sdk.KindInfo{}, call)
}

func TestMCPTools(t *testing.T) {
	w := setup(t, `{}`)
	w.mcp(`[{"server":"web","name":"get","description":"Gets.","input_schema":{"type":"object","properties":{"session":{"type":"string"}}},"annotations":{"read_only":true}}]`,
		func(p json.RawMessage) (any, *sdk.Error) {
			return json.RawMessage(`{"content":[{"type":"text","text":"one"},{"type":"image","mimeType":"image/png","data":"AAAA"},{"type":"resource","resource":{"uri":"file:///a","text":"two"}}],"is_error":true}`), nil
		})
	w.model.say = script(toolOf("c1", "web_get", `{"session":"mine"}`), "done")
	w.chat("s", "go")
	if p := string(w.ran[1].Payload); p != `{"arguments":{"session":"mine"},"cut":true,"server":"web","tool":"get"}` {
		t.Errorf("payload %s", p)
	}
	res := w.model.last().Messages[2]
	if want := "one\n[image image/png, 3 bytes, not shown]\nfile:///a:\ntwo"; res.Text != want || !res.IsError {
		t.Errorf("result %+v", res)
	}
}

func TestResultIsCutVisibly(t *testing.T) {
	w := setup(t, `{"tool_result_bytes":1000}`)
	w.offer("demo.big", sdk.KindInfo{Tool: true}, func(json.RawMessage) (any, *sdk.Error) { return strings.Repeat("ä", 5000), nil })
	w.model.say = script(toolOf("c1", "demo_big", `{}`), "done")
	w.chat("s", "go")
	res := w.model.last().Messages[2].Text
	if len(res) > 1200 || !strings.Contains(res, "of 10002 bytes") || !strings.Contains(res, "tsk_child") {
		t.Errorf("%d bytes: …%s", len(res), res[len(res)-150:])
	}

	// What plugin mcp has cut already is not called all of it, even if it is short.
	for _, got := range []int{3000, 500} {
		w = setup(t, `{"tool_result_bytes":1000}`)
		w.mcp(`[{"server":"files","name":"read","annotations":{"read_only":true}}]`, func(json.RawMessage) (any, *sdk.Error) {
			return json.RawMessage(`{"content":[{"type":"text","text":"` + strings.Repeat("a", got) + `"}],"is_error":false,"text_bytes":5000000}`), nil
		})
		w.model.say = script(toolOf("c1", "files_read", `{}`), "done")
		w.chat("s", "go")
		if res := w.model.last().Messages[2].Text; !strings.HasSuffix(res, fmt.Sprintf("a\n[cut here: these are the first %d of 5000000 bytes]", min(got, 1000))) {
			t.Errorf("%d bytes: …%s", len(res), res[len(res)-100:])
		}
	}
}

func TestToolNames(t *testing.T) {
	long := strings.Repeat("a", 70)
	list := func() []*tool {
		return []*tool{{target: "memory.set", kind: "memory.set"}, {target: "a.b_c", kind: "a.b_c"}, {target: "a_b.c", kind: "a_b.c"},
			{target: "mcp.files." + long, server: "files", mcp: long}, {target: "mcp.files.read file", server: "files", mcp: "read file"},
			{target: "mcp.memory.set", server: "memory", mcp: "set"}}
	}
	one := newToolset(list())
	seen := map[string]bool{}
	for _, x := range one.list {
		if seen[x.name] || len(x.name) > 64 || one.find(x.name) != x || one.find(x.target) != x {
			t.Errorf("name %q of %s", x.name, x.target)
		}
		seen[x.name] = true
	}
	two := newToolset(list()[1:]) // without memory.set its namesake has its plain name
	for _, x := range two.list {
		if x.target == "mcp.memory.set" {
			if x.name != "memory_set" {
				t.Errorf("alone it is %q", x.name)
			}
		} else if one.find(x.target).name != x.name {
			t.Errorf("%s is %q and then %q", x.target, one.find(x.target).name, x.name)
		}
	}
}

// TestSessionIsImplicit: the model is not told of the field session, and cannot
// choose it.
func TestSessionIsImplicit(t *testing.T) {
	w := setup(t, `{}`)
	schema := json.RawMessage(`{"type":"object","required":["session","text"],"properties":{"session":{"type":"string"},"text":{"type":"string"}}}`)
	echo := func(p json.RawMessage) (any, *sdk.Error) { return p, nil }
	w.offer("notes.add", sdk.KindInfo{Tool: true, PayloadSchema: schema}, echo)
	w.offer("memory.set", sdk.KindInfo{Tool: true, PayloadSchema: schema}, echo)
	w.offer("memory.remember", sdk.KindInfo{Tool: true}, echo)
	w.model.say = script([]ToolCall{toolOf("c0", "memory_remember", `{"fact":"f"}`), toolOf("c1", "notes_add", `{"text":"x","session":"other"}`), toolOf("c2", "memory_set", `{"section":"facts","session":"other"}`),
		toolOf("c3", "memory_set", `{"section":"session_state"}`)}, "done")
	w.chat("s9", "go")
	for _, offered := range w.model.last().Tools {
		if strings.Contains(string(offered.Schema), "session") {
			t.Errorf("the model sees %s", offered.Schema)
		}
	}
	got := map[string]bool{}
	for _, sub := range w.ran {
		got[string(sub.Payload)] = true
	}
	for _, want := range []string{`{"session":"s9","text":"x"}`, `{"section":"facts"}`, `{"section":"session_state","session":"s9"}`, `{"fact":"f","source":"session s9"}`} {
		if !got[want] {
			t.Errorf("no payload %s in %v", want, got)
		}
	}
}

// TestUnavailableKinds: nothing is offered, or waited for, that no plugin handles.
func TestUnavailableKinds(t *testing.T) {
	w := setup(t, `{}`)
	for _, k := range []string{"demo.gone", "mcp.list_tools", "memory.recall", "usage.reserve", "usage.cost"} {
		w.offer(k, sdk.KindInfo{Tool: k == "demo.gone"}, nil)
	}
	for i := range w.Kinds {
		w.Kinds[i].Available = false
	}
	w.model.say = script("fine")
	w.chat("s", "go")
	if len(w.ran) != 0 || len(w.model.last().Tools) != 0 {
		t.Errorf("ran %+v, offered %+v", w.ran, w.model.last().Tools)
	}
}

func TestBudget(t *testing.T) {
	w := setup(t, `{}`)
	w.echoes("demo.echo")
	n := 0
	w.offer("usage.reserve", sdk.KindInfo{}, func(json.RawMessage) (any, *sdk.Error) {
		if n++; n > 1 {
			return nil, sdk.Errorf(sdk.CodeBudgetExceeded, "the day's budget is spent")
		}
		return map[string]any{"reserved_usd": 0.1}, nil
	})
	w.model.say = script(toolOf("c1", "demo_echo", `{}`))
	if m := w.chat("s", "go"); m["stop_reason"] != "budget_exceeded" || m["steps"] != 1.0 {
		t.Errorf("%v", m)
	}
	if !strings.Contains(string(w.Published[0].Data), `"reservation"`) {
		t.Errorf("the reservation is not settled: %s", w.Published[0].Data)
	}
	w.fresh()
	if _, err := w.handle(t.Context(), w.task("chat", `{"message":"go"}`)); sdk.CodeOf(err) != sdk.CodeBudgetExceeded || sdk.AsError(err).Retryable {
		t.Errorf("without a budget at all: %v", err)
	}
}

// TestBudgetOfSummary: one that is asked for is within the budget as well.
func TestBudgetOfSummary(t *testing.T) {
	w := setup(t, `{}`)
	w.model.say = script("Hello.", "They said hello.")
	w.chat("s", "hello")
	spent := true
	w.offer("usage.reserve", sdk.KindInfo{}, func(json.RawMessage) (any, *sdk.Error) {
		if spent {
			return nil, sdk.Errorf(sdk.CodeBudgetExceeded, "the day's budget is spent")
		}
		return map[string]any{"reserved_usd": 0.1}, nil
	})
	w.fresh()
	if _, err := w.handle(t.Context(), w.task("summarize", `{"session":"s"}`)); sdk.CodeOf(err) != sdk.CodeBudgetExceeded || sdk.AsError(err).Retryable {
		t.Errorf("without a budget: %v", err)
	}
	if n := len(w.model.requests); n != 1 {
		t.Errorf("the model was asked %d times", n)
	}
	spent = false
	w.run("summarize", `{"session":"s"}`)
	if last := w.Published[len(w.Published)-1]; !strings.Contains(string(last.Data), `"reservation":"`+last.ID+`"`) {
		t.Errorf("the reservation is not settled: %s", last.Data)
	}
}

// TestRelease: what was reserved for a call that fails for good is given back.
func TestRelease(t *testing.T) {
	w := setup(t, `{}`)
	w.offer("usage.reserve", sdk.KindInfo{}, func(json.RawMessage) (any, *sdk.Error) { return map[string]any{"reserved_usd": 0.1}, nil })
	w.model.say = script(sdk.Permanent(errors.New("no such model")))
	if _, err := w.handle(t.Context(), w.task("chat", `{"message":"go"}`)); err == nil {
		t.Fatal("it did not fail")
	}
	if n := len(w.Submitted); n != 2 || w.Submitted[1].Kind != "usage.release" {
		t.Errorf("submitted %+v", w.Submitted)
	}
}
