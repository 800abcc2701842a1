package api_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nagatha/nagatha-runtime/runtime/api"
	"github.com/nagatha/nagatha-runtime/sdk"
)

type problem struct {
	Type, Title, Detail, Code string
	Status                    int
	Retryable                 bool
	RequestID                 string `json:"request_id"`
	Fields                    []sdk.Field
}

// refused checks that a response is a problem with this status, code and field.
func refused(t *testing.T, resp *http.Response, text []byte, status int, code, field string) problem {
	t.Helper()
	var p problem
	if err := json.Unmarshal(text, &p); err != nil {
		t.Fatalf("%d %.300s: %v", resp.StatusCode, text, err)
	}
	if resp.StatusCode != status || p.Status != status || p.Code != code || resp.Header.Get("Content-Type") != "application/problem+json" {
		t.Fatalf("%d %s %.500s, want %d %s", resp.StatusCode, resp.Header.Get("Content-Type"), text, status, code)
	}
	if p.RequestID == "" || p.RequestID != resp.Header.Get("X-Request-Id") || p.Detail == "" {
		t.Errorf("request id %q, detail %q", p.RequestID, p.Detail)
	}
	if field == "" {
		return p
	}
	for _, f := range p.Fields {
		if f.Field == field {
			return p
		}
	}
	t.Errorf("fields %v, want %s", p.Fields, field)
	return p
}

func TestRESTRefusals(t *testing.T) {
	w := start(t, nil)
	none := http.Header{"Authorization": nil}
	for _, tt := range []struct {
		method, path, body string
		header             http.Header
		status             int
		code, field        string
	}{
		{"GET", "/api/v1/tasks", "", none, 401, "unauthorized", ""},
		{"GET", "/api/v1/tasks", "", http.Header{"Authorization": {"Bearer x"}}, 401, "unauthorized", ""},
		{"GET", "/metrics", "", none, 401, "unauthorized", ""},
		{"GET", "/nothing", "", none, 401, "unauthorized", ""},
		{"GET", "/debug/pprof/", "", nil, 404, "not_found", ""},
		{"GET", "/api/v1/nothing", "", nil, 404, "not_found", ""},
		{"GET", "/docs", "", nil, 404, "not_found", ""},
		{"GET", "/api/v1/tasks/x/cancel", "", nil, 405, "method_not_found", ""},
		{"DELETE", "/api/v1/tasks", "", nil, 405, "method_not_found", ""},
		{"POST", "/healthz", "", nil, 405, "method_not_found", ""},
		{"GET", "/api/v1/tasks?token=" + token, "", nil, 400, "invalid_request", ""},
		{"GET", "/api/v1/tasks", "", http.Header{"Host": {"evil.example"}}, 403, "forbidden", ""},
		{"GET", "/", "", http.Header{"Host": {"evil.example"}}, 403, "forbidden", ""},
		{"GET", "/healthz", "", http.Header{"Origin": {"http://evil.example"}}, 403, "forbidden", ""},
		{"POST", "/api/v1/tasks", `{"kind":"bench.echo"}`, http.Header{"Origin": {"null"}}, 403, "forbidden", ""},

		{"POST", "/api/v1/tasks", `{"kind":"bench.echo"`, nil, 400, "parse_error", ""},
		{"POST", "/api/v1/tasks", "{\"kind\":\"\xff\"}", nil, 400, "parse_error", ""},
		{"POST", "/api/v1/tasks", `{"kind":"bench.echo","kind":"x.y"}`, nil, 400, "invalid_request", ""},
		{"POST", "/api/v1/tasks", ``, nil, 422, "invalid", ""},
		{"POST", "/api/v1/tasks", `[]`, nil, 422, "invalid", ""},
		{"POST", "/api/v1/tasks", `{}`, nil, 422, "invalid", "kind"},
		{"POST", "/api/v1/tasks", `{"kind":"a\nb"}`, nil, 422, "invalid", "kind"},
		{"POST", "/api/v1/tasks", `{"kind":"bench.echo","prioritty":1}`, nil, 422, "invalid", "prioritty"},
		{"POST", "/api/v1/tasks", `{"kind":"bench.echo","priority":9223372036854775808}`, nil, 422, "invalid", "priority"},
		{"POST", "/api/v1/tasks", `{"kind":"bench.echo","timeout":"-1s"}`, nil, 422, "invalid", "timeout"},
		{"POST", "/api/v1/tasks", `{"kind":"bench.echo","timeout":"0s"}`, nil, 422, "invalid", "timeout"},
		{"POST", "/api/v1/tasks", `{"kind":"bench.echo","max_attempts":0}`, nil, 422, "invalid", "max_attempts"},
		{"POST", "/api/v1/tasks", `{"kind":"bench.echo","run_at":"9999-01-01T00:00:00Z"}`, nil, 422, "invalid", "run_at"},
		{"POST", "/api/v1/tasks?wait=soon", `{"kind":"bench.echo"}`, nil, 422, "invalid", "wait"},
		{"POST", "/api/v1/tasks", `{"kind":"bench.echo","payload":"` + strings.Repeat("x", 300<<10) + `"}`, nil, 413, "limit_exceeded", "payload"},
		{"POST", "/api/v1/tasks/batch", `{"tasks":{}}`, nil, 422, "invalid", "tasks"},
		{"GET", "/api/v1/tasks?limit=abc", "", nil, 422, "invalid", "limit"},
		{"GET", "/api/v1/tasks?limit=0", "", nil, 422, "invalid", "limit"},
		{"GET", "/api/v1/tasks?stat=queued", "", nil, 422, "invalid", "stat"},
		{"GET", "/api/v1/tasks?state=nope", "", nil, 422, "invalid", "state"},
		{"GET", "/api/v1/tasks?cursor=garbage", "", nil, 400, "bad_cursor", ""},
		{"GET", "/api/v1/tasks?q=100%", "", nil, 400, "invalid_request", ""},
		{"GET", "/api/v1/tasks?parent=tsk_%00", "", nil, 400, "invalid_request", ""},
		{"GET", "/api/v1/tasks/tsk_%00", "", nil, 400, "invalid_request", ""},
		{"GET", "/api/v1/tasks/tsk_%ff", "", nil, 400, "invalid_request", ""},
		{"GET", "/api/v1/tasks?kind=" + strings.Repeat("a.b&kind=", 100) + "a.b", "", nil, 422, "invalid", "kind"},
		{"GET", "/api/v1/tasks?q=" + strings.Repeat("x", 1001), "", nil, 422, "invalid", "q"},
		{"GET", "/api/v1/tasks/tsk_none", "", nil, 404, "not_found", ""},
		{"GET", "/api/v1/tasks/tsk_none/events", "", nil, 404, "not_found", ""},
		{"GET", "/api/v1/tasks/tsk_none/events", "", http.Header{"Accept": {"text/event-stream"}}, 404, "not_found", ""},
		{"POST", "/api/v1/tasks/tsk_none/cancel", "", nil, 404, "not_found", ""},
		{"POST", "/api/v1/tasks/tsk_none/cancel", `{"mood":"x"}`, nil, 422, "invalid", "mood"},
		{"POST", "/api/v1/tasks/tsk_none/retry", "", nil, 404, "not_found", ""},
		{"GET", "/api/v1/plugins/none", "", nil, 404, "not_found", ""},
		{"POST", "/api/v1/plugins/none/reload", "", nil, 404, "not_found", ""},
		{"POST", "/api/v1/plugins/none/disable", "", nil, 404, "not_found", ""},
		{"POST", "/api/v1/plugins/none/enable", `{"x":1}`, nil, 422, "invalid", "x"},

		{"POST", "/api/v1/tasks", `{"kind":"bench.echo"}`, http.Header{"Content-Type": {"text/plain"}}, 415, "invalid_request", ""},
		{"POST", "/api/v1/tasks", `kind=bench.echo`, http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}, 415, "invalid_request", ""},
		{"POST", "/api/v1/tasks/tsk_none/cancel", `{}`, http.Header{"Content-Type": {"text/plain"}}, 415, "invalid_request", ""},
		{"POST", "/api/v1/events", `{"type":"demo.ping"}`, nil, 415, "invalid_request", ""},
		{"POST", "/api/v1/events", `{"type":"task.queued"}`, ce("structured"), 422, "invalid", "type"},
		{"POST", "/api/v1/events", `{"type":"demo.ping","partition_key":"x"}`, ce("structured"), 422, "invalid", "partition_key"},
		{"POST", "/api/v1/events", `{"type":"demo.ping","partitionkey":["x"]}`, ce("structured"), 422, "invalid", "partitionkey"},
		{"POST", "/api/v1/events", `{"type":"demo.ping","subject":"\u0000"}`, ce("structured"), 422, "invalid", "subject"},
		{"POST", "/api/v1/events", `{"type":"demo.ping","traceparent":"` + strings.Repeat("0", 300) + `"}`, ce("structured"), 422, "invalid", "traceparent"},
		{"POST", "/api/v1/events", `{"type":"demo.ping","specversion":"0.3"}`, ce("structured"), 422, "invalid", "specversion"},
		{"POST", "/api/v1/events", `{"type":"demo.ping","data_base64":"eA=="}`, ce("structured"), 422, "invalid", "data_base64"},
		{"POST", "/api/v1/events", `[{"type":"demo.ping"},{"typ":"demo.ping"}]`, ce("batch"), 422, "invalid", "1.type"},
		{"POST", "/api/v1/events", `[]`, ce("batch"), 422, "invalid", ""},
		{"POST", "/api/v1/events", `[{"type":"demo.ping"},{"type":"task.queued"}]`, ce("batch"), 422, "invalid", "1.type"},
		{"POST", "/api/v1/events", `[{"type":"demo.ping"},5]`, ce("batch"), 422, "invalid", "1"},
		{"POST", "/api/v1/events", `<x/>`, http.Header{"Content-Type": {"text/xml"}, "Ce-Type": {"demo.ping"}}, 415, "invalid_request", ""},
	} {
		t.Run(fmt.Sprintf("%s %.60s %.40s", tt.method, tt.path, tt.body), func(t *testing.T) {
			resp, text := w.http(tt.method, tt.path, tt.body, tt.header)
			refused(t, resp, text, tt.status, tt.code, tt.field)
			if tt.status == 401 && resp.Header.Get("WWW-Authenticate") == "" {
				t.Error("401 without a challenge")
			}
			if tt.status == 405 && resp.Header.Get("Allow") == "" {
				t.Error("405 without Allow")
			}
			if strings.Contains(string(text), token) {
				t.Error("the token is echoed")
			}
		})
	}
}

func ce(mode string) http.Header {
	if mode == "batch" {
		return http.Header{"Content-Type": {"application/cloudevents-batch+json"}}
	}
	return http.Header{"Content-Type": {"application/cloudevents+json; charset=utf-8"}}
}

// A body that stops on its way is answered, and the connection let go.
func TestStalledBody(t *testing.T) {
	w := start(t, func(c *api.Config) { c.SeedAPI, c.DataDir, c.BodyTimeout = true, t.TempDir(), 50*time.Millisecond })
	for _, path := range []string{"/api/v1/tasks", "/api/send-message-nagatha-core/"} {
		nc, err := net.Dial("tcp", w.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		if err := nc.SetDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(nc, "POST %s HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{", path, w.addr, token)
		resp, err := http.ReadResponse(bufio.NewReader(nc), nil)
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		text, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		refused(t, resp, text, 400, "invalid_request", "")
	}
}

// A body that is far too large gives one clear error, not a reset connection.
func TestLargeBody(t *testing.T) {
	w := start(t, nil)
	for range 5 {
		resp, text := w.http(http.MethodPost, "/api/v1/tasks", `{"kind":"bench.echo","payload":"`+strings.Repeat("x", 10<<20)+`"}`, nil)
		p := refused(t, resp, text, http.StatusRequestEntityTooLarge, "limit_exceeded", "")
		if !strings.Contains(p.Detail, "server.limits.body_bytes") {
			t.Errorf("detail %q names no setting", p.Detail)
		}
	}
}

func TestRESTTasks(t *testing.T) {
	w := start(t, nil)
	resp, text := w.http(http.MethodPost, "/api/v1/tasks", `{"kind":"nobody.there","labels":{"a":"<b>"}}`, http.Header{"X-Request-Id": {"mine-1"}})
	var task sdk.Task
	if err := json.Unmarshal(text, &task); err != nil || resp.StatusCode != http.StatusAccepted {
		t.Fatalf("%d %s", resp.StatusCode, text)
	}
	if resp.Header.Get("Location") != "/api/v1/tasks/"+task.ID || resp.Header.Get("X-Request-Id") != "mine-1" {
		t.Errorf("headers %v", resp.Header)
	}
	for name, want := range map[string]string{"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "X-Frame-Options": "DENY",
		"Content-Type": "application/json"} {
		if got := resp.Header.Get(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}

	resp, text = w.http(http.MethodGet, "/api/v1/tasks/"+task.ID, "", nil)
	tag := resp.Header.Get("ETag")
	if resp.StatusCode != 200 || tag == "" || strings.Contains(string(text), "$schema") {
		t.Fatalf("%d %q %s", resp.StatusCode, tag, text)
	}
	for known, want := range map[string]int{tag: 304, "W/" + tag: 304, `"0", ` + tag: 304, "*": 304, `"0"`: 200} {
		if resp, text = w.http(http.MethodGet, "/api/v1/tasks/"+task.ID, "", http.Header{"If-None-Match": {known}}); resp.StatusCode != want || (want == 304) != (len(text) == 0) {
			t.Errorf("known %s: %d %s", known, resp.StatusCode, text)
		}
	}
	if resp, _ = w.http(http.MethodGet, "/api/v1/tasks/"+task.ID+"?wait=20ms", "", nil); resp.StatusCode != 200 {
		t.Errorf("waited in vain: %d", resp.StatusCode)
	}
	if resp, _ = w.http(http.MethodPost, "/api/v1/tasks?wait=20ms", `{"kind":"nobody.there"}`, nil); resp.StatusCode != 202 {
		t.Errorf("submitted and waited in vain: %d", resp.StatusCode)
	}
	done := w.finished(`{"kind":"bench.echo","payload":{"html":"<&>"}}`)
	if done.State != sdk.StateCompleted || string(done.Result) != `{"html":"<&>"}` {
		t.Errorf("%+v", done)
	}

	resp, text = w.http(http.MethodPost, "/api/v1/tasks/"+task.ID+"/cancel", `{"mode":"force","reason":"enough"}`, nil)
	if json.Unmarshal(text, &task) != nil || resp.StatusCode != 200 || task.State != sdk.StateCancelled {
		t.Errorf("cancel: %d %s", resp.StatusCode, text)
	}
	resp, text = w.http(http.MethodPost, "/api/v1/tasks/"+task.ID+"/retry", ``, nil)
	if json.Unmarshal(text, &task) != nil || resp.StatusCode != 200 || task.Life != 2 {
		t.Errorf("retry: %d %s", resp.StatusCode, text)
	}
	resp, text = w.http(http.MethodPost, "/api/v1/tasks/"+task.ID+"/retry", ``, nil)
	refused(t, resp, text, 409, "conflict", "")

	resp, text = w.http(http.MethodPost, "/api/v1/tasks/batch", `{"tasks":[{"kind":"bench.echo"},{"kind":"bench.echo","x":1},{"kind":"bench.echo"}]}`, nil)
	var batch struct{ Results []map[string]any }
	if json.Unmarshal(text, &batch) != nil || resp.StatusCode != 200 || len(batch.Results) != 3 || batch.Results[0]["task"] == nil ||
		batch.Results[1]["error"] == nil || batch.Results[2]["task"] == nil {
		t.Errorf("batch: %d %s", resp.StatusCode, text)
	}
}

func TestIdempotencyKey(t *testing.T) {
	w := start(t, nil)
	key := http.Header{"Idempotency-Key": {"abc"}}
	ids := make([]string, 50)
	replayed := make([]bool, len(ids))
	var wg sync.WaitGroup
	for i := range ids {
		wg.Add(1)
		go func() {
			defer wg.Done()
			resp, text := w.http(http.MethodPost, "/api/v1/tasks", `{"kind":"bench.echo","payload":{"a":1}}`, key)
			var task sdk.Task
			if err := json.Unmarshal(text, &task); err != nil || resp.StatusCode != 202 {
				t.Errorf("%d %s", resp.StatusCode, text)
			}
			ids[i], replayed[i] = task.ID, resp.Header.Get("Idempotency-Replayed") == "true"
		}()
	}
	wg.Wait()
	fresh := 0
	for i := range ids {
		if ids[i] != ids[0] {
			t.Fatalf("two tasks, %s and %s", ids[0], ids[i])
		}
		if !replayed[i] {
			fresh++
		}
	}
	if fresh != 1 {
		t.Errorf("%d answers say that theirs is the first", fresh)
	}
	resp, text := w.http(http.MethodPost, "/api/v1/tasks", `{"kind":"bench.echo","payload":{"a":2}}`, key)
	refused(t, resp, text, 422, "conflict", "")
	resp, text = w.http(http.MethodPost, "/api/v1/tasks", `{"kind":"bench.echo","idempotency_key":"other"}`, key)
	refused(t, resp, text, 422, "invalid", "idempotency_key")
	if resp, _ = w.http(http.MethodPost, "/api/v1/tasks", `{"kind":"bench.echo","idempotency_key":"abc","payload":{"a":1}}`, key); resp.StatusCode != 202 {
		t.Errorf("the same key twice: %d", resp.StatusCode)
	}
}

func TestRESTLists(t *testing.T) {
	w := start(t, nil)
	for i := range 7 {
		w.http(http.MethodPost, "/api/v1/tasks", fmt.Sprintf(`{"kind":"nobody.k%d","labels":{"n":"%d","all":"yes"}}`, i%2, i), nil)
	}
	count := func(query string) int {
		t.Helper()
		resp, text := w.http(http.MethodGet, "/api/v1/tasks?"+query, "", nil)
		var list struct{ Tasks []sdk.Task }
		if err := json.Unmarshal(text, &list); err != nil || resp.StatusCode != 200 || list.Tasks == nil {
			t.Fatalf("%d %s", resp.StatusCode, text)
		}
		return len(list.Tasks)
	}
	for query, want := range map[string]int{"": 7, "kind=nobody.k0": 4, "kind=nobody.k0&kind=nobody.k1": 7, "kind=nobody.*&state=queued": 7,
		"state=running&state=failed": 0, "label=all%3Dyes&label=n%3D3": 1, "queue=other": 0, "q=nobody.k1": 3} {
		if got := count(query); got != want {
			t.Errorf("?%s gives %d, want %d", query, got, want)
		}
	}
	seen, path := 0, "/api/v1/tasks?limit=3&label=all%3Dyes"
	for pages := 0; path != ""; pages++ {
		resp, text := w.http(http.MethodGet, path, "", nil)
		var list struct{ Tasks []sdk.Task }
		if err := json.Unmarshal(text, &list); err != nil || pages > 3 {
			t.Fatalf("page %d: %d %s", pages, resp.StatusCode, text)
		}
		seen += len(list.Tasks)
		path = ""
		if link := resp.Header.Get("Link"); link != "" {
			target, rel, _ := strings.Cut(strings.TrimPrefix(link, "<"), ">")
			if rel != `; rel="next"` {
				t.Errorf("link %q", link)
			}
			if _, err := url.Parse(target); err != nil {
				t.Fatal(err)
			}
			path = target
		}
	}
	if seen != 7 {
		t.Errorf("the pages have %d tasks", seen)
	}

	task := w.finished(`{"kind":"bench.emit","payload":{"n":6}}`)
	var page struct {
		Events    []sdk.TaskEvent
		NextAfter int64 `json:"next_after"`
	}
	for after, got := int64(0), 0; ; {
		_, text := w.http(http.MethodGet, fmt.Sprintf("/api/v1/tasks/%s/events?after=%d&limit=4", task.ID, after), "", nil)
		if err := json.Unmarshal(text, &page); err != nil || page.Events == nil {
			t.Fatal(string(text))
		}
		got += len(page.Events)
		if len(page.Events) == 0 {
			if got != 10 || page.NextAfter != 10 {
				t.Errorf("%d events, next_after %d", got, page.NextAfter)
			}
			break
		}
		after = page.NextAfter
	}
}

func TestCloudEvents(t *testing.T) {
	w := start(t, nil)
	c := w.dial()
	c.call("subscribe", `{"topics":["event.demo.>"]}`, nil)
	const trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	for _, tt := range []struct {
		name, body string
		header     http.Header
		want       []string // id, source, type, subject and data of each
	}{
		{"structured", `{"specversion":"1.0","id":"e1","source":"/a","type":"demo.one","subject":"s","time":"2026-01-02T03:04:05Z","datacontenttype":"application/json","data":{"x":1},"partitionkey":"p","sampled":true,"sequence":7}`,
			ce("structured"), []string{`e1 /a demo.one s {"x":1} p true 7`}},
		{"batch", `[{"specversion":"1.0","id":"e2","source":"/a","type":"demo.two","data":1},{"specversion":"1.0","id":"e3","source":"/a","type":"demo.three"}]`,
			ce("batch"), []string{`e2 /a demo.two  1`, `e3 /a demo.three  `}},
		{"plain JSON", `{"id":"e6","source":"/a","type":"demo.one","data":6}`, http.Header{"Content-Type": {"application/json"}}, []string{`e6 /a demo.one  6`}},
		{"a list from curl", ` [{"id":"e7","source":"/a","type":"demo.one"}]`, http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}, []string{`e7 /a demo.one  `}},
		{"binary", `{"y":"é"}`, http.Header{"Content-Type": {"application/json"}, "Ce-Specversion": {"1.0"}, "Ce-Id": {"e4"}, "Ce-Source": {"/b"},
			"Ce-Type": {"demo.four"}, "Ce-Subject": {"caf%C3%A9"}, "Ce-Partitionkey": {"q"}, "Ce-Traceparent": {trace}}, []string{`e4 /b demo.four café {"y":"é"} q`}},
		{"binary, quoted", `5`, http.Header{"Content-Type": {"application/json"}, "Ce-Id": {`"e5"`}, "Ce-Source": {"/b"}, "Ce-Type": {"demo.five"},
			"Ce-Subject": {`"a \"b\" %22c%22 \\"`}, "Ce-Partitionkey": {`"`}}, []string{`e5 /b demo.five a "b" "c" \ 5 "`}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			resp, text := w.http(http.MethodPost, "/api/v1/events", tt.body, tt.header)
			var got struct{ IDs []string }
			if err := json.Unmarshal(text, &got); err != nil || resp.StatusCode != 202 || len(got.IDs) != len(tt.want) {
				t.Fatalf("%d %s", resp.StatusCode, text)
			}
			for i, want := range tt.want {
				var e struct {
					ID, Source, Type, Subject string
					Data                      json.RawMessage
					PartitionKey              string // and two more attributes that are not CloudEvents' own
					Sampled, Sequence         string
					TraceParent               string
				}
				if err := json.Unmarshal(c.next().Params.Event, &e); err != nil {
					t.Fatal(err)
				}
				if tt.header.Get("Ce-Traceparent") != e.TraceParent {
					t.Errorf("traceparent %q", e.TraceParent)
				}
				more := strings.TrimRight(" "+e.PartitionKey+" "+e.Sampled+" "+e.Sequence, " ")
				if line := fmt.Sprintf("%s %s %s %s %s", e.ID, e.Source, e.Type, e.Subject, e.Data) + more; line != want || got.IDs[i] != e.ID {
					t.Errorf("event %q, want %q", line, want)
				}
			}
		})
	}
}

func TestSystem(t *testing.T) {
	w := start(t, nil)
	w.finished(`{"kind":"bench.echo"}`)
	none := http.Header{"Authorization": nil}
	for path, want := range map[string]string{"/healthz": `"ok"`, "/readyz": `"ready"`, "/": "Nagatha Runtime", "/api/openapi.json": `"openapi":"3.1`} {
		resp, text := w.http(http.MethodGet, path, "", none)
		if resp.StatusCode != 200 || !strings.Contains(string(text), want) {
			t.Errorf("%s: %d %.200s", path, resp.StatusCode, text)
		}
	}
	resp, text := w.http(http.MethodGet, "/", "", none)
	if csp := resp.Header.Get("Content-Security-Policy"); !strings.Contains(csp, "default-src 'none'") || !strings.Contains(csp, "frame-ancestors 'none'") {
		t.Errorf("CSP %q", csp)
	}
	if !strings.Contains(string(text), w.addr) || strings.Contains(string(text), "<script") || strings.Contains(string(text), token) {
		t.Error("the page says the wrong things")
	}

	_, text = w.http(http.MethodGet, "/api/v1/system", "", nil)
	var s sdk.SystemStatus
	if err := json.Unmarshal(text, &s); err != nil || s.Version != "test" || s.Tasks[sdk.StateCompleted] != 1 || s.Plugins.Ready != 2 || len(s.Nodes) != 1 {
		t.Errorf("%s", text)
	}
	_, text = w.http(http.MethodGet, "/api/v1/plugins", "", nil)
	var list struct {
		Plugins    []sdk.PluginStatus
		NextCursor *string `json:"next_cursor"`
	}
	if err := json.Unmarshal(text, &list); err != nil || len(list.Plugins) != 2 || list.Plugins[1].Name != "system" || len(list.Plugins[1].Kinds) != 2 || list.NextCursor == nil {
		t.Errorf("%s", text)
	}
	if resp, text = w.http(http.MethodPost, "/api/v1/plugins/bench/reload", "", nil); resp.StatusCode != 200 || w.plugins.reloads.Load() != 1 {
		t.Errorf("reload: %d %s", resp.StatusCode, text)
	}
	w.plugins.fault = fmt.Errorf("plugin bench: %w", sdk.Errorf(sdk.CodeTimeout, "no handshake within 10s"))
	resp, text = w.http(http.MethodPost, "/api/v1/plugins/bench/reload", "", nil)
	refused(t, resp, text, 503, "unavailable", "")
	if !strings.Contains(string(text), "reload bench: plugin bench: timeout: no handshake within 10s") {
		t.Errorf("%s", text)
	}
	_, text = w.http(http.MethodGet, "/metrics", "", nil)
	for _, want := range []string{"nagatha_connections 0\n", `nagatha_tasks{state="completed"} 1`, `nagatha_plugins{state="ready"} 2`, "go_goroutines"} {
		if !strings.Contains(string(text), want) {
			t.Errorf("/metrics lacks %s", want)
		}
	}

	w.rt.BeginDrain()
	if resp, _ = w.http(http.MethodGet, "/readyz", "", none); resp.StatusCode != 503 {
		t.Errorf("draining, yet ready: %d", resp.StatusCode)
	}
	resp, text = w.http(http.MethodPost, "/api/v1/tasks", `{"kind":"bench.echo"}`, nil)
	refused(t, resp, text, 503, "unavailable", "")
}

func TestRESTRateLimit(t *testing.T) {
	w := start(t, func(c *api.Config) { c.Limits.RequestsPerSecond = 1 })
	w.http(http.MethodGet, "/api/v1/system", "", nil)
	for range 3 { // the bucket may gain one meanwhile
		resp, text := w.http(http.MethodGet, "/api/v1/system", "", nil)
		if resp.StatusCode == 200 {
			continue
		}
		refused(t, resp, text, 429, "rate_limited", "")
		if resp.Header.Get("Retry-After") == "" {
			t.Error("no Retry-After")
		}
		return
	}
	t.Error("never limited")
}

func TestForeignOrigin(t *testing.T) {
	w := start(t, func(c *api.Config) { c.AllowedOrigins = []string{"https://app.example"}; c.MetricsPublic = true })
	ask := http.Header{"Origin": {"https://app.example"}, "Access-Control-Request-Method": {"POST"}, "Access-Control-Request-Headers": {"authorization,ce-partitionkey"}, "Authorization": nil}
	resp, _ := w.http(http.MethodOptions, "/api/v1/tasks", "", ask)
	if allowed := resp.Header.Get("Access-Control-Allow-Headers"); !strings.Contains(allowed, "Authorization") || !strings.Contains(allowed, "ce-partitionkey") {
		t.Errorf("headers: %s", allowed)
	}
	if resp.StatusCode != 204 || resp.Header.Get("Access-Control-Allow-Origin") != "https://app.example" {
		t.Errorf("preflight: %d %v", resp.StatusCode, resp.Header)
	}
	resp, _ = w.http(http.MethodGet, "/api/v1/tasks", "", http.Header{"Origin": {"https://app.example"}})
	if resp.StatusCode != 200 || resp.Header.Get("Access-Control-Allow-Origin") != "https://app.example" {
		t.Errorf("request: %d %v", resp.StatusCode, resp.Header)
	}
	resp, _ = w.http(http.MethodGet, "/metrics", "", http.Header{"Authorization": nil})
	if resp.StatusCode != 200 || resp.Header.Get("Access-Control-Allow-Origin") != "" {
		t.Errorf("public metrics: %d", resp.StatusCode)
	}
}
