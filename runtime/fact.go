package runtime

import (
	"context"
	"encoding/json"

	"github.com/nagatha/nagatha-runtime/sdk"
)

// The runtime's own facts: rows of the log under system.*, for whoever watches that
// topic. They are no messages on the bus, and start no tasks. Those of plugins,
// system.plugin.*, come from the host.
const (
	factNodeJoined      = "system.node.joined"
	factNodeLeft        = "system.node.left"
	factNodeLost        = "system.node.lost"
	factQueuePaused     = "system.queue.paused"
	factQueueResumed    = "system.queue.resumed"
	factScheduleSkipped = "system.schedule.skipped"
	factStatus          = "system.status"
)

// newFact is a fact that node tells. data is anything that marshals to an object.
func newFact(node, typ, subject string, data any) sdk.Event {
	doc, err := json.Marshal(data)
	if err != nil {
		doc = []byte(`{}`) // what is told here is made of strings and numbers
	}
	return sdk.Event{ID: newID("evt_"), Source: eventSource + "/" + node, Type: typ, Subject: subject, Time: sdk.Now(), Data: doc}
}

// NodeLost is the fact that self has found another node dead. The store logs it with
// the takeover, so that of several nodes one tells it.
func NodeLost(self, node string) sdk.Event {
	return newFact(self, factNodeLost, node, map[string]string{"node": node})
}

// Tell logs a fact soon. It never blocks; what the store does not take is in the
// runtime's log and nowhere else.
func (r *Runtime) Tell(typ, subject string, data any) {
	select {
	case r.facts <- newFact(r.cfg.Node, typ, subject, data):
	default:
		r.log.Warn("cannot log what happened: too much does", "type", typ, "subject", subject)
	}
}

// maxFacts is how many wait for the store.
const maxFacts = 256

// factLoop writes facts until ctx ends, and then what is left.
func (r *Runtime) factLoop(ctx context.Context) {
	for {
		select {
		case f := <-r.facts:
			r.logFacts(ctx, f)
			continue
		case <-ctx.Done():
		}
		select {
		case f := <-r.facts:
			r.logFacts(ctx, f)
		default:
			return
		}
	}
}

// logFacts writes a fact with those that wait behind it, although ctx may have ended.
func (r *Runtime) logFacts(ctx context.Context, first sdk.Event) {
	batch := []sdk.Event{first}
	for len(r.facts) > 0 { // nobody else takes them
		batch = append(batch, <-r.facts)
	}
	if err := r.store.Publish(context.WithoutCancel(ctx), Fence{}, batch); err != nil {
		r.log.Warn("cannot log what happened", "type", first.Type, "subject", first.Subject, "facts", len(batch), "error", err)
	}
}
