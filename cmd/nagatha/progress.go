package main

import (
	"fmt"
	"io"
	"math"
	"os"

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
	return &bar{w: a.stderr}
}

// set shows done of total; total 0 means that nobody knows.
func (b *bar) set(done, total float64, text string) {
	if known := total > 0; b.bar == nil || known != b.known {
		b.clear()
		b.known = known
		size := int64(-1)
		if known {
			size = steps
		}
		b.bar = progressbar.NewOptions64(size, progressbar.OptionSetWriter(b.w),
			progressbar.OptionSetWidth(30), progressbar.OptionSetElapsedTime(true), progressbar.OptionSetPredictTime(false),
			progressbar.OptionUseANSICodes(true),
			progressbar.OptionSetSpinnerChangeInterval(0)) // no goroutine of its own
	}
	b.shown = true
	b.text = clean(text)
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
func (b *bar) note(text string) { b.text = clean(text) }

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
