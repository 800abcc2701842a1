package process

import (
	"bytes"
	"log/slog"
	"sync"
)

// lineWriter splits what it gets into lines.
type lineWriter struct {
	level slog.Level
	log   func(slog.Level, string)

	mu  sync.Mutex
	buf []byte
}

// maxLine is where an endless line is cut.
const maxLine = 16 << 10

func (w *lineWriter) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	rest := append(w.buf, b...)
	for {
		i := bytes.IndexByte(rest, '\n')
		if i < 0 && len(rest) < maxLine {
			break
		}
		if i < 0 || i > maxLine {
			i = maxLine
		}
		w.log(w.level, string(rest[:i]))
		if i < len(rest) && rest[i] == '\n' {
			i++
		}
		rest = rest[i:]
	}
	w.buf = append(w.buf[:0], rest...)
	return len(b), nil
}
