package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Conversations through the whole runtime, with a model server that others wrote and
// one that stops wherever a test wants.

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
    model    = "m"
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
  config {
    prices = {
      "local/m" = { input = 1000, output = 2000 }
    }
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

// used is what plugin usage has counted, once that is want calls.
func (d *daemon) used(want int) map[string]any {
	d.Helper()
	var total map[string]any
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		m := d.await(d.submit(`{"kind":"usage.report","payload":{"group_by":"model"}}`))
		result, _ := m["result"].(map[string]any)
		if total, _ = result["total"].(map[string]any); total["requests"] == float64(want) {
			return total
		}
	}
	d.Errorf("usage: %v, want %d requests", total, want)
	return total
}

// untilEvent waits for an event of a task, and returns its data.
func (d *daemon) untilEvent(id, typ string, want func(data map[string]any) bool) map[string]any {
	d.Helper()
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		_, m := d.rest("GET", "/api/v1/tasks/"+id+"/events", "")
		events, _ := m["events"].([]any)
		for _, e := range events {
			e := e.(map[string]any)
			if data, _ := e["data"].(map[string]any); e["type"] == typ && (want == nil || want(data)) {
				return data
			}
		}
	}
	d.Fatalf("%s: no %s", id, typ)
	return nil
}

// approval returns the one that waits for a person.
func (d *daemon) approval() map[string]any {
	d.Helper()
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
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
// third, is cancelled, continued and summarised.
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
	for _, carrier := range []string{"wasm", "process"} {
		t.Run(carrier, func(t *testing.T) {
			t.Parallel()
			d := newDaemon(t, agentConfig(carrier, url, `{ "memory.set" = "ask", "mcp.>" = "auto" }`)+
				fmt.Sprintf("plugin \"mcp\" {\n  command = [\"BIN/mcp\"]\n  grant {\n    store   = true\n    publish = [\"mcp.>\"]\n  }\n  config {\n    servers = {\n      everything = { command = [%q, %q] }\n    }\n  }\n}\n", program, dir))
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

// modelServer speaks OpenAI's format and stops where a test wants it to.
type modelServer struct {
	*httptest.Server
	mu    sync.Mutex
	asked int
	reply func(n int, messages string, say func(chunk string), r *http.Request)
}

func newModelServer(t *testing.T, reply func(n int, messages string, say func(string), r *http.Request)) *modelServer {
	s := &modelServer{reply: reply}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var body struct{ Messages json.RawMessage }
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		s.mu.Lock()
		s.asked++
		n := s.asked
		s.mu.Unlock()
		w.Header().Set("Content-Type", "text/event-stream")
		s.reply(n, string(body.Messages), func(chunk string) {
			_, _ = fmt.Fprintf(w, "data: %s\n\n", chunk)
			w.(http.Flusher).Flush()
		}, r)
	}))
	t.Cleanup(s.Close)
	return s
}

func (s *modelServer) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked
}

func sayText(say func(string), text string) {
	say(fmt.Sprintf(`{"model":"m","choices":[{"index":0,"delta":{"role":"assistant","content":%q}}]}`, text))
}

func sayCalls(say func(string), calls ...[2]string) {
	for i, c := range calls {
		say(fmt.Sprintf(`{"model":"m","choices":[{"index":0,"delta":{"tool_calls":[{"index":%d,"id":"call_%s_%d","type":"function","function":{"name":%q,"arguments":%q}}]}}]}`, i, c[0], i, c[0], c[1]))
	}
	sayEnd(say, "tool_calls")
}

func sayEnd(say func(string), reason string) {
	say(fmt.Sprintf(`{"model":"m","choices":[{"index":0,"delta":{},"finish_reason":%q}]}`, reason))
	say(`{"model":"m","choices":[],"usage":{"prompt_tokens":10,"completion_tokens":5,"total_tokens":15}}`)
	say("[DONE]")
}

// TestTurnSurvivesKill9 kills the runtime in every phase of a turn. The turn goes on;
// what has a recorded result does not happen again.
func TestTurnSurvivesKill9(t *testing.T) {
	const setOne, setTwo = `{"section":"n","key":"one","value":1}`, `{"section":"n","key":"two","value":2}`
	for _, carrier := range []string{"wasm", "process"} {
		t.Run(carrier, func(t *testing.T) {
			t.Parallel()
			var d *daemon
			phase := make(chan string, 10) // the server is where it was to stop
			server := newModelServer(t, func(n int, messages string, say func(string), r *http.Request) {
				results := strings.Count(messages, `"role":"tool"`)
				switch {
				case n == 1: // before the first token
					phase <- "first token"
					<-r.Context().Done()
				case n == 2: // in the middle of the stream
					sayText(say, "Let me ")
					phase <- "stream"
					<-r.Context().Done()
				case results == 0:
					sayText(say, "Let me see.")
					sayCalls(say, [2]string{"memory_set", setOne}, [2]string{"memory_delete", setTwo[:strings.Index(setTwo, `,"value"`)] + "}"})
				case results == 2:
					sayCalls(say, [2]string{"memory_set", setTwo})
				default:
					sayText(say, "All done.")
					sayEnd(say, "stop")
				}
			})
			d = newDaemon(t, agentConfig(carrier, server.URL, `{ "memory.delete" = "ask" }`))
			d.start()
			id := d.submit(chatBody("s", "go"))
			for _, want := range []string{"first token", "stream"} {
				if got := <-phase; got != want {
					t.Fatalf("%s, want %s", got, want)
				}
				if want == "stream" {
					d.untilEvent(id, "task.output", nil)
				}
				d.kill()
				d.start()
			}

			// One of two calls has its result, the other waits for a person.
			a := d.approval()
			d.untilEvent(id, "task.log", func(data map[string]any) bool {
				attrs, _ := data["attrs"].(map[string]any)
				return attrs["type"] == "tool.result"
			})
			d.kill()
			d.start()
			b := d.approval()
			if b["digest"] != a["digest"] {
				t.Errorf("it asks another question after the kill: %v, %v", a, b)
			}

			// After the last: its answer is recorded when its usage is told.
			ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
			defer cancel()
			c, err := dial(ctx, d)
			if err != nil {
				t.Fatal(err)
			}
			if err := c.call(ctx, 1, "subscribe", `{"topics":["event.usage.recorded"]}`); err != nil {
				t.Fatal(err)
			}
			if _, err := c.read(ctx); err != nil {
				t.Fatal(err)
			}
			d.decide(b, "approve")
			for told := 0; told < 2; { // of the second and the third step
				r, err := c.read(ctx)
				if err != nil {
					t.Fatal(err)
				}
				if r.Method == "event" {
					told++
				}
			}
			_ = c.ws.CloseNow()
			d.kill()
			d.start()

			m := d.await(id)
			result, _ := m["result"].(map[string]any)
			if m["state"] != "completed" || result["response"] != "Let me see.\n\nAll done." || result["steps"] != 3.0 || len(result["tool_calls"].([]any)) != 3 {
				t.Fatalf("%v %v %v", m["state"], m["error"], result)
			}
			if n := server.count(); n != 5 { // two were cut, three were answered
				t.Errorf("the model was called %d times", n)
			}
			if total := d.used(3); total["input_tokens"] != 30.0 || total["output_tokens"] != 15.0 {
				t.Errorf("counted %v", total)
			}
			for _, key := range []string{"one", "two"} {
				m := d.await(d.submit(fmt.Sprintf(`{"kind":"memory.get","payload":{"section":"n","key":%q}}`, key)))
				result, _ := m["result"].(map[string]any)
				entry, _ := result["entry"].(map[string]any)
				if entry["version"] != 1.0 {
					t.Errorf("%s was set again: %v", key, entry)
				}
			}
			want := []string{"user: go", "assistant: Let me see.", "tool: ", "tool: ", "assistant: ", "tool: ", "assistant: All done."}
			said := d.said("s")
			for i := range want {
				if len(said) != len(want) || !strings.HasPrefix(said[i], want[i]) {
					t.Fatalf("kept %q", said)
				}
			}
		})
	}
}

// TestUnknownOutcome: the runtime dies in a tool call that takes effect. A person
// decides whether it is made again.
func TestUnknownOutcome(t *testing.T) {
	bin, err := built()
	if err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("go", "build", "-o", filepath.Join(bin, "paytool"), "./testdata/paytool").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	server := newModelServer(t, func(_ int, messages string, say func(string), _ *http.Request) {
		if !strings.Contains(messages, `"role":"tool"`) {
			sayCalls(say, [2]string{"pay_send", `{"amount":5}`})
			return
		}
		sayText(say, "Understood.")
		sayEnd(say, "stop")
	})
	for i, decision := range []string{"reject", "approve"} {
		t.Run(decision, func(t *testing.T) {
			t.Parallel()
			d := newDaemon(t, agentConfig([]string{"wasm", "process"}[i], server.URL, `{}`)+
				"plugin \"pay\" {\n  command = [\"BIN/paytool\"]\n  grant {\n    store = true\n  }\n}\n")
			d.start()
			id := d.submit(chatBody("s", "pay"))
			child := ""
			for end := time.Now().Add(30 * time.Second); child == ""; time.Sleep(10 * time.Millisecond) {
				_, m := d.rest("GET", "/api/v1/tasks?kind=pay.send&state=running", "")
				if list, _ := m["tasks"].([]any); len(list) == 1 {
					child = list[0].(map[string]any)["id"].(string)
				}
				if time.Now().After(end) {
					t.Fatal("the tool is not called")
				}
			}
			d.untilEvent(child, "task.progress", nil)
			d.kill()
			d.start()
			a := d.approval()
			if !strings.Contains(a["question"].(string), "not known") {
				t.Errorf("asked %v", a["question"])
			}
			d.decide(a, decision)
			m := d.await(id)
			result, _ := m["result"].(map[string]any)
			calls, _ := result["tool_calls"].([]any)
			if m["state"] != "completed" || len(calls) != 1 || calls[0].(map[string]any)["is_error"] != (decision == "reject") {
				t.Errorf("%v %v %v", m["state"], m["error"], result)
			}
			said := strings.Join(d.said("s"), "\n")
			if want := map[string]string{"reject": "is not known", "approve": `{"paid":2}`}[decision]; !strings.Contains(said, want) {
				t.Errorf("kept %s", said)
			}
		})
	}
}

// TestCancelStopsTheModel: the model server is told at once, and nothing more is said.
func TestCancelStopsTheModel(t *testing.T) {
	for _, carrier := range []string{"wasm", "process"} {
		t.Run(carrier, func(t *testing.T) {
			t.Parallel()
			told := make(chan struct{})
			server := newModelServer(t, func(_ int, _ string, say func(string), r *http.Request) {
				sayText(say, "Once upon")
				<-r.Context().Done()
				close(told)
			})
			d := newDaemon(t, agentConfig(carrier, server.URL, `{}`))
			d.start()
			id := d.submit(chatBody("s", "tell"))
			d.untilEvent(id, "task.output", nil)
			d.rest("POST", "/api/v1/tasks/"+id+"/cancel", `{"reason":"enough"}`)
			select {
			case <-told:
			case <-time.After(10 * time.Second):
				t.Error("the model goes on")
			}
			if m := d.await(id); m["state"] != "cancelled" || m["reason"] != "enough" {
				t.Errorf("%v %v", m["state"], m["reason"])
			}
			if said := strings.Join(d.said("s"), ", "); said != "user: tell, assistant: Once upon (cut)" {
				t.Errorf("kept %s", said)
			}
		})
	}
}
