package sdk

import "encoding/json"

// Schedule submits a task at each of its ticks. Exactly one of Cron, Every and At
// says when those are. The JSON is the schedule object that every client sees;
// what a client sets when it makes one is everything from Name to Paused.
type Schedule struct {
	ID   string `json:"id"`
	Name string `json:"name"` // lower-case, such as "nightly-report"

	// Cron has 5 fields (minute, hour, day, month, weekday) or 6, seconds first,
	// in the local time of Zone, an IANA name; "" is UTC. A local time that the
	// clock skips runs at the first moment after the gap, one that the clock
	// repeats runs the first time only.
	Cron string `json:"cron,omitempty"`
	Zone string `json:"zone"`
	// Every is an interval of at least a second, from the moment at which the
	// schedule was made.
	Every Duration `json:"every,omitempty"`
	// At is one moment.
	At Time `json:"at,omitempty"`

	// What is submitted, as in [Submission].
	Kind        string          `json:"kind"`
	Payload     json.RawMessage `json:"payload"`
	Queue       string          `json:"queue"` // "": the kind's own
	Priority    int             `json:"priority"`
	Timeout     Duration        `json:"timeout,omitempty"`
	MaxAttempts int             `json:"max_attempts,omitempty"`

	Missed  MissedPolicy  `json:"missed"`  // default once
	Overlap OverlapPolicy `json:"overlap"` // default skip; allow where Missed is all
	// Jitter delays each task by a random time up to it.
	Jitter Duration `json:"jitter"`
	Paused bool     `json:"paused"`

	NextAt   Time   `json:"next_at"` // null: no more, or paused
	LastAt   Time   `json:"last_at"` // the last tick that submitted a task
	LastTask string `json:"last_task"`
	// Error is why the last tick could not submit its task; "" where it did.
	Error  string         `json:"error,omitempty"`
	Source ScheduleSource `json:"source"`
}

// MissedPolicy says what becomes of ticks that passed while nothing ran, or the
// clock jumped over. A tick that is found less than a minute late was not missed.
type MissedPolicy string

// The policies for missed ticks.
const (
	MissedOnce MissedPolicy = "once" // one task for all of them
	MissedSkip MissedPolicy = "skip" // none
	MissedAll  MissedPolicy = "all"  // one task each, for the latest 100
)

// OverlapPolicy says what a tick does while a task of the schedule has not ended.
type OverlapPolicy string

// The policies for overlap.
const (
	OverlapSkip   OverlapPolicy = "skip" // it submits nothing
	OverlapAllow  OverlapPolicy = "allow"
	OverlapCancel OverlapPolicy = "cancel_previous" // it cancels them and submits
)

// ScheduleSource is where a schedule is defined. Those of the configuration are
// read-only for clients.
type ScheduleSource string

// The sources.
const (
	SourceConfig ScheduleSource = "config"
	SourceAPI    ScheduleSource = "api"
)
