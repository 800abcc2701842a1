package api_test

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/nagatha/nagatha-runtime/runtime/api"
)

func TestManySubmits(t *testing.T) {
	w := start(t, nil)
	c := w.dial()
	const n = 10_000
	before := w.commits.Load()
	sent := make(chan error, 1)
	go func() {
		for i := range n {
			if err := c.trySend(fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"method":"task.submit","params":{"kind":"nobody.there","payload":{"i":%d}}}`, i, i)); err != nil {
				sent <- err
				return
			}
		}
		sent <- nil
	}()
	began := time.Now()
	last := ""
	for i := range n {
		r := c.reply()
		var s submitted
		if r.Error != nil || json.Unmarshal(r.Result, &s) != nil {
			t.Fatalf("%s %v", r.Result, r.Error)
		}
		if string(r.ID) != fmt.Sprint(i) || s.Task.ID <= last {
			t.Fatalf("reply %d is to %s, task %s after %s: submits must keep their order", i, r.ID, s.Task.ID, last)
		}
		last = s.Task.ID
	}
	if err := <-sent; err != nil {
		t.Fatal(err)
	}
	commits := w.commits.Load() - before
	t.Logf("%d submits in %v, %d commits", n, time.Since(began).Round(time.Millisecond), commits)
	if commits > n/10 {
		t.Errorf("%d commits for %d submits: they must share", commits, n)
	}
}

func TestRateLimitStopsReading(t *testing.T) {
	w := start(t, func(c *api.Config) { c.Limits.RequestsPerSecond = 200 })
	c := w.dial()
	const n = 300
	began := time.Now()
	for i := range n {
		c.send(fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"method":"ping"}`, i))
	}
	for range n {
		if r := c.reply(); r.Error != nil {
			t.Fatalf("%v", r.Error)
		}
	}
	if took := time.Since(began); took < 400*time.Millisecond {
		t.Errorf("%d pings at 200/s, burst 200, took %v", n, took)
	}
}

// One request in flight is few, but enough to get on.
func TestInFlightLimit(t *testing.T) {
	w := start(t, func(c *api.Config) { c.Limits.InFlight = 1 })
	c := w.dial()
	const n = 50
	for i := range n {
		c.send(fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"method":"task.submit","params":{"kind":"nobody.there"}}`, i))
		c.send(`{"jsonrpc":"2.0","method":"event.publish","params":{"type":"demo.x"}}`)
	}
	for i := range n {
		if r := c.reply(); r.Error != nil || string(r.ID) != fmt.Sprint(i) {
			t.Fatalf("reply to %s: %v", r.ID, r.Error)
		}
	}
}
