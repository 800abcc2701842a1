package runtime

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/nagatha/nagatha-runtime/sdk"
)

// eventSource is the source of the events that are the engine's own: task.* on the
// bus. It is the same on every node of a database, so that an event has one
// identity.
const eventSource = "nagatha"

// maxEndResult is the most bytes of a result that an end event carries on the bus. A
// payload holds the whole event, and must stay below limits.payload.
const maxEndResult = 64 << 10

// endTypes are the types that end a life.
var endTypes = []string{sdk.EventCompleted, sdk.EventFailed, sdk.EventCancelled}

// Ended is the end of a task's life, as the store found it.
type Ended struct {
	Type, Task      string
	Life, Attempt   int
	Time            sdk.Time
	Data            json.RawMessage // of the task's event: {result}, {error} or {reason}
	Kind, Queue     string
	Payload, Labels json.RawMessage
	Parent          string
	Schedule, Owner string
	Hops            int
	TraceParent     string
}

// taskEnd is the data of the event.
type taskEnd struct {
	Task     string          `json:"task"`
	Kind     string          `json:"kind"`
	Queue    string          `json:"queue"`
	Life     int             `json:"life"`
	Attempt  int             `json:"attempt"`
	Parent   string          `json:"parent"`
	Schedule string          `json:"schedule"`
	Labels   json.RawMessage `json:"labels"`
	Owner    string          `json:"owner"`

	Result json.RawMessage `json:"result,omitempty"`
	Error  json.RawMessage `json:"error,omitempty"`
	Reason json.RawMessage `json:"reason,omitempty"`
	// Cut says that the result is too large for the event.
	Cut bool `json:"result_cut,omitempty"`
}

// EndEvent makes the event by which plugins hear of the end of a task. The end of a
// task that was itself made by such an event is none: those who watch ends would
// otherwise watch themselves and each other.
func EndEvent(e Ended) (ev sdk.Event, ok bool, err error) {
	if watchesEnds(e.Payload) {
		return sdk.Event{}, false, nil
	}
	end := taskEnd{Task: e.Task, Kind: e.Kind, Queue: e.Queue, Life: e.Life, Attempt: e.Attempt, Parent: e.Parent, Schedule: e.Schedule,
		Labels: e.Labels, Owner: e.Owner}
	if err := json.Unmarshal(e.Data, &end); err != nil {
		return sdk.Event{}, false, fmt.Errorf("end of task %s: %w", e.Task, err)
	}
	if end.Cut = len(end.Result) > maxEndResult; end.Cut {
		end.Result = nil
	}
	data, err := json.Marshal(end)
	if err != nil {
		return sdk.Event{}, false, fmt.Errorf("end of task %s: %w", e.Task, err)
	}
	return sdk.Event{ID: fmt.Sprintf("%s.%d", e.Task, e.Life), Source: eventSource, Type: e.Type, Subject: e.Task, Time: e.Time, Data: data,
		Hops: e.Hops + 1, TraceParent: e.TraceParent}, true, nil
}

// watchesEnds reports whether a payload is that of a task which an end event made.
func watchesEnds(payload json.RawMessage) bool {
	if !bytes.HasPrefix(payload, []byte(`{"event":{`)) {
		return false
	}
	var p struct {
		Event struct{ Source, Type string }
	}
	if json.Unmarshal(payload, &p) != nil || p.Event.Source != eventSource {
		return false
	}
	return slices.Contains(endTypes, p.Event.Type)
}

// WantedEnds returns the types of end events that some plugin subscribes to; nil is
// none. It costs next to nothing, and is what the store asks in each transaction.
func (r *Runtime) WantedEnds() []string {
	if p := r.registry.ends.Load(); p != nil {
		return *p
	}
	return nil
}

// wantedEnds works them out. The caller holds mu.
func (g *registry) wantedEnds() {
	var wanted []string
	for _, typ := range endTypes {
		if g.subscribed(typ) {
			wanted = append(wanted, typ)
		}
	}
	g.ends.Store(&wanted)
}

func (g *registry) subscribed(typ string) bool {
	for _, e := range g.plugins {
		for _, s := range e.info.Subscriptions {
			if sdk.MatchPattern(s.Type, typ) {
				return true
			}
		}
	}
	return false
}
