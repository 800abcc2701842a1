package wire_test

import (
	"context"
	"sync"
	"testing"

	"github.com/nagatha/nagatha-runtime/sdk"
	"github.com/nagatha/nagatha-runtime/sdk/sdktest"
	"github.com/nagatha/nagatha-runtime/sdk/wire"
)

// slow is a Host whose calls take until they are cancelled.
type slow struct{ *sdktest.Host }

func (slow) Call(ctx context.Context, _ string, _ []byte) ([]byte, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

// TestRequestsAreBounded: the calls of a run that are under way do not fill the memory.
func TestRequestsAreBounded(t *testing.T) {
	refused := make(chan uint64, 1)
	started := make(chan struct{})
	s := wire.NewSession(func(m wire.Message) error {
		switch m := m.(type) {
		case *wire.Task:
			close(started)
		case *wire.Reply:
			if m.Error != nil && m.Error.Code == sdk.CodeLimitExceeded {
				refused <- m.Call
			}
		}
		return nil
	})
	var run sync.WaitGroup
	run.Go(func() {
		if _, err := s.Run(t.Context(), sdktest.Task("test.a", `{}`), slow{sdktest.NewHost()}, func() {}); err != nil {
			t.Error(err)
		}
	})
	<-started
	payload := make([]byte, 16<<20)
	for call := range uint64(5) {
		if err := s.Receive(&wire.Call{Run: 1, Call: call, Op: "kv.set", Payload: payload}); err != nil {
			t.Error(err)
		}
	}
	if call := <-refused; call != 4 {
		t.Errorf("call %d was refused", call)
	}
	if err := s.Receive(&wire.Result{Run: 1}); err != nil {
		t.Error(err)
	}
	run.Wait()
}

// TestAsksOnAndOn: a plugin that asks outside its tasks, and does not read the answers,
// breaks the conversation.
func TestAsksOnAndOn(t *testing.T) {
	read := make(chan struct{})
	s := wire.NewSession(func(wire.Message) error { <-read; return nil })
	s.Between(slow{sdktest.NewHost()})
	var err error
	for call := uint64(1); err == nil; call++ {
		err = s.Receive(&wire.Call{Call: call, Op: "publish"})
	}
	if sdk.CodeOf(err) != sdk.CodePluginProtocol {
		t.Error(err)
	}
	close(read)
	s.Fail(err)
	s.Wait()
}
