package main

import (
	"bytes"
	"errors"
	"io"
)

// maxEvent is the most bytes of a line of an event stream, and of the data of one
// event.
const maxEvent = 8 << 20

var errEventTooLong = errors.New("an event of the stream is longer than 8 MiB")

// sseReader reads the data of server-sent events. It returns each as soon as its
// last byte is there, and reads no further than that needs.
type sseReader struct {
	src        io.Reader
	chunk      []byte // read, and not yet used: chunk[start:end]
	start, end int
	skipLF     bool // the line before ended in CR: a LF that follows belongs to it
	begun      bool // past the byte order mark
	ended      bool // the last line had no end
	line, data []byte
	failed     bool // the event was named "error"
}

func newSSEReader(src io.Reader) *sseReader {
	return &sseReader{src: src, chunk: make([]byte, 32<<10)}
}

// next returns the data of the next event that has some; it is valid until the call
// after. At the end of the stream it returns io.EOF. An event that the end cut, or
// that lacks the empty line, is returned too: what it is worth shows when it is
// parsed.
func (r *sseReader) next() ([]byte, error) {
	r.data, r.failed = r.data[:0], false
	some := false
	for {
		line, err := r.readLine()
		end := errors.Is(err, io.EOF)
		switch {
		case end && some && len(line) == 0:
			return r.data, nil
		case err != nil && (!end || len(line) == 0):
			return nil, err
		}
		if len(line) == 0 {
			if some {
				return r.data, nil
			}
			r.failed = false
			continue
		}
		field, value, _ := bytes.Cut(line, []byte(":"))
		value = bytes.TrimPrefix(value, []byte(" "))
		switch string(field) {
		case "event": // the other names are in the data as well
			r.failed = string(value) == "error"
			continue
		case "data":
		default: // comments keep the connection open
			continue
		}
		if some {
			r.data = append(r.data, '\n')
		}
		some = true
		r.data = append(r.data, value...)
		if len(r.data) > maxEvent {
			return nil, errEventTooLong
		}
	}
}

// readLine returns a line without its end, which is CR, LF or both. The last one
// comes with io.EOF when it has no end.
func (r *sseReader) readLine() ([]byte, error) {
	r.line = r.line[:0]
	for {
		if r.start == r.end {
			n, err := r.src.Read(r.chunk)
			if r.start, r.end = 0, n; n == 0 && err == nil {
				continue
			}
			if n == 0 {
				r.ended = len(r.line) > 0
				return r.line, err
			}
		}
		if r.skipLF {
			r.skipLF = false
			if r.chunk[r.start] == '\n' {
				r.start++
				continue
			}
		}
		rest := r.chunk[r.start:r.end]
		i := bytes.IndexAny(rest, "\r\n")
		if i < 0 {
			r.line = append(r.line, rest...)
			r.start = r.end
		} else {
			r.line = append(r.line, rest[:i]...)
			r.skipLF = rest[i] == '\r'
			r.start += i + 1
		}
		if len(r.line) > maxEvent {
			return nil, errEventTooLong
		}
		if i >= 0 {
			if !r.begun {
				r.begun = true
				r.line = bytes.TrimPrefix(r.line, []byte("\ufeff"))
			}
			return r.line, nil
		}
	}
}
