// Package sdk holds the words of Nagatha Runtime and the contract between the
// runtime and a plugin.
//
// A plugin is a bundle of handlers with one manifest. Its whole main package
// can be one file:
//
//	package main
//
//	import (
//		"context"
//
//		"github.com/nagatha/nagatha-runtime/sdk"
//		"github.com/nagatha/nagatha-runtime/sdk/serve"
//	)
//
//	type greeting struct {
//		Name string `json:"name"`
//	}
//
//	func greet(ctx context.Context, host sdk.Host, in greeting) (string, error) {
//		host.Progress(1, 1, "greeting "+in.Name)
//		return "Hello, " + in.Name, nil
//	}
//
//	func main() {
//		serve.Main(sdk.New(sdk.Info{Name: "hello", Version: "1.0.0"},
//			sdk.Func(sdk.HandlerInfo{Kind: "hello.greet"}, greet)))
//	}
//
// The same source builds a process plugin (go build) and a WebAssembly plugin
// (GOOS=wasip1 GOARCH=wasm go build).
//
// # Why
//
// The package imports the standard library only, so that a guest which imports
// it stays small, and so that every other room can speak these words without
// dragging a dependency along.
package sdk

import (
	"context"
	"encoding/json"
)

// Plugin handles tasks. The engine cannot tell where it runs: the two carriers
// (sdk/process, sdk/wasm) and a plugin linked in for a test are all a Plugin.
//
// Info is called first and must always return the same manifest. Handle is
// called for each attempt, from many goroutines at once. When ctx ends the
// handler has been asked to stop: it should return soon; [Aborted] tells when
// the runtime stops waiting.
//
// A Plugin may also implement [Configurer] and [io.Closer].
type Plugin interface {
	Info() Info
	Handle(ctx context.Context, task *Task, host Host) (json.RawMessage, error)
}

// Configurer is implemented by a plugin that takes configuration. Configure is
// called once, after Info and before the first Handle, with the JSON object of
// the plugin's config block, already checked against Info.ConfigSchema.
type Configurer interface {
	Configure(ctx context.Context, config json.RawMessage) error
}

// Starter is implemented by a plugin that has something to tell when no task of it
// runs. Start is called once, before Configure, and must not block. With that host the
// plugin can [Publish] at any time, as its grant says, and log to the runtime's own log;
// every other call is [CodeUnavailable]. A module does nothing between its tasks, so
// there even publishing is.
type Starter interface {
	Start(host Host)
}

// Handler handles the tasks of one kind. The result is JSON; nil means null.
// An error fails the attempt: see [Permanent], [RetryAfter] and [Error] for
// what an error can say.
type Handler interface {
	Handle(ctx context.Context, task *Task, host Host) (json.RawMessage, error)
}

// HandlerFunc makes a function a [Handler].
type HandlerFunc func(ctx context.Context, task *Task, host Host) (json.RawMessage, error)

// Handle calls f.
func (f HandlerFunc) Handle(ctx context.Context, task *Task, host Host) (json.RawMessage, error) {
	return f(ctx, task, host)
}
