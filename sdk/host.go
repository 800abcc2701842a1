package sdk

import (
	"context"
	"encoding/json"
	"log/slog"
)

// Host is what a running attempt may ask of the runtime. It belongs to one
// attempt and is safe for concurrent use.
//
// Progress, Log and Output become task events, in the order of the calls. They
// return nothing: an attempt that may no longer write has its context ended.
// Each blocks while the runtime cannot keep up, so that memory stays bounded.
//
// Call is the one door to everything else: the operations named in this package
// (Op…), each with its request and reply types. Most handlers use the helpers
// instead: [KV], [Publish], [Fetch], [Secret].
type Host interface {
	// Progress says how far the attempt is; total 0 means not known.
	Progress(done, total float64, message string)
	// Log records a line with alternating keys and values, as in log/slog.
	Log(level slog.Level, message string, args ...any)
	// Output streams text or bytes to whoever watches the task; stream names
	// the stream, such as "stdout" or "response".
	Output(stream string, data []byte)
	// Call performs an operation. Its error is an *Error: [CodeCapabilityDenied] without
	// its grant, [CodeLimitExceeded] beyond a cap or 256 calls of an attempt at once,
	// [CodeUnavailable] after the attempt's end. When ctx ends before the reply it is
	// [CodeCancelled], and the operation may have happened or not. During the grace
	// after a cancel a ctx of [context.WithoutCancel] still works.
	Call(ctx context.Context, op string, request []byte) ([]byte, error)
}

// The operations. Those marked free need no grant.
const (
	OpTimeNow    = "time.now"    // free; TimeNow reply
	OpRandomRead = "random.read" // free; RandomRead → raw bytes
	OpKVGet      = "kv.get"      // grant store
	OpKVSet      = "kv.set"      // grant store
	OpKVDelete   = "kv.delete"   // grant store
	OpKVApply    = "kv.apply"    // grant store
	OpKVList     = "kv.list"     // grant store
	OpKVSearch   = "kv.search"   // grant store
	OpKVCount    = "kv.count"    // grant store
	OpKVClear    = "kv.clear"    // grant store
	OpPublish    = "publish"     // grant publish = ["type.*"]
	OpCommit     = "commit"      // grants store, publish, submit: those of what it does
	OpHTTPStart  = "http.start"  // grant http = ["host", "host:port"]
	OpHTTPRead   = "http.read"   // reply: raw bytes, none at the end
	OpHTTPClose  = "http.close"  //
	OpSecretGet  = "secret.get"  // grant secrets = { NAME = … }
)

// TimeNow is the reply of [OpTimeNow].
type TimeNow struct {
	Time     Time  `json:"time"`
	UnixNano int64 `json:"unix_nano"`
}

// RandomRead is the request of [OpRandomRead].
type RandomRead struct {
	N int `json:"n"` // 1…65,536
}

// call performs op with JSON on both sides.
func call[Reply any](ctx context.Context, host Host, op string, request any) (Reply, error) {
	var reply Reply
	b, err := encode(request)
	if err != nil {
		return reply, Errorf(CodeInvalid, "%s: %v", op, err)
	}
	b, err = host.Call(ctx, op, b)
	if err != nil {
		return reply, err
	}
	if err := json.Unmarshal(b, &reply); err != nil {
		return reply, Errorf(CodeInternal, "%s: reply: %v", op, err)
	}
	return reply, nil
}

func encode(request any) ([]byte, error) {
	if r, ok := request.(interface{ AppendJSON(b []byte) []byte }); ok {
		return r.AppendJSON(nil), nil
	}
	return json.Marshal(request)
}

// Secret returns the value that the operator granted under name; another name is
// [CodeCapabilityDenied].
func Secret(ctx context.Context, host Host, name string) (string, error) {
	r, err := call[SecretReply](ctx, host, OpSecretGet, SecretGet{name})
	return r.Value, err
}

// SecretGet is the request of [OpSecretGet].
type SecretGet struct {
	Name string `json:"name"`
}

// SecretReply is its reply.
type SecretReply struct {
	Value string `json:"value"`
}

// Publish puts an event on the bus and returns its id. Type is required; ID,
// Source and Time are filled in when empty. The event is written in the same
// transaction that checks that the attempt is still the one that counts. Data is JSON of
// at most 256 KiB. A type that is malformed or the runtime's own is [CodeInvalid]. It is
// no recorded operation: a handler that runs again publishes again, unless it does so
// inside a [Step] or a [Commit].
func Publish(ctx context.Context, host Host, e Event) (string, error) {
	r, err := call[PublishReply](ctx, host, OpPublish, e)
	return r.ID, err
}

// PublishReply is the reply of [OpPublish]; the request is an [Event].
type PublishReply struct {
	ID string `json:"id"`
}
