package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// conversation has all that a request can have, among it what servers would fail on:
// arguments that are not an object, a name that no tool has, empty messages.
var conversation = Request{
	Model: "m", System: "Be <brief>.", MaxTokens: 99,
	Messages: []Message{
		{Role: "user", Text: "Weather?"},
		{Role: "assistant", Text: "Looking.", Calls: []ToolCall{{"a", "get_weather", `{"city":"Rome"}`}, {"b", "no such.tool", `{"cut`}}},
		{Role: "tool", CallID: "a", Text: "21C"},
		{Role: "tool", CallID: "b", Text: "there is no such tool", IsError: true},
		{Role: "user", Text: "And now?"},
		{Role: "assistant"},
		{Role: "assistant", Calls: []ToolCall{{"c", "now", ""}}},
		{Role: "tool", CallID: "c"},
		{Role: "assistant", Text: "\n\n", Calls: []ToolCall{{"d", "now", "{}"}}},
		{Role: "tool", CallID: "d", Text: " \n"},
	},
	Tools: []Tool{{"now", "Tells the time.", nil}, {"get_weather", "", json.RawMessage(`{"anyOf":[{}],"properties":{"city":{"type":"string"}}}`)}},
}

func TestRequests(t *testing.T) {
	for name, tt := range map[string]struct {
		format wireFormat
		auth   string
		want   string
	}{
		"openai": {&openAI{}, "Authorization: Bearer k", `{"model":"m","messages":[
			{"role":"system","content":"Be <brief>."},
			{"role":"user","content":"Weather?"},
			{"role":"assistant","content":"Looking.","tool_calls":[
				{"id":"a","type":"function","function":{"name":"get_weather","arguments":"{\"city\":\"Rome\"}"}},
				{"id":"b","type":"function","function":{"name":"no_such_tool","arguments":"{}"}}]},
			{"role":"tool","content":"21C","tool_call_id":"a"},
			{"role":"tool","content":"there is no such tool","tool_call_id":"b"},
			{"role":"user","content":"And now?"},
			{"role":"assistant","content":null,"tool_calls":[{"id":"c","type":"function","function":{"name":"now","arguments":"{}"}}]},
			{"role":"tool","content":"","tool_call_id":"c"},
			{"role":"assistant","content":"\n\n","tool_calls":[{"id":"d","type":"function","function":{"name":"now","arguments":"{}"}}]},
			{"role":"tool","content":" \n","tool_call_id":"d"}],
			"tools":[
				{"type":"function","function":{"name":"now","description":"Tells the time.","parameters":{"properties":{},"type":"object"}}},
				{"type":"function","function":{"name":"get_weather","parameters":{"properties":{"city":{"type":"string"}},"type":"object"}}}],
			"max_tokens":99,"stream":true,"stream_options":{"include_usage":true}}`},
		"anthropic": {&anthropic{}, "X-Api-Key: k", `{"model":"m","max_tokens":99,
			"system":[{"type":"text","text":"Be <brief>.","cache_control":{"type":"ephemeral"}}],"messages":[
			{"role":"user","content":[{"type":"text","text":"Weather?"}]},
			{"role":"assistant","content":[{"type":"text","text":"Looking."},
				{"type":"tool_use","id":"a","name":"get_weather","input":{"city":"Rome"}},
				{"type":"tool_use","id":"b","name":"no_such_tool","input":{}}]},
			{"role":"user","content":[{"type":"tool_result","tool_use_id":"a","content":"21C"},
				{"type":"tool_result","tool_use_id":"b","content":"there is no such tool","is_error":true},
				{"type":"text","text":"And now?"}]},
			{"role":"assistant","content":[{"type":"tool_use","id":"c","name":"now","input":{}}]},
			{"role":"user","content":[{"type":"tool_result","tool_use_id":"c"}]},
			{"role":"assistant","content":[{"type":"tool_use","id":"d","name":"now","input":{}}]},
			{"role":"user","content":[{"type":"tool_result","tool_use_id":"d","cache_control":{"type":"ephemeral"}}]}],
			"tools":[
				{"name":"now","description":"Tells the time.","input_schema":{"properties":{},"type":"object"}},
				{"name":"get_weather","input_schema":{"properties":{"city":{"type":"string"}},"type":"object"}}],
			"stream":true}`},
	} {
		header, body, err := tt.format.request(conversation, "k")
		if err != nil {
			t.Fatal(err)
		}
		var got, want any
		if err := errors.Join(json.Unmarshal(body, &got), json.Unmarshal([]byte(tt.want), &want)); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s:\n got %s\nwant %s", name, body, tt.want)
		}
		// What comes from the store is sent as it is, and is the same.
		quoted := conversation
		quoted.Messages = slices.Clone(conversation.Messages)
		for i := range quoted.Messages {
			m := &quoted.Messages[i]
			m.Quoted, m.Text = string(mustJSON(m.Text)), ""
		}
		if _, again, err := tt.format.request(quoted, "k"); err != nil || !bytes.Equal(again, body) {
			t.Errorf("%s: quoted:\n got %s\nwant %s, %v", name, again, body, err)
		}
		field, value, _ := strings.Cut(tt.auth, ": ")
		if headerValue(header, field) != value {
			t.Errorf("%s: header %v", name, header)
		}
		if header, _, err = tt.format.request(conversation, ""); err != nil || headerValue(header, field) != "" {
			t.Errorf("%s: header without a key: %v, %v", name, header, err)
		}
		if _, _, err := tt.format.request(Request{Messages: []Message{{Role: "developer"}}}, ""); err == nil {
			t.Errorf("%s takes an unknown role", name)
		}
	}
}

func TestObjectArguments(t *testing.T) {
	for in, want := range map[string]string{
		`{"n":1}`: `{"n":1}`, " {} ": "{}", "": "{}", "[1]": "{}", "3": "{}", `"x"`: "{}", `{"n":`: "{}", "null": "{}", "{}{}": "{}",
	} {
		if got := objectArguments(in); string(got) != want {
			t.Errorf("%q: %s, want %s", in, got, want)
		}
	}
}

func TestObjectSchema(t *testing.T) {
	same := `{"type":"object","properties":{"z":{},"a":{}},"required":["z"]}`
	for in, want := range map[string]string{
		same: same, "": `{"properties":{},"type":"object"}`, "null": `{"properties":{},"type":"object"}`, "true": `{"properties":{},"type":"object"}`,
		`{"type":"object"}`: `{"properties":{},"type":"object"}`,
		`{"type":"object","properties":{"a":{}},"oneOf":[{"required":["a"]}]}`: `{"properties":{"a":{}},"type":"object"}`,
	} {
		if got := objectSchema(json.RawMessage(in)); string(got) != want {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
	}
}

// TestBlank: also of text as it is stored.
func TestBlank(t *testing.T) {
	for text, want := range map[string]bool{
		"": true, " ": true, "\n\n": true, " \t\r\n\u00a0": true, "a": false, " \n a": false, "é": false, "\u00a0": true, `"`: false, "\\": false, `" `: false,
	} {
		if m := (&Message{Text: text}); m.blank() != want {
			t.Errorf("%q: %v", text, !want)
		}
		if m := (&Message{Quoted: string(mustJSON(text))}); m.blank() != want {
			t.Errorf("quoted %q: %v", text, !want)
		}
	}
}
