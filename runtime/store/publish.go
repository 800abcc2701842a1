package store

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/nagatha/nagatha-runtime/runtime"
	"github.com/nagatha/nagatha-runtime/sdk"
)

type publishArg struct {
	fence  runtime.Fence
	events []sdk.Event
	err    error
}

// Publish implements runtime.Store.
func (s *Store) Publish(ctx context.Context, fence runtime.Fence, events []sdk.Event) error {
	a := &publishArg{fence: fence, events: events}
	if err := s.do(ctx, verbPublish, len(events), a); err != nil {
		return err
	}
	return a.err
}

func (t *tick) publish(args []*publishArg) error {
	var events []sdk.Event
	for _, a := range args {
		ok, err := t.passes(a.fence)
		if err != nil {
			return err
		}
		if a.err = nil; !ok {
			a.err = runtime.ErrFenced
			continue
		}
		events = append(events, a.events...)
	}
	if len(events) == 0 {
		return nil
	}
	if err := t.tell(events...); err != nil {
		return err
	}
	if t.cfg.Outbox == nil {
		return nil
	}
	// What the runtime says about itself starts no tasks.
	events = slices.DeleteFunc(events, func(e sdk.Event) bool { return strings.HasPrefix(e.Type, "system.") })
	if len(events) == 0 {
		return nil
	}
	if err := t.cfg.Outbox(foreign{t}, events); err != nil {
		return fmt.Errorf("hand events to the bus: %w", err)
	}
	return nil
}

// loggedEvent is a published event as the log keeps it: with the trace that the payload
// of a task leaves out.
type loggedEvent struct {
	sdk.Event
	Trace string `json:"traceparent,omitempty"`
}

// tell adds events that belong to no task to the transaction's part of the log.
func (t *tick) tell(events ...sdk.Event) error {
	for _, e := range events {
		data, err := json.Marshal(loggedEvent{e, e.TraceParent})
		if err != nil {
			return err
		}
		t.log = append(t.log, logRow{typ: e.Type, time: t.now, data: string(data)})
		t.out.Published = append(t.out.Published, e.Type)
	}
	return nil
}

// passes reports whether the attempt behind a fence still counts.
func (t *tick) passes(f runtime.Fence) (bool, error) {
	if f == (runtime.Fence{}) {
		return true, nil
	}
	ok := false
	err := t.query(`SELECT 1 FROM tasks WHERE id = $1 AND token = $2 AND node <> ''`,
		func(Row) error { ok = true; return nil }, f.Task, f.Token)
	if err != nil {
		return false, fmt.Errorf("check the attempt: %w", err)
	}
	return ok, nil
}
