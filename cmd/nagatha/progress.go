package main

import (
	"fmt"
	"io"
	"math"
	"os"
	"unicode/utf8"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"
)

// terminal reports whether w is one that a bar and colours work on.
func terminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

const (
	red    = "31"
	yellow = "33"
	dim    = "2"
)

// sayIn says something in colour, where that is wanted and possible.
func (a *app) sayIn(colour, text string) {
	text = clean(text)
	if a.env["NO_COLOR"] == "" && a.env["TERM"] != "dumb" && terminal(a.stderr) {
		text = "\x1b[" + colour + "m" + text + "\x1b[0m"
	}
	fmt.Fprintln(a.stderr, text)
}

// bar shows how far a task is, on the last line of stderr.
type bar struct {
	w     io.Writer
	cols  func() int // of the terminal; 0: not known
	bar   *progressbar.ProgressBar
	known bool // the total is
	shown bool
	text  string // the last message
}

// steps is how finely the bar is divided.
const steps = 1000

// newBar returns nil where events are to be shown as lines.
func newBar(a *app) *bar {
	if a.output != "table" || a.progress == "lines" {
		return nil
	}
	if a.progress == "auto" && (!terminal(a.stderr) || a.env["TERM"] == "dumb") {
		return nil
	}
	return &bar{w: a.stderr, cols: func() int { return columns(a.stderr) }}
}

// columns is how wide a terminal is; 0 is not known.
func columns(w io.Writer) int {
	f, ok := w.(*os.File)
	if !ok {
		return 0
	}
	n, _, err := term.GetSize(int(f.Fd()))
	if err != nil {
		return 0
	}
	return n
}

// A line that is longer than the terminal is wide cannot be drawn over: each drawing
// would leave some of it behind. beside is what stands beside text and bar at most.
const (
	beside   = len(" 100% |" + "|  [100h59m59s] ")
	barWidth = 30
)

// layout is how many columns there are for the bar, and for the text before it.
func (b *bar) layout() (width, text int) {
	cols := b.cols()
	if cols <= 0 {
		return barWidth, math.MaxInt
	}
	width = min(barWidth, max(1, (cols-beside)/2))
	return width, max(0, cols-beside-width-1)
}

// fit cuts a text that takes more columns. A character takes one, or of East Asian
// scripts and emoji two.
func fit(s string, cols int) string {
	wide := func(r rune) int {
		if r >= 0x1100 {
			return 2
		}
		return 1
	}
	total, end := 0, 0
	for i, r := range s {
		if total += wide(r); total < cols {
			end = i + utf8.RuneLen(r)
		}
	}
	switch {
	case total <= cols:
		return s
	case cols < 2:
		return ""
	}
	return s[:end] + "…"
}

// set shows done of total; total 0 means that nobody knows.
func (b *bar) set(done, total float64, text string) {
	width, room := b.layout()
	if known := total > 0; b.bar == nil || known != b.known {
		b.clear()
		b.known = known
		size := int64(-1)
		if known {
			size = steps
		}
		b.bar = progressbar.NewOptions64(size, progressbar.OptionSetWriter(b.w),
			progressbar.OptionSetWidth(width), progressbar.OptionSetElapsedTime(true), progressbar.OptionSetPredictTime(false),
			progressbar.OptionUseANSICodes(true),
			progressbar.OptionSetSpinnerChangeInterval(0)) // no goroutine of its own
	}
	b.shown = true
	b.text = fit(clean(text), room)
	b.bar.Describe(b.text)
	if b.known {
		part := min(max(done/total, 0), 1)
		// At most one step less than all: the bar's own end is for the task's.
		_ = b.bar.Set64(min(int64(math.Round(part*steps)), steps-1)) // stderr: nobody to tell
		return
	}
	_ = b.bar.Add64(1)
}

// note keeps a message for the next time the bar is drawn.
func (b *bar) note(text string) {
	_, room := b.layout()
	b.text = fit(clean(text), room)
}

// clear takes the bar away until it is set again.
func (b *bar) clear() {
	if b.shown {
		_ = b.bar.Clear()
		b.shown = false
	}
}

// finish leaves a full bar behind, or none.
func (b *bar) finish(complete bool) {
	if b.bar == nil {
		return
	}
	if !complete || !b.known {
		b.clear()
		return
	}
	b.bar.Describe(b.text)
	_ = b.bar.Finish()
	_, _ = io.WriteString(b.w, "\n")
}
