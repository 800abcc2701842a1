package host

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestLinesOfAPluginThatFloods(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		log := slog.New(slog.NewTextHandler(&out, nil))
		var l lines
		line := strings.Repeat("x", 900)
		for range 100_000 {
			l.write(log, slog.LevelInfo, line+"\n")
		}
		l.write(log, slog.LevelInfo, "\n") // an empty line is none
		if got := strings.Count(out.String(), line); got != printBurst/1000 {
			t.Errorf("%d lines in a burst, want %d", got, printBurst/1000)
		}
		if got := strings.Count(out.String(), "prints too much"); got != 1 {
			t.Errorf("it was said %d times", got)
		}
		out.Reset()
		for range 7 {
			time.Sleep(time.Second)
			l.write(log, slog.LevelWarn, line)
		}
		if out.Len() > 0 {
			t.Errorf("it went on before half of the burst was free:\n%.300s", out.String())
		}
		time.Sleep(time.Second)
		for range 1000 {
			l.write(log, slog.LevelWarn, line)
		}
		if got := strings.Count(out.String(), line); got < 524 || got > 525 {
			t.Errorf("%d lines after 8 s, want half of a burst", got)
		}
		if want := "lines=98959"; !strings.Contains(out.String(), want) {
			t.Errorf("want %s in:\n%.300s", want, out.String())
		}
		out.Reset()
		time.Sleep(time.Hour)
		l.write(log, slog.LevelInfo, "quiet \xff")
		if !strings.Contains(out.String(), "quiet \uFFFD") || !strings.Contains(out.String(), "were left out") {
			t.Errorf("after an hour: %s", out.String())
		}
	})
}

// What a log escapes counts as what it becomes there.
func TestLinesThatALogEscapes(t *testing.T) {
	for _, line := range []string{"\x00", "\"", "\u200e", "\U000e0001", "\x1b[1m", "é", "\u2028", "\x7f"} {
		for name, handler := range map[string]func(*bytes.Buffer) slog.Handler{
			"text": func(b *bytes.Buffer) slog.Handler { return slog.NewTextHandler(b, nil) },
			"json": func(b *bytes.Buffer) slog.Handler { return slog.NewJSONHandler(b, nil) },
		} {
			var out bytes.Buffer
			log := slog.New(handler(&out))
			var l lines
			for range 100 {
				l.write(log, slog.LevelInfo, strings.Repeat(line, 30_000))
			}
			if most := printBurst + 64<<10; out.Len() > most {
				t.Errorf("%s: %q makes %d bytes of log, want at most %d", name, line, out.Len(), most)
			}
		}
	}
}
