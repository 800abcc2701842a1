package carriers

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nagatha/nagatha-runtime/sdk"
	"github.com/nagatha/nagatha-runtime/sdk/process"
	"github.com/nagatha/nagatha-runtime/sdk/sdktest"
	"github.com/nagatha/nagatha-runtime/sdk/wasm"
)

// BenchmarkTurn measures what the agent itself does in one turn of a conversation, the
// 5th, the 25th and the 50th: of 20 tools three are called in the first of its two
// steps. The model answers at once, and the store is memory, so that what grows from
// one to the next is the agent's own.
//
//	go test -run '^$' -bench Turn ./plugins/agent/carriers
func BenchmarkTurn(b *testing.B) {
	model := busyModel(b)
	config := fmt.Sprintf(`{"model":"m","base_url":%q}`, model+"/v1")
	for _, carrier := range []string{"process", "wasm"} {
		plugin := launch(b, carrier, config)
		host := manyTools()
		for turn := 1; turn <= 50; turn++ {
			if turn == 5 || turn == 25 || turn == 50 {
				before := maps.Clone(host.Items)
				b.Run(fmt.Sprintf("%s/turn=%d", carrier, turn), func(b *testing.B) {
					used := cpuTime()
					for b.Loop() {
						b.StopTimer()
						host.Items, host.Said = maps.Clone(before), nil
						b.StartTimer()
						say(b, plugin, host, turn)
					}
					b.ReportMetric((cpuTime()-used).Seconds()*1e3/float64(b.N), "cpu-ms/op")
				})
				host.Items = before
			}
			say(b, plugin, host, turn)
		}
	}
}

// say takes a turn.
func say(b *testing.B, plugin sdk.Plugin, host *sdktest.Host, turn int) {
	payload := fmt.Sprintf(`{"session":"s","message":"Message %d: %s"}`, turn, strings.Repeat("what is there to do today? ", 4))
	task := sdktest.Task("agent.chat", payload)
	task.ID = fmt.Sprint("tsk_", turn)
	clear(host.Steps)
	host.Rerun()
	result, err := plugin.Handle(b.Context(), task, host)
	if err != nil {
		b.Fatal(err)
	}
	if !strings.Contains(string(result), `"steps":2`) {
		b.Fatalf("%s", result)
	}
}

// busyModel wants three calls at each odd request, and answers at each even one.
func busyModel(b *testing.B) string {
	var asked atomic.Int64
	chunk := func(delta, finish string) string {
		return fmt.Sprintf(`data: {"choices":[{"index":0,"delta":{%s},"finish_reason":%s}],"usage":{"prompt_tokens":1000,"completion_tokens":50}}`+"\n\n", delta, finish)
	}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "text/event-stream")
		n := asked.Add(1)
		if n%2 == 0 {
			_, _ = io.WriteString(w, chunk(fmt.Sprintf(`"content":%q`, strings.Repeat("There is this and that. ", 16)), `"stop"`))
		} else {
			var calls []string
			for i := range 3 {
				calls = append(calls, fmt.Sprintf(`{"index":%d,"id":"call_%d_%d","function":{"name":"notes_find_%d","arguments":"{\"query\":\"what %d\",\"limit\":10}"}}`, i, n, i, i, n))
			}
			_, _ = io.WriteString(w, chunk(fmt.Sprintf(`"tool_calls":[%s]`, strings.Join(calls, ",")), `"tool_calls"`))
		}
		_, _ = io.WriteString(w, "data: [DONE]\n\n")
	}))
	b.Cleanup(s.Close)
	return s.URL
}

// manyTools is a host with 20 tools, each of which finds the same 600 bytes.
func manyTools() *sdktest.Host {
	host := sdktest.NewHost()
	for i := range 20 {
		host.Kinds = append(host.Kinds, sdk.KindInfo{Kind: fmt.Sprintf("notes.find_%d", i), Plugin: "notes", Tool: true, ReadOnly: true, Available: true,
			Description: "Finds the notes in which all of the words occur, the best first, with the place of each.",
			PayloadSchema: json.RawMessage(`{"type":"object","additionalProperties":false,"required":["query"],"properties":{
				"query":{"type":"string","maxLength":1000,"description":"words to look for"},
				"limit":{"type":"integer","minimum":1,"maximum":100,"default":20,"description":"most notes to return"},
				"session":{"type":"string"},"tags":{"type":"array","items":{"type":"string","maxLength":100}}}}`)})
	}
	found, _ := json.Marshal(map[string]any{"notes": []string{strings.Repeat("a note about something ", 26)}})
	host.Answer = func(op string, request json.RawMessage) (any, error) {
		var q sdk.Tasks
		if err := json.Unmarshal(request, &q); err != nil {
			return nil, err
		}
		var r sdk.RunReply
		for range q.Tasks {
			r.Outcomes = append(r.Outcomes, sdk.Outcome{ID: "tsk_child", State: sdk.StateCompleted, Result: found})
		}
		return r, nil
	}
	return host
}

// launch builds the agent for a carrier and runs it.
func launch(b *testing.B, carrier, config string) sdktest.Carrier {
	b.Helper()
	dir, err := os.MkdirTemp("", "agent") // short: a socket's path has a limit
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = os.RemoveAll(dir) })
	file := filepath.Join(dir, "agent")
	cmd := exec.Command("go", "build", "-ldflags=-s -w", "-o", file, "github.com/nagatha/nagatha-runtime/plugins/agent")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if carrier == "wasm" {
		cmd.Env = append(cmd.Env, "GOOS=wasip1", "GOARCH=wasm")
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		b.Fatalf("%v\n%s", err, out)
	}
	var c sdktest.Carrier
	if carrier == "wasm" {
		c, err = wasm.Load(b.Context(), wasm.Config{Name: "agent", Path: file, CacheDir: dir, StartTimeout: 2 * time.Minute})
	} else {
		c, err = process.Launch(b.Context(), process.Config{Name: "agent", Command: []string{file}, RunDir: dir})
	}
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = c.Close(context.Background()) })
	if err := c.Configure(b.Context(), json.RawMessage(config)); err != nil {
		b.Fatal(err)
	}
	return c
}

// cpuTime is what this process and its descendants have used so far, on Linux.
func cpuTime() (used time.Duration) {
	parents, times := map[int]int{}, map[int]time.Duration{}
	files, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, file := range files {
		stat, err := os.ReadFile(file)
		if err != nil {
			continue // it has ended
		}
		pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
		parents[pid], _ = strconv.Atoi(fields[1])
		user, _ := strconv.Atoi(fields[11])
		system, _ := strconv.Atoi(fields[12])
		times[pid] = time.Duration(user+system) * 10 * time.Millisecond // ticks of 100 Hz
	}
	for pid, spent := range times {
		for p := pid; p > 1; p = parents[p] {
			if p == os.Getpid() {
				used += spent
				break
			}
		}
	}
	return used
}
