package main

import (
	"bytes"
	"encoding/json"
	"io"
	"sync"
)

// lineFilter passes on the lines that are JSON-RPC messages to somebody. Servers print banners,
// debug output and JSON logs to stdout, and a single such line would end the session.
type lineFilter struct {
	out  *io.PipeWriter
	line []byte
	skip bool // the rest of a line that is too long
}

// maxLine is the longest line that is passed on; a longer one is dropped, and the
// call that waits for it times out.
const maxLine = 64 << 20

// keepLine is the most memory that is kept between lines.
const keepLine = 1 << 20

func (f *lineFilter) Write(p []byte) (int, error) {
	for rest := p; len(rest) > 0; {
		i := bytes.IndexByte(rest, '\n')
		part := rest
		if i >= 0 {
			part = rest[:i+1]
		}
		rest = rest[len(part):]
		if !f.skip {
			f.line = append(f.line, part...)
		}
		if len(f.line) > maxLine {
			f.line, f.skip = nil, true
		}
		if i < 0 {
			continue
		}
		if !f.skip && isMessage(f.line) {
			if _, err := f.out.Write(f.line); err != nil {
				return 0, err
			}
		}
		if cap(f.line) > keepLine {
			f.line = nil
		}
		f.line, f.skip = f.line[:0], false
	}
	return len(p), nil
}

// parseLine is the longest line that is parsed to see what it is. Of a longer one
// it must be enough to look at: nobody logs megabytes that look like a message.
const parseLine = 64 << 10

func isMessage(line []byte) bool {
	if len(line) > parseLine {
		line = bytes.TrimSpace(line)
		return len(line) > 0 && line[0] == '{' && line[len(line)-1] == '}' && bytes.Contains(line, []byte(`"jsonrpc"`))
	}
	var m struct {
		Version string          `json:"jsonrpc"`
		ID      json.RawMessage `json:"id"`
		Method  json.RawMessage `json:"method"`
	}
	// An answer to nothing, id null, is what some servers say to a notification; the SDK
	// would end the session.
	return json.Unmarshal(line, &m) == nil && m.Version == "2.0" && (len(m.Method) > 0 || len(m.ID) > 0 && string(m.ID) != "null")
}

// tail keeps the end of what a process wrote.
type tail struct {
	mu  sync.Mutex
	buf []byte
}

const tailBytes = 4 << 10

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf = append(t.buf, p...)
	if len(t.buf) > tailBytes {
		t.buf = append([]byte(nil), t.buf[len(t.buf)-tailBytes:]...)
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(bytes.ToValidUTF8(bytes.TrimSpace(t.buf), []byte("\uFFFD")))
}
