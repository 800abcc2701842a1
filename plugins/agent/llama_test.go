package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nagatha/nagatha-runtime/sdk/sdktest"
)

// startLlama starts the server that "make test-llama" has built, with one of its
// models, and returns its address.
func startLlama(t *testing.T, model string, args ...string) string {
	t.Helper()
	dir := os.Getenv("NAGATHA_LLAMA")
	if dir == "" {
		t.Skip("SKIPPED: needs a llama.cpp server: make test-llama")
	}
	// More than one thread spins where others want to work too.
	return "http" + startServer(t, "listening on http", filepath.Join(dir, "llama-server"), append([]string{"-m", filepath.Join(dir, model+".gguf"),
		"--host", "127.0.0.1", "--port", "0", "--jinja", "-np", "1", "--threads", "1", "--threads-batch", "1", "--no-warmup"}, args...)...)
}

// choosing adds to each request what makes the model call a tool, which the tiny one
// would never choose to, and temperature 0.
func choosing(t *testing.T, target string, choice any) string {
	u, err := url.Parse(target)
	if err != nil {
		t.Fatal(err)
	}
	proxy := httputil.NewSingleHostReverseProxy(u)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var body map[string]any
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
			t.Error(err)
		}
		body["temperature"] = 0
		if choice != nil {
			body["tool_choice"] = choice
		}
		b, _ := json.Marshal(body)
		r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(b)), int64(len(b))
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(s.Close)
	return s.URL
}

// A real server, with a real if tiny model: text, a tool call and a conversation that
// is too long, in both formats, which it speaks both.
func TestLlama(t *testing.T) {
	chat, tools := startLlama(t, "chat", "-c", "512"), startLlama(t, "tools", "-c", "8192")
	for provider, choice := range map[string]any{"openai": "required", "anthropic": map[string]string{"type": "any"}} {
		t.Run(provider, func(t *testing.T) {
			host := sdktest.NewHost()
			config := modelConfig{Provider: provider, BaseURL: choosing(t, chat, nil) + "/v1", MaxTokens: 50}
			got := ask(t.Context(), t, config, host, Request{}, nil)
			if got.err != nil || got.Message.Text != "Hello from a tiny real model." || got.Stop != stopEnd || len(got.deltas) < 3 {
				t.Errorf("%+v, %v", got.Reply, got.err)
			}
			if got.Usage == nil || got.Usage.InputTokens < 5 || got.Usage.OutputTokens < 5 {
				t.Errorf("usage %+v", got.Usage)
			}
			got = ask(t.Context(), t, config, host, Request{MaxTokens: 3}, nil)
			if got.err != nil || got.Stop != stopLength || !strings.HasPrefix(got.Message.Text, "Hello from") {
				t.Errorf("cut: %+v, %v", got.Reply, got.err)
			}
			got = ask(t.Context(), t, config, host, Request{Messages: []Message{{Role: "user", Text: strings.Repeat("many words ", 500)}}}, nil)
			if !errors.Is(got.err, errContextLength) {
				t.Errorf("too long: %+v, %v", got.Reply, got.err)
			}

			config.BaseURL = choosing(t, tools, choice) + "/v1"
			req := Request{Messages: []Message{{Role: "user", Text: "weather in Rome?"}}, MaxTokens: 200, Tools: []Tool{{Name: "get_weather", Description: "Tells the weather.",
				Schema: json.RawMessage(`{"type":"object","properties":{"city":{"type":"string","enum":["Rome"]}},"required":["city"]}`)}}}
			got = ask(t.Context(), t, config, host, req, nil)
			if got.err != nil || got.Stop != stopToolCalls || len(got.Message.Calls) != 1 {
				t.Fatalf("%+v, %v", got.Reply, got.err)
			}
			call := got.Message.Calls[0]
			var args struct{ City string }
			if err := json.Unmarshal([]byte(call.Arguments), &args); err != nil || call.Name != "get_weather" || args.City != "Rome" || call.ID == "" {
				t.Errorf("%+v, %v", call, err)
			}
			// The same conversation with the result, and with a call that was cut, which
			// the server would fail on if it were sent as it is.
			req.Messages = append(req.Messages, got.Message, Message{Role: "tool", CallID: call.ID, Text: "21C"},
				Message{Role: "assistant", Calls: []ToolCall{{"cut", "get_weather", `{"city":"Ro`}}}, Message{Role: "tool", CallID: "cut", Text: "not JSON", IsError: true})
			got = ask(t.Context(), t, config, host, req, nil)
			if got.err != nil || got.Stop != stopToolCalls {
				t.Errorf("%+v, %v", got.Reply, got.err)
			}
		})
	}
}
