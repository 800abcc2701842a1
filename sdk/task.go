package sdk

import "encoding/json"

// State is where a task is in its life.
type State string

// The states. Completed, failed and cancelled are terminal: a life ends there.
const (
	StateScheduled State = "scheduled" // due later, or held back until others completed
	StateQueued    State = "queued"    // may start as soon as there is a slot and a handler
	StateRunning   State = "running"   // an attempt is under way
	StateWaiting   State = "waiting"   // an attempt is parked and holds no slot
	StateRetrying  State = "retrying"  // backing off between attempts
	StateCompleted State = "completed"
	StateFailed    State = "failed"
	StateCancelled State = "cancelled"
)

// States are all of them, in the order of a life.
var States = []State{StateScheduled, StateQueued, StateRunning, StateWaiting, StateRetrying,
	StateCompleted, StateFailed, StateCancelled}

// Terminal reports whether a life ends in s.
func (s State) Terminal() bool {
	return s == StateCompleted || s == StateFailed || s == StateCancelled
}

// Task is a durable unit of work. The JSON is the task object that every client
// sees. A handler must not change the one it is given.
type Task struct {
	ID       string          `json:"id"`
	Kind     string          `json:"kind"`
	Queue    string          `json:"queue"`
	State    State           `json:"state"`
	Priority int             `json:"priority"` // −100…100, higher starts first
	Payload  json.RawMessage `json:"payload"`
	Result   json.RawMessage `json:"result"` // null until completed
	Error    *Error          `json:"error"`  // of the last failed attempt
	Progress *Progress       `json:"progress"`

	Life          int    `json:"life"`         // from 1; a retry by hand opens the next
	Attempt       int    `json:"attempt"`      // of this life, from 1; 0 before the first
	MaxAttempts   int    `json:"max_attempts"` // of a life
	Plugin        string `json:"plugin"`       // that ran the last attempt
	PluginVersion string `json:"plugin_version"`
	Reason        string `json:"reason"` // why it is not running yet, or was cancelled

	CreatedAt  Time     `json:"created_at"`
	RunAt      Time     `json:"run_at"`
	StartedAt  Time     `json:"started_at"`
	FinishedAt Time     `json:"finished_at"`
	Deadline   Time     `json:"deadline"`
	Timeout    Duration `json:"timeout"` // of an attempt

	Parent   string            `json:"parent"`
	Schedule string            `json:"schedule"`
	Labels   map[string]string `json:"labels"`
	Owner    string            `json:"owner"`
	Version  int64             `json:"version"` // grows with every change

	ConcurrencyKey string `json:"concurrency_key,omitempty"` // tasks with the same one take turns
}

// Progress is how far an attempt is.
type Progress struct {
	Progress float64 `json:"progress"`
	Total    float64 `json:"total"` // 0: not known
	Message  string  `json:"message"`
}

// Submission says what to run and how: the submit options of the protocol. Only
// Kind is required.
type Submission struct {
	Kind           string            `json:"kind"`
	Payload        json.RawMessage   `json:"payload,omitempty"` // absent: {}
	Queue          string            `json:"queue,omitempty"`
	Priority       int               `json:"priority,omitempty"`
	RunAt          Time              `json:"run_at,omitempty"` // or Delay
	Delay          Duration          `json:"delay,omitempty"`
	Timeout        Duration          `json:"timeout,omitempty"`
	Deadline       Time              `json:"deadline,omitempty"`
	Expires        Time              `json:"expires,omitempty"`
	MaxAttempts    int               `json:"max_attempts,omitempty"`
	IdempotencyKey string            `json:"idempotency_key,omitempty"`
	Unique         string            `json:"unique,omitempty"`
	ConcurrencyKey string            `json:"concurrency_key,omitempty"`
	Labels         map[string]string `json:"labels,omitempty"`
	After          []string          `json:"after,omitempty"`
}
