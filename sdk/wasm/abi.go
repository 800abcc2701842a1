//go:build !wasip1

package wasm

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"

	"github.com/nagatha/nagatha-runtime/sdk"
	"github.com/nagatha/nagatha-runtime/sdk/wire"
)

// abiModule is the import module of the two functions that a guest gets.
const abiModule = "nagatha_v1"

type instanceKey struct{}

func exportABI(ctx context.Context, r wazero.Runtime) error {
	i32 := api.ValueTypeI32
	b := r.NewHostModuleBuilder(abiModule)
	b.NewFunctionBuilder().WithGoModuleFunction(api.GoModuleFunc(recv), []api.ValueType{i32, i32, i32}, []api.ValueType{i32}).Export("recv")
	b.NewFunctionBuilder().WithGoModuleFunction(api.GoModuleFunc(send), []api.ValueType{i32, i32}, nil).Export("send")
	_, err := b.Instantiate(ctx)
	return err
}

// recv gives the guest its next message.
func recv(ctx context.Context, m api.Module, stack []uint64) {
	in := ctx.Value(instanceKey{}).(*instance)
	in.mu.Lock()
	in.size = m.Memory().Size()
	in.mu.Unlock()
	ptr, capacity, timeout := api.DecodeU32(stack[0]), api.DecodeU32(stack[1]), api.DecodeI32(stack[2])
	b, more := in.inbox.peek(ctx, timeout)
	switch {
	case !more:
		stack[0] = api.EncodeI32(-1)
		return
	case b == nil:
		stack[0] = 0
		return
	case uint32(len(b)) <= capacity:
		if !m.Memory().Write(ptr, b) {
			panic("recv: the buffer is outside the memory")
		}
		in.inbox.drop()
	}
	stack[0] = api.EncodeI32(int32(len(b)))
}

// send takes a message of the guest's. It waits while the runtime cannot keep up,
// and so makes the guest wait.
func send(ctx context.Context, m api.Module, stack []uint64) {
	in := ctx.Value(instanceKey{}).(*instance)
	ptr, n := api.DecodeU32(stack[0]), api.DecodeU32(stack[1])
	if n > wire.MaxMessage+1<<10 {
		in.kill(&sdk.Error{Code: sdk.CodePluginProtocol, Message: "the plugin sent a message that is too large"})
		return
	}
	view, ok := m.Memory().Read(ptr, n)
	if !ok {
		panic("send: the message is outside the memory")
	}
	// A view: the guest will write over it.
	if err := in.arrived(append([]byte(nil), view...)); err != nil {
		in.kill(err)
	}
}

// mailbox holds messages on their way to a guest. Putting never waits: a guest that
// asks for more and more, and does not fetch the answers, is one that has gone wrong.
type mailbox struct {
	mu     sync.Mutex
	queue  [][]byte
	bytes  int           // of the queue
	news   chan struct{} // capacity 1
	closed chan struct{}
	once   sync.Once
}

func (b *mailbox) init() {
	b.news = make(chan struct{}, 1)
	b.closed = make(chan struct{})
}

// The most that waits for a guest, and what a message costs beside its bytes.
const (
	maxWaiting   = 64 << 20
	messageBytes = 64
)

var errDeaf = &sdk.Error{Code: sdk.CodePluginProtocol,
	Message: fmt.Sprintf("the plugin leaves more than %d MiB of what it is told unread", maxWaiting>>20)}

// put says whether the mailbox is closed or full.
func (b *mailbox) put(m []byte) error {
	select {
	case <-b.closed:
		return errClosed
	default:
	}
	b.mu.Lock()
	n := b.bytes + len(m) + messageBytes
	if n > maxWaiting {
		b.mu.Unlock()
		return errDeaf
	}
	b.bytes = n
	b.queue = append(b.queue, m)
	b.mu.Unlock()
	select {
	case b.news <- struct{}{}:
	default:
	}
	return nil
}

func (b *mailbox) close() { b.once.Do(func() { close(b.closed) }) }

func (b *mailbox) first() []byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.queue) == 0 {
		return nil
	}
	return b.queue[0]
}

// drop removes the message that peek returned.
func (b *mailbox) drop() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.bytes -= len(b.queue[0]) + messageBytes
	b.queue[0] = nil
	b.queue = b.queue[1:]
}

// peek waits up to timeout milliseconds (−1: without limit) for a message and
// leaves it there. more is false when the mailbox is closed and empty, or ctx
// has ended.
func (b *mailbox) peek(ctx context.Context, timeout int32) (m []byte, more bool) {
	if m := b.first(); m != nil {
		return m, true
	}
	var late <-chan time.Time
	if timeout == 0 {
		select {
		case <-b.closed:
			return nil, false
		default:
			return nil, true
		}
	}
	if timeout > 0 {
		t := time.NewTimer(time.Duration(timeout) * time.Millisecond)
		defer t.Stop()
		late = t.C
	}
	for {
		select {
		case <-b.news:
			if m := b.first(); m != nil {
				return m, true
			}
		case <-late:
			return nil, true
		case <-b.closed:
			m := b.first()
			return m, m != nil
		case <-ctx.Done():
			return nil, false
		}
	}
}
