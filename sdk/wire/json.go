//go:build !wasip1

package wire

import (
	"bytes"
	"encoding/json"
	"fmt"

	"github.com/nagatha/nagatha-runtime/sdk"
)

// The JSON form of the schema, for guests without a protobuf library. Only hosts
// need it.

type jsonError struct {
	Code         string `json:"code"`
	Message      string `json:"message"`
	Retryable    bool   `json:"retryable,omitempty"`
	RetryAfterMS int64  `json:"retry_after_ms,omitempty"`
}

type jsonTask struct {
	Run         uint64            `json:"run"`
	ID          string            `json:"id"`
	Kind        string            `json:"kind"`
	Queue       string            `json:"queue,omitempty"`
	Priority    int               `json:"priority,omitempty"`
	Payload     json.RawMessage   `json:"payload"`
	Life        int               `json:"life"`
	Attempt     int               `json:"attempt"`
	MaxAttempts int               `json:"max_attempts"`
	CreatedAt   int64             `json:"created_at,omitempty"`
	RunAt       int64             `json:"run_at,omitempty"`
	StartedAt   int64             `json:"started_at,omitempty"`
	Deadline    int64             `json:"deadline,omitempty"`
	TimeoutMS   int64             `json:"timeout_ms,omitempty"`
	Parent      string            `json:"parent,omitempty"`
	Labels      map[string]string `json:"labels,omitempty"`
	Owner       string            `json:"owner,omitempty"`
	EndsAt      int64             `json:"ends_at,omitempty"`
	Schedule    string            `json:"schedule,omitempty"`
	Key         string            `json:"concurrency_key,omitempty"`
}

// EncodeJSON is the JSON form of a message to a plugin.
func EncodeJSON(m Message) ([]byte, error) {
	var name string
	var body any
	switch m := m.(type) {
	case *Configure:
		name, body = "configure", struct {
			Config json.RawMessage `json:"config"`
		}{orNull(m.Config)}
	case *Task:
		t := &m.Task
		name, body = "task", jsonTask{m.Run, t.ID, t.Kind, t.Queue, t.Priority, orNull(t.Payload), t.Life, t.Attempt, t.MaxAttempts,
			int64(t.CreatedAt), int64(t.RunAt), int64(t.StartedAt), int64(t.Deadline), t.Timeout.Std().Milliseconds(),
			t.Parent, t.Labels, t.Owner, int64(m.Deadline), t.Schedule, t.ConcurrencyKey}
	case *Reply:
		name, body = "reply", struct {
			Run     uint64     `json:"run"`
			Call    uint64     `json:"call"`
			Payload []byte     `json:"payload,omitempty"`
			Error   *jsonError `json:"error,omitempty"`
		}{m.Run, m.Call, m.Payload, (*jsonError)(m.Error)}
	case *Cancel:
		name, body = "cancel", struct {
			Run    uint64 `json:"run"`
			Reason string `json:"reason,omitempty"`
		}{m.Run, m.Reason}
	case *Shutdown:
		name, body = "shutdown", struct{}{}
	default:
		return nil, fmt.Errorf("wire: %T is no message to a plugin", m)
	}
	return json.Marshal(map[string]any{name: body})
}

func orNull(doc json.RawMessage) json.RawMessage {
	if len(doc) == 0 {
		return json.RawMessage("null")
	}
	return doc
}

// DecodeJSON reads the JSON form of a message from a plugin.
func DecodeJSON(b []byte) (Message, error) {
	if len(b) > MaxMessage {
		return nil, tooLarge(len(b))
	}
	var outer map[string]json.RawMessage
	if err := json.Unmarshal(b, &outer); err != nil {
		return nil, fmt.Errorf("wire: %w", err)
	}
	if len(outer) != 1 {
		return nil, fmt.Errorf("wire: want an object with one member that names the message, not %d", len(outer))
	}
	for name, body := range outer {
		m, err := decodeJSON(name, body)
		if err != nil {
			return nil, fmt.Errorf("wire: %s: %w", name, err)
		}
		return m, check(m)
	}
	return nil, nil
}

func decodeJSON(name string, body []byte) (Message, error) {
	var j struct {
		Version  uint32          `json:"version"`
		Info     json.RawMessage `json:"info"`
		Run      uint64          `json:"run"`
		Call     uint64          `json:"call"`
		Op       string          `json:"op"`
		Payload  json.RawMessage `json:"payload"`
		Error    *jsonError      `json:"error"`
		Progress float64         `json:"progress"`
		Total    float64         `json:"total"`
		Level    int             `json:"level"`
		Message  string          `json:"message"`
		Attrs    json.RawMessage `json:"attrs"`
		Stream   string          `json:"stream"`
		Data     []byte          `json:"data"`
	}
	if err := json.Unmarshal(body, &j); err != nil {
		return nil, err
	}
	switch name {
	case "manifest":
		return &Manifest{j.Version, j.Info}, nil
	case "result":
		return &Result{j.Run, j.Payload, (*Error)(j.Error)}, nil
	case "call":
		// Requests of operations are JSON, so they need no base64 here.
		if bytes.Equal(j.Payload, []byte("null")) {
			j.Payload = nil
		}
		return &Call{j.Run, j.Call, j.Op, j.Payload}, nil
	case "progress":
		return &Progress{j.Run, sdk.Progress{Progress: j.Progress, Total: j.Total, Message: j.Message}}, nil
	case "log":
		return &Log{j.Run, j.Level, j.Message, j.Attrs}, nil
	case "output":
		return &Output{j.Run, j.Stream, j.Data}, nil
	}
	return nil, fmt.Errorf("there is no message of this name from a plugin")
}
