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
	w.buf = append(w.buf, b...)
	for {
		i := bytes.IndexByte(w.buf, '\n')
		if i < 0 && len(w.buf) < maxLine {
			return len(b), nil
		}
		if i < 0 || i > maxLine {
			i = maxLine
		}
		w.log(w.level, string(w.buf[:i]))
		if i < len(w.buf) && w.buf[i] == '\n' {
			i++
		}
		w.buf = append(w.buf[:0], w.buf[i:]...)
	}
}
