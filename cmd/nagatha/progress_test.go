package main

import (
	"bytes"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestFit(t *testing.T) {
	for _, c := range []struct {
		text string
		cols int
		want string
	}{{"reading", 7, "reading"}, {"reading", 6, "readi…"}, {"reading", 1, ""}, {"reading", 0, ""}, {"äöü", 3, "äöü"}, {"日本語", 6, "日本語"}, {"日本語", 5, "日本…"}, {"日本語", 4, "日…"}, {"", 0, ""}} {
		if got := fit(c.text, c.cols); got != c.want {
			t.Errorf("%s in %d columns: %q, want %q", c.text, c.cols, got, c.want)
		}
	}
}

// A bar stands on one line of its terminal, however long the text is.
func TestBarFits(t *testing.T) {
	for _, cols := range []int{30, 40, 80} {
		var out bytes.Buffer
		b := &bar{w: &out, cols: func() int { return cols }}
		for i := range 3 {
			b.set(float64(i), 2, strings.Repeat("a long text ", 20))
			b.set(float64(i), 0, strings.Repeat("a long text ", 20))
		}
		b.set(2, 2, "")
		b.note(strings.Repeat("a long text ", 20))
		b.finish(true)
		for _, line := range regexp.MustCompile(`\x1b\[[0-9]*[A-Z]|\r|\n`).Split(out.String(), -1) {
			if n := utf8.RuneCountInString(line); n > cols {
				t.Errorf("%d columns, for %d: %q", n, cols, line)
			}
		}
	}
}
