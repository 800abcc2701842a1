package main

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nagatha/nagatha-runtime/sdk"
	"github.com/nagatha/nagatha-runtime/sdk/sdktest"
)

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
