package store

import (
	"fmt"
	"slices"

	"github.com/nagatha/nagatha-runtime/runtime"
	"github.com/nagatha/nagatha-runtime/sdk"
)

// announce hands the ends of tasks to the bus, in the transaction that ends them,
// where some plugin subscribes to them. It looks at what the transaction is about to
// log, so there is no way to end a task that it does not see.
func (t *tick) announce() error {
	if t.cfg.Ends == nil {
		return nil
	}
	wanted := t.cfg.Ends()
	if len(wanted) == 0 {
		return nil
	}
	var table [][]any
	ended := map[string][]*logRow{} // one task may end twice in a transaction, retried in between
	for i := range t.log {
		e := &t.log[i]
		if !e.end || !slices.Contains(wanted, e.typ) {
			continue
		}
		if ended[e.task] == nil {
			table = append(table, []any{e.task})
		}
		ended[e.task] = append(ended[e.task], e)
	}
	if len(table) == 0 {
		return nil
	}
	found := map[string]runtime.Ended{}
	err := t.over(`id_ TEXT`, table, `SELECT id, payload, labels, parent, schedule, owner, hops, traceparent FROM tasks
		WHERE `+t.dialect.among(`id`, `SELECT id_ FROM r`), func(r Row) error {
		var e runtime.Ended
		var payload, labels string
		err := r.Scan(&e.Task, &payload, &labels, &e.Parent, &e.Schedule, &e.Owner, &e.Hops, &e.TraceParent)
		e.Payload, e.Labels = []byte(payload), []byte(labels)
		found[e.Task] = e
		return err
	})
	if err != nil {
		return fmt.Errorf("read what ended: %w", err)
	}
	var events []sdk.Event
	for _, row := range table { // in the order of the log
		for _, e := range ended[row[0].(string)] {
			end, ok := found[e.task]
			if !ok {
				continue // deleted in the same transaction
			}
			end.Type, end.Life, end.Attempt, end.Time, end.Data, end.Kind, end.Queue = e.typ, e.life, e.attempt, e.time, []byte(e.data), e.kind, e.queue
			event, ok, err := runtime.EndEvent(end)
			if err != nil {
				return err
			}
			if ok {
				events = append(events, event)
			}
		}
	}
	if len(events) == 0 {
		return nil
	}
	if t.cfg.Outbox == nil {
		t.out.Ends = append(t.out.Ends, events...)
		return nil
	}
	for _, typ := range wanted {
		if slices.ContainsFunc(events, func(e sdk.Event) bool { return e.Type == typ }) {
			t.out.Published = append(t.out.Published, typ) // wakes those who read the bus
		}
	}
	if err := t.cfg.Outbox(foreign{t}, events); err != nil {
		return fmt.Errorf("hand ends to the bus: %w", err)
	}
	return nil
}
