package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
)

// modelServer speaks OpenAI's format and stops where a test wants it to.
type modelServer struct {
	*httptest.Server
	mu    sync.Mutex
	asked int
	reply func(n int, messages string, say func(chunk string), r *http.Request)
}

func newModelServer(t *testing.T, reply func(n int, messages string, say func(string), r *http.Request)) *modelServer {
	s := &modelServer{reply: reply}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var body struct{ Messages json.RawMessage }
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		s.mu.Lock()
		s.asked++
		n := s.asked
		s.mu.Unlock()
		w.Header().Set("Content-Type", "text/event-stream")
		s.reply(n, string(body.Messages), func(chunk string) {
			_, _ = fmt.Fprintf(w, "data: %s\n\n", chunk)
			w.(http.Flusher).Flush()
		}, r)
	}))
	t.Cleanup(s.Close)
	return s
}

func (s *modelServer) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked
}

func sayText(say func(string), text string) {
	say(fmt.Sprintf(`{"model":"m","choices":[{"index":0,"delta":{"role":"assistant","content":%q}}]}`, text))
}

func sayCalls(say func(string), calls ...[2]string) {
	for i, c := range calls {
		say(fmt.Sprintf(`{"model":"m","choices":[{"index":0,"delta":{"tool_calls":[{"index":%d,"id":"call_%s_%d","type":"function","function":{"name":%q,"arguments":%q}}]}}]}`, i, c[0], i, c[0], c[1]))
	}
	sayEnd(say, "tool_calls")
}

func sayEnd(say func(string), reason string) {
	say(fmt.Sprintf(`{"model":"m","choices":[{"index":0,"delta":{},"finish_reason":%q}]}`, reason))
	say(`{"model":"m","choices":[],"usage":{"prompt_tokens":10,"completion_tokens":5,"total_tokens":15}}`)
	say("[DONE]")
}
