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
// sees. A handler must not change the one it is given, and finds in it what stays as it
// is while the attempt runs: not Result, Error, Progress, Plugin, PluginVersion, Reason,
// FinishedAt and Version.
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
// Kind is required; what is zero is the kind's or the runtime's own.
type Submission struct {
	Kind           string            `json:"kind"`
	Payload        json.RawMessage   `json:"payload,omitempty"` // absent: {}
	Queue          string            `json:"queue,omitempty"`
	Priority       int               `json:"priority,omitempty"`        // −100…100, higher starts first
	RunAt          Time              `json:"run_at,omitempty"`          // not before; or Delay
	Delay          Duration          `json:"delay,omitempty"`           // from now; at most 10 years
	Timeout        Duration          `json:"timeout,omitempty"`         // of an attempt, while it does not wait
	Deadline       Time              `json:"deadline,omitempty"`        // it has ended by then, or fails: expired
	Expires        Time              `json:"expires,omitempty"`         // its first attempt has begun by then, or it fails: expired
	MaxAttempts    int               `json:"max_attempts,omitempty"`    // of a life
	IdempotencyKey string            `json:"idempotency_key,omitempty"` // same key and body: the same task, until it is pruned
	Unique         string            `json:"unique,omitempty"`          // while a task with this text lives: that task
	ConcurrencyKey string            `json:"concurrency_key,omitempty"` // tasks with the same one take turns
	Labels         map[string]string `json:"labels,omitempty"`
	After          []string          `json:"after,omitempty"` // ids of tasks that must complete first
}
