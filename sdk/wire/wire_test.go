package wire_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/nagatha/nagatha-runtime/sdk"
	"github.com/nagatha/nagatha-runtime/sdk/wire"
	pb "github.com/nagatha/nagatha-runtime/sdk/wire/wiretest"
)

// text draws any valid string; bytes anything, but never empty, which proto3
// cannot tell from absent.
func text(t *rapid.T, name string) string { return rapid.String().Draw(t, name) }
func blob(t *rapid.T, name string) []byte {
	return rapid.SliceOfN(rapid.Byte(), 1, 40).Draw(t, name)
}
func num(t *rapid.T, name string) uint64 { return rapid.Uint64().Draw(t, name) }

func fault(t *rapid.T) *wire.Error {
	if rapid.Bool().Draw(t, "no error") {
		return nil
	}
	return &wire.Error{Code: text(t, "code"), Message: text(t, "message"), Retryable: rapid.Bool().Draw(t, "retryable"),
		RetryAfterMS: rapid.Int64().Draw(t, "after")}
}

func toPB(e *wire.Error) *pb.Error {
	if e == nil {
		return nil
	}
	return &pb.Error{Code: e.Code, Message: e.Message, Retryable: e.Retryable, RetryAfterMs: e.RetryAfterMS}
}

func toPlugin(t *rapid.T) (wire.Message, *pb.ToPlugin) {
	switch rapid.IntRange(0, 4).Draw(t, "kind") {
	case 0:
		b := blob(t, "config")
		return &wire.Configure{Config: b}, &pb.ToPlugin{Message: &pb.ToPlugin_Configure{Configure: &pb.Configure{Config: b}}}
	case 1:
		return drawTask(t)
	case 2:
		m := &wire.Reply{Run: num(t, "run"), Call: num(t, "call"), Payload: blob(t, "payload"), Error: fault(t)}
		return m, &pb.ToPlugin{Message: &pb.ToPlugin_Reply{Reply: &pb.Reply{Run: m.Run, Call: m.Call, Payload: m.Payload, Error: toPB(m.Error)}}}
	case 3:
		m := &wire.Cancel{Run: num(t, "run"), Reason: text(t, "reason")}
		return m, &pb.ToPlugin{Message: &pb.ToPlugin_Cancel{Cancel: &pb.Cancel{Run: m.Run, Reason: m.Reason}}}
	}
	return &wire.Shutdown{}, &pb.ToPlugin{Message: &pb.ToPlugin_Shutdown{Shutdown: &pb.Shutdown{}}}
}

func drawTask(t *rapid.T) (wire.Message, *pb.ToPlugin) {
	small := func(name string) int { return rapid.IntRange(0, math.MaxInt32).Draw(t, name) }
	at := func(name string) sdk.Time { return sdk.Time(rapid.Int64().Draw(t, name)) }
	m := &wire.Task{Run: num(t, "run"), Deadline: at("ends"), Task: sdk.Task{
		ID: text(t, "id"), Kind: text(t, "kind"), Queue: text(t, "queue"), State: sdk.StateRunning,
		Priority: rapid.IntRange(math.MinInt32, math.MaxInt32).Draw(t, "priority"), Payload: blob(t, "payload"),
		Life: small("life"), Attempt: small("attempt"), MaxAttempts: small("most"),
		CreatedAt: at("created"), RunAt: at("run_at"), StartedAt: at("started"), Deadline: at("deadline"),
		Timeout: sdk.Duration(time.Duration(small("timeout")) * time.Millisecond), Parent: text(t, "parent"),
		Labels: rapid.MapOfN(rapid.String(), rapid.String(), 1, 4).Draw(t, "labels"), Owner: text(t, "owner"),
		Schedule: text(t, "schedule"), ConcurrencyKey: text(t, "key"),
	}}
	k := &m.Task
	return m, &pb.ToPlugin{Message: &pb.ToPlugin_Task{Task: &pb.Task{
		Run: m.Run, Id: k.ID, Kind: k.Kind, Queue: k.Queue, Priority: int32(k.Priority), Payload: k.Payload,
		Life: uint32(k.Life), Attempt: uint32(k.Attempt), MaxAttempts: uint32(k.MaxAttempts),
		CreatedAt: int64(k.CreatedAt), RunAt: int64(k.RunAt), StartedAt: int64(k.StartedAt), Deadline: int64(k.Deadline),
		TimeoutMs: k.Timeout.Std().Milliseconds(), Parent: k.Parent, Labels: k.Labels, Owner: k.Owner, EndsAt: int64(m.Deadline),
		Schedule: k.Schedule, ConcurrencyKey: k.ConcurrencyKey}}}
}

func fromPlugin(t *rapid.T) (wire.Message, *pb.FromPlugin) {
	run := num(t, "run")
	switch rapid.IntRange(0, 5).Draw(t, "kind") {
	case 0:
		m := &wire.Manifest{Version: rapid.Uint32().Draw(t, "version"), Info: blob(t, "info")}
		return m, &pb.FromPlugin{Message: &pb.FromPlugin_Manifest{Manifest: &pb.Manifest{Version: m.Version, Info: m.Info}}}
	case 1:
		m := &wire.Result{Run: run, Payload: blob(t, "payload"), Error: fault(t)}
		return m, &pb.FromPlugin{Message: &pb.FromPlugin_Result{Result: &pb.Result{Run: run, Payload: m.Payload, Error: toPB(m.Error)}}}
	case 2:
		m := &wire.Call{Run: run, Call: num(t, "call"), Op: text(t, "op"), Payload: blob(t, "payload")}
		return m, &pb.FromPlugin{Message: &pb.FromPlugin_Call{Call: &pb.Call{Run: run, Call: m.Call, Op: m.Op, Payload: m.Payload}}}
	case 3:
		m := &wire.Progress{Run: run, Progress: sdk.Progress{Progress: rapid.Float64().Draw(t, "done"), Total: rapid.Float64().Draw(t, "total"), Message: text(t, "message")}}
		return m, &pb.FromPlugin{Message: &pb.FromPlugin_Progress{Progress: &pb.Progress{Run: run, Progress: m.Progress.Progress, Total: m.Progress.Total, Message: m.Progress.Message}}}
	case 4:
		m := &wire.Log{Run: run, Level: rapid.IntRange(math.MinInt32, math.MaxInt32).Draw(t, "level"), Message: text(t, "message"), Attrs: blob(t, "attrs")}
		return m, &pb.FromPlugin{Message: &pb.FromPlugin_Log{Log: &pb.Log{Run: run, Level: int32(m.Level), Message: m.Message, Attrs: m.Attrs}}}
	}
	m := &wire.Output{Run: run, Stream: text(t, "stream"), Data: blob(t, "data")}
	return m, &pb.FromPlugin{Message: &pb.FromPlugin_Output{Output: &pb.Output{Run: run, Stream: m.Stream, Data: m.Data}}}
}

// The hand-written codec and the generated one read each other's bytes.
func TestAgainstProtobuf(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m, p := toPlugin(t)
		compare(t, m, p, &pb.ToPlugin{}, wire.DecodeToPlugin)
	})
	rapid.Check(t, func(t *rapid.T) {
		m, p := fromPlugin(t)
		compare(t, m, p, &pb.FromPlugin{}, wire.DecodeFromPlugin)
	})
}

func compare(t *rapid.T, m wire.Message, p, empty proto.Message, decode func([]byte) (wire.Message, error)) {
	ours, err := wire.Append(nil, m)
	if err != nil {
		t.Fatal(err)
	}
	if err := proto.Unmarshal(ours, empty); err != nil || !proto.Equal(empty, p) {
		t.Fatalf("protobuf reads %v of %+v, %v", empty, m, err)
	}
	theirs, err := proto.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	got, err := decode(theirs)
	if err != nil || !reflect.DeepEqual(got, m) {
		t.Fatalf("of protobuf's bytes we read %+v, want %+v, %v", got, m, err)
	}
}

func TestBadBytes(t *testing.T) {
	good, err := wire.Append(nil, &wire.Result{Run: 7, Payload: []byte(`{"a":1}`), Error: &wire.Error{Code: "x"}})
	if err != nil {
		t.Fatal(err)
	}
	for n := range good {
		if m, err := wire.DecodeFromPlugin(good[:n]); err == nil {
			t.Errorf("%d of %d bytes are read as %+v", n, len(good), m)
		}
	}
	// Fields of a later version are skipped.
	later := append(bytes.Clone(good), 0xfa, 0x01, 0x02, 'h', 'i')
	if m, err := wire.DecodeFromPlugin(later); err != nil || m.(*wire.Result).Run != 7 {
		t.Errorf("with an unknown field: %+v, %v", m, err)
	}
	if _, err := wire.DecodeFromPlugin([]byte{0x32, 0x03, 0x12, 0x01, 0xff}); err == nil {
		t.Error("text that is not UTF-8 passed")
	}
	if _, err := wire.Append(nil, &wire.Output{Data: make([]byte, wire.MaxMessage+1)}); sdk.CodeOf(err) != sdk.CodeLimitExceeded {
		t.Errorf("too large: %v", err)
	}
}

func TestJSONForm(t *testing.T) {
	for text, want := range map[string]wire.Message{
		`{"manifest":{"version":1,"info":{"name":"x"}}}`:                           &wire.Manifest{Version: 1, Info: json.RawMessage(`{"name":"x"}`)},
		`{"result":{"run":3,"payload":[1]}}`:                                       &wire.Result{Run: 3, Payload: json.RawMessage(`[1]`)},
		`{"result":{"run":3,"error":{"code":"a","message":"b","retryable":true}}}`: &wire.Result{Run: 3, Error: &wire.Error{Code: "a", Message: "b", Retryable: true}},
		`{"call":{"run":3,"call":1,"op":"kv.get","payload":{"key":"k"}}}`:          &wire.Call{Run: 3, Call: 1, Op: "kv.get", Payload: []byte(`{"key":"k"}`)},
		`{"progress":{"run":3,"progress":1,"total":2,"message":"m"}}`:              &wire.Progress{Run: 3, Progress: sdk.Progress{Progress: 1, Total: 2, Message: "m"}},
		`{"log":{"run":3,"level":4,"message":"m","attrs":{"a":1}}}`:                &wire.Log{Run: 3, Level: 4, Message: "m", Attrs: json.RawMessage(`{"a":1}`)},
		`{"output":{"run":3,"stream":"s","data":"aGk="}}`:                          &wire.Output{Run: 3, Stream: "s", Data: []byte("hi")},
	} {
		if got, err := wire.DecodeJSON([]byte(text)); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v, %v", text, got, err)
		}
	}
	for _, bad := range []string{`{`, `[]`, `{}`, `{"nothing":{}}`, `{"log":{},"output":{}}`, `{"log":{"level":"high"}}`} {
		if m, err := wire.DecodeJSON([]byte(bad)); err == nil {
			t.Errorf("%s is read as %+v", bad, m)
		}
	}
	b, err := wire.EncodeJSON(&wire.Task{Run: 1, Task: sdk.Task{ID: "tsk_1", Kind: "a.b", Payload: json.RawMessage(`{"x":1}`), Life: 1, Attempt: 2, MaxAttempts: 3}})
	if want := `{"task":{"run":1,"id":"tsk_1","kind":"a.b","payload":{"x":1},"life":1,"attempt":2,"max_attempts":3}}`; err != nil || string(b) != want {
		t.Errorf("task: %s, %v", b, err)
	}
	for _, m := range []wire.Message{&wire.Configure{Config: json.RawMessage(`{}`)}, &wire.Cancel{Run: 1}, &wire.Shutdown{},
		&wire.Reply{Run: 1, Call: 2, Payload: []byte{0, 1}, Error: &wire.Error{Code: "x"}}} {
		if b, err := wire.EncodeJSON(m); err != nil || !json.Valid(b) || !strings.HasPrefix(string(b), `{"`+strings.ToLower(strings.TrimPrefix(fmt.Sprintf("%T", m), "*wire."))) {
			t.Errorf("%T: %s, %v", m, b, err)
		}
	}
}

// A handler's error, log line or progress may quote bytes of the network.
func TestTextThatIsNotUTF8(t *testing.T) {
	const broken, want = "a\xffb\xc3", "a\uFFFDb\uFFFD"
	for _, m := range []wire.Message{
		&wire.Result{Run: 1, Error: &wire.Error{Code: "handler_error", Message: broken}},
		&wire.Log{Run: 1, Message: broken},
		&wire.Progress{Run: 1, Progress: sdk.Progress{Message: broken}},
	} {
		b, err := wire.Append(nil, m)
		if err != nil {
			t.Fatal(err)
		}
		got, err := wire.DecodeFromPlugin(b)
		var text string
		switch got := got.(type) {
		case *wire.Result:
			text = got.Error.Message
		case *wire.Log:
			text = got.Message
		case *wire.Progress:
			text = got.Progress.Message
		}
		if err != nil || text != want {
			t.Errorf("%T: %q, %v", m, text, err)
		}
	}
}

// A delay that no time.Duration can hold is the longest that one can, and one in the past is none.
func TestRetryAfterDoesNotOverflow(t *testing.T) {
	for ms, want := range map[int64]time.Duration{
		0: 0, 1500: 1500 * time.Millisecond, math.MaxInt64: math.MaxInt64 / time.Millisecond * time.Millisecond, math.MinInt64: 0, -math.MaxInt64 / 1_000_000 * 2: 0,
	} {
		if got := (&wire.Error{RetryAfterMS: ms}).SDK().After; got != want {
			t.Errorf("%d ms: %s, want %s", ms, got, want)
		}
	}
}

func FuzzDecode(f *testing.F) {
	for _, m := range []wire.Message{&wire.Task{Run: 1, Task: sdk.Task{ID: "a", Labels: map[string]string{"k": "v"}}}, &wire.Result{Run: 2, Error: &wire.Error{Code: "c"}}} {
		b, err := wire.Append(nil, m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add([]byte(`{"log":{"run":1}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, decode := range []func([]byte) (wire.Message, error){wire.DecodeToPlugin, wire.DecodeFromPlugin, wire.DecodeJSON} {
			if m, err := decode(b); (m == nil) == (err == nil) && err == nil {
				t.Fatal("neither a message nor an error")
			}
		}
		// What we take, protobuf takes as well.
		if m, err := wire.DecodeFromPlugin(b); err == nil {
			if _, err := wire.Append(nil, m); err != nil {
				t.Fatalf("%+v cannot be written again: %v", m, err)
			}
		}
	})
}

func BenchmarkAppend(b *testing.B) {
	m := &wire.Task{Run: 7, Task: sdk.Task{ID: "task_01JX0000000000000000000000", Kind: "demo.echo", Queue: "default", Payload: []byte(`"` + strings.Repeat("x", 254) + `"`),
		Life: 1, Attempt: 1, MaxAttempts: 5, CreatedAt: 1_780_000_000_000, Owner: "admin"}}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := wire.Append(nil, m); err != nil {
			b.Fatal(err)
		}
	}
}
