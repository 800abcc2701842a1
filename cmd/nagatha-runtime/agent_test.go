package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Conversations through the whole runtime: here with a model server that others wrote,
// in turn_test.go with one that stops wherever a test wants (modelserver_test.go).

// agentConfig is a runtime with an agent and a memory.
func agentConfig(carrier, url, tools string) string {
	file := `command = ["BIN/agent"]`
	if carrier == "wasm" {
		file = `wasm = "BIN/agent.wasm"`
	}
	return fmt.Sprintf(`
queue "agent" {
  concurrency = 8
}
plugin "agent" {
  %s
  grant {
    store   = true
    http    = [%q]
    submit  = ["memory.*", "mcp.*", "pay.*", "usage.*"]
    publish = ["usage.recorded"]
    await   = true
    approve = true
  }
  config {
    model    = "gpt-4o"
    base_url = %q
    tools    = %s
  }
}
plugin "memory" {
  wasm = "BIN/memory.wasm"
  grant {
    store   = true
    publish = ["memory.entry.*"]
  }
}
plugin "usage" {
  wasm = "BIN/usage.wasm"
  grant {
    store = true
  }
}
`, file, url, url+"/v1", tools)
}

func chatBody(session, message string) string {
	b, _ := json.Marshal(map[string]any{"kind": "agent.chat", "payload": map[string]string{"session": session, "message": message}})
	return string(b)
}

// chat says something and returns the result.
func (d *daemon) chat(session, message string) map[string]any {
	d.Helper()
	m := d.await(d.submit(chatBody(session, message)))
	result, _ := m["result"].(map[string]any)
	if m["state"] != "completed" {
		d.Fatalf("%q: %v %v", message, m["state"], m["error"])
	}
	return result
}

// used is what plugin usage has counted, once it has recorded want calls.
func (d *daemon) used(want int) map[string]any {
	d.Helper()
	recorded := 0
	d.hear(`{"topics":["kind.usage.record"],"from":"start","types":["task.completed"]}`, func(map[string]any) bool {
		recorded++
		return recorded == want
	})
	m := d.await(d.submit(`{"kind":"usage.report","payload":{"group_by":"model"}}`))
	result, _ := m["result"].(map[string]any)
	total, _ := result["total"].(map[string]any)
	if total["requests"] != float64(want) {
		d.Errorf("usage: %v, want %d requests", total, want)
	}
	return total
}

// hear waits for an event of a subscription that is as wanted, or for any, and returns its
// data.
func (d *daemon) hear(subscription string, want func(data map[string]any) bool) map[string]any {
	d.Helper()
	ctx, cancel := context.WithTimeout(d.Context(), 2*time.Minute)
	defer cancel()
	c, err := dial(ctx, d)
	if err != nil {
		d.Fatal(err)
	}
	defer func() { _ = c.ws.CloseNow() }()
	if err := c.call(ctx, 1, "subscribe", subscription); err != nil {
		d.Fatal(err)
	}
	for {
		r, err := c.read(ctx)
		if err == nil && r.Error != nil {
			err = errors.New(r.Error.Message)
		}
		if err != nil {
			d.Fatalf("%s: %v", subscription, err)
		}
		if e := r.Params.Event; r.Method == "event" && (want == nil || want(e.Data)) {
			return e.Data
		}
	}
}

// untilEvent waits for an event of a task, and returns its data.
func (d *daemon) untilEvent(id, typ string, want func(data map[string]any) bool) map[string]any {
	d.Helper()
	return d.hear(fmt.Sprintf(`{"task":%q,"types":[%q]}`, id, typ), want)
}

// approval returns the one that waits for a person. It asks again and again: a task that
// waits already tells no event when it waits for one thing more.
func (d *daemon) approval() map[string]any {
	d.Helper()
	for end := time.Now().Add(2 * time.Minute); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		_, m := d.rest("GET", "/api/v1/approvals", "")
		if list, _ := m["approvals"].([]any); len(list) == 1 {
			return list[0].(map[string]any)
		}
	}
	d.Fatal("nothing waits for an approval")
	return nil
}

func (d *daemon) decide(a map[string]any, decision string) {
	d.Helper()
	code, m := d.rest("POST", "/api/v1/approvals/"+a["id"].(string)+"/decision", fmt.Sprintf(`{"decision":%q,"digest":%q}`, decision, a["digest"]))
	if code != http.StatusOK {
		d.Fatalf("decide: %d %v", code, m)
	}
}

// said is the history of a session.
func (d *daemon) said(session string) (out []string) {
	d.Helper()
	m := d.await(d.submit(fmt.Sprintf(`{"kind":"agent.history","payload":{"session":%q}}`, session)))
	result, _ := m["result"].(map[string]any)
	list, _ := result["messages"].([]any)
	for _, one := range list {
		one := one.(map[string]any)
		line := fmt.Sprint(one["role"], ": ", one["text"])
		if one["cut"] == true {
			line += " (cut)"
		}
		out = append(out, line)
	}
	return out
}

// startAimock runs the model server of npm with fixtures.
func startAimock(t *testing.T, fixtures string) string {
	t.Helper()
	node(t)
	cmd := exec.Command("node", "testdata/npm/node_modules/@copilotkit/aimock/dist/cli.js", "-p", "0", "-f", fixtures, "--strict")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	late := time.AfterFunc(time.Minute, func() { _ = cmd.Process.Kill() })
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if _, url, ok := strings.Cut(lines.Text(), "listening on "); ok {
			late.Stop()
			go func() { // until it is killed
				for lines.Scan() {
				}
			}()
			return url
		}
	}
	t.Fatal("aimock did not start")
	return ""
}

// TestConversation: one that remembers, calls two MCP tools in parallel, asks before a
// third, is cancelled, continued and summarised, in the format of OpenAI and in
// Anthropic's; and it has a price without a setting.
func TestConversation(t *testing.T) {
	url := startAimock(t, "testdata/aimock/agent.json")
	dir, err := filepath.Abs("testdata/npm/node_modules/@modelcontextprotocol/server-everything/dist/index.js")
	if err != nil {
		t.Fatal(err)
	}
	program, err := exec.LookPath("node")
	if err != nil {
		t.Fatal(err)
	}
	const rules = `{ "memory.set" = "ask", "mcp.>" = "auto" }`
	for name, agent := range map[string]string{
		"wasm":    agentConfig("wasm", url, rules),
		"process": agentConfig("process", url, rules),
		"anthropic": strings.Replace(agentConfig("wasm", url, rules),
			`model    = "gpt-4o"`, "provider = \"anthropic\"\nmodel = \"claude-sonnet-4-5\"", 1),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newDaemon(t, agent+fmt.Sprintf("plugin \"mcp\" {\n  command = [\"BIN/mcp\"]\n  grant {\n    store   = true\n    publish = [\"mcp.>\"]\n  }\n  config {\n    servers = {\n      everything = { command = [%q, %q] }\n    }\n  }\n}\n", program, dir))
			d.start()
			if m := d.chat("talk", "my name is Ada"); m["response"] != "Hello Ada." || m["stop_reason"] != "end" {
				t.Errorf("%v", m)
			}
			d.chat("talk", "what is my name?")
			resp, err := http.Get(url + "/__aimock/journal")
			if err != nil {
				t.Fatal(err)
			}
			var journal []struct {
				Body struct {
					Messages []struct{ Role, Content any }
				}
			}
			err = json.NewDecoder(resp.Body).Decode(&journal)
			_ = resp.Body.Close()
			told := ""
			for _, j := range journal {
				if n := len(j.Body.Messages); n > 0 && fmt.Sprint(j.Body.Messages[n-1].Content) == "what is my name?" {
					told = fmt.Sprint(j.Body.Messages)
				}
			}
			if err != nil || !strings.Contains(told, "my name is Ada") || !strings.Contains(told, "Hello Ada.") {
				t.Errorf("the model was told %s, %v", told, err)
			}

			id := d.submit(chatBody("talk", "sum and echo"))
			a := d.approval()
			if detail := fmt.Sprint(a["detail"]); !strings.Contains(detail, "memory.set") || !strings.Contains(detail, "42") {
				t.Errorf("asked about %s", detail)
			}
			_, children := d.rest("GET", "/api/v1/tasks?kind=mcp.call_tool&parent="+id, "")
			if list, _ := children["tasks"].([]any); len(list) != 2 {
				t.Errorf("tool calls as tasks: %v", children)
			}
			if _, m := d.rest("GET", "/api/v1/tasks/"+id, ""); m["state"] != "waiting" {
				t.Errorf("while a person is asked it is %v", m["state"])
			}
			d.decide(a, "approve")
			m := d.await(id)
			result, _ := m["result"].(map[string]any)
			if cost, _ := result["usage"].(map[string]any)["cost_usd"].(float64); cost <= 0 {
				t.Errorf("cost %v", result["usage"])
			}
			if result["response"] != "The sum is 42, and I have noted it." || result["steps"] != 3.0 || len(result["tool_calls"].([]any)) != 3 {
				t.Errorf("%v %v", m["error"], result)
			}
			seen := map[string]int{}
			_, events := d.rest("GET", "/api/v1/tasks/"+id+"/events", "")
			for _, e := range events["events"].([]any) {
				data, _ := e.(map[string]any)["data"].(map[string]any)
				attrs, _ := data["attrs"].(map[string]any)
				if typ, ok := attrs["type"].(string); ok {
					seen[typ]++
				}
			}
			if seen["tool.start"] != 3 || seen["tool.result"] != 3 || seen["approval"] != 1 || seen["model"] != 3 {
				t.Errorf("activity %v", seen)
			}

			id = d.submit(chatBody("talk", "tell me a story"))
			d.untilEvent(id, "task.output", nil)
			d.rest("POST", "/api/v1/tasks/"+id+"/cancel", "{}")
			if m := d.await(id); m["state"] != "cancelled" {
				t.Fatalf("cancelled: %v", m["state"])
			}
			said := d.said("talk")
			if last := said[len(said)-1]; !strings.HasPrefix(last, "assistant: Once") || !strings.HasSuffix(last, "(cut)") || strings.Contains(last, "the very end") {
				t.Errorf("kept of what was cancelled: %s", last)
			}
			if m := d.chat("talk", "go on"); m["response"] != "And so they lived." {
				t.Errorf("%v", m)
			}
			m = d.await(d.submit(`{"kind":"agent.summarize","payload":{"session":"talk"}}`))
			if result, _ := m["result"].(map[string]any); result["summary"] != "Ada likes coffee; two sums were made." {
				t.Errorf("%v %v", m["error"], result)
			}
			// Each call once, the cancelled and the summary's among them.
			if total := d.used(8); total["cost_usd"].(float64) <= 0 || total["unpriced_requests"] != 0.0 {
				t.Errorf("cost %v", total)
			}
			if n := len(d.said("talk")); n != len(said)+2 {
				t.Errorf("%d messages are kept after the summary, of %d", n, len(said)+2)
			}
		})
	}
}
