package main

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/nagatha/nagatha-runtime/runtime/store/storetest"
)

const watcherProcess = "plugin \"watcher\" {\n  command = [\"BIN/watcher\"]\n}\n"

// TestEndsBecomeTasks: a plugin that subscribes to task.* gets a task for each end,
// whoever's it is, across kill -9, and none for the ends of its own.
func TestEndsBecomeTasks(t *testing.T) {
	for _, base := range []string{"sqlite", "postgres", "gochannel"} {
		t.Run(base, func(t *testing.T) {
			t.Parallel()
			config := demoProcess + watcherProcess
			switch base {
			case "postgres":
				config += fmt.Sprintf("store \"postgres\" {\n  url = %q\n}\n", storetest.Postgres(t))
			case "gochannel":
				config += "bus \"gochannel\" {}\n"
			}
			d := newDaemon(t, config)
			d.start()
			_, m := d.rest("POST", "/api/v1/tasks?wait=20s", `{"kind":"demo.echo","payload":{"n":1},"labels":{"a":"b"}}`)
			completed := m["id"].(string)
			_, m = d.rest("POST", "/api/v1/tasks?wait=20s", `{"kind":"demo.fail","payload":{"permanent":true}}`)
			failed := m["id"].(string)
			_, m = d.rest("POST", "/api/v1/tasks", `{"kind":"demo.echo","delay":"1h"}`)
			cancelled := m["id"].(string)
			if code, m := d.rest("POST", "/api/v1/tasks/"+cancelled+"/cancel", `{"reason":"enough"}`); code != http.StatusOK {
				t.Fatalf("cancel: %d %v", code, m)
			}
			if base != "gochannel" { // which forgets
				d.kill()
				d.start()
			}
			saw := func() map[string]map[string]any {
				_, m := d.rest("GET", "/api/v1/tasks?kind=watcher.saw&state=completed&limit=1000", "")
				out := map[string]map[string]any{}
				for _, k := range m["tasks"].([]any) {
					event := k.(map[string]any)["result"].(map[string]any)["event"].(map[string]any)
					id := event["subject"].(string)
					if out[id] != nil {
						t.Errorf("it saw the end of %s twice", id)
					}
					out[id] = event
				}
				return out
			}
			for end := time.Now().Add(60 * time.Second); len(saw()) < 3; time.Sleep(20 * time.Millisecond) {
				if time.Now().After(end) {
					t.Fatalf("it saw only %v", saw())
				}
			}
			// One more that has been through the bus: so have the ends of its own, had
			// there been any.
			_, m = d.rest("POST", "/api/v1/tasks?wait=20s", `{"kind":"demo.echo"}`)
			last := m["id"].(string)
			for end := time.Now().Add(60 * time.Second); saw()[last] == nil; time.Sleep(20 * time.Millisecond) {
				if time.Now().After(end) {
					t.Fatalf("it saw only %v", saw())
				}
			}
			got := saw()
			if len(got) != 4 {
				t.Errorf("it saw %d ends: %v", len(got), got)
			}
			for id, want := range map[string]string{
				completed: "task.completed map[n:1] <nil> <nil>", cancelled: "task.cancelled <nil> <nil> enough",
				failed: "task.failed <nil> handler_error <nil>",
			} {
				event := got[id]
				data, _ := event["data"].(map[string]any)
				fault, _ := data["error"].(map[string]any)
				if s := fmt.Sprint(event["type"], " ", data["result"], " ", fault["code"], " ", data["reason"]); s != want || event["source"] != "nagatha" || data["task"] != id {
					t.Errorf("%s: %s %v, want %s", id, s, event, want)
				}
			}
			if _, m := d.rest("GET", "/api/v1/tasks?kind=watcher.saw&limit=1000", ""); len(m["tasks"].([]any)) != 4 {
				t.Errorf("%d tasks of the watcher's", len(m["tasks"].([]any)))
			}
		})
	}
}
