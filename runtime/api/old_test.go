package api_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/nagatha/nagatha-runtime/runtime/api"
	"github.com/nagatha/nagatha-runtime/sdk"
)

// The defects of the web app of the system that this one replaces.
// docs/old-system.md lists all of them.

// Whoever knew an address could read and change everything.
func TestOldAnyoneMayDoAnything(t *testing.T) {
	w := start(t, func(c *api.Config) { c.SeedAPI = true })
	_, text := w.http("GET", "/api/openapi.json", "", nil)
	var doc struct{ Paths map[string]map[string]any }
	if err := json.Unmarshal(text, &doc); err != nil {
		t.Fatal(err)
	}
	asked := 0
	for path, methods := range doc.Paths {
		if path == "/healthz" || path == "/readyz" {
			continue
		}
		for method := range methods {
			asked++
			path := strings.NewReplacer("{id}", "x", "{name}", "default").Replace(path)
			resp, text := w.http(strings.ToUpper(method), path, `{}`, http.Header{"Authorization": nil})
			if resp.StatusCode != http.StatusUnauthorized {
				t.Errorf("%s %s: %d %.100s", method, path, resp.StatusCode, text)
			}
		}
	}
	if asked < 25 {
		t.Errorf("only %d operations are described", asked)
	}
	for _, r := range [][2]string{{"POST", "/api/send-message-nagatha-core/"}, {"GET", "/api/task-status/x/"}, {"GET", "/api/system-status/"}, {"GET", "/metrics"}} {
		resp, text := w.http(r[0], r[1], `{"message":"hi"}`, http.Header{"Authorization": nil})
		refused(t, resp, text, 401, "unauthorized", "")
	}
}

// The status of a task was 404 while it waited, "completed" when it had failed, and
// forbidden to whoever had logged in.
func TestOldTaskStatusWasWrong(t *testing.T) {
	w := seeded(t)
	app := as(w.mint(`{"name":"app","scopes":["chat"]}`))
	app.Set("Content-Type", "application/json")
	for message, want := range map[string]string{"fail": "failed", "hello": "completed"} {
		resp, text := w.http("POST", "/api/send-message-nagatha-core/", `{"message":"`+message+`"}`, app)
		var sent struct {
			ID string `json:"task_id"`
		}
		if err := json.Unmarshal(text, &sent); err != nil || resp.StatusCode != 200 {
			t.Fatalf("%d %s", resp.StatusCode, text)
		}
		for first := true; ; first = false {
			resp, text := w.http("GET", "/api/task-status/"+sent.ID+"/", "", app)
			var s struct{ Status string }
			if err := json.Unmarshal(text, &s); err != nil || resp.StatusCode != 200 {
				t.Fatalf("at first %v: %d %s", first, resp.StatusCode, text)
			}
			if s.Status != "pending" && s.Status != "running" {
				if s.Status != want {
					t.Errorf("%s: %s", message, s.Status)
				}
				break
			}
			w.http("GET", "/api/v1/tasks/"+sent.ID+"?wait=30s", "", nil)
		}
	}
}

// One that waited for a task kept all others waiting.
func TestOldWaitingBlockedTheServer(t *testing.T) {
	w := start(t, nil)
	done := make(chan sdk.Task, 1)
	go func() {
		_, text := w.http("POST", "/api/v1/tasks?wait=30s", `{"kind":"bench.block"}`, nil)
		var k sdk.Task
		if err := json.Unmarshal(text, &k); err != nil {
			t.Error(err)
		}
		done <- k
	}()
	until(t, "the task runs while others are answered", func() bool {
		_, text := w.http("GET", "/api/v1/tasks?kind=bench.block&state=running", "", nil)
		return strings.Contains(string(text), `"running"`)
	})
	w.plugin.releaseAll()
	if k := <-done; k.State != sdk.StateCompleted {
		t.Errorf("it is %s", k.State)
	}
}

// "healthy" was a constant.
func TestOldHealthWasAConstant(t *testing.T) {
	w := start(t, nil)
	if resp, text := w.http("GET", "/readyz", "", nil); resp.StatusCode != 200 {
		t.Errorf("%d %s", resp.StatusCode, text)
	}
	w.rt.BeginDrain()
	if resp, text := w.http("GET", "/readyz", "", nil); resp.StatusCode != 503 {
		t.Errorf("it shuts down: %d %s", resp.StatusCode, text)
	}
}

// Lists had no pages: whoever had many tasks saw the newest twenty.
func TestOldListsHadNoPages(t *testing.T) {
	w := start(t, nil)
	seen := map[string]bool{}
	for range 7 {
		w.http("POST", "/api/v1/tasks", `{"kind":"nobody.here"}`, nil)
	}
	for path, pages := "/api/v1/tasks?limit=3", 1; path != ""; pages++ {
		_, text := w.http("GET", path, "", nil)
		var page struct {
			Tasks []sdk.Task
			Next  string `json:"next_cursor"`
		}
		if err := json.Unmarshal(text, &page); err != nil || pages > 4 {
			t.Fatalf("page %d: %s", pages, text)
		}
		for _, k := range page.Tasks {
			seen[k.ID] = true
		}
		if path = ""; page.Next != "" {
			path = "/api/v1/tasks?limit=3&cursor=" + page.Next
		}
	}
	if len(seen) != 7 {
		t.Errorf("saw %d of 7", len(seen))
	}
}
