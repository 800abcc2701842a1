package main

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/nagatha/nagatha-runtime/sdk"
	"github.com/nagatha/nagatha-runtime/sdk/sdktest"
)

// A word in the place of a key takes nothing out of what a server says.
func TestPlaceholderForKey(t *testing.T) {
	const want = "limit exceeded, ask ollama"
	for _, key := range []string{"", "x", "ollama"} {
		if got := parseServerError([]byte(`{"error":{"message":"`+want+`"}}`), key).Message; got != want {
			t.Errorf("key %q: %q", key, got)
		}
	}
}

// What a server says becomes an error that says what to set, and never the key.
func TestRefusals(t *testing.T) {
	for name, tt := range map[string]struct {
		answer answer
		code   sdk.Code
		want   string
		is     error
	}{
		"wrong key": {status(401, `{"error":{"message":"Incorrect API key provided: sk-secret"}}`), sdk.CodeUnauthorized, "check OPENAI_API_KEY in the secrets", nil},
		"no model":  {status(404, `{"error":{"message":"The model m does not exist"}}`), sdk.CodeNotFound, "check model, and base_url", nil},
		"no path":   {status(404, "404 page not found"), sdk.CodeNotFound, "usually ends in /v1", nil},
		"web page": {func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<!DOCTYPE html><html></html>") },
			sdk.CodeInvalid, "text/html and not with an event stream", nil},
		"openai context": {status(400, `{"error":{"message":"This model's maximum context length is 8192 tokens.","type":"invalid_request_error","param":"messages","code":"context_length_exceeded"}}`),
			sdk.CodeLimitExceeded, "context window", errContextLength},
		"llama.cpp context": {status(400, `{"error":{"code":400,"message":"the request exceeds the available context size","type":"exceed_context_size_error","n_prompt_tokens":9000,"n_ctx":8192}}`),
			sdk.CodeLimitExceeded, "context window", errContextLength},
		"vllm context": {status(400, `{"object":"error","message":"This model's maximum context length is 4096 tokens. However, you requested 5000 tokens","type":"BadRequestError","code":400}`),
			sdk.CodeLimitExceeded, "context window", errContextLength},
		"anthropic context": {status(400, `{"type":"error","error":{"type":"invalid_request_error","message":"prompt is too long: 210000 tokens > 200000 maximum"}}`),
			sdk.CodeLimitExceeded, "context window", errContextLength},
		"too large":     {status(413, `{"error":{"type":"request_too_large"}}`), sdk.CodeLimitExceeded, "context window", errContextLength},
		"in the stream": {recorded(t, "openai/error-context"), sdk.CodeLimitExceeded, "context window", errContextLength},
		"fastapi":       {status(422, `{"detail":[{"loc":["body"],"msg":"field required"}]}`), sdk.CodeInvalid, "field required", nil},
		"gemini":        {status(400, `[{"error":{"code":400,"message":"no such field","status":"INVALID_ARGUMENT"}}]`), sdk.CodeInvalid, "no such field", nil},
		"long":          {stream("data: " + strings.Repeat("x", maxEvent+1)), sdk.CodeLimitExceeded, "8 MiB", errTruncated},
		"endless": {stream(strings.Repeat(`data: {"choices":[{"index":0,"delta":{"content":"`+strings.Repeat("x", 1<<20)+"\"}}]}\n\n", 9)),
			sdk.CodeLimitExceeded, "lower max_output_tokens", nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := serveFaults(t, tt.answer)
			host := sdktest.NewHost()
			host.Secrets["OPENAI_API_KEY"] = "sk-secret"
			got := ask(t.Context(), t, modelConfig{BaseURL: s.URL, KeySecret: "OPENAI_API_KEY"}, host, Request{}, nil)
			if got.err == nil || sdk.CodeOf(got.err) != tt.code || !strings.Contains(got.err.Error(), tt.want) || sdk.AsError(got.err).Retryable {
				t.Fatalf("got %v", got.err)
			}
			if tt.is != nil && !errors.Is(got.err, tt.is) {
				t.Errorf("%v is not %v", got.err, tt.is)
			}
			if n := len(s.requests()); n != 1 || strings.Contains(got.err.Error(), "sk-secret") || got.Stop != "" {
				t.Errorf("%d requests: %v", n, got.err)
			}
		})
	}
}
