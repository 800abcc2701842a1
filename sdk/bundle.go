package sdk

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"slices"
	"strings"
)

// Registration joins a handler with its description.
type Registration struct {
	HandlerInfo
	Handler Handler
}

// New makes a [Plugin] of handlers. Info.Handlers is filled in from them. It checks
// nothing: what is wrong, such as a kind that is registered twice, is the error of
// [Info.Validate], with which the runtime refuses to load the plugin.
func New(info Info, handlers ...Registration) *Bundle {
	b := &Bundle{info: info, handlers: make(map[string]Handler, len(handlers))}
	b.info.Handlers = nil
	for _, h := range handlers {
		b.info.Handlers = append(b.info.Handlers, h.HandlerInfo)
		b.handlers[h.Kind] = h.Handler
	}
	return b
}

// Bundle is the [Plugin] that [New] makes.
type Bundle struct {
	info      Info
	handlers  map[string]Handler
	configure func(ctx context.Context, config json.RawMessage) error
	start     func(host Host)
	closer    io.Closer
}

// OnConfigure sets what receives the plugin's configuration, and returns b.
func (b *Bundle) OnConfigure(f func(ctx context.Context, config json.RawMessage) error) *Bundle {
	b.configure = f
	return b
}

// OnStart sets what is called with the host that works between tasks, and returns b:
// see [Starter].
func (b *Bundle) OnStart(f func(host Host)) *Bundle {
	b.start = f
	return b
}

// OnClose sets what is closed when the plugin is shut down, and returns b.
func (b *Bundle) OnClose(c io.Closer) *Bundle {
	b.closer = c
	return b
}

// Info returns the manifest.
func (b *Bundle) Info() Info { return b.info }

// Start implements [Starter].
func (b *Bundle) Start(host Host) {
	if b.start != nil {
		b.start(host)
	}
}

// Configure implements [Configurer].
func (b *Bundle) Configure(ctx context.Context, config json.RawMessage) error {
	if b.configure == nil {
		return nil
	}
	return b.configure(ctx, config)
}

// Close closes what [Bundle.OnClose] was given.
func (b *Bundle) Close() error {
	if b.closer == nil {
		return nil
	}
	return b.closer.Close()
}

// Handle calls the handler of the task's kind.
func (b *Bundle) Handle(ctx context.Context, task *Task, host Host) (json.RawMessage, error) {
	h := b.handlers[task.Kind]
	if h == nil {
		return nil, Errorf(CodePluginProtocol, "plugin %q has no handler for kind %q", b.info.Name, task.Kind)
	}
	return h.Handle(ctx, task, host)
}

// Func makes a [Registration] of a function over Go types: the payload is
// unmarshalled into In, and the returned Out is marshalled. An unknown field of
// the payload is an error, as is one of the wrong type. The task itself is in
// the context: see [TaskFrom].
func Func[In, Out any](info HandlerInfo, f func(ctx context.Context, host Host, in In) (Out, error)) Registration {
	return Registration{info, HandlerFunc(func(ctx context.Context, task *Task, host Host) (json.RawMessage, error) {
		var in In
		if raw, ok := any(&in).(*json.RawMessage); ok {
			*raw = task.Payload // the runtime has checked that it is JSON
			return result(f(context.WithValue(ctx, taskKey{}, task), host, in))
		}
		if err := decode(task.Payload, &in); err != nil {
			return nil, Errorf(CodeInvalidPayload, "payload of %s: %s%v", task.Kind, culprit[In](task.Payload), err)
		}
		return result(f(context.WithValue(ctx, taskKey{}, task), host, in))
	})}
}

// decode reads JSON and refuses unknown fields. 3.0 and 1e2 are integers to JSON Schema,
// and to what writes them, but not to encoding/json: they are read as 3 and 100.
func decode(raw json.RawMessage, v any) error {
	err := strict(raw, v)
	var wrong *json.UnmarshalTypeError
	if errors.As(err, &wrong) && strings.HasPrefix(wrong.Value, "number ") {
		if whole := wholeNumbers(raw); whole != nil {
			return strict(whole, v)
		}
	}
	return err
}

func strict(raw json.RawMessage, v any) error {
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.DisallowUnknownFields()
	return dec.Decode(v)
}

// culprit names the member of an object that cannot be read as a field of In: the
// errors of a [Time] and a [Duration] do not say where they are.
func culprit[In any](raw json.RawMessage) string {
	var members map[string]json.RawMessage
	if json.Unmarshal(raw, &members) != nil {
		return ""
	}
	for _, name := range slices.Sorted(maps.Keys(members)) {
		one, err := json.Marshal(map[string]json.RawMessage{name: members[name]})
		if err == nil && decode(one, new(In)) != nil {
			return name + ": "
		}
	}
	return ""
}

// result makes JSON of what a handler returned. What is JSON already is passed on as
// it is: the host's end checks it.
func result[Out any](out Out, err error) (json.RawMessage, error) {
	if err != nil {
		return nil, err
	}
	if raw, ok := any(out).(json.RawMessage); ok {
		return raw, nil
	}
	return json.Marshal(out)
}

type taskKey struct{}

// TaskFrom returns the task that a [Func] is handling, or nil elsewhere.
func TaskFrom(ctx context.Context) *Task {
	t, _ := ctx.Value(taskKey{}).(*Task)
	return t
}
