package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
)

// serverMain plays servers that misbehave.
func serverMain(part string) {
	if _, err := os.Stat("dead"); part == "dying" && err == nil {
		os.Exit(1)
	}
	switch part {
	case "silent":
		select {}
	case "exits":
		fmt.Fprintln(os.Stderr, "no licence found")
		os.Exit(7)
	case "noisy", "slow", "shy", "parent", "mute", "plain", "dying", "deaf", "wordy", "fickle":
		for sc := bufio.NewScanner(os.Stdin); sc.Scan(); {
			answer(part, sc.Bytes())
		}
	}
	os.Exit(0)
}

var lists int

func answer(part string, line []byte) {
	var req struct {
		ID     json.RawMessage `json:"id"`
		Method string          `json:"method"`
		Params struct {
			Name string `json:"name"`
		} `json:"params"`
	}
	_ = json.Unmarshal(line, &req)
	reply := func(result string) { fmt.Printf("{\"jsonrpc\":\"2.0\",\"id\":%s,\"result\":%s}\n", req.ID, result) }
	text := func(s string) {
		b, _ := json.Marshal(s)
		reply(`{"content":[{"type":"text","text":` + string(b) + `}]}`)
	}
	if part == "noisy" {
		fmt.Println("[debug] got a line")
		fmt.Println(`{"level":"info","msg":"a log line in JSON"}`)
		fmt.Println("{ not json }")
		fmt.Println(`{"jsonrpc":"2.0","id":null,"error":{"code":-32600,"message":"what was that?"}}`)
	}
	if part == "dying" && req.Method == "tools/call" { // and does not come up again
		_ = os.WriteFile("dead", nil, 0o600)
		os.Exit(1)
	}
	switch req.Method {
	case "server/discover":
		if part != "shy" { // which knows nothing of it, and does not say so
			fmt.Printf("{\"jsonrpc\":\"2.0\",\"id\":%s,\"error\":{\"code\":-32601,\"message\":\"no such method\"}}\n", req.ID)
		}
	case "initialize":
		reply(`{"protocolVersion":"2025-06-18","capabilities":{"tools":{}},"serverInfo":{"name":"` + part + `","version":"1"}}`)
	case "tools/list":
		if part == "mute" && os.Getenv("MUTE_AFTER") == "" {
			_ = os.Setenv("MUTE_AFTER", "1")
		} else if part == "mute" {
			return
		}
		switch part {
		case "wordy":
			reply(`{"tools":[{"name":"all","description":"` + strings.Repeat("word ", 60_000) + `","inputSchema":{"type":"object"}},{"name":"` + strings.Repeat("n", 1000) + `","inputSchema":{"type":"object"}},{"name":"hello","inputSchema":{"type":"object"}}]}`)
			return
		case "fickle": // other names each time
			lists++
			var tools []string
			for i := range 1000 {
				tools = append(tools, fmt.Sprintf(`{"name":"tool_%d_%d_%s","inputSchema":{"type":"object"}}`, lists, i, strings.Repeat("x", 100)))
			}
			reply(`{"tools":[` + strings.Join(tools, ",") + `]}`)
			return
		}
		reply(`{"tools":[{"name":"hello","inputSchema":{"type":"object"}},{"name":"environment","inputSchema":{"type":"object"}},{"name":"big","inputSchema":{"type":"object"}},{"name":"empty","inputSchema":{"type":"object"}},{"name":"refuse","inputSchema":{"type":"object"}},{"name":"garbled","inputSchema":{"type":"object"}},{"name":"strange","inputSchema":{"type":"object"}},{"name":"wrong","inputSchema":{"type":"object"}}]}`)
	case "tools/call":
		switch {
		case part == "slow":
		case part == "deaf": // and reads no more
			select {}
		case req.Params.Name == "environment":
			wd, _ := os.Getwd()
			text(strings.Join(append(os.Environ(), "CWD="+wd), "\n"))
		case req.Params.Name == "big": // longer than the SDK takes unasked
			// Written plainly: the race detector makes packages slow.
			for _, part := range []string{`{"jsonrpc":"2.0","id":` + string(req.ID) + `,"result":{"content":[{"type":"text","text":"`, strings.Repeat("x", 17<<20), "\"}]}}\n"} {
				_, _ = os.Stdout.WriteString(part)
			}
		case req.Params.Name == "garbled":
			reply(`{"content":"hello"}`)
		case req.Params.Name == "wrong":
			reply(`{"content":[{"type":"text","text":"no such file"}],"isError":true}`)
		case req.Params.Name == "strange":
			reply(`{"content":[{"type":"smell","text":"of roses"}]}`)
		case req.Params.Name == "empty":
			reply(`{}`)
		case req.Params.Name == "refuse":
			fmt.Printf("{\"jsonrpc\":\"2.0\",\"id\":%s,\"error\":{\"code\":-32602,\"message\":\"not like this\"}}\n", req.ID)
		case part == "parent":
			command := strings.Fields(os.Getenv("TEST_COMMAND"))
			c := exec.Command(command[0], command[1:]...)
			if err := c.Start(); err != nil {
				text(err.Error())
				return
			}
			text("started")
		default:
			text("hi")
		}
	default:
		if req.ID != nil {
			fmt.Printf("{\"jsonrpc\":\"2.0\",\"id\":%s,\"error\":{\"code\":-32601,\"message\":\"no such method\"}}\n", req.ID)
		}
	}
}
