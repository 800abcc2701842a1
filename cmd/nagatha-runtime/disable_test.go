package main

import (
	"fmt"
	"net/http"
	"testing"
)

// TestDisable: a plugin that is taken out of service keeps its tasks, those that
// wait included, and goes on with them when it is enabled.
func TestDisable(t *testing.T) {
	for _, file := range []string{`command = ["BIN/demo"]`, `wasm = "BIN/demo.wasm"`} {
		t.Run(file[:4], func(t *testing.T) {
			t.Parallel()
			d := newDaemon(t, fmt.Sprintf(durableConfig, file))
			d.start()
			waiting := d.submit(`{"kind":"demo.wait","payload":{"signal":"go"}}`)
			d.untilWaiting(waiting)
			tell := func(what string, want int, state string) {
				t.Helper()
				if code, m := d.rest("POST", "/api/v1/plugins/demo/"+what, ""); code != want || want == http.StatusOK && m["state"] != state {
					t.Fatalf("%s: %d %v", what, code, m)
				}
			}
			for range 2 {
				tell("disable", http.StatusOK, "disabled")
			}
			tell("reload", http.StatusConflict, "")
			queued := d.submit(`{"kind":"demo.echo","payload":{"n":1}}`)
			if code, m := d.rest("POST", "/api/v1/tasks/"+waiting+"/signal", `{"name":"go","data":7}`); code != http.StatusOK {
				t.Fatalf("signal: %d %v", code, m)
			}
			for _, id := range []string{queued, waiting} {
				if _, m := d.rest("GET", "/api/v1/tasks/"+id+"?wait=200ms", ""); m["state"] == "completed" {
					t.Errorf("%s ran on a disabled plugin", id)
				}
			}
			for range 2 {
				tell("enable", http.StatusOK, "ready")
			}
			d.wantResult(queued, `{"n":1}`)
			d.wantResult(waiting, `7`)
		})
	}
}
