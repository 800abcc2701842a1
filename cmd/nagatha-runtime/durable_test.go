package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/nagatha/nagatha-runtime/runtime/store/storetest"
)

// Tasks that wait, on both carriers and both databases: with one slot, across
// kill -9, decided by people.

const durableConfig = "plugin \"demo\" {\n  %s\n  grant {\n    store = true\n    submit = [\"demo.*\"]\n    await = true\n    approve = true\n  }\n}\n" +
	"queue \"default\" {\n  concurrency = 1\n}\n"

func durable(t *testing.T, f func(t *testing.T, d *daemon)) {
	for _, carrier := range []string{"process", "wasm"} {
		for _, base := range []string{"sqlite", "postgres"} {
			t.Run(carrier+" "+base, func(t *testing.T) {
				t.Parallel()
				file := `command = ["BIN/demo"]`
				if carrier == "wasm" {
					file = `wasm = "BIN/demo.wasm"`
				}
				config := fmt.Sprintf(durableConfig, file)
				if base == "postgres" {
					config += fmt.Sprintf("store \"postgres\" {\n  url = %q\n}\n", storetest.Postgres(t))
				}
				d := newDaemon(t, config)
				d.start()
				f(t, d)
			})
		}
	}
}

// untilWaiting waits until a task waits.
func (d *daemon) untilWaiting(id string) {
	d.Helper()
	state := any(nil)
	for end := time.Now().Add(2 * time.Minute); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		_, m := d.rest("GET", "/api/v1/tasks/"+id, "")
		if state = m["state"]; state == "waiting" {
			return
		}
	}
	d.Fatalf("%s is %v and does not wait", id, state)
}

func (d *daemon) wantResult(id, want string) {
	d.Helper()
	m := d.await(id)
	var w any
	if err := json.Unmarshal([]byte(want), &w); err != nil {
		d.Fatal(err)
	}
	if m["state"] != "completed" || !reflect.DeepEqual(m["result"], w) {
		d.Errorf("%s is %v: %v, %v; want %s", id, m["state"], m["result"], m["error"], want)
	}
}

func TestDurable(t *testing.T) {
	durable(t, func(t *testing.T, d *daemon) {
		// Parents and children share one slot, three deep.
		d.wantResult(d.submit(`{"kind":"demo.fanout","payload":{"children":2,"kind":"demo.fanout","payload":{"children":3,"payload":{"n":1}}}}`),
			`{"results":[{"results":[{"n":1},{"n":1},{"n":1}]},{"results":[{"n":1},{"n":1},{"n":1}]}]}`)
		d.wantResult(d.submit(`{"kind":"demo.steps","payload":{"steps":4,"crash_after":2}}`), `{"steps":4,"ran":[1,1,1,1]}`)

		m := d.await(d.submit(`{"kind":"demo.kinds"}`))
		seen := map[string]map[string]any{}
		result, _ := m["result"].(map[string]any)
		list, _ := result["kinds"].([]any)
		for _, k := range list {
			k := k.(map[string]any)
			seen[k["kind"].(string)] = k
		}
		if echo := seen["demo.echo"]; echo["available"] != true || echo["read_only"] != true || seen["demo.publish"]["read_only"] != false || len(seen) < 10 || seen["system.refresh_status"] != nil {
			t.Errorf("kinds: %v", m)
		}

		// Many wait at once, more than there are instances; the runtime dies.
		var waits []string
		for range 10 {
			waits = append(waits, d.submit(`{"kind":"demo.wait","payload":{"signal":"go"}}`))
		}
		asks := d.submit(`{"kind":"demo.ask","payload":{"question":"May I?","detail":{"n":1}}}`)
		for _, id := range append(waits, asks) {
			d.untilWaiting(id)
		}
		d.kill()
		d.start()
		for i, id := range waits {
			if code, m := d.rest("POST", "/api/v1/tasks/"+id+"/signal", fmt.Sprintf(`{"name":"go","data":{"i":%d}}`, i)); code != http.StatusOK {
				t.Fatalf("signal: %d %v", code, m)
			}
		}
		for i, id := range waits {
			d.wantResult(id, fmt.Sprintf(`{"i":%d}`, i))
		}
		_, m = d.rest("GET", "/api/v1/approvals", "")
		list, _ = m["approvals"].([]any)
		if len(list) != 1 {
			t.Fatalf("approvals: %v", m)
		}
		a := list[0].(map[string]any)
		if code, _ := d.rest("POST", "/api/v1/approvals/"+a["id"].(string)+"/decision", `{"decision":"approve","digest":"sha256:0"}`); code != http.StatusConflict {
			t.Errorf("another digest: %d", code)
		}
		if out, err := d.nagatha("approvals", "approve", a["id"].(string), "--comment", "fine", "-o", "json").Output(); err != nil || !strings.Contains(string(out), `"approved"`) {
			t.Errorf("approve: %v\n%s", err, out)
		}
		d.wantResult(asks, `{"approved":true,"by":"admin","comment":"fine"}`)
	})
}
