// Command agent is a plugin that holds conversations: it sends them to a language
// model, makes the calls of tools that the model asks for, and keeps what was said.
//
// # Why
//
// A conversation outlives everything: a crash in the middle of a turn, a call that
// waits a day for a person, another plugin that goes away. So a turn is one task
// whose every decision is a recorded operation (turn.go), each tool call is a child
// task, and the session is a set of small items in the store (session.go, message.go).
// A tool is any kind of any plugin that is marked as one, and any tool of an MCP
// server (toolset.go): the agent knows none of them.
package main

import (
	"encoding/json"
	"time"

	"github.com/nagatha/nagatha-runtime/sdk"
	"github.com/nagatha/nagatha-runtime/sdk/serve"
)

func main() { serve.Main(plugin()) }

func plugin() sdk.Plugin { return newPlugin(&agent{}) }

func newPlugin(a *agent) *sdk.Bundle {
	return sdk.New(sdk.Info{
		Name: "agent", Version: "1.0.0", Description: "Holds conversations, with tools.",
		Capabilities: []string{"store", "http", "secrets", "submit", "await", "approve", "publish"},
		ConfigSchema: json.RawMessage(configSchema),
	},
		chatKind(a),
		sdk.Func(reads("sessions", "Lists the conversations, those used last first.",
			`"properties":{"limit":{"type":"integer","minimum":1,"maximum":100,"default":50},"cursor":{"type":"string","description":"next_cursor of the page before"}}`,
			`{"type":"object","required":["sessions","next_cursor"],"properties":{"sessions":{"type":"array","items":`+publicSession+`},"next_cursor":{"type":"string"}}}`,
			`{}`), a.sessions),
		sdk.Func(reads("history", "Reads what was said in a conversation, the last messages first unless before says otherwise, each page in order.",
			`"required":["session"],"properties":{`+sessionField+`,
				"limit":{"type":"integer","minimum":1,"maximum":200,"default":50},
				"before":{"type":"integer","minimum":0,"description":"next_before of the page after; 0: the end"}}`,
			`{"type":"object","required":["session","messages","next_before"],"properties":{"session":{"type":"string"},"title":{"type":"string"},
				"summary":{"type":"string"},"summarized":{"type":"integer"},"messages":{"type":"array","items":`+publicMessage+`},
				"next_before":{"type":"integer","description":"0: there are no earlier ones"}}}`,
			`{"session":"ses_1"}`), a.history),
		sdk.Func(writes("rename", "Gives a conversation another title.",
			`"required":["session","title"],"properties":{`+sessionField+`,"title":{"type":"string","minLength":1,"maxLength":200}}`,
			publicSession, `{"session":"ses_1","title":"Holidays"}`), a.rename),
		sdk.Func(writes("delete_session", "Deletes a conversation and all its messages.",
			`"required":["session"],"properties":{`+sessionField+`}`,
			`{"type":"object","required":["deleted","messages"],"properties":{"deleted":{"type":"boolean"},"messages":{"type":"integer"}}}`,
			`{"session":"ses_1"}`), a.deleteSession),
		sdk.Func(summarizeKind(), a.summarize),
	).OnConfigure(a.configure)
}

func summarizeKind() sdk.HandlerInfo {
	h := writes("summarize", "Lets a summary stand for the conversation so far in what the model is told. The messages stay.",
		`"required":["session"],"properties":{`+sessionField+`}`,
		`{"type":"object","required":["session","summary","summarized"],"properties":{"session":{"type":"string"},"summary":{"type":"string"},
			"summarized":{"type":"integer","description":"how many messages it stands for"},"usage":{"type":"object"}}}`,
		`{"session":"ses_1"}`)
	h.Timeout, h.Queue = sdk.Duration(10*time.Minute), "agent"
	return h
}

func chatKind(a *agent) sdk.Registration {
	h := kind("chat", "Says something in a conversation and returns the answer, after as many steps and tool calls as it takes. A message that begins with / is a command; /help lists them.",
		`"required":["message"],"properties":{
			"session":{"type":"string","pattern":"`+sessionPattern+`","description":"absent: a new one; one that does not exist is made"},
			"message":{"type":"string","maxLength":100000},
			"model":{"type":"string","maxLength":200,"description":"instead of the configured one"},
			"stream":{"type":"boolean","default":true,"description":"the answer as output on the stream response, while it comes"},
			"attachments":{"type":"array","maxItems":20,"items":{"type":"object","additionalProperties":false,"required":["name","text"],"properties":{
				"name":{"type":"string","maxLength":200},"text":{"type":"string","maxLength":100000}}}},
			"user_message_id":{"type":"string","pattern":"^[A-Za-z0-9_-]{1,128}$","description":"of the message, for the history"}}`,
		`{"type":"object","required":["session","message_id","response","stop_reason","usage","steps","tool_calls"],"properties":{
			"session":{"type":"string"},"message_id":{"type":"string"},"response":{"type":"string"},
			"stop_reason":{"enum":["end","length","refusal","max_steps","max_tool_calls","time_limit","token_limit","cost_limit","budget_exceeded","repeated_calls","no_model","command"]},
			"usage":{"type":"object","required":["input_tokens","output_tokens","cost_usd"],"properties":{
				"input_tokens":{"type":"integer"},"output_tokens":{"type":"integer"},"cached_tokens":{"type":"integer"},
				"cost_usd":{"type":["number","null"],"description":"null: not known"}}},
			"steps":{"type":"integer","description":"calls of the model"},
			"tool_calls":{"type":"array","items":{"type":"object","required":["id","name","target","arguments","is_error"]}},
			"memories":{"type":"array","items":{"type":"object"},"description":"what the model was reminded of"}}}`,
		`{"message":"/help"}`)
	// The time of a turn is bounded by limits.time; this one is for what hangs.
	h.Timeout, h.Queue = sdk.Duration(time.Hour), "agent"
	h.Retry = &sdk.RetryPolicy{Backoff: sdk.Duration(time.Second), MaxBackoff: sdk.Duration(30 * time.Second)}
	return sdk.Func(h, a.chat)
}

const sessionField = `"session":{"type":"string","pattern":"` + sessionPattern + `"}`

func kind(name, description, payload, result, example string) sdk.HandlerInfo {
	return sdk.HandlerInfo{Kind: "agent." + name, Description: description,
		PayloadSchema: json.RawMessage(`{"type":"object","additionalProperties":false,` + payload + `}`),
		ResultSchema:  json.RawMessage(result), Example: json.RawMessage(example)}
}

func reads(name, description, payload, result, example string) sdk.HandlerInfo {
	h := kind(name, description, payload, result, example)
	h.ReadOnly, h.Idempotent = true, true
	return h
}

func writes(name, description, payload, result, example string) sdk.HandlerInfo {
	h := kind(name, description, payload, result, example)
	h.Idempotent = true
	return h
}
