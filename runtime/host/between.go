package host

import (
	"context"
	"encoding/json"
	"log/slog"

	"github.com/nagatha/nagatha-runtime/sdk"
)

// between is what a plugin can do outside its tasks: publish events, as its grant says.
type between struct {
	plugin *plugin
	guard  *guard
}

func newBetween(p *plugin) *between {
	return &between{p, &guard{Host: publisher{p}, version: &version{plugin: p}, task: &sdk.Task{}}}
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
	// An event of its own accord begins a chain.
	e.Hops, e.TraceParent = 1, ""
	if e.Source == "" {
		e.Source = "plugin/" + p.cfg.Name
	}
	id, err := p.host.cfg.Publish(ctx, e)
	if err != nil {
		return nil, err
	}
	return json.Marshal(sdk.PublishReply{ID: id})
}
