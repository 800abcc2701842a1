// Package wire is the conversation between the runtime and a plugin: the
// messages of nagatha.v1 (nagatha.proto) and one codec for both ends.
//
// A plugin is a program that receives and sends messages. Its first message is
// its [Manifest]. It may then get one [Configure], which it answers with a
// [Result] whose Run is 0, and from then on [Task] messages, each answered with
// one [Result] under the same Run. While a run lasts the plugin may send
// [Progress], [Log], [Output] and [Call] for it; each Call is answered with one
// [Reply]. [Cancel] asks a run to stop; its Result is still expected.
// [Shutdown] asks the plugin to end once its runs have ended.
//
// # Why
//
// One schema and one loop serve both carriers. The codec is written by hand
// because a protobuf library would cost a WebAssembly guest megabytes; it is
// tested against the generated one. The payloads of users stay JSON inside.
package wire

import (
	"encoding/json"
	"math"
	"time"

	"github.com/nagatha/nagatha-runtime/sdk"
)

// Version is the version of the conversation, sent in the manifest.
const Version = 1

// MaxMessage is the most bytes that one encoded message may have.
const MaxMessage = 16 << 20

// Message is one of the messages below.
type Message interface{ message() }

// To the plugin.
type (
	// Configure carries the plugin's config block as a JSON object.
	Configure struct{ Config json.RawMessage }

	// Task starts a run. Run is unique on a connection and not 0. Task holds
	// what a handler may see of the task. Deadline is when its context ends (0:
	// no end).
	Task struct {
		Run      uint64
		Task     sdk.Task
		Deadline sdk.Time
	}

	// Reply answers the [Call] with the same Run and Call.
	Reply struct {
		Run     uint64
		Call    uint64
		Payload []byte
		Error   *Error
	}

	// Cancel ends the context of a run.
	Cancel struct {
		Run    uint64
		Reason string
	}

	// Shutdown asks the plugin to end.
	Shutdown struct{}
)

// From the plugin.
type (
	// Manifest is the first message. Info is an sdk.Info as JSON.
	Manifest struct {
		Version uint32
		Info    json.RawMessage
	}

	// Result ends a run. Payload is JSON; it counts only without Error.
	Result struct {
		Run     uint64
		Payload json.RawMessage
		Error   *Error
	}

	// Call asks the host for an operation. Call is unique within its run.
	Call struct {
		Run     uint64
		Call    uint64
		Op      string
		Payload []byte
	}

	// Progress says how far a run is.
	Progress struct {
		Run      uint64
		Progress sdk.Progress
	}

	// Log is one line; Attrs is a JSON object or empty. Level is as in log/slog.
	Log struct {
		Run     uint64
		Level   int
		Message string
		Attrs   json.RawMessage
	}

	// Output is a piece of a stream.
	Output struct {
		Run    uint64
		Stream string
		Data   []byte
	}
)

// Error is an sdk.Error on the wire, with RetryAfter in milliseconds.
type Error struct {
	Code         string
	Message      string
	Retryable    bool
	RetryAfterMS int64
}

func (*Configure) message() {}
func (*Task) message()      {}
func (*Reply) message()     {}
func (*Cancel) message()    {}
func (*Shutdown) message()  {}
func (*Manifest) message()  {}
func (*Result) message()    {}
func (*Call) message()      {}
func (*Progress) message()  {}
func (*Log) message()       {}
func (*Output) message()    {}

// Conn is the plugin's end of the conversation. Recv is called from one
// goroutine; Send from many.
type Conn interface {
	// Recv returns the next message. It returns io.EOF once the host has gone or
	// asked the plugin to leave, after which the plugin should end.
	Recv() (Message, error)
	Send(Message) error
}

// FromError makes the wire form of a handler's error; nil stays nil.
func FromError(err error) *Error {
	e := sdk.AsError(err)
	if e == nil {
		return nil
	}
	return &Error{e.Code, e.Message, e.Retryable, e.After.Milliseconds()}
}

// SDK returns e as an sdk.Error.
func (e *Error) SDK() *sdk.Error {
	const most = math.MaxInt64 / int64(time.Millisecond)
	return &sdk.Error{Code: e.Code, Message: e.Message, Retryable: e.Retryable,
		After: time.Duration(max(0, min(e.RetryAfterMS, most))) * time.Millisecond}
}
