package api_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/nagatha/nagatha-runtime/sdk"
)

func TestRESTSchedules(t *testing.T) {
	w := start(t, nil)
	call := func(method, path, body string, status int) (out sdk.Schedule, resp *http.Response) {
		t.Helper()
		resp, text := w.http(method, "/api/v1/schedules"+path, body, nil)
		if resp.StatusCode != status {
			t.Fatalf("%s %s %s: %d %s", method, path, body, resp.StatusCode, text)
		}
		if status < 300 && len(text) > 0 {
			if err := json.Unmarshal(text, &out); err != nil {
				t.Fatal(err)
			}
		}
		return out, resp
	}
	s, resp := call("POST", "", `{"name":"nightly","cron":"30 2 * * *","zone":"Europe/Berlin","kind":"bench.echo","payload":{"text":"x"},"priority":3,"jitter":"1m"}`, 201)
	if resp.Header.Get("Location") != "/api/v1/schedules/"+s.ID || s.NextAt == 0 || s.Source != "api" || s.Missed != "once" || s.Overlap != "skip" || string(s.Payload) != `{"text":"x"}` {
		t.Errorf("made %+v, %v", s, resp.Header)
	}
	_, text := w.http("GET", "/api/v1/schedules/"+s.ID, "", nil)
	for _, part := range []string{`"cron":"30 2 * * *"`, `"last_at":null`, `"jitter":"1m"`, `"source":"api"`, `"paused":false`} {
		if !strings.Contains(string(text), part) {
			t.Errorf("%s is not in %s", part, text)
		}
	}
	if strings.Contains(string(text), `"every"`) || strings.Contains(string(text), `"at"`) {
		t.Errorf("more than cron in %s", text)
	}
	if got, _ := call("PUT", "/"+s.ID, strings.Replace(string(text), `"cron":"30 2 * * *"`, `"cron":"30 3 * * *"`, 1), 200); got.Cron != "30 3 * * *" || got.NextAt == s.NextAt || got.ID != s.ID {
		t.Errorf("written back %+v", got)
	}
	if got, _ := call("GET", "/nightly", "", 200); got.ID != s.ID {
		t.Errorf("by name %+v", got)
	}
	if got, _ := call("POST", "/nightly/pause", "", 200); !got.Paused || got.NextAt != 0 {
		t.Errorf("paused %+v", got)
	}
	got, _ := call("POST", "/nightly/trigger", "{}", 200)
	if task := w.finishedTask(got.LastTask); task.State != sdk.StateCompleted || task.Schedule != s.ID || task.Owner != "admin" {
		t.Errorf("triggered %+v", task)
	}
	if got, _ := call("POST", "/nightly/resume", "", 200); got.Paused || got.NextAt == 0 {
		t.Errorf("resumed %+v", got)
	}

	call("PUT", "/nightly", `{"name":"nightly","every":"1h","kind":"bench.echo"}`, 200)
	if _, text := w.http("GET", "/api/v1/schedules/nightly", "", nil); !strings.Contains(string(text), `"zone":""`) {
		t.Errorf("no zone in %s", text)
	}

	for _, name := range []string{"b", "c"} {
		call("POST", "", `{"name":"`+name+`","every":"1h","kind":"bench.echo"}`, 201)
	}
	var names []string
	for path := "/api/v1/schedules?limit=2&source=api"; path != ""; {
		resp, text := w.http("GET", path, "", nil)
		var page struct {
			Schedules []sdk.Schedule
			Next      *string `json:"next_cursor"`
		}
		if err := json.Unmarshal(text, &page); err != nil || page.Next == nil {
			t.Fatalf("%d %s", resp.StatusCode, text)
		}
		for _, s := range page.Schedules {
			names = append(names, s.Name)
		}
		path = ""
		if *page.Next != "" {
			path, _, _ = strings.Cut(strings.TrimPrefix(resp.Header.Get("Link"), "<"), ">")
		}
	}
	if strings.Join(names, " ") != "nightly b c" {
		t.Errorf("listed %v", names)
	}
	call("DELETE", "/b", "", 204)

	for _, c := range []struct {
		method, path, body string
		status             int
		code, field        string
	}{
		{"GET", "/b", "", 404, "not_found", ""},
		{"DELETE", "/b", "", 404, "not_found", ""},
		{"POST", "/b/trigger", "", 404, "not_found", ""},
		{"POST", "/nightly/trigger", `{"x":1}`, 422, "invalid", "x"},
		{"GET", "?cursor=x", "", 400, "bad_cursor", ""},
		{"GET", "?limit=0", "", 422, "invalid", "limit"},
		{"POST", "", `{"name":"nightly","every":"1h","kind":"bench.echo"}`, 409, "conflict", "name"},
		{"POST", "", `{"name":"d","kind":"bench.echo"}`, 422, "invalid", "cron"},
		{"POST", "", `{"name":"d","every":"1h"}`, 422, "invalid", "kind"},
		{"POST", "", `{"name":"d","every":"1h","kind":"bench.echo","evry":1}`, 422, "invalid", "evry"},
		{"POST", "", `{"name":"d","every":5,"kind":"bench.echo"}`, 422, "invalid", "every"},
		{"POST", "", `{"name":"d","cron":"0 0 30 2 *","kind":"bench.echo"}`, 422, "invalid", "cron"},
		{"POST", "", `{"name":"d","cron":"0 0 * * *","zone":"Mars/Olympus","kind":"bench.echo"}`, 422, "invalid", "zone"},
		{"POST", "", `{"name":"d","every":"1h","kind":"bench.echo","queue":"none"}`, 422, "invalid", "queue"},
		{"POST", "", `{"name":"d","every":"1h","kind":"bench.echo","max_attempts":0}`, 422, "invalid", "max_attempts"},
		{"POST", "", `{"name":"d","every":"1h","kind":"bench.echo","timeout":"0s"}`, 422, "invalid", "timeout"},
		{"POST", "", `{"name":"d","every":"1h","kind":"system.none"}`, 422, "invalid", "kind"},
		{"PUT", "/nightly", `{"name":"c","every":"1h","kind":"bench.echo"}`, 409, "conflict", "name"},
		{"PUT", "/nightly", ``, 422, "invalid", ""},
	} {
		resp, text := w.http(c.method, "/api/v1/schedules"+c.path, c.body, nil)
		refused(t, resp, text, c.status, c.code, c.field)
	}
}

func (w *world) finishedTask(id string) (task sdk.Task) {
	w.t.Helper()
	_, text := w.http("GET", "/api/v1/tasks/"+id+"?wait=30s", "", nil)
	if err := json.Unmarshal(text, &task); err != nil {
		w.t.Fatalf("%s: %v", text, err)
	}
	return task
}
