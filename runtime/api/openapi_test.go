package api_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// What the server answers is what its description says, for a client that is made from it.
func TestAnswersAreAsDescribed(t *testing.T) {
	w := start(t, nil)
	_, text := w.http(http.MethodGet, "/api/openapi.json", "", nil)
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	const url = "schema:///openapi.json"
	described := jsonschema.NewCompiler()
	described.DefaultDraft(jsonschema.Draft2020)
	if err := described.AddResource(url, doc); err != nil {
		t.Fatal(err)
	}
	fits := func(text []byte, place ...string) error {
		for i := range place {
			place[i] = strings.ReplaceAll(strings.ReplaceAll(place[i], "~", "~0"), "/", "~1")
		}
		schema, err := described.Compile(url + "#/" + strings.Join(place, "/") + "/schema")
		if err != nil {
			return err
		}
		v, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
		if err != nil {
			return err
		}
		return schema.Validate(v)
	}
	task := w.finished(`{"kind":"bench.echo"}`)
	for _, tt := range []struct {
		method, path, id, body string
		status                 int
		said                   string // under which the answer is described
	}{
		{"post", "/tasks", "", `{"kind":"nobody.there"}`, 202, "202"},
		{"post", "/tasks", "", `{"kind":"x"}`, 422, "default"},
		{"post", "/tasks/batch", "", `{"tasks":[{"kind":"bench.fail"},{"kind":"x"}]}`, 200, "200"},
		{"get", "/tasks", "", "", 200, "200"},
		{"get", "/tasks/{id}", task.ID, "", 200, "200"},
		{"get", "/tasks/{id}", "none", "", 404, "default"},
		{"get", "/tasks/{id}/events", task.ID, "", 200, "200"},
		{"post", "/tasks/{id}/cancel", task.ID, "{}", 200, "200"},
		{"get", "/queues", "", "", 200, "200"},
		{"get", "/plugins", "", "", 200, "200"},
		{"get", "/schedules", "", "", 200, "200"},
		{"get", "/approvals", "", "", 200, "200"},
		{"get", "/tokens", "", "", 200, "200"},
		{"get", "/system", "", "", 200, "200"},
	} {
		t.Run(fmt.Sprintf("%s %s %d", tt.method, tt.path, tt.status), func(t *testing.T) {
			resp, text := w.http(strings.ToUpper(tt.method), "/api/v1"+strings.ReplaceAll(tt.path, "{id}", tt.id), tt.body, nil)
			if resp.StatusCode != tt.status {
				t.Fatalf("%d %s", resp.StatusCode, text)
			}
			if err := fits(text, "paths", "/api/v1"+tt.path, tt.method, "responses", tt.said, "content", resp.Header.Get("Content-Type")); err != nil {
				t.Errorf("%v: %.300s", err, text)
			}
		})
	}

	// Answers may grow, requests may not, and events have attributes of their own.
	for _, tt := range []struct {
		path, contentType, body string
		ok                      bool
	}{
		{"/tasks", "application/json", `{"kind":"a.b"}`, true},
		{"/tasks", "application/json", `{"kind":"a.b","kin":1}`, false},
		{"/tasks/bulk", "application/json", `{"action":"retry","filter":{"state":"failed","kind":["a.b"]}}`, true},
		{"/tasks/bulk", "application/json", `{"action":"retry","filter":{"state":null}}`, false},
		{"/events", "application/cloudevents+json", `{"specversion":"1.0","type":"a.b","sampled":true}`, true},
		{"/events", "application/cloudevents-batch+json", `[{"specversion":"1.0","type":"a.b"}]`, true},
		{"/events", "application/cloudevents-batch+json", `{"specversion":"1.0","type":"a.b"}`, false},
	} {
		if err := fits([]byte(tt.body), "paths", "/api/v1"+tt.path, "post", "requestBody", "content", tt.contentType); (err == nil) != tt.ok {
			t.Errorf("%s %s: %v", tt.path, tt.body, err)
		}
	}
	if bytes.Contains(text, []byte(`"Task":{"additionalProperties":false`)) {
		t.Error("the description forbids a task to have further members")
	}
}

// What the description says of every route is what the server does of it.
func TestOpenAPI(t *testing.T) {
	w := start(t, nil)
	_, text := w.http(http.MethodGet, "/api/openapi.json", "", nil)
	var doc struct {
		Paths map[string]map[string]struct {
			RequestBody *struct{ Content map[string]any }
			Responses   map[string]struct{ Headers map[string]any }
		}
		Components struct{ Schemas map[string]map[string]any }
	}
	if err := json.Unmarshal(text, &doc); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"post /api/v1/tasks", "post /api/v1/tasks/batch", "get /api/v1/tasks", "get /api/v1/tasks/{id}", "get /api/v1/tasks/{id}/events",
		"post /api/v1/tasks/{id}/cancel", "post /api/v1/tasks/{id}/retry", "post /api/v1/events", "get /api/v1/plugins", "get /api/v1/plugins/{name}",
		"post /api/v1/plugins/{name}/reload", "get /api/v1/system"} {
		method, path, _ := strings.Cut(want, " ")
		op, ok := doc.Paths[path][method]
		if !ok {
			t.Errorf("%s is not described", want)
			continue
		}
		if method == "post" && (op.RequestBody == nil || len(op.RequestBody.Content) == 0) {
			t.Errorf("%s: its body is not described", want)
		}
		resp, _ := w.http(strings.ToUpper(method), strings.NewReplacer("{id}", "x", "{name}", "x").Replace(path), "", nil)
		if resp.StatusCode == 405 || resp.StatusCode >= 500 {
			t.Errorf("%s: %d", want, resp.StatusCode)
		}
	}
	if get := doc.Paths["/api/v1/tasks/{id}"]["get"].Responses; get["200"].Headers["ETag"] == nil || get["200"].Headers["Location"] != nil {
		t.Errorf("the headers of a task are described as %v", get["200"].Headers)
	} else if _, ok := get["304"]; !ok {
		t.Error("that a task is unchanged is not described")
	}
	task, ok := doc.Components.Schemas["Task"]["properties"].(map[string]any)
	if !ok {
		t.Fatal("no schema of a task")
	}
	if at, ok := task["created_at"].(map[string]any); !ok || at["format"] != "date-time" {
		t.Errorf("created_at is described as %v", task["created_at"])
	}
}
