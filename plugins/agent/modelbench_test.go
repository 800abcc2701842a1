package main

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"testing"
	"time"

	"github.com/nagatha/nagatha-runtime/sdk/sdktest"
)

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
