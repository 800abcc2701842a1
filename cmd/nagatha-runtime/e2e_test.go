package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"testing"
	"time"
)

// The whole thing, as its users meet it: real binaries, real kills, a WebSocket
// client that is not ours.

// A person follows a task; the runtime is killed and comes back.
func TestFollowSurvivesKill9(t *testing.T) {
	for name, plugin := range map[string]string{"process": demoProcess, "wasm": demoWasm} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newDaemon(t, plugin)
			d.start()
			cmd := d.nagatha("submit", "demo.countdown", "--set", "steps=60", "--follow", "-o", "jsonl")
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			seq, attempts := int64(0), 0
			for sc := bufio.NewScanner(out); sc.Scan(); {
				var e struct {
					Seq  int64
					Type string
				}
				if json.Unmarshal(sc.Bytes(), &e) != nil || e.Seq == 0 {
					continue
				}
				if seq++; e.Seq != seq {
					t.Fatalf("event %d after %d", e.Seq, seq-1)
				}
				if e.Type == "task.started" {
					attempts++
				}
				if e.Seq == 12 {
					d.kill()
					d.start()
				}
			}
			if err := cmd.Wait(); err != nil {
				t.Errorf("follow: %v", err)
			}
			if attempts != 2 || seq < 120 {
				t.Errorf("%d attempts, %d events", attempts, seq)
			}
		})
	}
}

// 10,000 tasks over one WebSocket, and three kills: what was acknowledged is done,
// once.
func TestNothingAcknowledgedIsLost(t *testing.T) {
	const tasks = 10_000
	d := newDaemon(t, demoProcess)
	d.start()
	acked := map[int]string{}
	kills := map[int]bool{}
	for len(kills) < 3 {
		kills[rand.IntN(tasks*8/10)+tasks/10] = true
	}
	for len(acked) < tasks {
		ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
		c, err := dial(ctx, d)
		if err != nil {
			t.Fatal(err)
		}
		var todo []int
		for i := range tasks {
			if acked[i] == "" {
				todo = append(todo, i)
			}
		}
		var wg sync.WaitGroup
		wg.Go(func() {
			for _, i := range todo {
				// The key makes a submit whose answer was cut safe to repeat.
				if c.call(ctx, i, "task.submit", fmt.Sprintf(`{"kind":"demo.echo","payload":{"n":%d},"idempotency_key":"n%d"}`, i, i)) != nil {
					return
				}
			}
		})
		for range todo {
			r, err := c.read(ctx)
			if err != nil {
				break
			}
			if r.Error != nil || r.ID == nil {
				t.Fatalf("submit: %+v", r.Error)
			}
			acked[*r.ID] = r.Result.Task.ID
			if kills[len(acked)] {
				delete(kills, len(acked))
				d.kill()
				d.start()
			}
		}
		_ = c.ws.CloseNow()
		wg.Wait()
		cancel()
	}
	if len(kills) != 0 {
		t.Fatalf("%d kills did not happen", len(kills))
	}

	ctx, cancel := context.WithTimeout(t.Context(), 120*time.Second)
	defer cancel()
	c, err := dial(ctx, d)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.ws.CloseNow() }()
	if err := c.call(ctx, 1, "subscribe", `{"topics":["kind.demo.echo"],"from":"start","types":["task.completed","task.failed","task.cancelled"]}`); err != nil {
		t.Fatal(err)
	}
	ends := map[string]int{}
	for len(ends) < tasks {
		r, err := c.read(ctx)
		if err != nil {
			t.Fatalf("after %d ends: %v", len(ends), err)
		}
		if r.Method != "event" {
			continue
		}
		if r.Params.Event.Type != "task.completed" {
			t.Fatalf("%s: %s", r.Params.Event.Task, r.Params.Event.Type)
		}
		if ends[r.Params.Event.Task]++; ends[r.Params.Event.Task] > 1 {
			t.Fatalf("%s ended twice", r.Params.Event.Task)
		}
	}
	for i, id := range acked {
		if ends[id] != 1 {
			t.Fatalf("task %d, %s, was acknowledged and has %d ends", i, id, ends[id])
		}
	}
	if _, m := d.rest("GET", "/api/v1/system", ""); fmt.Sprint(m["tasks"].(map[string]any)["completed"]) != fmt.Sprint(float64(tasks)) {
		t.Errorf("system counts %v", m["tasks"])
	}
}

func TestEventStartsOneTask(t *testing.T) {
	d := newDaemon(t, demoProcess)
	d.start()
	for range 3 {
		code, m := d.rest("POST", "/api/v1/events", `{"specversion":"1.0","id":"e1","source":"me","type":"demo.ping","data":{"a":1}}`, "Content-Type", "application/cloudevents+json")
		if code != http.StatusAccepted || fmt.Sprint(m["ids"]) != "[e1]" {
			t.Fatalf("%d %v", code, m)
		}
	}
	pongs := func() []any {
		_, m := d.rest("GET", "/api/v1/tasks?kind=demo.pong&state=completed", "")
		list, _ := m["tasks"].([]any)
		return list
	}
	for end := time.Now().Add(time.Minute); len(pongs()) == 0; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("no pong")
		}
	}
	// A later event has been through the bus: so have the doubles before it.
	if code, m := d.rest("POST", "/api/v1/tasks?wait=20s", `{"kind":"demo.publish","payload":{"type":"demo.ping","data":2}}`); code != http.StatusOK || m["state"] != "completed" {
		t.Fatalf("%d %v", code, m)
	}
	for end := time.Now().Add(time.Minute); len(pongs()) < 2; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("no second pong")
		}
	}
	if n := len(pongs()); n != 2 {
		t.Errorf("%d pongs", n)
	}
}

// Crashes fail attempts, with the right code, and never the runtime.
func TestCrashes(t *testing.T) {
	for name, plugin := range map[string]string{
		"process": "plugin \"demo\" {\n  command = [\"BIN/demo\"]\n  limits {\n    memory = \"512MiB\"\n  }\n}\n", "wasm": demoWasm,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newDaemon(t, plugin)
			d.start()
			for how, want := range map[string]string{"panic": "handler_error", "exit": "plugin_crashed", "oom": "out_of_memory", "spin": "timeout", "deadlock": "timeout"} {
				timeout := "1m"
				if want == "timeout" {
					timeout = "3s"
				}
				m := d.await(d.submit(`{"kind":"demo.crash","payload":{"how":"` + how + `"},"max_attempts":1,"timeout":"` + timeout + `"}`))
				fault, _ := m["error"].(map[string]any)
				if m["state"] != "failed" || fault["code"] != want {
					t.Errorf("%s: %v %v, want %s", how, m["state"], fault, want)
				}
				if m := d.await(d.submit(`{"kind":"demo.echo"}`)); m["state"] != "completed" {
					t.Errorf("after %s: %v", how, m)
				}
			}
		})
	}
}
