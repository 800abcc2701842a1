package client

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/nagatha/nagatha-runtime/sdk"
)

// The methods of a [Notification].
const (
	MethodEvent    = "event"    // Event or Message is set, and Cursor
	MethodSnapshot = "snapshot" // Task is set: how it was when the subscription was opened
	MethodLive     = "live"     // the history is over, what follows is new
	MethodGap      = "gap"      // history is lost: Reason says why
	MethodLag      = "lag"      // this client is Behind events late
)

// Notification is one thing that a subscription tells.
type Notification struct {
	Method string
	Cursor string // with an event: where to go on from

	Event   *TaskEvent      // a task's event, or
	Message *sdk.Event      // a published event
	Raw     json.RawMessage // either, as the server sent it

	Task   *sdk.Task
	Reason string
	Behind int64
}

// TaskEvent is a task's event as a subscription shows it.
type TaskEvent struct {
	sdk.TaskEvent
	Kind    string `json:"kind"`     // on topic subscriptions
	Queue   string `json:"queue"`    // on topic subscriptions
	FromSeq int64  `json:"from_seq"` // not 0 on a merged event: the first seq in it
}

// notice is the params of every server notification.
type notice struct {
	Subscription string          `json:"subscription"`
	Cursor       string          `json:"cursor"`
	Event        json.RawMessage `json:"event"`
	Task         *sdk.Task       `json:"task"`
	Reason       string          `json:"reason"`
	Behind       int64           `json:"behind"`
	RetryAfterMS int64           `json:"retry_after_ms"`
}

// notify takes one server notification. Methods that are not known are ignored.
func (c *Conn) notify(l *link, method string, params json.RawMessage) error {
	var p notice
	if err := json.Unmarshal(params, &p); err != nil {
		return fmt.Errorf("the server sent a %s notification that cannot be read: %w", method, err)
	}
	n := Notification{Method: method, Cursor: p.Cursor, Task: p.Task, Reason: p.Reason, Behind: p.Behind, Raw: p.Event}
	switch method {
	case "closing":
		c.mu.Lock()
		defer c.mu.Unlock()
		l.retryAfter = time.Duration(min(p.RetryAfterMS, time.Hour.Milliseconds())) * time.Millisecond
		return nil
	case MethodEvent:
		if err := n.parse(); err != nil {
			return err
		}
	case MethodSnapshot:
		if n.Task == nil {
			return fmt.Errorf("the server sent a snapshot without a task")
		}
	case MethodLive, MethodGap, MethodLag:
	default:
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if s := l.subs[p.Subscription]; s != nil {
		s.receive(n)
	}
	return nil
}

// parse tells a task's event from a published one, which is a CloudEvent.
func (n *Notification) parse() error {
	var kind struct {
		SpecVersion string `json:"specversion"`
	}
	err := json.Unmarshal(n.Raw, &kind)
	if err == nil && kind.SpecVersion != "" {
		n.Message = new(sdk.Event)
		err = json.Unmarshal(n.Raw, n.Message)
	} else if err == nil {
		n.Event = new(TaskEvent)
		err = json.Unmarshal(n.Raw, n.Event)
	}
	if err != nil {
		return fmt.Errorf("the server sent an event that cannot be read: %w", err)
	}
	return nil
}

// key tells a subscription's events apart.
func (n *Notification) key() string {
	if n.Event != nil {
		return fmt.Sprint(n.Event.Task, " ", n.Event.Seq)
	}
	return n.Cursor
}
