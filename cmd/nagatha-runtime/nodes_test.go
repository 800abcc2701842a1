package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nagatha/nagatha-runtime/runtime/store/storetest"
)

// Several runtimes on one PostgreSQL database.

// newNodes starts n runtimes on a database of their own.
func newNodes(t *testing.T, n int, plugins string) []*daemon {
	t.Helper()
	url := storetest.Postgres(t)
	nodes := make([]*daemon, n)
	for i := range nodes {
		nodes[i] = newDaemon(t, fmt.Sprintf("store \"postgres\" {\n  url = %q\n}\n%s", url, plugins))
		nodes[i].start()
	}
	return nodes
}

// submit returns the id of a new task.
func (d *daemon) submit(body string) string {
	d.Helper()
	code, m := d.rest("POST", "/api/v1/tasks", body)
	id, _ := m["id"].(string)
	if code != http.StatusAccepted || id == "" {
		d.Fatalf("submit: %d %v", code, m)
	}
	return id
}

// await returns the task once it has ended.
func (d *daemon) await(id string) map[string]any {
	d.Helper()
	code, m := 0, map[string]any(nil)
	for end := time.Now().Add(2 * time.Minute); time.Now().Before(end); {
		if code, m = d.rest("GET", "/api/v1/tasks/"+id+"?wait=30s", ""); code != http.StatusOK || m["finished_at"] != nil {
			break
		}
	}
	if s := fmt.Sprint(m["state"]); code != http.StatusOK || s != "completed" && s != "failed" && s != "cancelled" {
		d.Fatalf("%s is %d %v", id, code, m["state"])
	}
	return m
}

// runner returns the node that runs a task, or nil.
func runner(t *testing.T, nodes []*daemon, id string) *daemon {
	t.Helper()
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		_, m := nodes[0].rest("GET", "/api/v1/tasks/"+id+"/events", "")
		events, _ := m["events"].([]any)
		for i := len(events) - 1; i >= 0; i-- {
			e := events[i].(map[string]any)
			if e["type"] != "task.started" {
				continue
			}
			name := e["data"].(map[string]any)["node"]
			for _, d := range nodes {
				if strings.Contains(d.log.String(), fmt.Sprint("node=", name)) {
					return d
				}
			}
			t.Fatalf("no node is called %v", name)
		}
	}
	t.Fatalf("%s has not started", id)
	return nil
}

// TestNodesShareWork: tasks that one node takes in run on all of them, and a
// client of any node sees their events.
func TestNodesShareWork(t *testing.T) {
	nodes := newNodes(t, 2, "queue \"narrow\" {\n  concurrency = 2\n}\n"+demoProcess)
	var ids []string
	for range 12 {
		ids = append(ids, nodes[0].submit(`{"kind":"demo.countdown","queue":"narrow","payload":{"steps":5,"interval":"100ms"}}`))
	}
	// Follow the last of them over the other node.
	cmd := nodes[1].nagatha("tasks", "watch", ids[11], "-o", "jsonl")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	seq := int64(0)
	for sc := bufio.NewScanner(out); sc.Scan(); {
		var e struct{ Seq int64 }
		if json.Unmarshal(sc.Bytes(), &e) == nil && e.Seq != 0 {
			if seq++; e.Seq != seq {
				t.Fatalf("event %d after %d", e.Seq, seq-1)
			}
		}
	}
	if err := cmd.Wait(); err != nil || seq < 14 {
		t.Errorf("watch: %v after %d events", err, seq)
	}
	ran := map[*daemon]int{}
	for _, id := range ids {
		if m := nodes[1].await(id); m["state"] != "completed" || m["attempt"] != 1.0 {
			t.Errorf("%s: %v", id, m)
		}
		ran[runner(t, nodes, id)]++
	}
	if len(ran) != 2 {
		t.Errorf("%d nodes did the work", len(ran))
	}
}

// TestCancelReachesTheNode: a cancel stops the task wherever it runs.
func TestCancelReachesTheNode(t *testing.T) {
	nodes := newNodes(t, 2, demoProcess)
	for _, asked := range nodes {
		id := nodes[0].submit(`{"kind":"demo.countdown","payload":{"steps":1000,"interval":"50ms"}}`)
		runner(t, nodes, id)
		start := time.Now()
		if code, m := asked.rest("POST", "/api/v1/tasks/"+id+"/cancel", `{}`); code != http.StatusOK {
			t.Fatalf("cancel: %d %v", code, m)
		}
		if m := asked.await(id); m["state"] != "cancelled" {
			t.Errorf("%v", m["state"])
		}
		if d := time.Since(start); d > 20*time.Second {
			t.Errorf("it took %v", d)
		}
	}
}

// TestDeadNodeIsReplaced: the tasks of a node that is killed run again elsewhere
// within ten seconds; those of one that is frozen too, and what it says when it is
// back does not count.
func TestDeadNodeIsReplaced(t *testing.T) {
	for _, how := range []syscall.Signal{syscall.SIGKILL, syscall.SIGSTOP} {
		t.Run(how.String(), func(t *testing.T) {
			t.Parallel()
			nodes := newNodes(t, 2, demoProcess)
			id := nodes[0].submit(`{"kind":"demo.countdown","payload":{"steps":120,"interval":"50ms"}}`)
			dead := runner(t, nodes, id)
			alive := nodes[0]
			if dead == alive {
				alive = nodes[1]
			}
			start := time.Now()
			if err := dead.cmd.Process.Signal(how); err != nil {
				t.Fatal(err)
			}
			for {
				if _, m := alive.rest("GET", "/api/v1/tasks/"+id, ""); m["attempt"] == 2.0 {
					break
				}
				if time.Since(start) > time.Minute {
					t.Fatal("nobody took it over")
				}
				time.Sleep(50 * time.Millisecond)
			}
			// Ten seconds on a machine that has nothing else to do: make chaos sees to that.
			if d := time.Since(start); d > 30*time.Second {
				t.Errorf("it took %v", d)
			}
			if how == syscall.SIGSTOP {
				_ = dead.cmd.Process.Signal(syscall.SIGCONT)
			}
			if m := alive.await(id); m["state"] != "completed" || m["attempt"] != 2.0 {
				t.Errorf("%v attempt %v", m["state"], m["attempt"])
			}
			_, m := alive.rest("GET", "/api/v1/tasks/"+id+"/events?limit=1000", "")
			second, ends := false, 0
			for i, e := range m["events"].([]any) {
				e := e.(map[string]any)
				if e["seq"] != float64(i+1) {
					t.Fatalf("event %d has number %v", i+1, e["seq"])
				}
				if e["attempt"] == 2.0 {
					second = true
				} else if second {
					t.Errorf("event %v of attempt %v after the second began", e["type"], e["attempt"])
				}
				if e["end"] == true {
					ends++
				}
			}
			if ends != 1 {
				t.Errorf("%d ends", ends)
			}
		})
	}
}

// TestEventOnce: an event starts one task, whichever node it reaches and however
// often.
func TestEventOnce(t *testing.T) {
	nodes := newNodes(t, 2, demoProcess)
	for i := range 6 {
		code, m := nodes[i%2].rest("POST", "/api/v1/events", `{"specversion":"1.0","id":"e1","source":"me","type":"demo.ping"}`, "Content-Type", "application/cloudevents+json")
		if code != http.StatusAccepted {
			t.Fatalf("%d %v", code, m)
		}
	}
	nodes[1].rest("POST", "/api/v1/events", `{"specversion":"1.0","id":"last","source":"me","type":"demo.ping"}`, "Content-Type", "application/cloudevents+json")
	count := func() int {
		_, m := nodes[0].rest("GET", "/api/v1/tasks?kind=demo.pong&state=completed", "")
		list, _ := m["tasks"].([]any)
		return len(list)
	}
	for end := time.Now().Add(time.Minute); count() < 2 && time.Now().Before(end); {
		time.Sleep(20 * time.Millisecond)
	}
	if n := count(); n != 2 {
		t.Errorf("%d tasks of two events", n)
	}
}

// TestPostgresMissing: a database that does not answer is one clear error.
func TestPostgresMissing(t *testing.T) {
	d := newDaemon(t, "store \"postgres\" {\n  url = \"postgres://nobody:secret@127.0.0.1:1/none\"\n}\n"+demoProcess)
	out, err := d.command().CombinedOutput()
	if err == nil || !strings.Contains(string(out), "connect to PostgreSQL") || strings.Contains(string(out), "secret") {
		t.Errorf("%v\n%s", err, out)
	}
}
