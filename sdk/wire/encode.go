package wire

import (
	"encoding/binary"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"sync"

	"github.com/nagatha/nagatha-runtime/sdk"
)

// Append appends the protobuf form of m, as a ToPlugin or a FromPlugin message
// according to its type, to b.
func Append(b []byte, m Message) ([]byte, error) {
	// The length goes before the body, so the body is made elsewhere first.
	scratch := bodies.Get().(*buffer)
	body := (*scratch)[:0]
	defer func() {
		if cap(body) <= keepBody {
			*scratch = body
		}
		bodies.Put(scratch)
	}()
	field := 0
	switch m := m.(type) {
	case *Configure:
		field = 1
		body.bytes(1, m.Config)
	case *Task:
		field = 2
		body.task(m)
	case *Reply:
		field = 3
		body.uint(1, m.Run)
		body.uint(2, m.Call)
		body.bytes(3, m.Payload)
		body.fault(4, m.Error)
	case *Cancel:
		field = 4
		body.uint(1, m.Run)
		body.string(2, m.Reason)
	case *Shutdown:
		field = 5
	case *Manifest:
		field = 1
		body.uint(1, uint64(m.Version))
		body.bytes(2, m.Info)
	case *Result:
		field = 2
		body.uint(1, m.Run)
		body.bytes(2, m.Payload)
		body.fault(3, m.Error)
	case *Call:
		field = 3
		body.uint(1, m.Run)
		body.uint(2, m.Call)
		body.string(3, m.Op)
		body.bytes(4, m.Payload)
	case *Progress:
		field = 4
		body.uint(1, m.Run)
		body.double(2, m.Progress.Progress)
		body.double(3, m.Progress.Total)
		body.string(4, m.Progress.Message)
	case *Log:
		field = 5
		body.uint(1, m.Run)
		body.zigzag(2, int64(m.Level))
		body.string(3, m.Message)
		body.bytes(4, m.Attrs)
	case *Output:
		field = 6
		body.uint(1, m.Run)
		body.string(2, m.Stream)
		body.bytes(3, m.Data)
	default:
		return b, fmt.Errorf("wire: %T is no message", m)
	}
	if len(body) > MaxMessage {
		return b, tooLarge(len(body))
	}
	b = slices.Grow(b, len(body)+2*binary.MaxVarintLen32)
	b = binary.AppendUvarint(b, uint64(field)<<3|typeBytes)
	b = binary.AppendUvarint(b, uint64(len(body)))
	return append(b, body...), nil
}

var bodies = sync.Pool{New: func() any { return new(buffer) }}

// keepBody is how large a body's memory may be to be used again.
const keepBody = 64 << 10

func tooLarge(n int) error {
	return sdk.Errorf(sdk.CodeLimitExceeded, "a message of %d bytes is larger than the %d that a plugin may send or get", n, MaxMessage)
}

// The wire types of protobuf that the schema uses.
const (
	typeVarint = 0
	typeDouble = 1
	typeBytes  = 2
	typeFixed  = 5 // only skipped
)

// buffer is a message being encoded. As proto3 says, zero values are left out.
type buffer []byte

func (b *buffer) tag(field, typ int) { *b = binary.AppendUvarint(*b, uint64(field)<<3|uint64(typ)) }

func (b *buffer) uint(field int, v uint64) {
	if v != 0 {
		b.tag(field, typeVarint)
		*b = binary.AppendUvarint(*b, v)
	}
}

func (b *buffer) int(field int, v int64) { b.uint(field, uint64(v)) }

func (b *buffer) zigzag(field int, v int64) { b.uint(field, uint64(v<<1)^uint64(v>>63)) }

func (b *buffer) double(field int, v float64) {
	if bits := math.Float64bits(v); bits != 0 {
		b.tag(field, typeDouble)
		*b = binary.LittleEndian.AppendUint64(*b, bits)
	}
}

func (b *buffer) bytes(field int, v []byte) {
	if len(v) > 0 {
		b.tag(field, typeBytes)
		*b = binary.AppendUvarint(*b, uint64(len(v)))
		*b = append(*b, v...)
	}
}

// string writes text. Bytes that are not UTF-8, which proto3 does not allow, become
// U+FFFD: a handler's error or log line may quote anything, and must arrive.
func (b *buffer) string(field int, v string) {
	if v != "" {
		v = strings.ToValidUTF8(v, "\uFFFD")
		b.tag(field, typeBytes)
		*b = binary.AppendUvarint(*b, uint64(len(v)))
		*b = append(*b, v...)
	}
}

// message writes a nested message, also an empty one.
func (b *buffer) message(field int, v buffer) {
	b.tag(field, typeBytes)
	*b = binary.AppendUvarint(*b, uint64(len(v)))
	*b = append(*b, v...)
}

func (b *buffer) fault(field int, e *Error) {
	if e == nil {
		return
	}
	var v buffer
	v.string(1, e.Code)
	v.string(2, e.Message)
	if e.Retryable {
		v.uint(3, 1)
	}
	v.int(4, e.RetryAfterMS)
	b.message(field, v)
}

func (b *buffer) task(m *Task) {
	t := &m.Task
	b.uint(1, m.Run)
	b.string(2, t.ID)
	b.string(3, t.Kind)
	b.string(4, t.Queue)
	b.zigzag(5, int64(t.Priority))
	b.bytes(6, t.Payload)
	b.uint(7, uint64(t.Life))
	b.uint(8, uint64(t.Attempt))
	b.uint(9, uint64(t.MaxAttempts))
	b.int(10, int64(t.CreatedAt))
	b.int(11, int64(t.RunAt))
	b.int(12, int64(t.StartedAt))
	b.int(13, int64(t.Deadline))
	b.int(14, t.Timeout.Std().Milliseconds())
	b.string(15, t.Parent)
	if len(t.Labels) > 0 { // sorting none allocates
		for _, k := range slices.Sorted(maps.Keys(t.Labels)) {
			var e buffer
			e.string(1, k)
			e.string(2, t.Labels[k])
			b.message(16, e)
		}
	}
	b.string(17, t.Owner)
	b.int(18, int64(m.Deadline))
	b.string(19, t.Schedule)
	b.string(20, t.ConcurrencyKey)
}
