package main

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/nagatha/nagatha-runtime/sdk"
)

// TestRefusedCalls: what a filter cut off is not called.
func TestRefusedCalls(t *testing.T) {
	for _, stop := range []string{stopRefusal, stopLength} {
		w := setup(t, `{}`)
		w.echoes("demo.echo")
		w.model.say = func(int, Request, func(Delta)) (Reply, error) {
			return Reply{Message: Message{Text: "Well", Calls: []ToolCall{toolOf("c1", "demo_echo", "")}}, Stop: stop}, nil
		}
		if m := w.chat("s", "go"); m["stop_reason"] != stop || len(m["tool_calls"].([]any)) != 0 || len(w.ran) != 0 {
			t.Errorf("%s: %v, ran %v", stop, m, w.ran)
		}
	}
}

// TestImpossibleUsage: a count that cannot be is none, and a call does not look free.
func TestImpossibleUsage(t *testing.T) {
	for _, u := range []Usage{{InputTokens: -5, OutputTokens: 3}, {InputTokens: 1e15, OutputTokens: 3}, {InputTokens: 10, OutputTokens: -1}, {InputTokens: 10, OutputTokens: 1, CachedTokens: 11}} {
		w := setup(t, `{}`)
		w.model.say = func(int, Request, func(Delta)) (Reply, error) {
			return Reply{Message: Message{Text: "A longer answer."}, Stop: stopEnd, Usage: &u}, nil
		}
		m := w.chat("s", "go")
		if got := m["usage"].(map[string]any); got["input_tokens"].(float64) < 1 || got["input_tokens"].(float64) > 1000 || got["output_tokens"] != 4.0 || got["cached_tokens"] != 0.0 {
			t.Errorf("%+v: %v", u, got)
		}
	}
}

// TestStoppedBetweenTries: a turn that ends while a refused call waits for another try
// has used nothing.
func TestStoppedBetweenTries(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	down := serveFaults(t, status(503, `{"error":{"message":"down"}}`))
	w := setup(t, `{}`)
	client, err := newModel(modelConfig{BaseURL: down.URL, Model: "m"})
	if err != nil {
		t.Fatal(err)
	}
	client.(*modelClient).wait = func(ctx context.Context, _ time.Duration) error {
		cancel()
		<-ctx.Done()
		return context.Cause(ctx)
	}
	w.agent.model = client
	if _, err := w.handle(ctx, w.task("chat", `{"session":"s","message":"tell"}`)); !errors.Is(err, context.Canceled) {
		t.Fatalf("the turn ended with %v", err)
	}
	if len(w.Published) != 0 || len(down.requests()) != 1 {
		t.Errorf("%d requests, published %+v", len(down.requests()), w.Published)
	}
}

// TestLongAsJSON: characters that JSON writes with six bytes fit, or are cut visibly.
func TestLongAsJSON(t *testing.T) {
	w := setup(t, `{"tool_result_bytes":131072}`)
	odd := strings.Repeat("<\x01", 60_000)
	w.offer("demo.page", sdk.KindInfo{Tool: true}, func(json.RawMessage) (any, *sdk.Error) { return odd, nil })
	w.model.say = script(toolOf("c1", "demo_page", "{}"), odd)
	m := w.chat("s", odd[:90_000])
	if answer := m["response"].(string); !strings.Contains(answer, "[cut here: these are the first") {
		t.Errorf("%.100q", answer)
	}
	if b := mustJSON(m); len(b) > 250<<10 {
		t.Errorf("a result of %d bytes", len(b))
	}
	for _, line := range w.kept("s") {
		if n := len(mustJSON(line)); n < 100<<10 && !strings.HasSuffix(line, "→demo_page") || n > 200<<10 {
			t.Errorf("a message of %d bytes", n)
		}
	}
	plain := strings.Repeat("ä\n", 30_000)
	if got := cutJSON(plain, maxStored, maxStoredJSON); got != plain {
		t.Errorf("%d bytes of plain text were cut to %d", len(plain), len(got))
	}
}
