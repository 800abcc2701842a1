package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/nagatha/nagatha-runtime/sdk"
)

// asks are the questions that a turn, or a tool it called, waits for an answer to.
type asks struct {
	queue []sdk.Approval // the first is the one that is being asked
	heard []string       // questions that the turn logged and that nobody here was told
	known map[string]bool
	owner map[string]bool // task: it is a child of the turn
}

func (q *asks) open() bool { return len(q.queue) > 0 }

// lookForQuestions finds what is to be decided, and forgets what was decided by
// somebody else.
func (t *turn) lookForQuestions(ctx context.Context) {
	if t.denied != nil {
		t.passOn()
		return
	}
	pending, err := every(func(cursor string) ([]sdk.Approval, string, error) { return t.cl.Approvals(ctx, "", cursor) })
	switch {
	case sdk.CodeOf(err) == sdk.CodeForbidden:
		t.denied = err
		t.passOn()
		return
	case err != nil:
		return // the next look may go better
	}
	still := func(p sdk.Approval) bool {
		return slices.ContainsFunc(pending, func(o sdk.Approval) bool { return o.ID == p.ID })
	}
	if q := t.asks.queue; len(q) > 0 && !still(q[0]) {
		t.view.endLine()
		t.newline()
		t.app.say("that was decided elsewhere")
	}
	before := t.asks.open()
	t.asks.queue = slices.DeleteFunc(t.asks.queue, func(p sdk.Approval) bool { return !still(p) })
	for _, p := range pending {
		if !t.asks.known[p.ID] && t.mine(ctx, p.Task) {
			if t.asks.known == nil {
				t.asks.known = map[string]bool{}
			}
			t.asks.known[p.ID] = true
			t.ask(p)
		}
	}
	if !before && t.asks.open() {
		t.question()
	}
}

// passOn tells of questions that somebody else must decide.
func (t *turn) passOn() {
	if t.denied == nil {
		return
	}
	for _, q := range t.asks.heard {
		t.aside(yellow, "it asks: %s", visible(q))
		t.app.say("  somebody else must decide: %s", message(t.denied))
	}
	t.asks.heard = nil
}

// mine reports whether a task is the turn or a child of it.
func (t *turn) mine(ctx context.Context, task string) bool {
	if task == t.id {
		return true
	}
	is, known := t.asks.owner[task]
	if !known {
		k, err := t.conn.Get(ctx, task)
		is = err == nil && k.Parent == t.id
		if t.asks.owner == nil {
			t.asks.owner = map[string]bool{}
		}
		t.asks.owner[task] = is
	}
	return is
}

// ask queues a question, or where nobody can answer here says who can.
func (t *turn) ask(p sdk.Approval) {
	if t.alone && !t.person() {
		t.aside(yellow, "it asks: %s", visible(p.Question))
		t.app.say("  decide with: nagatha approvals approve %s (or reject)", p.ID)
		return
	}
	t.asks.queue = append(t.asks.queue, p)
}

// question shows the first question whole: what is approved must be what was read.
func (t *turn) question() {
	t.aside(yellow, "? %s", visible(t.asks.queue[0].Question))
	fmt.Fprint(t.app.stderr, "  d shows the details; y or n: ")
	if !t.person() {
		fmt.Fprintln(t.app.stderr)
	}
}

// answer decides the first question.
func (t *turn) answer(ctx context.Context, line string, ok bool) {
	p := t.asks.queue[0]
	word, comment, _ := strings.Cut(strings.TrimSpace(line), " ")
	approve := false
	switch strings.ToLower(word) {
	case "y", "yes":
		approve = true
	case "n", "no":
	case "d":
		fmt.Fprintf(t.app.stderr, "  %s\n  y or n: ", visible(value(p.Detail)))
		return
	default:
		if ok {
			fmt.Fprint(t.app.stderr, "  y or n, and perhaps why: ")
			return
		}
		t.app.say("nobody is there to answer; decide with: nagatha approvals approve %s (or reject)", p.ID)
		t.asks.queue = nil
		return
	}
	t.asks.queue = t.asks.queue[1:]
	if err := t.conn.Decide(ctx, p.ID, approve, p.Digest, strings.TrimSpace(comment)); err != nil {
		t.aside(red, "%s", message(err))
	}
	if t.asks.open() {
		t.question()
	}
}

// visible shows what would hide in a text that somebody is to agree to.
func visible(s string) string {
	var b strings.Builder
	for _, r := range s {
		if control(r) || r == 0x200b || r == 0x2060 || r == 0xfeff {
			fmt.Fprintf(&b, "\\u%04x", r)
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}
