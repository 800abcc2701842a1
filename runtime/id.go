package runtime

import (
	"crypto/rand"
	"encoding/binary"
	"sync"

	"github.com/nagatha/nagatha-runtime/sdk"
)

// ids makes identifiers that sort by creation: 48 bits of milliseconds, then 80
// bits that are random for the first of a millisecond and counted up from there,
// as ULID does. A clock that steps back does not make them step back.
var ids idSource

type idSource struct {
	mu   sync.Mutex
	ms   uint64
	hi   uint16
	lo   uint64
	once bool
}

const idAlphabet = "0123456789abcdefghjkmnpqrstvwxyz"

// NewID makes an id like those of tasks: sortable by time, with a prefix that says
// what it names.
func NewID(prefix string) string { return newID(prefix) }

func newID(prefix string) string { return ids.next(prefix, sdk.Now()) }

func (s *idSource) next(prefix string, now sdk.Time) string {
	s.mu.Lock()
	ms := uint64(now)
	if ms > s.ms || !s.once {
		var b [10]byte
		_, _ = rand.Read(b[:]) // never fails
		s.ms, s.once = ms, true
		s.hi = binary.BigEndian.Uint16(b[:2]) >> 1 // room to count up
		s.lo = binary.BigEndian.Uint64(b[2:])
	} else {
		s.lo++
		if s.lo == 0 {
			s.hi++
		}
	}
	t, hi, lo := s.ms, s.hi, s.lo
	s.mu.Unlock()

	// 128 bits in 26 characters of 5 bits, the first holding only 3.
	var raw [16]byte
	binary.BigEndian.PutUint64(raw[:8], t<<16|uint64(hi))
	binary.BigEndian.PutUint64(raw[8:], lo)
	out := make([]byte, 0, len(prefix)+26)
	out = append(out, prefix...)
	acc, bits := uint(0), 2 // two leading zero bits make 130
	for _, b := range raw {
		acc = acc<<8 | uint(b)
		bits += 8
		for bits >= 5 {
			bits -= 5
			out = append(out, idAlphabet[acc>>bits&31])
		}
	}
	return string(out)
}
