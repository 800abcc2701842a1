package serve

import (
	"context"
	"encoding/json"
	"io"
	"strings"
	"testing"

	"github.com/nagatha/nagatha-runtime/sdk"
	"github.com/nagatha/nagatha-runtime/sdk/wire"
)

// talk is a conversation that the test leads.
type talk struct {
	in  chan wire.Message
	out chan wire.Message
}

func (c talk) Recv() (wire.Message, error) {
	m, ok := <-c.in
	if !ok {
		return nil, io.EOF
	}
	return m, nil
}

func (c talk) Send(m wire.Message) error { c.out <- m; return nil }

// begin runs a plugin with one handler, whose configuration panics, until the test ends.
func begin(t *testing.T, h sdk.Handler) talk {
	t.Helper()
	p := sdk.New(sdk.Info{Name: "demo", Version: "1"}, sdk.Registration{HandlerInfo: sdk.HandlerInfo{Kind: "demo.x"}, Handler: h}).
		OnConfigure(func(context.Context, json.RawMessage) error { panic("no such port") })
	c := talk{make(chan wire.Message), make(chan wire.Message, 16)}
	over := make(chan error)
	go func() { over <- Loop(p, c) }()
	<-c.out // the manifest
	t.Cleanup(func() {
		close(c.in)
		if err := <-over; err != nil {
			t.Error(err)
		}
	})
	return c
}

func (c talk) run(id uint64) *wire.Result {
	c.in <- &wire.Task{Run: id, Task: sdk.Task{Kind: "demo.x", Payload: json.RawMessage(`{}`)}}
	for {
		if r, ok := (<-c.out).(*wire.Result); ok {
			return r
		}
	}
}

// oops is an error of a plugin's own, whose nil cannot say anything.
type oops struct{ text string }

func (o *oops) Error() string { return o.text }

// Whatever a handler returns as an error, the plugin lives on.
func TestErrorsThatPanic(t *testing.T) {
	var coded *sdk.Error
	var own *oops
	errs := []error{coded, own, nil}
	c := begin(t, sdk.HandlerFunc(func(context.Context, *sdk.Task, sdk.Host) (json.RawMessage, error) {
		err := errs[0]
		errs = errs[1:]
		return json.RawMessage(`1`), err
	}))
	if r := c.run(1); r.Error == nil || r.Error.Code != sdk.CodeHandlerError || !strings.Contains(r.Error.Message, "nil *sdk.Error") {
		t.Errorf("a nil *sdk.Error: %+v", r)
	}
	if r := c.run(2); r.Error == nil || r.Error.Code != sdk.CodeHandlerError || !strings.Contains(r.Error.Message, "panic") {
		t.Errorf("a nil error of its own: %+v", r)
	}
	if r := c.run(3); r.Error != nil || string(r.Payload) != "1" {
		t.Errorf("then: %+v", r)
	}
}

func TestConfigurePanics(t *testing.T) {
	c := begin(t, nil)
	c.in <- &wire.Configure{Config: json.RawMessage(`{}`)}
	if r, ok := (<-c.out).(*wire.Result); !ok || r.Run != 0 || r.Error == nil || !strings.Contains(r.Error.Message, "no such port") {
		t.Errorf("got %+v", r)
	}
}

func TestNilHandler(t *testing.T) {
	c := begin(t, nil)
	if r := c.run(1); r.Error == nil || r.Error.Code != sdk.CodePluginProtocol {
		t.Errorf("got %+v", r)
	}
}

// A goroutine that outlives its attempt is told so; the host does not answer it.
func TestCallAfterTheEnd(t *testing.T) {
	got := make(chan error)
	c := begin(t, sdk.HandlerFunc(func(_ context.Context, _ *sdk.Task, host sdk.Host) (json.RawMessage, error) {
		go func() {
			_, err := host.Call(context.Background(), sdk.OpTimeNow, nil)
			got <- err
		}()
		return nil, nil
	}))
	c.run(1)
	if err := <-got; sdk.CodeOf(err) != sdk.CodeUnavailable {
		t.Errorf("got %v", err)
	}
}
