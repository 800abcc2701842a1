package api

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"github.com/nagatha/nagatha-runtime/runtime"
	"github.com/nagatha/nagatha-runtime/sdk"
)

// The three endpoints of the old web app, for clients that were written against it:
// the same paths and the same shapes, over real tasks. On by Config.SeedAPI.

func (s *Server) routeSeed(mux *http.ServeMux) {
	for pattern, run := range map[string]func(ctx context.Context, w http.ResponseWriter, r *http.Request) (any, error){
		"POST /api/send-message-nagatha-core/{$}": s.seedSend,
		"GET /api/task-status/{task_id}/{$}":      s.seedTask,
		"GET /api/system-status/{$}":              s.seedSystem,
	} {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			answer, err := run(r.Context(), w, r)
			if err != nil {
				s.fail(w, r, err)
				return
			}
			text, err := encode(answer)
			if err != nil {
				s.fail(w, r, err)
				return
			}
			w.Header().Set("Content-Type", "application/json")
			_, _ = w.Write(append(text, '\n')) // a peer that has gone needs no answer
		})
	}
}

const chatKind = "agent.chat"

type seedSent struct {
	Success         bool   `json:"success"`
	TaskID          string `json:"task_id"`
	SessionID       string `json:"session_id"`
	UserMessageID   string `json:"user_message_id"`
	Message         string `json:"message"`
	IntegrationType string `json:"integration_type"`
}

// seedSend submits a turn of a conversation. The ids of session and message are
// chosen here, so that they can be in the answer.
func (s *Server) seedSend(ctx context.Context, w http.ResponseWriter, r *http.Request) (any, error) {
	text, err := readBody(http.NewResponseController(w).SetReadDeadline, r.Body, s.cfg.Limits.BodyBytes, s.cfg.BodyTimeout)
	if err != nil {
		return nil, err
	}
	f, err := (&body{text: text, header: r.Header}).fields(false)
	if err != nil {
		return nil, err
	}
	message, session := f.required("message"), f.text("session_id")
	f.raw("user_id") // of the old app, which never used it
	if err := f.err(); err != nil {
		return nil, err
	}
	if strings.TrimSpace(message) == "" {
		return nil, sdk.Invalid("message", "is empty")
	}
	if session == "" {
		session = runtime.NewID("ses_")
	}
	who := sender(ctx)
	if bad := s.forSubmit(who, chatKind); bad != nil {
		return nil, bad
	}
	sent := seedSent{Success: true, SessionID: session, UserMessageID: runtime.NewID("msg_"),
		Message: "Message is being processed", IntegrationType: "nagatha_core"}
	payload, err := encode(map[string]string{"session": session, "message": message, "user_message_id": sent.UserMessageID})
	if err != nil {
		return nil, err
	}
	done, err := s.rt.Submit(context.WithoutCancel(ctx), who.name, []sdk.Submission{{Kind: chatKind, Payload: payload}})
	if err == nil && done[0].Err != nil {
		err = done[0].Err
	}
	if err != nil {
		return nil, err
	}
	sent.TaskID = done[0].Task.ID
	return sent, nil
}

type seedStatus struct {
	ID           string          `json:"id"`
	CeleryTaskID string          `json:"celery_task_id"`
	TaskName     string          `json:"task_name"`
	Description  string          `json:"description"`
	Status       string          `json:"status"`
	Progress     int             `json:"progress"`
	Result       json.RawMessage `json:"result"`
	ErrorMessage *string         `json:"error_message"`
	CreatedAt    sdk.Time        `json:"created_at"`
	StartedAt    sdk.Time        `json:"started_at"`
	CompletedAt  sdk.Time        `json:"completed_at"`
}

func (s *Server) seedTask(ctx context.Context, _ http.ResponseWriter, r *http.Request) (any, error) {
	id := r.PathValue("task_id")
	if err := s.forTask(ctx, sender(ctx), id, scopeRead); err != nil {
		return nil, err
	}
	t, err := s.rt.Task(ctx, id)
	if err != nil {
		return nil, err
	}
	info, _ := s.rt.Kind(t.Kind)
	out := seedStatus{ID: t.ID, CeleryTaskID: t.ID, TaskName: t.Kind, Description: info.Description, Status: seedState(t.State),
		Progress: seedProgress(&t), Result: t.Result, CreatedAt: t.CreatedAt, StartedAt: t.StartedAt, CompletedAt: t.FinishedAt}
	if len(out.Result) == 0 {
		out.Result = json.RawMessage("null")
	}
	switch {
	case t.Error != nil && t.State == sdk.StateFailed:
		out.ErrorMessage = &t.Error.Message
	case t.State == sdk.StateCancelled && t.Reason != "":
		out.ErrorMessage = &t.Reason
	}
	if t.Kind == chatKind {
		out.seedChat(&t)
	}
	return out, nil
}

// seedChat makes a turn look as it did: its text in the description, and the old
// names in its result.
func (out *seedStatus) seedChat(t *sdk.Task) {
	var in struct{ Message, Session string }
	if json.Unmarshal(t.Payload, &in) == nil {
		text := []rune(in.Message)
		out.Description = "Process message: " + string(text[:min(len(text), 50)])
	}
	var result map[string]json.RawMessage
	if json.Unmarshal(t.Result, &result) != nil || result == nil {
		return
	}
	result["success"] = json.RawMessage("true")
	if session := result["session"]; session != nil {
		result["session_id"] = session
	}
	if text, err := encode(result); err == nil {
		out.Result = text
	}
}

// seedState maps a state to one of the old app's five.
func seedState(s sdk.State) string {
	switch s {
	case sdk.StateScheduled, sdk.StateQueued:
		return "pending"
	case sdk.StateCompleted:
		return "completed"
	case sdk.StateFailed:
		return "failed"
	case sdk.StateCancelled:
		return "cancelled"
	}
	return "running" // waiting, and between attempts, too
}

// seedProgress is a percentage: 100 for what has completed and for nothing else.
func seedProgress(t *sdk.Task) int {
	switch {
	case t.State == sdk.StateCompleted:
		return 100
	case t.Progress == nil || t.Progress.Total <= 0:
		return 0
	}
	return min(max(int(100*t.Progress.Progress/t.Progress.Total), 0), 99)
}

// seedAge is how long one answer about the system is good enough for everybody.
const seedAge = 5 * time.Second
