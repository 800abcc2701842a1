// Command mcp is a plugin that uses MCP servers: programs that offer tools,
// resources and prompts in the Model Context Protocol, on their stdin and stdout or
// over streamable HTTP.
//
// Each server has one session that is kept (server.go) and made again when it
// ends. A call that was under way when a server died is not repeated: whether that
// is safe, only the caller knows.
package main

import (
	"context"
	"encoding/json"
	"time"

	"github.com/nagatha/nagatha-runtime/sdk"
	"github.com/nagatha/nagatha-runtime/sdk/serve"
)

func main() { serve.Main(newPlugin()) }

func newPlugin() sdk.Plugin {
	p := &pool{news: journal{wake: make(chan struct{}, 1)}}
	return sdk.New(sdk.Info{
		Name: "mcp", Version: "1.1.0", Description: "Uses MCP servers: their tools, resources and prompts.",
		Capabilities: []string{"store", "publish"},
		ConfigSchema: json.RawMessage(configSchema),
	},
		register(p, reads(kind("servers", "Lists the configured servers and their state.", `"properties":{}`,
			`{"type":"object","required":["servers"],"properties":{"servers":{"type":"array","items":{"type":"object",
				"required":["name","transport","state","error","tools","restarts","connected_at","protocol_version","server_info"]}}}}`, `{}`)), p.servers),
		register(p, reads(kind("list_tools", "Lists the tools of one server, or of all that are up.",
			`"properties":{`+anyServer+`,"refresh":{"type":"boolean","description":"ask the servers again, although they tell of changes"},`+pageCursor+`}`,
			`{"type":"object","required":["tools","next_cursor"],"properties":{"next_cursor":{"type":"string"},"tools":{"type":"array","items":{"type":"object",
				"required":["server","name","description","input_schema","annotations","schema_hash","enabled"]}}}}`, `{}`)), p.listTools),
		register(p, callInfo(), p.call),
		register(p, again(kind("confirm_tool", "Confirms a tool that changed, as it is now, and so enables it again. For people, not for models.",
			`"required":["server","tool","hash"],"properties":{"server":{"type":"string"},"tool":{"type":"string"},
				"hash":{"type":"string","description":"the tool's schema_hash, as mcp.list_tools shows it"}}`,
			`{"type":"object","required":["server","tool","hash","previous_hash"]}`,
			`{"server":"everything","tool":"echo","hash":"0000000000000000000000000000000000000000000000000000000000000000"}`)), p.confirm),
		register(p, forModels(kind("list_resources", "Lists the resources of one MCP server, or of all that are up, and templates of resources.",
			`"properties":{`+anyServer+`,`+pageCursor+`}`,
			`{"type":"object","required":["resources","templates","next_cursor"],"properties":{"next_cursor":{"type":"string"},
				"resources":{"type":"array","items":{"type":"object","required":["server","uri","name"]}},
				"templates":{"type":"array","items":{"type":"object","required":["server","uri_template","name"]}}}}`, `{}`)), p.listResources),
		register(p, forModels(kind("read_resource", "Reads a resource of an MCP server: text, or base64 in blob.",
			`"required":["server","uri"],"properties":{"server":{"type":"string"},"uri":{"type":"string"}}`,
			`{"type":"object","required":["contents"],"properties":{"contents":{"type":"array","items":{"type":"object","required":["uri"]}}}}`,
			`{"server":"everything","uri":"demo://resource/static/document/features.md"}`)), p.readResource),
		register(p, reads(kind("list_prompts", "Lists the prompts of one server, or of all that are up.", `"properties":{`+anyServer+`,`+pageCursor+`}`,
			`{"type":"object","required":["prompts","next_cursor"],"properties":{"next_cursor":{"type":"string"},
				"prompts":{"type":"array","items":{"type":"object","required":["server","name","arguments"]}}}}`, `{}`)), p.listPrompts),
		register(p, reads(kind("get_prompt", "Fills in a prompt and returns its messages.",
			`"required":["server","prompt"],"properties":{"server":{"type":"string"},"prompt":{"type":"string"},"arguments":{"type":"object","additionalProperties":{"type":"string"}}}`,
			`{"type":"object","required":["description","messages"],"properties":{"messages":{"type":"array","items":{"type":"object","required":["role","content"]}}}}`,
			`{"server":"everything","prompt":"args-prompt","arguments":{"city":"Berlin"}}`)), p.getPrompt),
		register(p, reads(kind("test_connection", "Makes a new session with a server, asks for its tools, and ends it again.",
			`"required":["server"],"properties":{"server":{"type":"string"}}`,
			`{"type":"object","required":["server","transport","connected","error","protocol_version","server_info","capabilities","tools_count","connect_ms","list_ms"]}`,
			`{"server":"everything"}`)), p.testConnection),
		register(p, reads(kind("check_health", "Asks every server for its tools, and reports which answer.", `"properties":{}`,
			`{"type":"object","required":["mcp_status","server_info","health_checks","timestamp"]}`, `{}`)), p.checkHealth),
		register(p, again(kind("reload", "Reads the file of servers again, and starts and stops what changed. A broken file changes nothing.", `"properties":{}`,
			`{"type":"object","required":["added","removed","changed","unchanged"]}`, `{}`)), p.reload),
	).OnStart(p.start).OnConfigure(p.configure).OnClose(p)
}

func register[In any](p *pool, info sdk.HandlerInfo, f func(context.Context, sdk.Host, In) (any, error)) sdk.Registration {
	return sdk.Func(info, telling(p, f))
}

// The parts that the schemas share.
const (
	anyServer  = `"server":{"type":"string","description":"left out: all"}`
	pageCursor = `"cursor":{"type":"string","description":"next_cursor of the page before"}`
)

func callInfo() sdk.HandlerInfo {
	info := kind("call_tool", "Calls a tool. The server's progress becomes the task's.",
		`"required":["server","tool"],"properties":{
			"server":{"type":"string"},"tool":{"type":"string"},"arguments":{"type":"object"},
			"timeout":{"type":"string","description":"such as 30s; default: the server's call_timeout"},
			"cut":{"type":"boolean","description":"a result that is too large is cut, and not refused"}}`,
		`{"type":"object","required":["content","is_error"],"properties":{"content":{"type":"array"},"structured":{},"is_error":{"type":"boolean"},
			"text_bytes":{"type":"integer","description":"the text is cut, and was so long"}}}`,
		`{"server":"everything","tool":"echo","arguments":{"message":"hello"}}`)
	// Whether to call again is for the caller to say: a tool may have effects.
	info.MaxAttempts = 1
	info.Timeout = sdk.Duration(maxCall + time.Minute) // the call's own comes first
	return info
}

func kind(name, description, payload, result, example string) sdk.HandlerInfo {
	return sdk.HandlerInfo{Kind: "mcp." + name, Description: description, Timeout: sdk.Duration(5 * time.Minute), // the servers' own come first
		PayloadSchema: json.RawMessage(`{"type":"object","additionalProperties":false,` + payload + `}`),
		ResultSchema:  json.RawMessage(result), Example: json.RawMessage(example)}
}

// reads marks a kind that changes nothing.
func reads(info sdk.HandlerInfo) sdk.HandlerInfo {
	info.ReadOnly, info.Idempotent = true, true
	return info
}

// forModels marks a kind that a model may use, and that changes nothing.
func forModels(info sdk.HandlerInfo) sdk.HandlerInfo {
	info.Tool = true
	return reads(info)
}

// again marks a kind that may be done again.
func again(info sdk.HandlerInfo) sdk.HandlerInfo {
	info.Idempotent = true
	return info
}
