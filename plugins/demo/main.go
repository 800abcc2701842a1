// Command demo is a plugin that shows every service of the host in the fewest
// lines, and is the test bed of both carriers.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/nagatha/nagatha-runtime/sdk"
	"github.com/nagatha/nagatha-runtime/sdk/serve"
)

func main() { serve.Main(plugin()) }

func plugin() sdk.Plugin {
	return sdk.New(sdk.Info{
		Name: "demo", Version: "1.0.0", Description: "Shows what a plugin can do.",
		Capabilities:  []string{"publish", "http", "store", "submit", "await", "approve"},
		Subscriptions: []sdk.Subscription{{Type: "demo.ping", Kind: "demo.pong"}},
	},
		sdk.Func(reads("echo", "Returns its payload.", `{}`, `{}`, `{"hello":"world"}`), echo),
		sdk.Func(reads("countdown", "Takes some steps, telling how far it is.",
			`{"type":"object","additionalProperties":false,"properties":{
				"steps":{"type":"integer","minimum":0,"maximum":100000,"default":10},
				"interval":{"type":"string","default":"100ms","description":"between two steps"}}}`,
			`{"type":"object","required":["steps"],"properties":{"steps":{"type":"integer"}}}`,
			`{"steps":3,"interval":"10ms"}`), countdown),
		sdk.Func(reads("stream", "Streams a text as output.",
			`{"type":"object","additionalProperties":false,"required":["text"],"properties":{
				"text":{"type":"string"},
				"chunk":{"type":"integer","minimum":1,"default":8,"description":"characters at a time"},
				"interval":{"type":"string","default":"0s"}}}`,
			`{"type":"object","required":["characters"],"properties":{"characters":{"type":"integer"}}}`,
			`{"text":"Hello, world"}`), stream),
		sdk.Func(reads("fail", "Fails the first attempts, or for good.",
			`{"type":"object","additionalProperties":false,"properties":{
				"times":{"type":"integer","minimum":0,"default":0,"description":"0: every attempt"},
				"permanent":{"type":"boolean"},
				"message":{"type":"string"}}}`,
			`{"type":"object","required":["attempts"],"properties":{"attempts":{"type":"integer"}}}`,
			`{"times":1}`), fail),
		sdk.Func(kind("crash", "Ends badly.",
			`{"type":"object","additionalProperties":false,"required":["how"],"properties":{
				"how":{"enum":["panic","exit","oom","spin","deadlock"]}}}`,
			`{}`, `{"how":"panic"}`), crash),
		sdk.Func(reads("fetch", "Fetches a URL through the host; needs the grant http.",
			`{"type":"object","additionalProperties":false,"required":["url"],"properties":{"url":{"type":"string"}}}`,
			`{"type":"object","required":["status","headers","body"],"properties":{
				"status":{"type":"integer"},"headers":{"type":"object"},"body":{"type":"string"}}}`,
			`{"url":"http://127.0.0.1:8080/"}`), fetch),
		sdk.Func(kind("publish", "Publishes an event; needs the grant publish.",
			`{"type":"object","additionalProperties":false,"required":["type"],"properties":{"type":{"type":"string"},"data":{}}}`,
			`{"type":"object","required":["id"],"properties":{"id":{"type":"string"}}}`,
			`{"type":"demo.ping","data":{"n":1}}`), publish),
		sdk.Func(kind("fanout", "Submits children, waits for them and returns their results in order; needs the grant submit.",
			`{"type":"object","additionalProperties":false,"properties":{
				"children":{"type":"integer","minimum":0,"maximum":1000,"default":4},
				"kind":{"type":"string","default":"demo.echo"},
				"payload":{}}}`,
			`{"type":"object","required":["results"],"properties":{"results":{"type":"array"}}}`,
			`{"children":2,"kind":"demo.echo","payload":{"n":1}}`), fanout),
		sdk.Func(kind("steps", "Takes recorded steps, each of which is done once whatever happens in between; needs the grant store.",
			`{"type":"object","additionalProperties":false,"properties":{
				"steps":{"type":"integer","minimum":1,"maximum":1000,"default":5},
				"crash_after":{"type":"integer","minimum":0,"description":"the first attempt ends its process or instance after so many steps; 0: it does not"}}}`,
			`{"type":"object","required":["steps","ran"],"properties":{
				"steps":{"type":"integer"},
				"ran":{"type":"array","items":{"type":"integer"},"description":"how often each step was done"}}}`,
			`{"steps":3}`), steps),
		sdk.Func(kind("wait", "Waits for a signal and returns its data; needs the grant await.",
			`{"type":"object","additionalProperties":false,"required":["signal"],"properties":{
				"signal":{"type":"string","minLength":1},
				"timeout":{"type":"string","description":"give up after that"}}}`,
			`{"description":"the data of the signal"}`, `{"signal":"go"}`), wait),
		sdk.Func(kind("together", "Runs a child and waits for a signal at the same time; needs the grants submit and await.",
			`{"type":"object","additionalProperties":false,"required":["signal"],"properties":{"signal":{"type":"string","minLength":1}}}`,
			`{"type":"object","required":["child","signal"],"properties":{"child":{},"signal":{}}}`, `{"signal":"go"}`), together),
		sdk.Func(kind("ask", "Waits for a person's approval; needs the grant approve.",
			`{"type":"object","additionalProperties":false,"required":["question"],"properties":{
				"question":{"type":"string","minLength":1},
				"detail":{},
				"timeout":{"type":"string","description":"a rejection after that"}}}`,
			`{"type":"object","required":["approved"],"properties":{"approved":{"type":"boolean"}}}`,
			`{"question":"May I?"}`), ask),
		sdk.Func(reads("kinds", "Lists the kinds that this plugin may submit; needs the grant submit.",
			`{"type":"object","additionalProperties":false}`,
			`{"type":"object","required":["kinds"],"properties":{"kinds":{"type":"array","items":{"type":"object","required":["kind","plugin","available"]}}}}`,
			`{}`), kinds),
		sdk.Func(reads("pong", "Returns the event that started it.",
			`{"type":"object","additionalProperties":false,"required":["event"],"properties":{"event":{"type":"object"}}}`,
			`{"type":"object"}`, `{"event":{"id":"1","source":"me","type":"demo.ping"}}`), pong),
	)
}

func kind(name, description, payload, result, example string) sdk.HandlerInfo {
	return sdk.HandlerInfo{Kind: "demo." + name, Description: description,
		PayloadSchema: json.RawMessage(payload), ResultSchema: json.RawMessage(result), Example: json.RawMessage(example)}
}

// reads is a kind that changes nothing, so that a call may be repeated.
func reads(name, description, payload, result, example string) sdk.HandlerInfo {
	h := kind(name, description, payload, result, example)
	h.ReadOnly = true
	return h
}

func echo(_ context.Context, _ sdk.Host, in json.RawMessage) (json.RawMessage, error) { return in, nil }

func countdown(ctx context.Context, host sdk.Host, in struct {
	Steps    *int          `json:"steps"`
	Interval *sdk.Duration `json:"interval"`
}) (any, error) {
	steps, interval := 10, 100*time.Millisecond
	if in.Steps != nil {
		steps = *in.Steps
	}
	if in.Interval != nil {
		interval = in.Interval.Std()
	}
	for i := 1; i <= steps; i++ {
		if err := pause(ctx, interval); err != nil {
			return nil, err
		}
		host.Progress(float64(i), float64(steps), fmt.Sprintf("step %d", i))
		host.Output("stdout", fmt.Appendf(nil, "step %d of %d\n", i, steps))
	}
	return map[string]int{"steps": steps}, nil
}

// pause waits, or returns why the handler should stop.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func stream(ctx context.Context, host sdk.Host, in struct {
	Text     string       `json:"text"`
	Chunk    int          `json:"chunk"`
	Interval sdk.Duration `json:"interval"`
}) (any, error) {
	if in.Chunk == 0 {
		in.Chunk = 8
	}
	text := []rune(in.Text)
	for rest := text; len(rest) > 0; {
		n := min(in.Chunk, len(rest))
		host.Output("text", []byte(string(rest[:n])))
		rest = rest[n:]
		if err := pause(ctx, in.Interval.Std()); err != nil {
			return nil, err
		}
	}
	return map[string]int{"characters": len(text)}, nil
}

func fail(ctx context.Context, _ sdk.Host, in struct {
	Times     int    `json:"times"`
	Permanent bool   `json:"permanent"`
	Message   string `json:"message"`
}) (any, error) {
	attempt := sdk.TaskFrom(ctx).Attempt
	if in.Times > 0 && attempt > in.Times {
		return map[string]int{"attempts": attempt}, nil
	}
	if in.Message == "" {
		in.Message = "failed as asked"
	}
	err := errors.New(in.Message)
	if in.Permanent {
		return nil, sdk.Permanent(err)
	}
	return nil, err
}

func crash(_ context.Context, _ sdk.Host, in struct {
	How string `json:"how"`
}) (any, error) {
	switch in.How {
	case "panic":
		panic("panicked as asked")
	case "exit":
		os.Exit(3)
	case "oom":
		return nil, exhaust(1 << 30)
	case "spin":
		for i := 0; ; i++ {
			_ = i
		}
	case "deadlock":
		select {}
	}
	return nil, nil
}

// exhaust takes memory until there is none, or until it has taken so much that
// there is evidently no limit.
func exhaust(most int) error {
	var held [][]byte
	for taken := 0; taken < most; taken += 8 << 20 {
		b := make([]byte, 8<<20)
		for i := 0; i < len(b); i += 4096 {
			b[i] = 1
		}
		held = append(held, b)
	}
	return fmt.Errorf("took %d blocks of 8 MiB without running out: set limits.memory", len(held))
}

func fetch(ctx context.Context, host sdk.Host, in struct {
	URL string `json:"url"`
}) (any, error) {
	resp, err := sdk.Fetch(ctx, host, sdk.HTTPRequest{URL: in.URL})
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 128<<10))
	if err != nil {
		return nil, err
	}
	return map[string]any{"status": resp.Status, "headers": resp.Header, "body": string(body)}, nil
}

func publish(ctx context.Context, host sdk.Host, in struct {
	Type string          `json:"type"`
	Data json.RawMessage `json:"data"`
}) (any, error) {
	id, err := sdk.Publish(ctx, host, sdk.Event{Type: in.Type, Data: in.Data})
	return map[string]string{"id": id}, err
}

func kinds(ctx context.Context, host sdk.Host, _ struct{}) (any, error) {
	list, err := sdk.Kinds(ctx, host)
	return sdk.KindsReply{Kinds: list}, err
}

func pong(_ context.Context, _ sdk.Host, in struct {
	Event json.RawMessage `json:"event"`
}) (json.RawMessage, error) {
	return in.Event, nil
}
