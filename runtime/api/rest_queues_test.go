package api_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/nagatha/nagatha-runtime/sdk"
)

func TestRESTQueues(t *testing.T) {
	w := start(t, nil)
	queue := func(method, path string) (q sdk.QueueStatus) {
		t.Helper()
		resp, text := w.http(method, "/api/v1/queues"+path, "", nil)
		if err := json.Unmarshal(text, &q); err != nil || resp.StatusCode != http.StatusOK || q.Name != "default" {
			t.Fatalf("%s %s: %d %s", method, path, resp.StatusCode, text)
		}
		return q
	}
	if q := queue("GET", "/default"); q.Paused || q.Concurrency != 16 || q.KeyConcurrency != 1 {
		t.Errorf("%+v", q)
	}
	if q := queue("POST", "/default/pause"); !q.Paused {
		t.Error("it is not paused")
	}
	queue("POST", "/default/pause")
	_, text := w.http("POST", "/api/v1/tasks", `{"kind":"bench.echo"}`, nil)
	var task sdk.Task
	if err := json.Unmarshal(text, &task); err != nil || task.State != sdk.StateQueued || task.Reason != "queue paused" {
		t.Errorf("%s", text)
	}
	_, text = w.http("GET", "/api/v1/queues", "", nil)
	var list struct {
		Queues []map[string]any
		Next   *string `json:"next_cursor"`
	}
	if err := json.Unmarshal(text, &list); err != nil || len(list.Queues) != 1 || list.Next == nil {
		t.Fatalf("%s", text)
	}
	for _, name := range []string{"name", "concurrency", "running", "queued", "scheduled", "oldest_wait", "paused", "rate", "depth_limit"} {
		if _, ok := list.Queues[0][name]; !ok {
			t.Errorf("%s is missing in %s", name, text)
		}
	}
	if list.Queues[0]["queued"] != 1.0 {
		t.Errorf("%s", text)
	}
	if q := queue("POST", "/default/resume"); q.Paused {
		t.Error("it is still paused")
	}
	if resp, text := w.http("GET", "/api/v1/tasks/"+task.ID+"?wait=30s", "", nil); !strings.Contains(string(text), `"state":"completed"`) {
		t.Errorf("%d %s", resp.StatusCode, text)
	}
	for _, r := range [][2]string{{"GET", "/none"}, {"POST", "/none/pause"}, {"POST", "/none/resume"}} {
		resp, text := w.http(r[0], "/api/v1/queues"+r[1], "", nil)
		refused(t, resp, text, 404, "not_found", "")
	}
	resp, text := w.http("POST", "/api/v1/queues/default/pause", `{"x":1}`, nil)
	refused(t, resp, text, 422, "invalid", "x")
}

func TestRESTBulk(t *testing.T) {
	w := start(t, nil)
	for range 3 {
		w.http("POST", "/api/v1/tasks", `{"kind":"nobody.there","labels":{"a":"b"}}`, nil)
	}
	for _, c := range []struct {
		body             string
		matched, changed int
	}{
		{`{"action":"cancel","filter":{"kind":"nobody.*"},"dry_run":true}`, 3, 0},
		{`{"action":"cancel","filter":{"kind":["nobody.there"],"label":"a=b"},"expected_count":3,"mode":"force","reason":"enough"}`, 3, 3},
		{`{"action":"cancel","filter":{"kind":"nobody.*"},"expected_count":0}`, 0, 0},
		{`{"action":"retry","filter":{"state":"cancelled"}}`, 3, 3},
		{`{"action":"cancel","filter":{"q":"nobody"}}`, 3, 3},
		{`{"action":"delete","filter":{"queue":"default"}}`, 3, 3},
	} {
		resp, text := w.http("POST", "/api/v1/tasks/bulk", c.body, nil)
		var got sdk.BulkResult
		if err := json.Unmarshal(text, &got); err != nil || resp.StatusCode != 200 || got != (sdk.BulkResult{Matched: c.matched, Changed: c.changed}) {
			t.Errorf("%s: %d %s", c.body, resp.StatusCode, text)
		}
	}
	w.http("POST", "/api/v1/tasks", `{"kind":"nobody.there"}`, nil)
	for _, c := range []struct {
		body   string
		status int
		code   string
		field  string
	}{
		{`{"action":"cancel","filter":{"kind":"nobody.*"},"expected_count":7}`, 409, "conflict", "expected_count"},
		{`{"action":"cancel","filter":{}}`, 422, "invalid", "filter"},
		{`{"action":"cancel","filter":{"state":[]}}`, 422, "invalid", "filter"},
		{`{"action":"cancel"}`, 422, "invalid", "filter"},
		{`{"filter":{"kind":"a.b"}}`, 422, "invalid", "action"},
		{`{"action":"drop","filter":{"kind":"a.b"}}`, 422, "invalid", "action"},
		{`{"action":"cancel","filter":{"state":"nope"}}`, 422, "invalid", "filter.state"},
		{`{"action":"cancel","filter":{"label":"nope"}}`, 422, "invalid", "filter.label"},
		{`{"action":"cancel","filter":{"kind":"a.b","limit":1}}`, 422, "invalid", "filter.limit"},
		{`{"action":"cancel","filter":{"kind":"a.b"},"mode":"rude"}`, 422, "invalid", "mode"},
	} {
		resp, text := w.http("POST", "/api/v1/tasks/bulk", c.body, nil)
		refused(t, resp, text, c.status, c.code, c.field)
	}
	if _, text := w.http("GET", "/api/v1/tasks?state=queued", "", nil); !strings.Contains(string(text), "nobody.there") {
		t.Errorf("what was refused did something: %s", text)
	}
}
