package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"time"
	"unicode/utf8"

	"github.com/nagatha/nagatha-runtime/sdk"
)

// DecodeToPlugin decodes a message to a plugin. What it returns shares memory
// with b.
func DecodeToPlugin(b []byte) (Message, error) {
	return decode(b, func(field int) (Message, setter) {
		switch field {
		case 1:
			m := &Configure{}
			return m, func(f int, v value) { into(f, v, 1, (*[]byte)(&m.Config)) }
		case 2:
			m := &Task{Task: sdk.Task{State: sdk.StateRunning}}
			return m, m.set
		case 3:
			m := &Reply{}
			return m, func(f int, v value) {
				into(f, v, 1, &m.Run)
				into(f, v, 2, &m.Call)
				into(f, v, 3, &m.Payload)
				into(f, v, 4, &m.Error)
			}
		case 4:
			m := &Cancel{}
			return m, func(f int, v value) {
				into(f, v, 1, &m.Run)
				into(f, v, 2, &m.Reason)
			}
		case 5:
			return &Shutdown{}, func(int, value) {}
		}
		return nil, nil
	})
}

// DecodeFromPlugin decodes a message from a plugin. What it returns shares
// memory with b.
func DecodeFromPlugin(b []byte) (Message, error) {
	return decode(b, func(field int) (Message, setter) {
		switch field {
		case 1:
			m := &Manifest{}
			return m, func(f int, v value) {
				into(f, v, 1, &m.Version)
				into(f, v, 2, (*[]byte)(&m.Info))
			}
		case 2:
			m := &Result{}
			return m, func(f int, v value) {
				into(f, v, 1, &m.Run)
				into(f, v, 2, (*[]byte)(&m.Payload))
				into(f, v, 3, &m.Error)
			}
		case 3:
			m := &Call{}
			return m, func(f int, v value) {
				into(f, v, 1, &m.Run)
				into(f, v, 2, &m.Call)
				into(f, v, 3, &m.Op)
				into(f, v, 4, &m.Payload)
			}
		case 4:
			m := &Progress{}
			return m, func(f int, v value) {
				into(f, v, 1, &m.Run)
				into(f, v, 2, &m.Progress.Progress)
				into(f, v, 3, &m.Progress.Total)
				into(f, v, 4, &m.Progress.Message)
			}
		case 5:
			m := &Log{}
			return m, func(f int, v value) {
				into(f, v, 1, &m.Run)
				into(f, v, 2, &m.Level)
				into(f, v, 3, &m.Message)
				into(f, v, 4, (*[]byte)(&m.Attrs))
			}
		case 6:
			m := &Output{}
			return m, func(f int, v value) {
				into(f, v, 1, &m.Run)
				into(f, v, 2, &m.Stream)
				into(f, v, 3, &m.Data)
			}
		}
		return nil, nil
	})
}

// set is on the way of every task, in guests too, so it goes straight to its field.
func (m *Task) set(f int, v value) {
	t := &m.Task
	switch f {
	case 1:
		into(f, v, f, &m.Run)
	case 2:
		into(f, v, f, &t.ID)
	case 3:
		into(f, v, f, &t.Kind)
	case 4:
		into(f, v, f, &t.Queue)
	case 5:
		into(f, v, f, &t.Priority)
	case 6:
		into(f, v, f, (*[]byte)(&t.Payload))
	case 7, 8, 9:
		n := int(v.n)
		if n < 0 { // an uint32 that does not fit an int is none of ours
			return
		}
		*[]*int{&t.Life, &t.Attempt, &t.MaxAttempts}[f-7] = n
	case 10:
		into(f, v, f, &t.CreatedAt)
	case 11:
		into(f, v, f, &t.RunAt)
	case 12:
		into(f, v, f, &t.StartedAt)
	case 13:
		into(f, v, f, &t.Deadline)
	case 14:
		t.Timeout = sdk.Duration(time.Duration(v.n) * time.Millisecond)
	case 15:
		into(f, v, f, &t.Parent)
	case 16:
		var key, val string
		if fields(v.b, func(f int, v value) {
			into(f, v, 1, &key)
			into(f, v, 2, &val)
		}) == nil {
			if t.Labels == nil {
				t.Labels = map[string]string{}
			}
			t.Labels[key] = val
		}
	case 17:
		into(f, v, f, &t.Owner)
	case 18:
		into(f, v, f, &m.Deadline)
	case 19:
		into(f, v, f, &t.Schedule)
	case 20:
		into(f, v, f, &t.ConcurrencyKey)
	}
}

// value is one field's value: n for numbers, b for everything with a length.
type value struct {
	typ int
	n   uint64
	b   []byte
}

type setter func(field int, v value)

// into stores v in dst if field is want and the wire type fits; a field of the
// wrong type is skipped, as an unknown one is.
func into(field int, v value, want int, dst any) {
	if field != want {
		return
	}
	switch dst := dst.(type) {
	case *uint64:
		if v.typ == typeVarint {
			*dst = v.n
		}
	case *uint32:
		if v.typ == typeVarint {
			*dst = uint32(v.n)
		}
	case *int: // zigzag, 32 bits
		if v.typ == typeVarint {
			u := uint32(v.n)
			*dst = int(int32(u>>1) ^ -int32(u&1))
		}
	case *sdk.Time:
		if v.typ == typeVarint {
			*dst = sdk.Time(v.n)
		}
	case *float64:
		if v.typ == typeDouble {
			*dst = math.Float64frombits(v.n)
		}
	case *string:
		if v.typ == typeBytes {
			*dst = string(v.b)
		}
	case *[]byte:
		if v.typ == typeBytes {
			*dst = v.b
		}
	case **Error:
		if v.typ != typeBytes {
			return
		}
		e := &Error{}
		if fields(v.b, func(f int, v value) {
			into(f, v, 1, &e.Code)
			into(f, v, 2, &e.Message)
			if f == 3 && v.typ == typeVarint {
				e.Retryable = v.n != 0
			}
			if f == 4 && v.typ == typeVarint {
				e.RetryAfterMS = int64(v.n)
			}
		}) == nil {
			*dst = e
		}
	}
}

// decode reads the one message of a oneof. Of several the last counts, as
// protobuf says.
func decode(b []byte, of func(field int) (Message, setter)) (Message, error) {
	if len(b) > MaxMessage+16 {
		return nil, tooLarge(len(b))
	}
	var m Message
	var inner error
	err := fields(b, func(f int, v value) {
		if v.typ != typeBytes {
			return
		}
		got, set := of(f)
		if got == nil {
			return
		}
		m = got
		if err := fields(v.b, set); err != nil {
			inner = err
		}
	})
	switch {
	case err != nil:
		return nil, fmt.Errorf("wire: %w", err)
	case inner != nil:
		return nil, fmt.Errorf("wire: %T: %w", m, inner)
	case m == nil:
		return nil, errors.New("wire: an empty message, or one of a later version")
	}
	return m, check(m)
}

// check refuses text that is not UTF-8, which proto3 does not allow and which
// would travel on to clients.
func check(m Message) error {
	var texts []string
	switch m := m.(type) {
	case *Progress:
		texts = []string{m.Progress.Message}
	case *Log:
		texts = []string{m.Message}
	case *Output:
		texts = []string{m.Stream}
	case *Call:
		texts = []string{m.Op}
	case *Result:
		if m.Error != nil {
			texts = []string{m.Error.Code, m.Error.Message}
		}
	case *Task:
		texts = []string{m.Task.ID, m.Task.Kind}
	}
	for _, t := range texts {
		if !utf8.ValidString(t) {
			return fmt.Errorf("wire: %T: text that is not UTF-8", m)
		}
	}
	return nil
}

var errTruncated = errors.New("truncated")

// fields walks the fields of a message.
func fields(b []byte, set setter) error {
	for len(b) > 0 {
		tag, n := binary.Uvarint(b)
		if n <= 0 || tag>>3 == 0 || tag>>3 > 1<<29-1 {
			return errTruncated
		}
		b = b[n:]
		v := value{typ: int(tag & 7)}
		switch v.typ {
		case typeVarint:
			if v.n, n = binary.Uvarint(b); n <= 0 {
				return errTruncated
			}
		case typeDouble:
			if n = 8; len(b) < n {
				return errTruncated
			}
			v.n = binary.LittleEndian.Uint64(b)
		case typeFixed:
			if n = 4; len(b) < n {
				return errTruncated
			}
			v.n = uint64(binary.LittleEndian.Uint32(b))
		case typeBytes:
			size, k := binary.Uvarint(b)
			if k <= 0 || size > uint64(len(b)-k) {
				return errTruncated
			}
			n = k + int(size)
			v.b = b[k:n:n]
		default:
			return fmt.Errorf("wire type %d", v.typ)
		}
		b = b[n:]
		set(int(tag>>3), v)
	}
	return nil
}
