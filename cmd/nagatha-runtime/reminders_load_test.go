package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// pendingReminders turns the measurements on.
var (
	pendingReminders = flag.Int("pending-reminders", 0, "of TestRemindersUnderLoad, such as 100000; 0 leaves it out")
	remindersCarrier = flag.String("reminders-carrier", "wasm", "of TestRemindersUnderLoad: wasm or process")
)

// cpu is the processor time that the runtime has used.
func (d *daemon) cpu() time.Duration {
	d.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", d.cmd.Process.Pid))
	if err != nil {
		d.Fatal(err)
	}
	fields := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	user, _ := strconv.Atoi(fields[11])
	system, _ := strconv.Atoi(fields[12])
	return time.Duration(user+system) * 10 * time.Millisecond
}

// batch submits many tasks at once.
func (d *daemon) batch(tasks []map[string]any) {
	d.Helper()
	b, err := json.Marshal(map[string]any{"tasks": tasks})
	if err != nil {
		d.Fatal(err)
	}
	if status, m := d.rest("POST", "/api/v1/tasks/batch", string(b)); status != http.StatusOK {
		d.Errorf("batch: %d %v", status, m)
	}
}

// ended waits until no task of a kind is under way.
func (d *daemon) ended(kind string) {
	d.Helper()
	for {
		_, m := d.rest("GET", "/api/v1/tasks?limit=1&state=queued&state=running&state=retrying&kind="+kind, "")
		if tasks, ok := m["tasks"].([]any); ok && len(tasks) == 0 {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// Many pending reminders cost nothing while nothing is due, and those that are due
// are on time while the runtime is busy with other tasks.
func TestRemindersUnderLoad(t *testing.T) {
	if *pendingReminders == 0 {
		t.Skip("a measurement; run with -pending-reminders 100000")
	}
	d := remindersDaemonWith(t, *remindersCarrier, demoProcess+"schedule \"process-scheduled-tasks\" {\n  every = \"1m\"\n  kind = \"reminders.process_due\"\n}\n")
	idle := func(what string) {
		before := d.cpu()
		time.Sleep(time.Minute) // one sweep
		t.Logf("%s: %v of processor time in a minute", what, d.cpu()-before)
	}
	idle("no reminders")
	begin := time.Now()
	for n := 0; n < *pendingReminders; n += 1000 {
		var tasks []map[string]any
		for i := range 1000 {
			tasks = append(tasks, map[string]any{"kind": "reminders.create", "payload": map[string]any{"text": fmt.Sprint(n + i), "in": "2 days"}})
		}
		d.batch(tasks)
	}
	d.ended("reminders.create")
	t.Logf("%d reminders made in %v", *pendingReminders, time.Since(begin).Round(time.Millisecond))
	time.Sleep(5 * time.Second)
	idle(fmt.Sprint(*pendingReminders, " pending reminders"))

	const due, spread, rate = 1000, 20 * time.Second, 5000
	var tasks []map[string]any
	start := time.Now().Add(10 * time.Second)
	for i := range due {
		at := start.Add(spread * time.Duration(i) / due).UTC().Format(time.RFC3339Nano)
		tasks = append(tasks, map[string]any{"kind": "reminders.create", "payload": map[string]any{"text": "load", "at": at}})
	}
	d.batch(tasks)
	d.ended("reminders.create")
	events := d.listen()
	stop := make(chan struct{})
	var load sync.WaitGroup
	sent := 0
	load.Go(func() {
		var echoes []map[string]any
		for range rate / 20 {
			echoes = append(echoes, map[string]any{"kind": "demo.echo", "payload": map[string]any{"n": 1}})
		}
		for tick := time.NewTicker(time.Second / 20); ; {
			select {
			case <-tick.C:
				d.batch(echoes)
				sent += len(echoes)
			case <-stop:
				tick.Stop()
				return
			}
		}
	})
	loading := time.Now()
	var fired, heard []time.Duration
	for range due {
		e := d.next(events, "load")
		fired = append(fired, e.Data.FiredAt.Sub(e.Data.DueAt))
		heard = append(heard, e.heard.Sub(e.Data.DueAt))
	}
	close(stop)
	load.Wait()
	slices.Sort(fired)
	slices.Sort(heard)
	t.Logf("%d reminders while %.0f tasks/s were submitted: fired late p50 %v p99 %v max %v, heard by a WebSocket client p50 %v p99 %v max %v",
		due, float64(sent)/time.Since(loading).Seconds(), fired[due/2], fired[due*99/100], fired[due-1], heard[due/2], heard[due*99/100], heard[due-1])
	if heard[due*99/100] > time.Second {
		t.Errorf("more than a second late")
	}
}
