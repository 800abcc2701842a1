package api_test

import (
	"context"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/nagatha/nagatha-runtime/runtime/api"
)

func TestCloseCodes(t *testing.T) {
	w := start(t, nil)
	for _, tt := range []struct {
		name      string
		anonymous bool
		do        func(t *testing.T, c *client)
		code      int
		reason    string
	}{
		{"binary", false, func(t *testing.T, c *client) {
			if err := c.ws.Write(t.Context(), websocket.MessageBinary, []byte(`{}`)); err != nil {
				t.Fatal(err)
			}
		}, 1003, "binary"},
		{"bad UTF-8", false, func(_ *testing.T, c *client) {
			c.send("{\"jsonrpc\":\"2.0\",\"id\":\"\xff\xfe\",\"method\":\"ping\"}")
		}, 1007, "UTF-8"},
		{"too large", false, func(_ *testing.T, c *client) {
			// The server may well close before all of it was sent.
			_ = c.trySend(`{"jsonrpc":"2.0","id":1,"method":"ping","params":{"x":"` + strings.Repeat("x", 10<<20) + `"}}`)
		}, 1009, "server.limits.frame_bytes"},
		{"bad token", true, func(t *testing.T, c *client) { c.fails("hello", `{"token":"ngt_nope"}`, "unauthorized", -32001) }, 4500, "credentials"},
		{"no token", true, func(t *testing.T, c *client) { c.fails("hello", `{}`, "unauthorized", -32001) }, 4500, "credentials"},
		{"other method first", true, func(t *testing.T, c *client) { c.fails("ping", `{}`, "unauthorized", -32001) }, 4500, "hello"},
		{"garbage first", true, func(_ *testing.T, c *client) { c.send("GET / HTTP/1.1") }, 4501, "request"},
		{"bad hello", true, func(t *testing.T, c *client) { c.fails("hello", `{"tokn":"x"}`, "invalid", -32602) }, 4501, "hello"},
		{"too large a hello", true, func(_ *testing.T, c *client) {
			_ = c.trySend(`{"jsonrpc":"2.0","id":1,"method":"hello","params":{"token":"` + strings.Repeat("x", 20<<10) + `"}}`)
		}, 1009, "hello"},
		{"too many errors", false, func(_ *testing.T, c *client) {
			for range 100 {
				c.send("nonsense")
			}
		}, 4509, "malformed"},
		{"normal", false, func(t *testing.T, c *client) {
			if err := c.ws.Close(websocket.StatusNormalClosure, "bye"); err != nil {
				t.Errorf("the close was not answered: %v", err)
			}
		}, 0, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dial := w.dial
			if tt.anonymous {
				dial = w.anonymous
			}
			c := dial()
			c.t = t
			tt.do(t, c)
			if tt.code == 0 {
				return
			}
			if code, reason := c.closed(); code != tt.code || !strings.Contains(reason, tt.reason) {
				t.Errorf("closed %d %q, want %d %q", code, reason, tt.code, tt.reason)
			}
		})
	}
	// Nothing of that harms others.
	w.dial().call("ping", `{}`, nil)
	until(t, "all have left", func() bool {
		_, text := w.http(http.MethodGet, "/metrics", "", nil)
		return strings.Contains(string(text), "nagatha_connections 1\n")
	})
}

func TestNoHelloInTime(t *testing.T) {
	w := start(t, func(c *api.Config) { c.HelloTimeout = 50 * time.Millisecond })
	if code, _ := w.anonymous().closed(); code != 4502 {
		t.Errorf("closed %d", code)
	}
	known := w.dial()
	if code, _ := w.anonymous().closed(); code != 4502 {
		t.Errorf("closed %d", code)
	}
	known.call("ping", `{}`, nil) // older than the timeout by now
}

func TestTooManyConnections(t *testing.T) {
	w := start(t, func(c *api.Config) { c.Limits.Connections, c.Limits.Anonymous = 3, 2 })
	first := w.dial()
	w.anonymous()
	shy := w.anonymous()
	_, resp, err := w.dialRaw(nil)
	if err == nil || resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("Content-Type") != "application/problem+json" {
		t.Fatalf("a third silent one: %v", err)
	}
	if code, _ := w.dial().closed(); code != 4504 {
		t.Errorf("closed %d", code)
	}
	resp, text := w.http(http.MethodGet, "/api/v1/tasks/task_1/events", "", http.Header{"Accept": {"text/event-stream"}})
	if p := refused(t, resp, text, http.StatusServiceUnavailable, "unavailable", ""); !p.Retryable || resp.Header.Get("Retry-After") == "" {
		t.Errorf("an event stream: %+v", p)
	}
	shy.call("hello", `{"token":"`+token+`"}`, nil) // counted already
	if err := first.ws.Close(websocket.StatusNormalClosure, ""); err != nil {
		t.Fatal(err)
	}
	until(t, "there is room again", func() bool {
		c, resp, err := w.dialRaw(&websocket.DialOptions{HTTPHeader: bearer()})
		if err != nil {
			t.Fatal(resp, err)
		}
		defer c.CloseNow()
		again := &client{t: t, ws: c}
		again.send(`{"jsonrpc":"2.0","id":1,"method":"ping"}`)
		_, err = again.read()
		return err == nil
	})
}

// However many codes peers close with, and without a token, they do not become as many series.
func TestCodesOfPeers(t *testing.T) {
	w := start(t, nil)
	for _, code := range []websocket.StatusCode{3001, 4001, 4999} {
		if err := w.anonymous().ws.Close(code, ""); err != nil {
			t.Fatal(err)
		}
	}
	until(t, "they are counted as one", func() bool {
		_, text := w.http(http.MethodGet, "/metrics", "", nil)
		return strings.Contains(string(text), `nagatha_ws_closes_total{code="other"} 3`)
	})
}

func TestNoPong(t *testing.T) {
	w := start(t, func(c *api.Config) { c.Heartbeat, c.PongWait = 30*time.Millisecond, 150*time.Millisecond })
	until(t, "a silent one is pinged, and closed", func() bool {
		raw := w.rawDial(bearer())
		if code := raw.closeCode(); code != 4012 {
			t.Errorf("closed %d", code)
		}
		return raw.pings > 0
	})
	// One that answers stays: ten pings take twice as long as the patience
	// with a silent one.
	until(t, "one that answers stays", func() bool { // at once, which a busy machine may prevent
		alive := w.rawDial(bearer())
		for alive.pings < 10 {
			op, payload, err := alive.readFrame()
			if err != nil || op != 9 {
				return false
			}
			alive.pings++
			alive.frame(fin|10, true, string(payload))
		}
		return true
	})
}

func TestSlowIsClosed(t *testing.T) {
	w := start(t, func(c *api.Config) { c.WriteTimeout = 200 * time.Millisecond })
	task := w.finished(`{"kind":"bench.emit","payload":{"n":1500,"size":15000}}`)
	raw := w.rawDial(bearer())
	raw.text(`{"jsonrpc":"2.0","id":1,"method":"subscribe","params":{"task":"` + task.ID + `"}}`)
	until(t, "the server gives up", func() bool {
		_, text := w.http(http.MethodGet, "/metrics", "", nil)
		return strings.Contains(string(text), `nagatha_ws_closes_total{code="4008"} 1`)
	})
	if code := raw.closeCode(); code != 4008 {
		t.Errorf("closed %d", code)
	}
}

func TestShutdown(t *testing.T) {
	w := start(t, nil)
	clients := []*client{w.dial(), w.dial(), w.anonymous()}
	clients[0].call("subscribe", `{"topics":["kind.>"]}`, nil)
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		w.stop()
	}()
	for i, c := range clients {
		code, reason := c.closed()
		if code != 4000 || reason == "" {
			t.Errorf("client %d: closed %d %q", i, code, reason)
		}
		if len(c.notes) != 1 || c.notes[0].Method != "closing" || c.notes[0].Params.RetryAfter < 1000 {
			t.Errorf("client %d: before that came %+v", i, c.notes)
		}
	}
	<-stopped
	if _, err := net.Dial("tcp", w.addr); err == nil {
		t.Error("it still listens")
	}
}

// A peer that neither reads nor closes cannot hold the shutdown up, nor can a
// request that waits.
func TestShutdownIsBounded(t *testing.T) {
	w := start(t, func(c *api.Config) { c.CloseTimeout = 300 * time.Millisecond })
	w.rawDial(bearer())
	_, text := w.http(http.MethodPost, "/api/v1/tasks", `{"kind":"bench.block"}`, nil)
	id := strings.Split(string(text), `"`)[3]
	waiting := make(chan int, 2)
	for _, path := range []string{"?wait=1m", "/events"} {
		go func() {
			req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, w.base+"/api/v1/tasks/"+id+path, nil)
			if err != nil {
				waiting <- -1
				return
			}
			req.Header = bearer()
			req.Header.Set("Accept", "text/event-stream")
			resp, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req)
			if err != nil {
				waiting <- 0
				return
			}
			defer resp.Body.Close()
			var b [1 << 10]byte
			for err == nil {
				_, err = resp.Body.Read(b[:])
			}
			waiting <- resp.StatusCode
		}()
	}
	until(t, "the stream is open", func() bool {
		_, text := w.http(http.MethodGet, "/metrics", "", nil)
		return strings.Contains(string(text), "nagatha_connections 2\n")
	})
	began := time.Now()
	w.stop()
	if took := time.Since(began); took > 15*time.Second {
		t.Errorf("shutdown took %v", took)
	}
	for range 2 {
		if status := <-waiting; status != http.StatusOK {
			t.Errorf("a request that waited ended with %d", status)
		}
	}
}

func TestPortTaken(t *testing.T) {
	w := start(t, nil)
	second, err := api.New(api.Config{Runtime: w.rt, Plugins: w.plugins, AdminToken: token, Listen: w.addr})
	if err != nil {
		t.Fatal(err)
	}
	err = second.Run(t.Context())
	if err == nil || !strings.Contains(err.Error(), w.addr) || !strings.Contains(err.Error(), "server.listen") {
		t.Errorf("error %v", err)
	}
	if second.Addr() != nil {
		t.Error("it says that it listens")
	}
}
