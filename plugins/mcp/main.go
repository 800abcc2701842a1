// Command mcp is a plugin that calls tools of MCP servers: programs that speak the
// Model Context Protocol on their stdin and stdout.
//
// Each server has one session that is kept (server.go) and made again when it
// ends. A call that was under way when a server died is not repeated: whether that
// is safe, only the caller knows.
package main

import (
	"encoding/json"

	"github.com/nagatha/nagatha-runtime/sdk"
	"github.com/nagatha/nagatha-runtime/sdk/serve"
)

func main() { serve.Main(newPlugin()) }

func newPlugin() sdk.Plugin {
	p := &pool{}
	return sdk.New(sdk.Info{
		Name: "mcp", Version: "1.0.0", Description: "Calls tools of MCP servers.",
		ConfigSchema: json.RawMessage(configSchema),
	},
		sdk.Func(kind("servers", "Lists the configured servers and their state.", `"properties":{}`,
			`{"type":"object","required":["servers"],"properties":{"servers":{"type":"array","items":{"type":"object",
				"required":["name","state","error","tools","restarts"]}}}}`, `{}`), p.servers),
		sdk.Func(kind("list_tools", "Lists the tools of one server, or of all.",
			`"properties":{"server":{"type":"string"}}`,
			`{"type":"object","required":["tools"],"properties":{"tools":{"type":"array","items":{"type":"object",
				"required":["server","name","description","input_schema"]}}}}`, `{}`), p.listTools),
		callTool(p),
		sdk.Func(kind("check_health", "Asks every server for its tools, and reports which answer.", `"properties":{}`,
			`{"type":"object","required":["mcp_status","server_info","health_checks","timestamp"]}`, `{}`), p.checkHealth),
	).OnConfigure(p.configure).OnClose(p)
}

func callTool(p *pool) sdk.Registration {
	info := kind("call_tool", "Calls a tool. The server's progress becomes the task's.",
		`"required":["server","tool"],"properties":{
			"server":{"type":"string"},"tool":{"type":"string"},"arguments":{"type":"object"},
			"timeout":{"type":"string","description":"such as 30s; default: the server's call_timeout"}}`,
		`{"type":"object","required":["content","is_error"],"properties":{"content":{"type":"array"},"structured":{},"is_error":{"type":"boolean"}}}`,
		`{"server":"everything","tool":"echo","arguments":{"message":"hello"}}`)
	// Whether to call again is for the caller to say: a tool may have effects.
	info.MaxAttempts = 1
	info.Timeout = sdk.Duration(maxCall)
	return sdk.Func(info, p.call)
}

func kind(name, description, payload, result, example string) sdk.HandlerInfo {
	return sdk.HandlerInfo{Kind: "mcp." + name, Description: description,
		PayloadSchema: json.RawMessage(`{"type":"object","additionalProperties":false,` + payload + `}`),
		ResultSchema:  json.RawMessage(result), Example: json.RawMessage(example)}
}
