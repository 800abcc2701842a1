package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/nagatha/nagatha-runtime/runtime/store/storetest"
)

// 500 calls are told of twice each, half of the doubles by another source, and the
// runtime is killed twice: the report is exact to the micro-dollar.
func TestUsageIsExactAcrossKill9(t *testing.T) {
	for carrier, file := range map[string]string{"process sqlite": `command = ["BIN/usage"]`, "wasm postgres": `wasm = "BIN/usage.wasm"`} {
		t.Run(carrier, func(t *testing.T) {
			t.Parallel()
			config := fmt.Sprintf("plugin \"usage\" {\n  %s\n  grant {\n    store = true\n  }\n}\n", file)
			if strings.HasSuffix(carrier, "postgres") {
				config += fmt.Sprintf("store \"postgres\" {\n  url = %q\n}\n", storetest.Postgres(t))
			}
			d := newDaemon(t, config)
			d.start()
			const calls, batch = 500, 25
			var want, tokens, tasks int64
			for n := 0; n < calls; n += batch {
				var events []string
				for i := n; i < n+batch; i++ {
					// gpt-5 costs 1.25 and 10 micro-USD for a token of input and output.
					input, output := int64(i*7+1), int64(i%13)
					want += (input*125 + output*1000 + 50) / 100
					tokens += input
					for _, source := range []string{"agent", []string{"agent", "relay"}[i%2]} {
						events = append(events, fmt.Sprintf(`{"specversion":"1.0","id":"call-%d","source":%q,"type":"usage.recorded","time":"2026-09-01T10:00:00Z",
							"data":{"id":"call-%d","model":"gpt-5","provider":"openai","input_tokens":%d,"output_tokens":%d,"cached_tokens":0,"session":"ses_%d","kind":"agent.chat"}}`,
							i, source, i, input, output, i%3))
					}
					tasks += 1 + int64(i%2)
				}
				code, m := d.rest("POST", "/api/v1/events", "["+strings.Join(events, ",")+"]", "Content-Type", "application/cloudevents-batch+json")
				if code != http.StatusAccepted {
					t.Fatalf("%d %v", code, m)
				}
				if n == 7*batch || n == 15*batch {
					d.kill()
					d.start()
				}
			}
			ctx, cancel := context.WithTimeout(t.Context(), 120*time.Second)
			defer cancel()
			for done := ""; done != fmt.Sprint(tasks); time.Sleep(100 * time.Millisecond) {
				_, m := d.rest("GET", "/api/v1/tasks?kind=usage.record&state=completed&limit=1000", "")
				list, _ := m["tasks"].([]any)
				done = fmt.Sprint(len(list))
				if ctx.Err() != nil {
					t.Fatalf("%s of %d records are done", done, tasks)
				}
			}
			for by, rows := range map[string]int{"day": 1, "session": 3, "model": 1, "kind": 1} {
				m := d.await(d.submit(fmt.Sprintf(`{"kind":"usage.report","payload":{"group_by":%q}}`, by)))
				var got struct {
					Total struct {
						Requests int64
						Cost     int64 `json:"cost_micro_usd"`
						Input    int64 `json:"input_tokens"`
					}
					Rows []struct {
						Requests int64
						Cost     int64 `json:"cost_micro_usd"`
					}
				}
				b, _ := json.Marshal(m["result"])
				if err := json.Unmarshal(b, &got); err != nil {
					t.Fatal(err)
				}
				sum, requests := int64(0), int64(0)
				for _, r := range got.Rows {
					sum, requests = sum+r.Cost, requests+r.Requests
				}
				if got.Total.Requests != calls || got.Total.Cost != want || got.Total.Input != tokens || len(got.Rows) != rows || sum != want || requests != calls {
					t.Errorf("by %s: %s; want %d requests, %d micro-USD, %d input tokens", by, b, calls, want, tokens)
				}
			}
			m := d.await(d.submit(`{"kind":"usage.track"}`))
			if result, _ := m["result"].(map[string]any); result["total_cost"] != float64(want)/1e6 || result["total_requests"] != float64(calls) {
				t.Errorf("track: %v, want %d micro-USD", m["result"], want)
			}
		})
	}
}
