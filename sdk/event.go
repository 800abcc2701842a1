package sdk

import "encoding/json"

// The types of task events.
const (
	EventCreated   = "task.created"
	EventScheduled = "task.scheduled"
	EventQueued    = "task.queued"
	EventStarted   = "task.started"
	EventProgress  = "task.progress"
	EventLog       = "task.log"
	EventOutput    = "task.output"
	EventWaiting   = "task.waiting"
	EventResumed   = "task.resumed"
	EventSignalled = "task.signalled"
	EventRetrying  = "task.retrying"
	EventCompleted = "task.completed"
	EventFailed    = "task.failed"
	EventCancelled = "task.cancelled"
)

// TaskEvent is a numbered fact about a task. Seq is dense per task from 1.
// Exactly one event of each life has End set, and it is the life's last.
type TaskEvent struct {
	Seq     int64           `json:"seq"`
	Type    string          `json:"type"`
	Task    string          `json:"task"`
	Life    int             `json:"life"`
	Attempt int             `json:"attempt"`
	Time    Time            `json:"time"`
	Data    json.RawMessage `json:"data"`
	End     bool            `json:"end"`
}

// Event is a message on the bus, with the attributes of CloudEvents 1.0.
type Event struct {
	ID      string          `json:"id"`
	Source  string          `json:"source"`
	Type    string          `json:"type"` // dotted; task.* and system.* belong to the runtime
	Subject string          `json:"subject,omitempty"`
	Time    Time            `json:"time"`
	Data    json.RawMessage `json:"data,omitempty"` // JSON

	// Extensions are further attributes: lower-case letters and digits in the name,
	// and the value in its text form.
	Extensions map[string]string `json:"extensions,omitempty"`

	// Hops counts the event → task → event steps behind this one, and
	// TraceParent is the W3C trace context. Neither is in the payload of a task.
	Hops        int    `json:"-"`
	TraceParent string `json:"-"`
}

// MaxHops is where a chain of events and tasks ends, so that a loop stops.
const MaxHops = 16
