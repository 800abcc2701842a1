package serve

import (
	"context"
	"encoding/json"
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nagatha/nagatha-runtime/sdk"
	"github.com/nagatha/nagatha-runtime/sdk/wire"
)

// feed sends one task again and again.
type feed struct {
	b    []byte
	n    int
	got  atomic.Int64 // results that are still to come
	done chan struct{}
}

func (f *feed) Recv() (wire.Message, error) {
	if f.n == 0 {
		<-f.done
		return nil, io.EOF
	}
	f.n--
	return wire.DecodeToPlugin(append([]byte(nil), f.b...))
}
func (f *feed) Send(m wire.Message) error {
	_, err := wire.Append(nil, m)
	if _, ok := m.(*wire.Result); ok && f.got.Add(-1) == 0 {
		close(f.done)
	}
	return err
}

// BenchmarkLoop is what the loop itself costs a small task.
func BenchmarkLoop(b *testing.B) {
	b.ReportAllocs()
	now := sdk.Now()
	m := &wire.Task{Run: 1, Deadline: now.Add(time.Hour), Task: sdk.Task{ID: "tsk_01jdabcdefghijklmnopqrstuv", Kind: "demo.echo", Queue: "default", Payload: json.RawMessage(`{"data":"` + strings.Repeat("x", 245) + `"}`), Life: 1, Attempt: 1, MaxAttempts: 5, CreatedAt: now, RunAt: now, StartedAt: now, Timeout: sdk.Duration(time.Minute)}}
	enc, _ := wire.Append(nil, m)
	p := sdk.New(sdk.Info{Name: "demo", Version: "1"}, sdk.Func(sdk.HandlerInfo{Kind: "demo.echo"}, func(_ context.Context, _ sdk.Host, in json.RawMessage) (json.RawMessage, error) { return in, nil }))
	f := &feed{b: enc, n: b.N, done: make(chan struct{})}
	f.got.Store(int64(b.N))
	b.ResetTimer()
	if err := Loop(p, f); err != nil {
		b.Fatal(err)
	}
}
