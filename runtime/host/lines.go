package host

import (
	"context"
	"log/slog"
	"strings"
	"unicode"
	"unicode/utf8"
)

// What a plugin may print: so much at once, and so much in the long run.
const (
	printBurst  = 1 << 20  // bytes
	printRate   = 64 << 10 // bytes a second
	printedLine = 100      // bytes that a line costs beside its text
)

// lines writes what a plugin prints to the log. A plugin that floods would fill the
// disk of whoever keeps the log, so lines beyond its share are left out and counted.
// The zero value has its burst. It is safe for concurrent use.
type lines struct{ share }

// write writes a line, without what would break the log's own.
func (l *lines) write(log *slog.Logger, level slog.Level, text string) {
	text = strings.TrimRight(text, "\r\n")
	if text == "" {
		return
	}
	if !utf8.ValidString(text) {
		text = strings.ToValidUTF8(text, "\uFFFD")
	}
	leftOut, ok := l.take(float64(written(text)+printedLine), printBurst, printRate)
	switch {
	case ok:
		if leftOut > 0 {
			log.Warn("lines of the plugin were left out", "lines", leftOut)
		}
		log.Log(context.Background(), level, text, "from", "plugin")
	case leftOut == 1:
		log.Warn("the plugin prints too much: lines are left out", "bytes_per_second", printRate)
	}
}

// written is at most how many bytes a line takes in a log, which escapes what it cannot
// print: a NUL has six as JSON.
func written(text string) (n int) {
	for _, r := range text {
		switch {
		case r == '"' || r == '\\':
			n += 2
		case r < utf8.RuneSelf && r >= ' ' && r != 0x7f:
			n++
		case r < utf8.RuneSelf:
			n += 6
		case unicode.IsPrint(r):
			n += utf8.RuneLen(r)
		default:
			n += 10 // such as \U000e0001
		}
	}
	return n
}
