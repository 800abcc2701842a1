package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nagatha/nagatha-runtime/sdk"
	"github.com/nagatha/nagatha-runtime/sdk/sdktest"
)

// answer is what a faulty model server does with one request.
type answer func(w http.ResponseWriter, r *http.Request)

// faults answers the n-th request with the n-th answer, and every later one with the
// last. It keeps what it was asked.
type faults struct {
	*httptest.Server
	mu     sync.Mutex
	bodies []map[string]any
	header http.Header
}

func serveFaults(t *testing.T, answers ...answer) *faults {
	f := &faults{}
	f.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		var body map[string]any
		_ = json.Unmarshal(b, &body)
		f.mu.Lock()
		n := len(f.bodies)
		f.bodies, f.header = append(f.bodies, body), r.Header
		f.mu.Unlock()
		answers[min(n, len(answers)-1)](w, r)
	}))
	t.Cleanup(f.Close)
	return f
}

func (f *faults) requests() []map[string]any {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.bodies
}

func status(code int, body string, header ...string) answer {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		for i := 0; i < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.WriteHeader(code)
		_, _ = io.WriteString(w, body)
	}
}

func recorded(t *testing.T, name string) answer {
	b, err := os.ReadFile("testdata/streams/" + name + ".sse")
	if err != nil {
		t.Fatal(err)
	}
	return stream(string(b))
}

func stream(events string) answer {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
		_, _ = io.WriteString(w, events)
		w.(http.Flusher).Flush()
	}
}

// then breaks the connection off after an answer.
func (a answer) then(what func(r *http.Request)) answer {
	return func(w http.ResponseWriter, r *http.Request) {
		a(w, r)
		what(r)
	}
}

func hangUp(*http.Request)  { panic(http.ErrAbortHandler) }
func stall(r *http.Request) { <-r.Context().Done() }

const halfText = `data: {"choices":[{"index":0,"delta":{"content":"Half a"}}]}` + "\n\n"

type called struct {
	Reply
	err    error
	deltas []Delta
	waits  []time.Duration // between tries
}

// ask makes a call with a client that does not really wait between tries.
func ask(ctx context.Context, t *testing.T, c modelConfig, host *sdktest.Host, req Request, on func(Delta)) called {
	t.Helper()
	if c.Model == "" {
		c.Model = "m"
	}
	m, err := newModel(c)
	if err != nil {
		t.Fatal(err)
	}
	var out called
	client := m.(*modelClient)
	client.random = func() float64 { return 0.5 }
	client.wait = func(ctx context.Context, d time.Duration) error {
		out.waits = append(out.waits, d)
		return context.Cause(ctx)
	}
	if req.Messages == nil {
		req.Messages = []Message{{Role: "user", Text: "hello"}}
	}
	out.Reply, out.err = m.Stream(ctx, host, req, func(d Delta) {
		out.deltas = append(out.deltas, d)
		if on != nil {
			on(d)
		}
	})
	return out
}

func TestRetries(t *testing.T) {
	hi, busy := recorded(t, "openai/no-usage"), status(503, `{"error":{"message":"busy"}}`)
	half := stream(halfText)
	for name, tt := range map[string]struct {
		answers []answer
		tries   int
		text    string
		code    sdk.Code // "": it worked
		waits   []time.Duration
		after   time.Duration
	}{
		"at once":                {[]answer{hi}, 1, "Hi", "", nil, 0},
		"500 and 503":            {[]answer{status(500, ""), busy, hi}, 3, "Hi", "", []time.Duration{375 * time.Millisecond, 750 * time.Millisecond}, 0},
		"529":                    {[]answer{status(529, `{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}`), hi}, 2, "Hi", "", nil, 0},
		"always 500":             {[]answer{busy}, 3, "", sdk.CodeUnavailable, nil, 0},
		"hangs up":               {[]answer{status(200, "").then(hangUp), hi}, 2, "Hi", "", nil, 0},
		"hangs up at once":       {[]answer{func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, hi}, 2, "Hi", "", nil, 0},
		"ends before a token":    {[]answer{stream(": hello\n\n"), hi}, 2, "Hi", "", nil, 0},
		"error before a token":   {[]answer{stream("data: {\"error\":{\"message\":\"busy\",\"type\":\"overloaded_error\"}}\n\n"), hi}, 2, "Hi", "", nil, 0},
		"malformed":              {[]answer{status(200, "{malformed json"), hi}, 2, "Hi", "", nil, 0},
		"hangs up after a token": {[]answer{half.then(hangUp), hi}, 1, "Half a", sdk.CodeUnavailable, nil, 0},
		"ends after a token":     {[]answer{half, hi}, 1, "Half a", sdk.CodeUnavailable, nil, 0},
		"429 with Retry-After":   {[]answer{status(429, "", "Retry-After", "2"), hi}, 2, "Hi", "", []time.Duration{2250 * time.Millisecond}, 0},
		"429 with milliseconds":  {[]answer{status(429, "", "Retry-After", "2", "retry-after-ms", "120"), hi}, 2, "Hi", "", []time.Duration{135 * time.Millisecond}, 0},
		"429 with a reset": {[]answer{status(429, "", "x-ratelimit-reset-requests", "20ms", "x-ratelimit-remaining-requests", "5",
			"x-ratelimit-reset-tokens", "4s", "x-ratelimit-remaining-tokens", "0"), hi}, 2, "Hi", "", []time.Duration{4500 * time.Millisecond}, 0},
		"503 with Retry-After": {[]answer{status(503, "", "Retry-After", "1"), hi}, 2, "Hi", "", []time.Duration{1125 * time.Millisecond}, 0},
		"429 for a while":      {[]answer{status(429, "", "Retry-After", "6"), hi}, 1, "", sdk.CodeRateLimited, nil, 6 * time.Second},
		"429 for a long time":  {[]answer{status(429, "", "Retry-After", "600"), hi}, 1, "", sdk.CodeRateLimited, nil, 10 * time.Minute},
		"no credit":            {[]answer{status(429, `{"error":{"code":"insufficient_quota","message":"pay"}}`), hi}, 1, "", sdk.CodeUnavailable, nil, 0},
		"400":                  {[]answer{status(400, `{"error":"bad"}`), hi}, 1, "", sdk.CodeInvalid, nil, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := serveFaults(t, tt.answers...)
			got := ask(t.Context(), t, modelConfig{BaseURL: s.URL + "/v1"}, sdktest.NewHost(), Request{}, nil)
			if len(s.requests()) != tt.tries || got.Message.Text != tt.text || sdk.CodeOf(got.err) != tt.code || (got.err == nil) != (tt.code == "") {
				t.Fatalf("%d requests, %q, %v", len(s.requests()), got.Message.Text, got.err)
			}
			if len(got.waits) != tt.tries-1 || tt.waits != nil && !reflect.DeepEqual(got.waits, tt.waits) {
				t.Errorf("waited %v", got.waits)
			}
			if got.err != nil && strings.Count(got.err.Error(), tt.code) != 1 {
				t.Errorf("the code is told twice: %v", got.err)
			}
			if got.err != nil && sdk.AsError(got.err).After != tt.after {
				t.Errorf("after %v", sdk.AsError(got.err).After)
			}
		})
	}
}

// A server that is down gets a few requests more with each attempt of the turn, and
// then the turn ends with an error that says what is wrong and may be tried again.
func TestDeadServer(t *testing.T) {
	s := serveFaults(t, status(503, `{"error":{"message":"no model is loaded"}}`))
	w := setup(t, fmt.Sprintf(`{"model":"m","base_url":%q}`, s.URL+"/v1"))
	client, err := newModel(modelConfig{BaseURL: s.URL + "/v1", Model: "m"})
	if err != nil {
		t.Fatal(err)
	}
	client.(*modelClient).wait = func(context.Context, time.Duration) error { return nil }
	w.agent.model = client
	task := w.task("chat", `{"session":"s","message":"hi"}`)
	for task.Attempt = 1; task.Attempt <= task.MaxAttempts; task.Attempt++ {
		w.rerun()
		if _, err = w.handle(t.Context(), task); err == nil {
			t.Fatal("no error")
		}
		if n := len(s.requests()); n != maxTries+task.Attempt-1 {
			t.Errorf("after attempt %d: %d requests", task.Attempt, n)
		}
	}
	if e := sdk.AsError(err); e.Code != sdk.CodeUnavailable || !e.Retryable || !strings.Contains(e.Message, "no model is loaded") {
		t.Errorf("%+v", e)
	}
	w.wantKept("s", "user: hi")
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
			sdk.CodeLimitExceeded, "lower max_tokens", nil},
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

func TestUnreachable(t *testing.T) {
	s := httptest.NewServer(nil)
	s.Close()
	got := ask(t.Context(), t, modelConfig{BaseURL: s.URL}, sdktest.NewHost(), Request{}, nil)
	if sdk.CodeOf(got.err) != sdk.CodeUnavailable || !strings.Contains(got.err.Error(), "is it running") || len(got.waits) != 2 {
		t.Errorf("after %d waits: %v", len(got.waits), got.err)
	}
	host := sdktest.NewHost()
	host.Denied[sdk.OpHTTPStart] = true
	got = ask(t.Context(), t, modelConfig{BaseURL: "http://127.0.0.1:11434/v1"}, host, Request{}, nil)
	if want := `add "127.0.0.1:11434" to http in the grant of plugin "agent"`; sdk.CodeOf(got.err) != sdk.CodeCapabilityDenied || !strings.Contains(got.err.Error(), want) {
		t.Errorf("got %v", got.err)
	}
	m, err := newModel(modelConfig{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.Stream(t.Context(), host, Request{}, nil); sdk.CodeOf(err) != sdk.CodeInvalid || !strings.Contains(err.Error(), "model") {
		t.Errorf("without a model: %v", err)
	}
}

// A server that goes silent is given up, with what it had said.
func TestIdle(t *testing.T) {
	for name, tt := range map[string]struct {
		answer answer
		text   string
	}{
		"before the header": {answer(nothingWritten).then(stall), ""},
		"before a token":    {stream(": hello\n\n").then(stall), ""},
		"after a token":     {stream(halfText).then(stall), "Half a"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := serveFaults(t, tt.answer)
			got := ask(t.Context(), t, modelConfig{BaseURL: s.URL, IdleTimeout: 200 * time.Millisecond}, sdktest.NewHost(), Request{}, nil)
			if !errors.Is(got.err, errTruncated) || sdk.CodeOf(got.err) != sdk.CodeUnavailable || !strings.Contains(got.err.Error(), "idle_timeout") {
				t.Errorf("got %v", got.err)
			}
			if got.Message.Text != tt.text || len(s.requests()) != 1 {
				t.Errorf("%q after %d requests", got.Message.Text, len(s.requests()))
			}
		})
	}
}

func nothingWritten(http.ResponseWriter, *http.Request) {}

// slowHost is a host whose HTTP answers come in pieces, with pauses before them.
type slowHost struct {
	*sdktest.Host
	pause  time.Duration
	pieces []string
}

func (h *slowHost) Call(ctx context.Context, op string, request []byte) ([]byte, error) {
	switch op {
	case sdk.OpHTTPStart:
		return json.Marshal(sdk.HTTPStartReply{Status: 200, Header: http.Header{"Content-Type": {"text/event-stream"}}})
	case sdk.OpHTTPRead:
		if err := pause(ctx, h.pause); err != nil || len(h.pieces) == 0 {
			return nil, err
		}
		piece := h.pieces[0]
		h.pieces = h.pieces[1:]
		return []byte(piece), nil
	}
	return h.Host.Call(ctx, op, request)
}

// A comment now and then is a sign of life.
func TestNotIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pieces := slices.Repeat([]string{": still thinking\n\n"}, 20)
		pieces = append(pieces, `data: {"choices":[{"delta":{"content":"42"},"finish_reason":"stop"}]}`+"\n\n", "data: [DONE]\n\n")
		m, err := newModel(modelConfig{Model: "m"})
		if err != nil {
			t.Fatal(err)
		}
		r, err := m.Stream(t.Context(), &slowHost{sdktest.NewHost(), defaultIdle - time.Second, pieces}, Request{}, nil)
		if err != nil || r.Message.Text != "42" {
			t.Errorf("%q, %v", r.Message.Text, err)
		}
		_, err = m.Stream(t.Context(), &slowHost{sdktest.NewHost(), defaultIdle + time.Second, pieces}, Request{}, nil)
		if !errors.Is(err, errIdle) {
			t.Errorf("after longer pauses: %v", err)
		}
	})
}

// Cancelling keeps what had arrived, and the server sees the connection go.
func TestCancel(t *testing.T) {
	gone := make(chan struct{})
	s := serveFaults(t, stream(halfText).then(func(r *http.Request) { <-r.Context().Done(); close(gone) }))
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("the user pressed stop")
	got := ask(ctx, t, modelConfig{BaseURL: s.URL}, sdktest.NewHost(), Request{}, func(Delta) { cancel(why) })
	if !errors.Is(got.err, why) || got.Message.Text != "Half a" || got.Stop != "" {
		t.Errorf("%q, %v", got.Message.Text, got.err)
	}
	select {
	case <-gone:
	case <-time.After(time.Minute):
		t.Error("the connection stays open")
	}
	// And while it waits for another try.
	s = serveFaults(t, status(500, ""))
	m, err := newModel(modelConfig{BaseURL: s.URL, Model: "m"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel = context.WithCancelCause(t.Context())
	m.(*modelClient).wait = func(ctx context.Context, _ time.Duration) error {
		cancel(why)
		return pause(ctx, time.Hour)
	}
	if _, err := m.Stream(ctx, sdktest.NewHost(), Request{}, nil); !errors.Is(err, why) {
		t.Errorf("got %v", err)
	}
}

// Waiting longer than the task may take is left out.
func TestNoTimeToRetry(t *testing.T) {
	s := serveFaults(t, status(429, "", "Retry-After", "20"))
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	got := ask(ctx, t, modelConfig{BaseURL: s.URL}, sdktest.NewHost(), Request{}, nil)
	if e := sdk.AsError(got.err); len(got.waits) != 0 || e.Code != sdk.CodeRateLimited || e.After != 20*time.Second {
		t.Errorf("%v, after %v, waited %v", got.err, e.After, got.waits)
	}
}

// Servers that know only one name of a limit, or no usage, are followed, and that is
// remembered.
func TestOtherForms(t *testing.T) {
	picky := func(refused, message, param string) (*faults, Model) {
		var s *faults
		hi := recorded(t, "openai/text")
		s = serveFaults(t, func(w http.ResponseWriter, r *http.Request) {
			all := s.requests()
			if _, has := all[len(all)-1][refused]; has {
				status(400, fmt.Sprintf(`{"error":{"message":%q,"param":%q}}`, message, param))(w, r)
				return
			}
			hi(w, r)
		})
		m, err := newModel(modelConfig{BaseURL: s.URL, Model: "m", MaxTokens: 77})
		if err != nil {
			t.Fatal(err)
		}
		return s, m
	}
	for _, tt := range []struct{ refused, message, param, then string }{
		{"max_tokens", "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.", "max_tokens", "max_completion_tokens"},
		{"stream_options", "Extra inputs are not permitted: stream_options", "", "max_tokens"},
	} {
		s, m := picky(tt.refused, tt.message, tt.param)
		for range 2 {
			r, err := m.Stream(t.Context(), sdktest.NewHost(), Request{}, nil)
			if err != nil || !strings.HasPrefix(r.Message.Text, "Hello") {
				t.Fatalf("%s: %q, %v", tt.refused, r.Message.Text, err)
			}
		}
		all := s.requests()
		if last := all[len(all)-1]; len(all) != 3 || last[tt.then] != 77.0 {
			t.Errorf("%s: %d requests, the last %v", tt.refused, len(all), last)
		}
	}
	// One that refuses whatever it is sent is not asked for ever.
	s := serveFaults(t, status(400, `{"error":{"message":"unknown field max_tokens"}}`), status(400, `{"error":{"message":"unknown field max_completion_tokens"}}`),
		status(400, `{"error":{"message":"unknown field max_tokens"}}`))
	got := ask(t.Context(), t, modelConfig{BaseURL: s.URL, MaxTokens: 5}, sdktest.NewHost(), Request{}, nil)
	if sdk.CodeOf(got.err) != sdk.CodeInvalid || len(s.requests()) != 1+maxForms {
		t.Errorf("%d requests: %v", len(s.requests()), got.err)
	}
}

// Some servers do not stream, though asked to.
func TestWhole(t *testing.T) {
	for name, tt := range map[string]struct {
		provider, body, text, stop string
		calls                      int
		usage                      Usage
	}{
		"openai": {"openai", `{"model":"m-2","choices":[{"index":0,"message":{"role":"assistant","content":null,"tool_calls":[{"id":"a","type":"function","function":{"name":"f","arguments":"{}"}}]},"finish_reason":"tool_calls"}],"usage":{"prompt_tokens":3,"completion_tokens":4}}`,
			"", stopToolCalls, 1, Usage{3, 4, 0}},
		"anthropic": {"anthropic", `{"type":"message","model":"m-2","content":[{"type":"text","text":"Hi"},{"type":"tool_use","id":"a","name":"f","input":{"n":1}}],"stop_reason":"tool_use","usage":{"input_tokens":3,"output_tokens":4,"cache_read_input_tokens":2}}`,
			"Hi", stopToolCalls, 1, Usage{5, 4, 2}},
	} {
		s := serveFaults(t, status(200, tt.body))
		got := ask(t.Context(), t, modelConfig{Provider: tt.provider, BaseURL: s.URL}, sdktest.NewHost(), Request{}, nil)
		if got.err != nil || got.Message.Text != tt.text || got.Stop != tt.stop || len(got.Message.Calls) != tt.calls || got.Usage == nil || *got.Usage != tt.usage || got.Model != "m-2" {
			t.Errorf("%s: %+v, %v", name, got.Reply, got.err)
		}
	}
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 11, 25, 21, 0, 0, 0, time.UTC)
	for value, want := range map[string]time.Duration{
		"5": 5 * time.Second, "0.25": 250 * time.Millisecond, "6m0s": 6 * time.Minute, "20ms": 20 * time.Millisecond,
		"Wed, 25 Nov 2026 21:00:07 GMT": 7 * time.Second, "Wed, 25 Nov 2026 20:00:00 GMT": 0,
		"2026-11-25T21:00:09Z": 9 * time.Second, "1795640411": 11 * time.Second, "1795640412500": 12500 * time.Millisecond,
		"": 0, "soon": 0, "-1": 0, "NaN": 0, "1e300": 0, "0": 0,
	} {
		if got := retryAfter(map[string][]string{"retry-after": {value}}, now); got != want {
			t.Errorf("%q: %v, want %v", value, got, want)
		}
		if got := retryAfter(map[string][]string{"X-Ratelimit-Reset": {value}}, now); got != want {
			t.Errorf("reset %q: %v, want %v", value, got, want)
		}
	}
}

func TestModelConfig(t *testing.T) {
	for _, tt := range []struct{ provider, base, url string }{
		{"", "", "https://api.openai.com/v1/chat/completions"},
		{"openai", "http://127.0.0.1:11434/v1/", "http://127.0.0.1:11434/v1/chat/completions"},
		{"openai", "http://h/v1/chat/completions", "http://h/v1/chat/completions"},
		{"anthropic", "", "https://api.anthropic.com/v1/messages"},
		{"anthropic", "https://api.anthropic.com", "https://api.anthropic.com/v1/messages"},
		{"anthropic", "http://h/api/v1", "http://h/api/v1/messages"},
	} {
		m, err := newModel(modelConfig{Provider: tt.provider, BaseURL: tt.base})
		if err != nil || m.(*modelClient).url != tt.url {
			t.Errorf("%s %s: %v, %v", tt.provider, tt.base, m, err)
		}
	}
	for _, c := range []modelConfig{{Provider: "gemini"}, {BaseURL: "localhost:11434"}, {BaseURL: "http://u:p@h/"}, {BaseURL: "http://h/?key=1"}, {BaseURL: "ftp://h"}, {IdleTimeout: -1}, {MaxTokens: -1}} {
		if _, err := newModel(c); sdk.CodeOf(err) != sdk.CodeInvalid {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

// The time from the first byte that the server sends of a reply to the first delta.
func BenchmarkFirstDelta(b *testing.B) {
	sent := make(chan time.Time, 1)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		sent <- time.Now()
		_, _ = io.WriteString(w, halfText)
		w.(http.Flusher).Flush()
		_, _ = io.WriteString(w, "data: [DONE]\n\n")
	}))
	defer s.Close()
	m, err := newModel(modelConfig{BaseURL: s.URL, Model: "m"})
	if err != nil {
		b.Fatal(err)
	}
	host := sdktest.NewHost()
	var total time.Duration
	for b.Loop() {
		first := true
		_, err := m.Stream(b.Context(), host, Request{}, func(Delta) {
			if first {
				total += time.Since(<-sent)
				first = false
			}
		})
		if err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(total.Microseconds())/float64(b.N), "µs/first-delta")
}

// What the parsers themselves cost.
func BenchmarkParse(b *testing.B) {
	for name, f := range formats() {
		var stream []byte
		for _, file := range []string{"text", "parallel"} {
			data, err := os.ReadFile("testdata/streams/" + name + "/" + file + ".sse")
			if err != nil {
				b.Fatal(err)
			}
			stream = append(stream, data...)
		}
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(stream)))
			for b.Loop() {
				p := f.parser(&replyBuilder{})
				r := newSSEReader(bytes.NewReader(stream))
				for {
					data, err := r.next()
					if err != nil {
						break
					}
					if _, err := p.event(data); err != nil {
						b.Fatal(err)
					}
				}
			}
		})
	}
}
