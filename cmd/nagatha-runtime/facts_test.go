package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"
)

// facts reads what a runtime says about itself, from the oldest on.
type facts struct {
	*testing.T
	*rpc
	ctx context.Context
}

type fact struct {
	Source, Type, Subject string
	Data                  map[string]any
}

func (d *daemon) facts() *facts {
	d.Helper()
	ctx, cancel := context.WithTimeout(d.Context(), 120*time.Second)
	d.Cleanup(cancel)
	c, err := dial(ctx, d)
	if err != nil {
		d.Fatal(err)
	}
	d.Cleanup(func() { _ = c.ws.CloseNow() })
	if err := c.call(ctx, 1, "subscribe", `{"topics":["system.>"],"from":"start"}`); err != nil {
		d.Fatal(err)
	}
	return &facts{d.T, c, ctx}
}

// until reads on to a fact.
func (f *facts) until(typ, subject string) fact {
	f.Helper()
	var before []string
	for {
		_, b, err := f.ws.Read(f.ctx)
		if err != nil {
			f.Fatalf("%s of %q was not told: %v; what was: %v", typ, subject, err, before)
		}
		var m struct {
			Method string
			Params struct{ Event fact }
		}
		if err := json.Unmarshal(b, &m); err != nil || m.Method != "event" {
			continue
		}
		e := m.Params.Event
		if e.Type == typ && (subject == "" || e.Subject == subject) {
			return e
		}
		before = append(before, e.Type+" "+e.Subject)
	}
}

func TestFacts(t *testing.T) {
	d := newDaemon(t, demoProcess+"plugin \"missing\" {\n  wasm = \"no/such/file.wasm\"\n}\n")
	d.start()
	f := d.facts()
	node := f.until("system.node.joined", "").Subject
	if e := d.facts().until("system.plugin.failed", "missing"); !strings.Contains(fmt.Sprint(e.Data["error"]), "no such file") || e.Source != "nagatha/"+node {
		t.Errorf("a plugin that does not load: %+v", e)
	}
	if e := f.until("system.plugin.ready", "demo"); e.Data["version"] != "1.0.0" || e.Data["carrier"] != "process" || e.Data["plugin"] != "demo" {
		t.Errorf("a plugin that loads: %+v", e)
	}
	if code, m := d.rest("POST", "/api/v1/tasks?wait=30s", `{"kind":"demo.crash","payload":{"how":"exit"},"max_attempts":1}`); code != http.StatusOK || m["state"] != "failed" {
		t.Fatalf("crash: %d %v", code, m)
	}
	if e := f.until("system.plugin.failed", "demo"); !strings.Contains(fmt.Sprint(e.Data["error"]), "ended by itself") {
		t.Errorf("a plugin that ends: %+v", e)
	}
	if e := f.until("system.plugin.restarted", "demo"); e.Data["restarts"] != 1.0 || e.Data["error"] != nil {
		t.Errorf("a plugin that is back: %+v", e)
	}
	for _, step := range []struct{ path, fact, subject string }{
		{"queues/default/pause", "system.queue.paused", "default"}, {"queues/default/resume", "system.queue.resumed", "default"},
		{"plugins/demo/disable", "system.plugin.disabled", "demo"}, {"plugins/demo/enable", "system.plugin.ready", "demo"},
		{"plugins/demo/reload", "system.plugin.ready", "demo"},
	} {
		if code, m := d.rest("POST", "/api/v1/"+step.path, ""); code != http.StatusOK {
			t.Fatalf("%s: %d %v", step.path, code, m)
		}
		f.until(step.fact, step.subject)
	}
	if code, m := d.rest("POST", "/api/v1/tasks?wait=30s", `{"kind":"system.refresh_status"}`); code != http.StatusOK || m["state"] != "completed" {
		t.Fatalf("status: %d %v", code, m)
	}
	if e := f.until("system.status", node); e.Data["tasks"] == nil || e.Data["nodes"] == nil {
		t.Errorf("status: %+v", e)
	}
	if code, m := d.rest("POST", "/api/v1/events", `{"specversion":"1.0","id":"1","source":"me","type":"system.status"}`, "Content-Type", "application/cloudevents+json"); code != http.StatusUnprocessableEntity {
		t.Errorf("a client tells facts: %d %v", code, m)
	}

	// It says goodbye when it is asked to end, and is back under another name.
	if err := d.cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := d.cmd.Wait(); err != nil {
		t.Errorf("it ended with %v", err)
	}
	d.start()
	f = d.facts()
	f.until("system.node.left", node)
	if again := f.until("system.node.joined", "").Subject; again == node {
		t.Error("two boots have one name")
	}
}

// Of two nodes that see a third one dead, one tells it.
func TestLostNodeIsTold(t *testing.T) {
	nodes := newNodes(t, 3, demoProcess)
	f := nodes[0].facts()
	names := map[string]bool{}
	for range nodes {
		names[f.until("system.node.joined", "").Subject] = true
	}
	_, m := nodes[2].rest("GET", "/api/v1/system", "")
	dead := m["nodes"].([]any)[0].(map[string]any)["id"].(string)
	nodes[2].kill()
	e := f.until("system.node.lost", dead)
	if by := strings.TrimPrefix(e.Source, "nagatha/"); !names[by] || by == dead || e.Data["node"] != dead {
		t.Errorf("told: %+v", e)
	}
}
