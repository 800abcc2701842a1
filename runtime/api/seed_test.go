package api_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/nagatha/nagatha-runtime/runtime"
	"github.com/nagatha/nagatha-runtime/runtime/api"
	"github.com/nagatha/nagatha-runtime/sdk"
)

// seeded is a world with an agent that repeats what it is told, and MCP servers of
// which one is down.
func seeded(t *testing.T) *world {
	t.Helper()
	w := start(t, func(c *api.Config) { c.SeedAPI, c.DataDir = true, t.TempDir() })
	type turn struct {
		Session string `json:"session"`
		Message string `json:"message"`
		ID      string `json:"user_message_id"`
	}
	agent := sdk.New(sdk.Info{Name: "agent", Version: "1"}, sdk.Func(sdk.HandlerInfo{Kind: "agent.chat", MaxAttempts: 1, Description: "Talks."},
		func(ctx context.Context, host sdk.Host, in turn) (any, error) {
			switch in.Message {
			case "wait":
				host.Progress(1, 3, "thinking")
				<-ctx.Done()
				return nil, ctx.Err()
			case "fail":
				return nil, sdk.Permanent(errors.New("the model is out"))
			}
			return map[string]string{"session": in.Session, "message_id": "msg_2", "user": in.ID, "response": "you said " + in.Message}, nil
		}))
	mcp := sdk.New(sdk.Info{Name: "mcp", Version: "1"}, sdk.Func(sdk.HandlerInfo{Kind: "mcp.check_health"},
		func(context.Context, sdk.Host, struct{}) (any, error) {
			return json.RawMessage(`{"mcp_status":{"total_configured":3,"connected":2,"failed":1,"failed_servers":[["files","exited"]],"total_tools":17},"server_info":{},"health_checks":{},"timestamp":"x"}`), nil
		}))
	for name, p := range map[string]sdk.Plugin{"agent": agent, "mcp": mcp} {
		if err := w.rt.SetPlugin(t.Context(), runtime.Plugin{Name: name, Plugin: p}); err != nil {
			t.Fatal(err)
		}
	}
	return w
}

// seed asks one of the old endpoints.
func (w *world) seed(method, path, body string, want int) map[string]any {
	w.t.Helper()
	resp, text := w.http(method, path, body, http.Header{"Content-Type": {"application/json"}})
	var m map[string]any
	if err := json.Unmarshal(text, &m); err != nil || resp.StatusCode != want {
		w.t.Fatalf("%s %s: %d %s", method, path, resp.StatusCode, text)
	}
	return m
}

func TestSeedMessage(t *testing.T) {
	w := seeded(t)
	const send = "/api/send-message-nagatha-core/"
	sent := w.seed("POST", send, `{"message":"hello"}`, 200)
	id, session := sent["task_id"].(string), sent["session_id"].(string)
	if sent["success"] != true || sent["integration_type"] != "nagatha_core" || !strings.HasPrefix(session, "ses_") ||
		!strings.HasPrefix(sent["user_message_id"].(string), "msg_") || sent["message"] == "" {
		t.Errorf("%v", sent)
	}
	w.http("GET", "/api/v1/tasks/"+id+"?wait=30s", "", nil)
	status := w.seed("GET", "/api/task-status/"+id+"/", "", 200)
	result := status["result"].(map[string]any)
	if status["id"] != id || status["celery_task_id"] != id || status["task_name"] != "agent.chat" || status["status"] != "completed" ||
		status["progress"] != 100.0 || status["description"] != "Process message: hello" || status["error_message"] != nil ||
		status["started_at"] == nil || status["completed_at"] == nil {
		t.Errorf("%v", status)
	}
	if result["response"] != "you said hello" || result["session_id"] != session || result["user"] != sent["user_message_id"] || result["success"] != true {
		t.Errorf("%v", result)
	}
	if again := w.seed("POST", send, `{"message":"more","session_id":"`+session+`"}`, 200); again["session_id"] != session {
		t.Errorf("%v", again)
	}

	// A failure is a failure, and a task is known from the moment of its submit.
	id = w.seed("POST", send, `{"message":"fail"}`, 200)["task_id"].(string)
	w.http("GET", "/api/v1/tasks/"+id+"?wait=30s", "", nil)
	if s := w.seed("GET", "/api/task-status/"+id+"/", "", 200); s["status"] != "failed" || s["error_message"] != "the model is out" || s["progress"] != 0.0 || s["result"] != nil {
		t.Errorf("%v", s)
	}
	id = w.seed("POST", send, `{"message":"wait"}`, 200)["task_id"].(string)
	until(t, "it shows its progress", func() bool {
		s := w.seed("GET", "/api/task-status/"+id+"/", "", 200)
		return s["status"] == "running" && s["progress"] == 33.0 && s["completed_at"] == nil
	})
	w.seed("POST", "/api/v1/tasks/"+id+"/cancel", `{"mode":"force","reason":"enough"}`, 200)
	w.http("GET", "/api/v1/tasks/"+id+"?wait=30s", "", nil)
	if s := w.seed("GET", "/api/task-status/"+id+"/", "", 200); s["status"] != "cancelled" || s["error_message"] != "enough" {
		t.Errorf("%v", s)
	}
	_, made := w.http("POST", "/api/v1/tasks", `{"kind":"later.on","delay":"1h"}`, nil)
	var later sdk.Task
	if err := json.Unmarshal(made, &later); err != nil {
		t.Fatal(err)
	}
	if s := w.seed("GET", "/api/task-status/"+later.ID+"/", "", 200); s["status"] != "pending" || s["started_at"] != nil {
		t.Errorf("%v", s)
	}
	w.seed("GET", "/api/task-status/tsk_none/", "", 404)
	w.seed("POST", send, `{"message":" "}`, 422)
	w.seed("POST", send, `{}`, 422)
	resp, text := w.http("POST", send, "message=hello", http.Header{"Content-Type": {"application/x-www-form-urlencoded"}})
	refused(t, resp, text, 415, "invalid_request", "")

	// They need the token like everything else, and one that may chat is enough.
	for _, r := range [][2]string{{"POST", send}, {"GET", "/api/task-status/" + id + "/"}, {"GET", "/api/system-status/"}} {
		resp, text := w.http(r[0], r[1], "", http.Header{"Authorization": nil})
		refused(t, resp, text, 401, "unauthorized", "")
	}
	app := w.mint(`{"name":"web-app","scopes":["chat"]}`)
	resp, text = w.http("POST", send, `{"message":"hi"}`, as(app))
	var own struct {
		TaskID string `json:"task_id"`
	}
	if err := json.Unmarshal(text, &own); err != nil || resp.StatusCode != 200 {
		t.Fatalf("%d %s", resp.StatusCode, text)
	}
	if resp, _ := w.http("GET", "/api/task-status/"+own.TaskID+"/", "", as(app)); resp.StatusCode != 200 {
		t.Errorf("its own task: %d", resp.StatusCode)
	}
	if resp, _ := w.http("GET", "/api/task-status/"+id+"/", "", as(app)); resp.StatusCode != 404 {
		t.Errorf("another's task: %d", resp.StatusCode)
	}
}

func TestSeedSystem(t *testing.T) {
	w := seeded(t)
	w.finished(`{"kind":"mcp.check_health"}`)
	w.finished(`{"kind":"agent.chat","payload":{"session":"ses_a","message":"x"}}`)
	w.finished(`{"kind":"agent.chat","payload":{"session":"ses_a","message":"y"}}`)
	w.finished(`{"kind":"agent.chat","payload":{"session":"ses_b","message":"z"}}`)
	s := w.seed("GET", "/api/system-status/", "", 200)
	if s["mcp_servers_connected"] != 2.0 || s["total_tools_available"] != 17.0 || s["active_sessions"] != 2.0 || s["system_health"] != "degraded" {
		t.Errorf("%v", s)
	}
	for _, name := range []string{"cpu_usage", "memory_usage", "disk_usage"} {
		if v, ok := s[name].(float64); !ok || v < 0 || v > 100 || name != "cpu_usage" && v == 0 {
			t.Errorf("%s is %v", name, s[name])
		}
	}
	if m := s["additional_metrics"].(map[string]any); len(m["problems"].([]any)) != 1 || m["tasks"].(map[string]any)["completed"] != 4.0 {
		t.Errorf("%v", m)
	}
	if again := w.seed("GET", "/api/system-status/", "", 200); again["timestamp"] != s["timestamp"] {
		t.Error("it looked again at once")
	}
}

// The first question after a start, when no schedule has looked at the servers yet.
func TestSeedSystemAtFirst(t *testing.T) {
	w := seeded(t)
	s := w.seed("GET", "/api/system-status/", "", 200)
	if m := s["additional_metrics"].(map[string]any); s["mcp_servers_connected"] != 2.0 || s["total_tools_available"] != 17.0 || m["mcp_checked_at"] == nil {
		t.Errorf("%v", s)
	}
}

// Who does not wait for the answer does not spoil that of the next.
func TestSeedSystemIsShared(t *testing.T) {
	w := seeded(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	req := httptest.NewRequestWithContext(ctx, "GET", "http://localhost:0/api/system-status/", nil)
	req.Header.Set("Authorization", "Bearer "+token)
	w.srv.Handler().ServeHTTP(httptest.NewRecorder(), req)
	s := w.seed("GET", "/api/system-status/", "", 200)
	if m := s["additional_metrics"].(map[string]any); s["system_health"] != "degraded" || len(m["problems"].([]any)) != 1 {
		t.Errorf("%v", s)
	}
}

func TestSeedIsOff(t *testing.T) {
	w := start(t, nil)
	resp, text := w.http("GET", "/api/system-status/", "", nil)
	refused(t, resp, text, 404, "not_found", "")
}
