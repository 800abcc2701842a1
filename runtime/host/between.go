package host

import (
	"context"
	"encoding/json"
	"log/slog"

	"github.com/nagatha/nagatha-runtime/sdk"
)

// What a plugin may publish between its tasks. Such an event begins a chain, since nobody
// knows what it comes of, and so the count of steps that ends a loop of events and tasks
// does not see one that goes through here. A loop turns some hundred times a second, or
// several times as often where each turn makes more than one; what it publishes is refused
// until half of the burst is free, and so it ends. A plugin that only has something to
// tell, such as which of its connections came and went, never gets there.
const (
	spokenBurst = 1000 // events
	spokenRate  = 20   // events a second
)

// between is what a plugin can do outside its tasks: publish events, as its grant says.
type between struct {
	plugin *plugin
	guard  *guard
}

func newBetween(p *plugin, cfg Plugin) *between {
	return &between{p, &guard{Host: publisher{p}, version: &version{plugin: p, cfg: cfg}, task: &sdk.Task{}}}
}

// Call implements sdk.Host.
func (b *between) Call(ctx context.Context, op string, request []byte) ([]byte, error) {
	if op != sdk.OpPublish {
		return nil, sdk.Errorf(sdk.CodeUnavailable, "%s: outside a task a plugin can only publish", op)
	}
	return b.guard.Call(ctx, op, request)
}

// Log implements sdk.Host: there is no task whose log it could be.
func (b *between) Log(level slog.Level, message string, args ...any) {
	b.plugin.log.Log(context.Background(), level, message, args...)
}

// Progress implements sdk.Host: nobody waits.
func (b *between) Progress(float64, float64, string) {}

// Output implements sdk.Host: nobody watches.
func (b *between) Output(string, []byte) {}

// publisher is the engine's part of it.
type publisher struct{ *plugin }

func (p publisher) Progress(float64, float64, string)  {}
func (p publisher) Log(slog.Level, string, ...any)     {}
func (p publisher) Output(stream string, chunk []byte) {}
func (p publisher) Call(ctx context.Context, _ string, request []byte) ([]byte, error) {
	e, err := decode[sdk.Event](sdk.OpPublish, request)
	if err != nil {
		return nil, err
	}
	leftOut, ok := p.spoken.take(1, spokenBurst, spokenRate)
	if !ok {
		if leftOut == 1 {
			p.log.Warn("the plugin publishes too much between its tasks: its events are refused for some seconds; is there a loop?",
				"type", e.Type, "burst", spokenBurst, "events_per_second", spokenRate)
		}
		return nil, sdk.Errorf(sdk.CodeLimitExceeded, "between its tasks a plugin may publish %d events at once and %d a second, and this one has published more: "+
			"is there a loop? A task publishes as much as it likes", spokenBurst, spokenRate)
	}
	if leftOut > 0 {
		p.log.Warn("events that the plugin published between its tasks were refused", "events", leftOut)
	}
	// An event of its own accord begins a chain.
	e.Hops, e.TraceParent = 1, ""
	if e.Source == "" {
		e.Source = "plugin/" + p.name
	}
	id, err := p.host.cfg.Publish(ctx, e)
	if err != nil {
		return nil, err
	}
	return json.Marshal(sdk.PublishReply{ID: id})
}
