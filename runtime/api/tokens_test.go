package api_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/coder/websocket"

	"github.com/nagatha/nagatha-runtime/sdk"
)

// mint makes a token.
func (w *world) mint(body string) sdk.AccessToken {
	w.t.Helper()
	resp, text := w.http("POST", "/api/v1/tokens", body, nil)
	var t sdk.AccessToken
	if err := json.Unmarshal(text, &t); err != nil || resp.StatusCode != http.StatusCreated || t.Token == "" {
		w.t.Fatalf("%d %s", resp.StatusCode, text)
	}
	if resp.Header.Get("Location") != "/api/v1/tokens/"+t.ID || !strings.HasPrefix(t.Token, "ngt_"+t.ID+"_") {
		w.t.Fatalf("%s %s", resp.Header.Get("Location"), text)
	}
	return t
}

func as(t sdk.AccessToken) http.Header { return http.Header{"Authorization": {"Bearer " + t.Token}} }

// dialAs connects with another token than the admin's.
func (w *world) dialAs(t sdk.AccessToken) *client {
	w.t.Helper()
	ws, _, err := w.dialRaw(&websocket.DialOptions{HTTPHeader: as(t)})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = ws.CloseNow() })
	return &client{t: w.t, ws: ws}
}

func TestTokens(t *testing.T) {
	w := start(t, nil)
	app := w.mint(`{"name":"web-app","scopes":["viewer","bench:write"],"expires_in":"1h"}`)
	if got := strings.Join(app.Scopes, " "); got != "bench:write tasks:read" || app.ExpiresAt != app.CreatedAt.Add(3600e9) || app.CreatedBy != "admin" {
		t.Errorf("%+v", app)
	}
	_, text := w.http("GET", "/api/v1/tokens", "", nil)
	var list struct{ Tokens []sdk.AccessToken }
	if err := json.Unmarshal(text, &list); err != nil || len(list.Tokens) != 2 || list.Tokens[1].Name != "web-app" || strings.Contains(string(text), app.Token) {
		t.Errorf("%s", text)
	}
	if strings.Contains(string(text), "sum") {
		t.Errorf("the checksum is shown: %s", text)
	}

	// It is the owner of its tasks; REST and WebSocket know it.
	resp, text := w.http("POST", "/api/v1/tasks", `{"kind":"bench.echo"}`, as(app))
	var task sdk.Task
	if err := json.Unmarshal(text, &task); err != nil || resp.StatusCode != http.StatusAccepted || task.Owner != "web-app" {
		t.Fatalf("%d %s", resp.StatusCode, text)
	}
	c := w.dialAs(app)
	var hello struct{ Scopes []string }
	c.call("hello", `{}`, &hello)
	if len(hello.Scopes) != 2 {
		t.Errorf("%+v", hello)
	}
	if _, text = w.http("GET", "/api/v1/tokens", "", nil); strings.Count(string(text), `"last_used":null`) != 1 {
		t.Errorf("its last use is not known: %s", text)
	}
	if r := c.try("hello", `{"token":"`+token+`"}`); r.Error == nil || r.Error.Data.Code != "conflict" {
		t.Errorf("a connection changed hands: %+v", r)
	}

	// Revoked: everything that it opened ends.
	stream := make(chan int)
	go func() {
		req, _ := http.NewRequestWithContext(t.Context(), "GET", w.base+"/api/v1/tasks/"+w.blocked()+"/events", nil)
		req.Header = as(app)
		req.Header.Set("Accept", "text/event-stream")
		resp, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req)
		if err != nil {
			stream <- 0
			return
		}
		defer resp.Body.Close()
		b := make([]byte, 1<<10)
		_, err = resp.Body.Read(b)
		stream <- 1
		for err == nil {
			_, err = resp.Body.Read(b)
		}
		stream <- 2
	}()
	if <-stream != 1 {
		t.Fatal("there is no stream")
	}
	if resp, text := w.http("DELETE", "/api/v1/tokens/"+app.ID, "", nil); resp.StatusCode != http.StatusNoContent {
		t.Fatalf("%d %s", resp.StatusCode, text)
	}
	if code, reason := c.closed(); code != 4500 || !strings.Contains(reason, "revoked") {
		t.Errorf("closed %d %q", code, reason)
	}
	<-stream
	resp, text = w.http("GET", "/api/v1/tasks", "", as(app))
	refused(t, resp, text, 401, "unauthorized", "")
	resp, text = w.http("DELETE", "/api/v1/tokens/"+app.ID, "", nil)
	refused(t, resp, text, 404, "not_found", "")
	w.dial().call("ping", `{}`, nil) // nobody else
}

// blocked submits a task that does not end.
func (w *world) blocked() string {
	_, text := w.http(http.MethodPost, "/api/v1/tasks", `{"kind":"bench.block"}`, nil)
	return strings.Split(string(text), `"`)[3]
}

func TestTokenExpires(t *testing.T) {
	w := start(t, nil)
	short := w.mint(`{"name":"short","scopes":["tasks:read"],"expires_in":"300ms"}`)
	if code, reason := w.dialAs(short).closed(); code != 4005 || !strings.Contains(reason, "expired") {
		t.Errorf("closed %d %q", code, reason)
	}
	resp, text := w.http("GET", "/api/v1/tasks", "", as(short))
	refused(t, resp, text, 401, "unauthorized", "")
	if !strings.Contains(string(text), "expired") {
		t.Errorf("%s", text)
	}
}

func TestBadTokenRequests(t *testing.T) {
	w := start(t, nil)
	for body, field := range map[string]string{
		`{"scopes":["admin"]}`:                                                "name",
		`{"name":"a"}`:                                                        "scopes",
		`{"name":"admin","scopes":["admin"]}`:                                 "name",
		`{"name":"A b","scopes":["admin"]}`:                                   "name",
		`{"name":"a","scopes":["task:read"]}`:                                 "scopes",
		`{"name":"a","scopes":["nobody:read"]}`:                               "scopes",
		`{"name":"a","scopes":["admin"],"expires_at":"2020-01-01T00:00:00Z"}`: "expires_at",
		`{"name":"a","scopes":["admin"],"expires_in":"-1s"}`:                  "expires_in",
		`{"name":"a","scopes":["admin"],"expires_in":"1h","expires_at":"2099-01-01T00:00:00Z"}`: "expires_in",
		`{"name":"a","scopes":["admin"],"token":"mine"}`:                                        "token",
	} {
		resp, text := w.http("POST", "/api/v1/tokens", body, nil)
		refused(t, resp, text, 422, "invalid", field)
	}
}

// Who may do what: each row is a token and what it gets from each operation.
func TestScopes(t *testing.T) {
	w := start(t, nil)
	theirs := w.finished(`{"kind":"bench.echo"}`)
	tokens := map[string]sdk.AccessToken{}
	for _, scope := range []string{"tasks:read", "tasks:submit", "tasks:cancel", "tasks:admin", "approve", "chat", "plugins:admin", "bench:read", "bench:write", "viewer", "operator", "approver"} {
		tokens[scope] = w.mint(`{"name":"x-` + strings.ReplaceAll(scope, ":", "-") + `","scopes":["` + scope + `"]}`)
	}
	for _, tt := range []struct {
		method, path, body string
		may                string // scopes that get past the door; admin always
	}{
		{"GET", "/tasks", "", "tasks:read viewer operator approver"},
		{"GET", "/tasks/" + theirs.ID, "", "tasks:read viewer operator approver"},
		{"GET", "/tasks/" + theirs.ID + "/events", "", "tasks:read viewer operator approver"},
		{"POST", "/tasks", `{"kind":"bench.echo"}`, "tasks:submit bench:write operator"},
		{"POST", "/tasks", `{"kind":"bench.look"}`, "tasks:submit bench:write bench:read operator"},
		{"POST", "/tasks", `{"kind":"agent.chat"}`, "tasks:submit chat operator"},
		{"POST", "/tasks/" + theirs.ID + "/cancel", "", "tasks:cancel operator"},
		{"POST", "/tasks/" + theirs.ID + "/retry", "", "tasks:cancel operator"},
		{"POST", "/tasks/" + theirs.ID + "/signal", `{"name":"x"}`, "tasks:cancel operator"},
		{"POST", "/tasks/bulk", `{"action":"delete","filter":{"kind":["none.x"]}}`, "tasks:admin operator"},
		{"POST", "/events", `{"type":"demo.ping"}`, "tasks:submit operator"},
		{"GET", "/queues", "", "tasks:read viewer operator approver"},
		{"POST", "/queues/default/resume", "", "tasks:admin operator"},
		{"GET", "/schedules", "", "tasks:read viewer operator approver"},
		{"POST", "/schedules/none/trigger", "", "tasks:admin operator"},
		{"GET", "/plugins", "", "tasks:read plugins:admin viewer operator approver"},
		{"POST", "/plugins/bench/reload", "", "plugins:admin"},
		{"GET", "/approvals", "", "tasks:read approve viewer operator approver"},
		{"POST", "/approvals/none/decision", `{"decision":"approve","digest":"x"}`, "approve approver"},
		{"GET", "/tokens", "", ""},
		{"POST", "/tokens", `{"name":"y","scopes":["admin"]}`, ""},
		{"DELETE", "/tokens/none", "", ""},
		{"POST", "/backup", "", ""},
		{"GET", "/system", "", "tasks:read viewer operator approver"},
	} {
		for scope, tok := range tokens {
			header := as(tok)
			header.Set("Content-Type", "application/json")
			resp, text := w.http(tt.method, "/api/v1"+tt.path, tt.body, header)
			want := strings.Contains(" "+tt.may+" ", " "+scope+" ")
			past := resp.StatusCode != 403 && (resp.StatusCode != 404 || strings.Contains(tt.path, "none"))
			if want != past {
				t.Errorf("%s %s as %s: %d %s", tt.method, tt.path, scope, resp.StatusCode, text)
			}
		}
	}
	if resp, _ := w.http("GET", "/metrics", "", as(tokens["chat"])); resp.StatusCode != 403 {
		t.Errorf("metrics: %d", resp.StatusCode)
	}

	// The same over WebSocket, and one's own tasks.
	c := w.dialAs(tokens["bench:write"])
	c.fails("task.list", `{}`, "forbidden", -32003)
	c.fails("subscribe", `{"topics":["event.>"]}`, "forbidden", -32003)
	c.fails("subscribe", `{"task":"`+theirs.ID+`"}`, "not_found", -32004)
	c.fails("task.get", `{"id":"`+theirs.ID+`"}`, "not_found", -32004)
	c.fails("task.cancel", `{"id":"`+theirs.ID+`"}`, "not_found", -32004)
	c.fails("task.retry", `{"id":"`+theirs.ID+`"}`, "not_found", -32004)
	c.fails("task.signal", `{"id":"`+theirs.ID+`","name":"x"}`, "not_found", -32004)
	c.fails("approval.decide", `{"id":"x","decision":"approve","digest":"x"}`, "forbidden", -32003)
	c.fails("event.publish", `{"type":"demo.ping"}`, "forbidden", -32003)
	c.fails("task.submit", `{"kind":"agent.chat"}`, "forbidden", -32003)
	// Who may see a task is told what is missing, and not that there is none.
	viewer := w.dialAs(tokens["viewer"])
	for _, method := range []string{"task.cancel", "task.retry"} {
		viewer.fails(method, `{"id":"`+theirs.ID+`"}`, "forbidden", -32003)
		viewer.fails(method, `{"id":"tsk_none"}`, "not_found", -32004)
	}
	var mine submitted
	c.call("task.submit", `{"kind":"bench.block","subscribe":true}`, &mine)
	c.call("task.get", `{"id":"`+mine.Task.ID+`"}`, nil)
	c.call("subscribe", `{"task":"`+mine.Task.ID+`"}`, nil)
	c.call("task.cancel", `{"id":"`+mine.Task.ID+`"}`, nil)
	var many struct {
		Results []struct{ Error *struct{ Code string } }
	}
	c.call("task.submit_many", `{"tasks":[{"kind":"bench.echo"},{"kind":"agent.chat"}]}`, &many)
	if fmt.Sprint(many.Results[0].Error, many.Results[1].Error) != "<nil> &{forbidden}" {
		t.Errorf("%+v", many)
	}
}

// Many requests of a new token at once, the first of which notes its use (-race).
func TestTokenUsedAtOnce(t *testing.T) {
	w := start(t, nil)
	app := w.mint(`{"name":"web-app","scopes":["viewer"]}`)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 200 {
				if resp, text := w.http("GET", "/api/v1/queues", "", as(app)); resp.StatusCode != http.StatusOK {
					t.Errorf("%d %s", resp.StatusCode, text)
				}
			}
		})
	}
	wg.Wait()
}

// TestUniqueOfSomebodyElse: a guess at a unique shows nothing of the task that has it.
func TestUniqueOfSomebodyElse(t *testing.T) {
	w := start(t, nil)
	_, text := w.http("POST", "/api/v1/tasks", `{"kind":"bench.echo","labels":{"secret":"xyzzy"},"unique":"nightly","delay":"1h"}`, nil)
	var task sdk.Task
	if err := json.Unmarshal(text, &task); err != nil || task.ID == "" {
		t.Fatalf("%s", text)
	}
	id := task.ID
	guest := w.mint(`{"name":"guest","scopes":["bench:write"]}`)
	viewer := w.mint(`{"name":"viewer","scopes":["bench:write","viewer"]}`)
	sub := `{"kind":"bench.echo","unique":"nightly"}`
	for path, body := range map[string]string{"/api/v1/tasks": sub, "/api/v1/tasks?wait=1ms": sub, "/api/v1/tasks/batch": `{"tasks":[` + sub + `]}`} {
		if _, text := w.http("POST", path, body, as(guest)); strings.Contains(string(text), "xyzzy") || strings.Contains(string(text), id) || !strings.Contains(string(text), "forbidden") {
			t.Errorf("%s: %s", path, text)
		}
	}
	c := w.dialAs(guest)
	if r := c.try("task.submit", `{"kind":"bench.echo","unique":"nightly","subscribe":true}`); r.Error == nil || r.Error.Data.Code != "forbidden" {
		t.Errorf("%+v", r)
	}
	if resp, text := w.http("POST", "/api/v1/tasks", sub, as(viewer)); resp.StatusCode != http.StatusAccepted || !strings.Contains(string(text), id) {
		t.Errorf("%d %s", resp.StatusCode, text)
	}
}
