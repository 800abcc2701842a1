package main

import (
	"context"
	"fmt"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

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
			d.hear(`{"topics":["kind.pay.send"],"from":"start","types":["task.progress"]}`, nil)
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
