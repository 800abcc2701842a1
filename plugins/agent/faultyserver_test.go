package main

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"sync"
	"testing"
	"time"

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
