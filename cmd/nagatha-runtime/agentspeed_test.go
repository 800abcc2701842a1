package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestAgentSpeed measures what the agent adds to a model: the time from the model
// server's first byte to a WebSocket client, and the work of a turn over a long
// conversation. It logs the figures, and fails where they are beyond any machine's
// excuse. NAGATHA_MEASURE=1 measures on both carriers and over more turns.
func TestAgentSpeed(t *testing.T) {
	carriers, short, long := []string{"wasm"}, 20, 12
	if os.Getenv("NAGATHA_MEASURE") != "" {
		carriers, short, long = []string{"wasm", "process"}, 100, 50
	}
	var mu sync.Mutex
	var firstByte time.Time
	server := newModelServer(t, func(_ int, messages string, say func(string), _ *http.Request) {
		var last struct{ Role, Content string }
		// Not all of them: this is the model's time, and what grows with the conversation
		// is to be ours.
		_ = json.Unmarshal([]byte(strings.TrimSuffix(messages[strings.LastIndex(messages, `{"role":`):], "]")), &last)
		if last.Role == "user" && strings.HasPrefix(last.Content, "tools") {
			var calls [][2]string
			for i := range 5 {
				calls = append(calls, [2]string{"memory_set", fmt.Sprintf(`{"section":"notes","key":"k%d","value":%q}`, i, last.Content)})
			}
			sayCalls(say, calls...)
			return
		}
		mu.Lock()
		firstByte = time.Now()
		mu.Unlock()
		sayText(say, "One moment.")
		sayEnd(say, "stop")
	})
	for _, carrier := range carriers {
		d := newDaemon(t, agentConfig(carrier, server.URL, `{}`))
		d.start()
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
		c, err := dial(ctx, d)
		if err != nil {
			t.Fatal(err)
		}
		var first []time.Duration
		for i := range short {
			body := strings.TrimSuffix(chatBody(fmt.Sprint("first", i), "hello"), "}") + `,"subscribe":true}`
			if err := c.call(ctx, i+1, "task.submit", body); err != nil {
				t.Fatal(err)
			}
			heard := false
			for end := false; !end; {
				_, b, err := c.ws.Read(ctx)
				if err != nil {
					t.Fatal(err)
				}
				now := time.Now()
				var m struct {
					Params struct {
						Event struct {
							Type string
							End  bool
						}
					}
				}
				_ = json.Unmarshal(b, &m)
				if m.Params.Event.Type == "task.output" && !heard {
					heard = true
					mu.Lock()
					first = append(first, now.Sub(firstByte))
					mu.Unlock()
				}
				end = m.Params.Event.End
			}
		}
		cancel()
		_ = c.ws.CloseNow()
		slices.Sort(first)
		p50, p99 := first[len(first)/2], first[len(first)*99/100]
		t.Logf("%s: first token to a WebSocket client after the model server's first byte: p50 %v, p99 %v", carrier, p50, p99)
		if len(first) != short || p50 > 100*time.Millisecond {
			t.Errorf("%s: %d turns, p50 %v", carrier, len(first), p50)
		}

		var turns []time.Duration
		var memory []int64
		for i := range long {
			began := time.Now()
			if m := d.chat("long", fmt.Sprintf("tools %d", i)); m["stop_reason"] != "end" || len(m["tool_calls"].([]any)) != 5 {
				t.Fatalf("%v", m)
			}
			turns = append(turns, time.Since(began))
			memory = append(memory, d.resident())
		}
		early, late := slices.Clone(turns[1:long/4+1]), slices.Clone(turns[long-long/4:])
		slices.Sort(early)
		slices.Sort(late)
		before, after := early[len(early)/2], late[len(late)/2]
		t.Logf("%s: a turn of 2 steps and 5 tool calls: %v early, %v at the end of %d turns; the runtime holds %d and %d MiB",
			carrier, before, after, long, memory[1]>>20, memory[long-1]>>20)
		if after > 2*before+100*time.Millisecond {
			t.Errorf("%s: turns grow with the conversation: %v", carrier, turns)
		}
		d.kill()
	}
}

// resident is how much memory the runtime's process holds.
func (d *daemon) resident() int64 {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", d.cmd.Process.Pid))
	if err != nil {
		return 0 // not on this system
	}
	var size, pages int64
	_, _ = fmt.Sscan(string(b), &size, &pages)
	return pages * int64(os.Getpagesize())
}
