package main

import (
	"context"
	"fmt"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/nagatha/nagatha-runtime/sdk"
	"github.com/nagatha/nagatha-runtime/sdk/sdktest"
)

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
