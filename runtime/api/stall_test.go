package api_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/nagatha/nagatha-runtime/runtime/api"
)

// A request whose body nobody wants is answered although the body never comes: otherwise
// whoever can reach the port could hold as many connections as they like, for ever.
func TestBodyNobodyReads(t *testing.T) {
	w := start(t, func(c *api.Config) { c.BodyTimeout = 50 * time.Millisecond })
	for _, c := range []struct {
		head   string
		status int
	}{
		{"POST /api/v1/tasks HTTP/1.1\r\n", http.StatusUnauthorized},
		{"POST /api/v1/tasks HTTP/1.1\r\nAuthorization: Bearer wrong\r\n", http.StatusUnauthorized},
		{"POST /nowhere HTTP/1.1\r\nAuthorization: Bearer " + token + "\r\n", http.StatusNotFound},
		{"GET /healthz HTTP/1.1\r\n", http.StatusOK},
		{"GET /api/v1/system HTTP/1.1\r\nAuthorization: Bearer " + token + "\r\n", http.StatusOK},
	} {
		nc := w.tcp()
		fmt.Fprintf(nc, "%sHost: %s\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n", c.head, w.addr)
		r := bufio.NewReader(nc)
		resp, err := http.ReadResponse(r, nil)
		if err != nil {
			t.Fatalf("%q: %v", c.head, err)
		}
		if resp.StatusCode != c.status {
			t.Errorf("%q: %d, want %d", c.head, resp.StatusCode, c.status)
		}
		if _, err := io.Copy(io.Discard, resp.Body); err != nil {
			t.Errorf("%q: %v", c.head, err)
		}
		if _, err := r.ReadByte(); err != io.EOF {
			t.Errorf("%q: the connection is still there: %v", c.head, err)
		}
	}
}

// A client that asks for much and does not read it is given up.
func TestAnswerNobodyReads(t *testing.T) {
	w := start(t, func(c *api.Config) {
		c.WriteTimeout = time.Second
		c.Limits.FrameBytes = 64 << 20
	})
	c := w.dial()
	for range 100 {
		c.call("task.submit", `{"kind":"nobody.there","payload":"`+strings.Repeat("x", 200_000)+`"}`, nil)
	}
	nc := w.tcp()
	if err := nc.(*net.TCPConn).SetReadBuffer(16 << 10); err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(nc, "GET /api/v1/tasks?limit=1000 HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\n\r\n", w.addr, token)
	until(t, "the server gives up", func() bool {
		_, text := w.http(http.MethodGet, "/metrics", "", nil)
		return strings.Contains(string(text), `nagatha_http_request_seconds_count{route="GET /api/v1/tasks",status="200"} 1`)
	})
	// Who reads, however slowly, gets it all.
	resp, text := w.http(http.MethodGet, "/api/v1/tasks?limit=1000", "", nil)
	if resp.StatusCode != http.StatusOK || len(text) < 100*200_000 {
		t.Errorf("%d, %d bytes", resp.StatusCode, len(text))
	}
}

// tcp is a plain connection to the server.
func (w *world) tcp() net.Conn {
	w.t.Helper()
	nc, err := net.Dial("tcp", w.addr)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { nc.Close() })
	if err := nc.SetDeadline(time.Now().Add(patience)); err != nil {
		w.t.Fatal(err)
	}
	return nc
}
