package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/nagatha/nagatha-runtime/sdk"
	"github.com/nagatha/nagatha-runtime/sdk/sdktest"
)

// TestNoModel: without a model the agent says which setting is missing, and invents
// nothing.
func TestNoModel(t *testing.T) {
	for config, want := range map[string]string{`{}`: "OPENAI_MODEL", `{"provider":"anthropic"}`: "ANTHROPIC_MODEL"} {
		w := setup(t, config)
		w.agent.model, w.agent.Model = nil, ""
		m := w.chat("s", "hello")
		if m["stop_reason"] != "no_model" || !strings.Contains(m["response"].(string), want) || m["message_id"] != "" {
			t.Errorf("%v", m)
		}
		if kept := w.kept("s"); len(kept) != 0 {
			t.Errorf("kept %v", kept)
		}
		w.fresh()
		if _, err := w.handle(t.Context(), w.task("summarize", `{"session":"s"}`)); sdk.CodeOf(err) != sdk.CodeNotFound {
			t.Errorf("%v", err)
		}
	}
	w := setup(t, `{}`)
	w.Secrets["OPENAI_API_KEY"] = ""
	if m := w.chat("s", "hello"); m["stop_reason"] != "no_model" || !strings.Contains(m["response"].(string), "OPENAI_API_KEY") {
		t.Errorf("without a key: %v", m)
	}
	w.agent.BaseURL = "http://127.0.0.1:1/v1" // a server of one's own needs none
	w.model.say = script("hi")
	if m := w.chat("s", "hello"); m["stop_reason"] != "end" {
		t.Errorf("%v", m)
	}
}

func (w *world) say(session, message string) string {
	w.Helper()
	m := w.chat(session, message)
	if m["stop_reason"] != "command" {
		w.Errorf("%s: %v", message, m)
	}
	return m["response"].(string)
}

func (w *world) refused(session, message string) error {
	w.Helper()
	w.fresh()
	_, err := w.handle(w.Context(), w.task("chat", fmt.Sprintf(`{"session":%q,"message":%q}`, session, message)))
	if err == nil || sdk.AsError(err).Retryable {
		w.Errorf("%s: %v", message, err)
	}
	return err
}

func TestCommands(t *testing.T) {
	w := setup(t, `{"tools":{"demo.ask":"ask"}}`)
	w.agent.model, w.agent.Model = nil, "" // none is needed
	echo := func(p json.RawMessage) (any, *sdk.Error) { return map[string]any{"got": p}, nil }
	for _, k := range []string{"demo.echo", "demo.ask", "usage.report", "memory.recall", "memory.set", "memory.get", "memory.list"} {
		w.offer(k, sdk.KindInfo{Tool: strings.HasPrefix(k, "demo."), Description: "Does " + k + "."}, echo)
	}
	w.answers["memory.recall"] = func(p json.RawMessage) (any, *sdk.Error) {
		if !strings.Contains(string(p), "where does Bob work?") {
			return json.RawMessage(`{"facts":[]}`), nil
		}
		return json.RawMessage(`{"facts":[{"id":"fct_1","fact":"Bob works at Acme","source":"Bob","recorded_at":"2026-01-02T03:04:05Z"}]}`), nil
	}
	w.answers["usage.report"] = func(p json.RawMessage) (any, *sdk.Error) {
		return json.RawMessage(`{"rows":[{"key":` + string(p[len(`{"group_by":`):len(p)-1]) + `,"requests":2,"input_tokens":10,"output_tokens":5,"cost_usd":0.5,"unpriced_requests":1}],"total":{"requests":2,"cost_usd":null}}`), nil
	}
	list := `{"reminders":[{"id":"rem_1","text":"stretch","due_at":"2026-01-01T00:00:05Z","recurrence":""},
		{"id":"rem_2","text":"pay rent","due_at":"2026-01-31T09:00:00Z","recurrence":"monthly"}],"next_cursor":"c"}`
	w.offer("reminders.list", sdk.KindInfo{}, func(json.RawMessage) (any, *sdk.Error) { return json.RawMessage(list), nil })
	w.offer("reminders.create", sdk.KindInfo{}, func(p json.RawMessage) (any, *sdk.Error) {
		if string(p) != `{"say":"in 5 seconds stretch"}` {
			return nil, sdk.Errorf(sdk.CodeInvalid, "say: %s", p)
		}
		return json.RawMessage(`{"reminder":{"id":"rem_1","text":"stretch","due_at":"2026-01-01T00:00:05Z"}}`), nil
	})
	if got := w.say("", "/help"); !strings.Contains(got, "/remind") {
		t.Error(got)
	}
	m := w.chat("", "/new Holidays in Rome")
	id := m["session"].(string)
	if got := w.say(id, "/sessions"); !strings.Contains(got, "* "+id) || !strings.Contains(got, "Holidays in Rome") {
		t.Error(got)
	}
	if m := w.chat("", "/switch "+id); m["session"] != id {
		t.Error(m)
	}
	for message, want := range map[string]string{
		"/tools":                          "demo_ask (ask): Does demo.ask.\ndemo_echo (auto): Does demo.echo.",
		"/history":                        "Nothing was said yet.",
		" \n/history ":                    "Nothing was said yet.",
		"/models":                         "OPENAI_MODEL",
		"/usage model":                    "model: 2 requests, 10 tokens in, 5 out, $0.500000, 1 of them without a known price\nall: 2 requests",
		"/memory where does Bob work?":    "Bob works at Acme [Bob, noted 2026-01-02] fct_1",
		"/memory nothing of that":         "Nothing is remembered",
		`/memory set facts job {"a":1}`:   `"value":{"a":1}`,
		"/memory set facts job plain":     `"value":"plain"`,
		"/memory get session_state x":     `"session":"` + id + `"`,
		"/memory list session_state":      `"session":"` + id + `"`,
		`/tool demo_echo {"n":1}`:         `{"got":{"n":1}}`,
		`/tool demo.ask {"n":2}`:          `{"got":{"n":2}}`,
		"/remind in 5 seconds stretch":    `I will remind you of "stretch" at 2026-01-01T00:00:05.000Z (rem_1).`,
		"/remind list":                    "2026-01-01T00:00:05.000Z  stretch rem_1\n2026-01-31T09:00:00.000Z  pay rent [monthly] rem_2\nThere are more: ask for reminders.list.",
		"/tool\tdemo_echo\n{\"n\":3}":     `{"got":{"n":3}}`,
		"/memory\nset  facts\tjob\nplain": `"value":"plain"`,
		"/remind\nlist":                   "stretch rem_1",
		"/clear":                          "Cleared",
	} {
		if got := w.say(id, message); !strings.Contains(got, want) {
			t.Errorf("%s: %s", message, got)
		}
	}
	if len(w.asked) != 1 {
		t.Errorf("a person's own call is under the same policy; questions %+v", w.asked)
	}
	for message, want := range map[string]string{
		"/nonsense": "/help lists", "/switch nowhere": "no session", "/switch": "want /switch SESSION", "/usage bogus": "day, model, session or kind",
		"/memory set facts job": "want /memory set SECTION KEY VALUE", "/memory remember": "want /memory remember FACT", "/history x": "/history N", "/tool": "/tools", "/tool nope {}": "no tool",
		"/tool demo_echo {": "not a JSON object", "/remind": "/remind WHEN TEXT", "/remind soon": "say:", "/memory search x": "load plugin \"memory\"",
	} {
		if err := w.refused(id, message); err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", message, err)
		}
	}
	if len(w.model.requests) != 0 {
		t.Error("a model was asked")
	}
}

// What plugin memory answers is said in words, as it would be by a person; an answer
// that is not known is shown as it is.
func TestMemoryCommand(t *testing.T) {
	entry := func(section, key, value string) string {
		return fmt.Sprintf(`{"section":%q,"key":%q,"value":%s,"session":"","version":1}`, section, key, value)
	}
	fact := `{"id":"fct_1","fact":"Bob is here","subject":"","source":"user","recorded_at":"2026-01-02T03:04:05Z"}`
	for _, c := range []struct{ message, result, want string }{
		{"remember Bob is here", `{"created":true,"fact":` + fact + `,"superseded":null}`, `I will remember "Bob is here" (fct_1).`},
		{"remember Bob is here", `{"created":false,"fact":` + fact + `,"superseded":null}`, `I knew that already: "Bob is here" (fct_1).`},
		{"remember Bob is here", `{"created":true,"fact":` + fact + `,"superseded":"fct_0"}`, `I will remember "Bob is here" (fct_1) and no longer believe fct_0.`},
		{"forget fct_1", `{"forgotten":1}`, "Forgotten."},
		{"forget fct_9", `{"forgotten":0}`, "There is no such fact to forget; /memory QUERY shows facts with their ids."},
		{"set facts job Acme Corp", `{"created":true,"entry":` + entry("facts", "job", `"Acme Corp"`) + `}`, "Noted facts job: Acme Corp"},
		{"set facts job 5", `{"created":false,"entry":` + entry("facts", "job", `5`) + `}`, "Changed facts job: 5"},
		{"get facts job", `{"found":true,"entry":` + entry("facts", "job", `{"a":1}`) + `}`, `{"a":1}`},
		{"get facts job", `{"found":true,"entry":` + entry("facts", "job", `null`) + `}`, `null`},
		{"get facts job", `{"found":false,"entry":null}`, "There is nothing under facts job."},
		{"delete facts job", `{"deleted":true}`, "Deleted facts job."},
		{"delete facts job", `{"deleted":false}`, "There is nothing under facts job."},
		{"list facts", `{"entries":[` + entry("facts", "job", `"Acme"`) + `,` + entry("facts", "n", `[1]`) + `],"next_cursor":"c"}`, "job: Acme\nn: [1]\nThere are more: ask for memory.list."},
		{"list facts", `{"entries":[],"next_cursor":""}`, "Nothing is there."},
		{"search job", `{"results":[{"entry":` + entry("facts", "job", `"Acme"`) + `,"score":1}]}`, "facts job: Acme"},
		{"search job", `{"results":[]}`, "Nothing is there."},
		{"", `{"total_entries":3,"total_bytes":9,"sections":{"z":{"entries":1},"facts":{"entries":2,"session_entries":1}},"superseded_facts":4,"max_entries":10,"max_bytes":20}`,
			"3 entries of at most 10, 9 bytes of at most 20.\nfacts: 2, 1 of them of sessions\nz: 1\nfacts that are no longer believed: 4"},
		{"forget fct_1", `{"done":true}`, `{"done":true}`},
		{"list facts", `"as it likes"`, `"as it likes"`},
	} {
		w := setup(t, `{}`)
		verb, _, _ := strings.Cut(c.message, " ")
		w.offer("memory."+cmp.Or(verb, "stats"), sdk.KindInfo{}, func(json.RawMessage) (any, *sdk.Error) { return json.RawMessage(c.result), nil })
		if got := w.say("", strings.TrimSpace("/memory "+c.message)); got != c.want {
			t.Errorf("/memory %s: %s\nwant %s", c.message, got, c.want)
		}
	}
}

func TestClear(t *testing.T) {
	w := setup(t, `{}`)
	w.model.say = script("Hello Ada.", "Who?")
	w.chat("s", "I am Ada")
	w.say("s", "/clear")
	w.chat("s", "Who am I?")
	if n := len(w.model.last().Messages); n != 1 {
		t.Errorf("the model was told %d messages", n)
	}
	if got := w.say("s", "/history"); !strings.Contains(got, "assistant: Hello Ada.") {
		t.Error(got)
	}
}

// TestClearAfterCut: what a turn has left that did not end well is forgotten, too.
func TestClearAfterCut(t *testing.T) {
	w := setup(t, `{}`)
	w.echoes("demo.echo")
	w.model.say = script(toolOf("c1", "demo_echo", `{}`), sdk.Permanent(errors.New("broken")), "Who?", "Bob.")
	if _, err := w.handle(t.Context(), w.task("chat", `{"session":"s","message":"I am Ada"}`)); err == nil {
		t.Fatal("it did not fail")
	}
	w.say("s", "/clear")
	w.chat("s", "Who am I?")
	if n := len(w.model.last().Messages); n != 1 {
		t.Errorf("the model was told %d messages", n)
	}
	w.chat("s", "I am Bob")
	if n := len(w.model.last().Messages); n != 3 {
		t.Errorf("then %d messages", n)
	}
	w.wantKept("s", "user: I am Ada", "assistant:  →demo_echo", "tool: {}", "user: Who am I?", "assistant: Who?", "user: I am Bob", "assistant: Bob.")
}

func TestSessions(t *testing.T) {
	w := setup(t, `{}`)
	w.model.say = func(_ int, _ Request, on func(Delta)) (Reply, error) { return text("ok", on) }
	for i := range 5 {
		w.Now = func() sdk.Time { return sdk.Now() }
		w.chat(fmt.Sprint("s", i), fmt.Sprintf("Conversation %d\nand more", i))
	}
	if m := w.run("rename", `{"session":"s2","title":"Two"}`); m["title"] != "Two" {
		t.Errorf("%v", m)
	}
	seen := map[string]bool{}
	for cursor := ""; ; {
		m := w.run("sessions", fmt.Sprintf(`{"limit":2,"cursor":%q}`, cursor))
		for _, s := range m["sessions"].([]any) {
			s := s.(map[string]any)
			seen[s["session"].(string)+" "+s["title"].(string)] = true
			if s["messages"] != 2.0 {
				t.Errorf("%v", s)
			}
		}
		if cursor, _ = m["next_cursor"].(string); cursor == "" {
			break
		}
	}
	if len(seen) != 5 || !seen["s2 Two"] || !seen["s3 Conversation 3"] {
		t.Errorf("%v", seen)
	}
	if m := w.run("delete_session", `{"session":"s2"}`); m["deleted"] != true || m["messages"] != 2.0 {
		t.Errorf("%v", m)
	}
	if e := w.Published[len(w.Published)-1]; e.Type != "agent.session.deleted" || string(e.Data) != `{"session":"s2"}` {
		t.Errorf("published %+v", e)
	}
	for key := range w.Items {
		if strings.Contains(key, "/s2") {
			t.Errorf("left: %s", key)
		}
	}
	if m := w.run("delete_session", `{"session":"s2"}`); m["deleted"] != false {
		t.Errorf("%v", m)
	}
	w.fresh()
	if _, err := w.handle(t.Context(), w.task("history", `{"session":"s2"}`)); sdk.CodeOf(err) != sdk.CodeNotFound {
		t.Error(err)
	}
}

// TestHistory pages backwards through everything, in order, once.
func TestHistory(t *testing.T) {
	w := setup(t, `{}`)
	w.model.say = func(n int, _ Request, on func(Delta)) (Reply, error) { return text(fmt.Sprint("a", n), on) }
	for i := range 7 {
		w.chat("s", fmt.Sprint("q", i))
	}
	var all []string
	for before := 0.0; ; {
		m := w.run("history", fmt.Sprintf(`{"session":"s","limit":4,"before":%v}`, before))
		var page []string
		for _, one := range m["messages"].([]any) {
			page = append(page, one.(map[string]any)["text"].(string))
		}
		all = append(page, all...)
		if before = m["next_before"].(float64); before == 0 {
			break
		}
	}
	if got := strings.Join(all, " "); got != "q0 a0 q1 a1 q2 a2 q3 a3 q4 a4 q5 a5 q6 a6" {
		t.Error(got)
	}
}

// TestCarriers: the same on both, without a model.
func TestCarriers(t *testing.T) {
	var results []string
	sdktest.Carriers(t, "github.com/nagatha/nagatha-runtime/plugins/agent", sdktest.Options{}, func(t *testing.T, p sdktest.Plugin) {
		sdktest.Conformance(t, p)
		host := sdktest.NewHost()
		got, err := p.Run(t, "agent.chat", `{"message":"hello","session":"s"}`, host)
		if err != nil || !strings.Contains(got, `"no_model"`) {
			t.Errorf("%s, %v", got, err)
		}
		host.Rerun()
		clear(host.Steps)
		more, err := p.Run(t, "agent.chat", `{"message":"/new One","session":"s"}`, host)
		if err != nil {
			t.Error(err)
		}
		list, err := p.Run(t, "agent.sessions", `{}`, host)
		if err != nil || !strings.Contains(list, `"One"`) {
			t.Errorf("%s, %v", list, err)
		}
		results = append(results, got+more)
	})
	if len(results) != 2 || results[0] != results[1] {
		t.Errorf("they differ: %v", results)
	}
}
