package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/nagatha/nagatha-runtime/sdk"
	"github.com/nagatha/nagatha-runtime/sdk/sdktest"
)

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
