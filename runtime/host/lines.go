package host

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"time"
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
type lines struct {
	mu      sync.Mutex
	spent   int // bytes of the burst
	at      time.Time
	leftOut int
}

// write writes a line, without what would break the log's own.
func (l *lines) write(log *slog.Logger, level slog.Level, text string) {
	text = strings.TrimRight(text, "\r\n")
	if text == "" {
		return
	}
	if !utf8.ValidString(text) {
		text = strings.ToValidUTF8(text, "\uFFFD")
	}
	leftOut, ok := l.spend(len(text) + printedLine)
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

// spend takes n bytes of what may be printed. leftOut is how many lines were left out
// before this one that has room, or with this one that has none.
func (l *lines) spend(n int) (leftOut int, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	l.spent = max(0, l.spent-int(min(now.Sub(l.at).Seconds()*printRate, printBurst)))
	l.at = now
	// Once it is over, it waits for half of the burst: that lines are left out is then
	// said every few seconds, and not between every two of them.
	if l.spent+n > printBurst || l.leftOut > 0 && l.spent > printBurst/2 {
		l.leftOut++
		return l.leftOut, false
	}
	l.spent += n
	leftOut, l.leftOut = l.leftOut, 0
	return leftOut, true
}
