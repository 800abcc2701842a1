package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/nagatha/nagatha-runtime/sdk"
	"github.com/nagatha/nagatha-runtime/sdk/client"
)

// follow shows what a task does until it has ended, and returns its exit code.
func (a *app) follow(ctx context.Context, conn *client.Conn, id, from string) error {
	s, err := conn.Subscribe(ctx, client.SubscribeRequest{Task: id, From: from})
	if err != nil {
		return a.detached(err, id, from)
	}
	defer func() { _ = s.Close() }() // never fails
	v := &view{app: a, bar: newBar(a)}
	for n, err := range s.All(ctx) {
		if err == nil {
			err = v.show(n)
		}
		if err != nil {
			v.clear()
			v.endLine()
			return a.detached(err, id, s.Cursor())
		}
	}
	return v.end(id)
}

// view is what a person, or a program, sees of a task.
type view struct {
	app     *app
	bar     *bar
	midLine bool   // output has left stdout in the middle of a line
	attempt int    // whose output was last shown
	life    int    // that was the latest when the watching began
	out     pieces // of stdout
	errs    pieces // of stderr

	// How the task ended.
	state  sdk.State
	result json.RawMessage
	failed *sdk.Error
	reason string
}

// eventData is the data of every type of task event that is shown.
type eventData struct {
	Progress float64         `json:"progress"`
	Total    float64         `json:"total"`
	Message  string          `json:"message"`
	Level    string          `json:"level"`
	Attrs    json.RawMessage `json:"attrs"`
	Stream   string          `json:"stream"`
	Text     string          `json:"text"`
	Base64   string          `json:"base64"`
	For      json.RawMessage `json:"for"`
	Name     string          `json:"name"`
	Error    *sdk.Error      `json:"error"`
	RunAt    sdk.Time        `json:"run_at"`
	Result   json.RawMessage `json:"result"`
	Reason   string          `json:"reason"`
}

// show takes one notification.
func (v *view) show(n client.Notification) error {
	switch n.Method {
	case client.MethodSnapshot:
		t := n.Task
		v.life = t.Life
		if t.State.Terminal() {
			v.state, v.result, v.failed, v.reason = t.State, t.Result, t.Error, t.Reason
		}
		v.app.heldUp(*t)
	case client.MethodGap:
		v.clear()
		v.app.say("part of the history is missing: %s", n.Reason)
	case client.MethodLag:
		v.clear()
		v.app.say("%d events behind", n.Behind)
	case client.MethodEvent:
		if n.Event == nil {
			return nil
		}
		var d eventData
		if err := json.Unmarshal(n.Event.Data, &d); err != nil && len(n.Event.Data) > 0 {
			d = eventData{} // of a type that is not known; its line shows it whole
		}
		v.note(n.Event, d)
		if v.app.output != "table" {
			return v.app.raw(n.Raw)
		}
		return v.person(n.Event, d)
	}
	return nil
}

// note remembers how the task ended.
func (v *view) note(e *client.TaskEvent, d eventData) {
	if !e.End {
		return
	}
	v.result, v.failed, v.reason = d.Result, d.Error, d.Reason
	switch e.Type {
	case sdk.EventCompleted:
		v.state = sdk.StateCompleted
	case sdk.EventFailed:
		v.state = sdk.StateFailed
	case sdk.EventCancelled:
		v.state = sdk.StateCancelled
	}
}

// person shows an event to a person.
func (v *view) person(e *client.TaskEvent, d eventData) error {
	switch e.Type {
	case sdk.EventOutput:
		return v.write(e, d)
	case sdk.EventProgress:
		if v.bar != nil {
			// The bar must not break into a line of output.
			if v.midLine && terminal(v.app.stdout) {
				v.bar.note(d.Message)
			} else {
				v.bar.set(d.Progress, d.Total, d.Message)
			}
			return nil
		}
	case sdk.EventCreated, sdk.EventQueued, sdk.EventStarted, sdk.EventResumed,
		sdk.EventCompleted, sdk.EventFailed, sdk.EventCancelled:
		if v.bar != nil {
			return nil // the bar or the result says it
		}
	}
	v.clear()
	text := describe(e.TaskEvent, d)
	if e.End && e.Life >= v.life {
		text = "" // the report, which follows at once, says it
	}
	v.app.say("%s %s %s", e.Time.Time().Local().Format("15:04:05"), e.Type, text)
	return nil
}

// write shows output as it came; a terminal is guarded from control characters,
// which a task, or a model behind it, may well produce.
func (v *view) write(e *client.TaskEvent, d eventData) error {
	text := []byte(d.Text)
	if d.Base64 != "" {
		var err error
		if text, err = base64.StdEncoding.DecodeString(d.Base64); err != nil {
			return fmt.Errorf("output of %s: %w", e.Task, err)
		}
	}
	if v.bar != nil {
		v.bar.clear()
	}
	if v.attempt != 0 && v.attempt != e.Attempt {
		v.newline()
		v.app.say("attempt %d begins its output anew", e.Attempt)
		v.out, v.errs = pieces{}, pieces{}
	}
	v.attempt = e.Attempt
	if d.Stream == "stderr" {
		v.newline()
		_, err := v.app.stderr.Write(v.errs.plain(text, terminal(v.app.stderr)))
		return err
	}
	if len(text) > 0 {
		v.midLine = text[len(text)-1] != '\n'
	}
	_, err := v.app.stdout.Write(v.out.plain(text, terminal(v.app.stdout)))
	return err
}

// pieces are output that comes bit by bit, cut anywhere.
type pieces struct {
	rest []byte // the beginning of a character whose end is still to come
}

// plain is [plain], with characters whole.
func (p *pieces) plain(b []byte, guard bool) []byte {
	if !guard {
		return b
	}
	b = append(p.rest, b...)
	p.rest = nil
	for i := max(0, len(b)-utf8.UTFMax+1); i < len(b); i++ {
		if utf8.RuneStart(b[i]) && !utf8.FullRune(b[i:]) {
			b, p.rest = b[:i], bytes.Clone(b[i:])
			break
		}
	}
	return plain(b, guard)
}

// plain drops control characters except line breaks and tabs, for a terminal.
func plain(b []byte, guard bool) []byte {
	if !guard {
		return b
	}
	return bytes.Map(func(r rune) rune {
		if control(r) && r != '\n' && r != '\t' {
			return -1
		}
		return r
	}, b)
}

// newline ends a line that output has left open, before a line on stderr: where
// both are one terminal, and only there, since output is data.
func (v *view) newline() {
	if terminal(v.app.stdout) && terminal(v.app.stderr) {
		v.endLine()
	}
}

// endLine ends a line that output has left open.
func (v *view) endLine() {
	if v.midLine {
		v.midLine = false
		_, _ = v.app.stdout.Write([]byte("\n")) // the next real write says what is wrong
	}
}

// clear makes room for a line.
func (v *view) clear() {
	if v.bar != nil {
		v.bar.clear()
	}
	v.newline()
}

// end says how the task ended.
func (v *view) end(id string) error {
	v.endLine()
	if v.bar != nil {
		v.bar.finish(v.state == sdk.StateCompleted)
	}
	if v.app.output != "table" {
		return quietExit(taskExit(v.state, v.failed))
	}
	return v.app.report(id, v.state, v.result, v.failed, v.reason)
}

// raw prints an event as the server sent it, on one line.
func (a *app) raw(event json.RawMessage) error {
	var b bytes.Buffer
	if err := json.Compact(&b, event); err != nil {
		return err
	}
	b.WriteByte('\n')
	_, err := a.stdout.Write(b.Bytes())
	return err
}

// describe is the rest of an event's line.
func describe(e sdk.TaskEvent, d eventData) string {
	var parts []string
	add := func(format string, args ...any) { parts = append(parts, fmt.Sprintf(format, args...)) }
	switch e.Type {
	case sdk.EventProgress:
		add("%s", progressText(&sdk.Progress{Progress: d.Progress, Total: d.Total, Message: d.Message}))
	case sdk.EventLog:
		add("%s: %s", d.Level, d.Message)
		if a := value(d.Attrs); a != "" && a != "{}" {
			add("%s", a)
		}
	case sdk.EventOutput:
		add("%s", d.Text)
		if d.Base64 != "" {
			add("%d bytes", base64.StdEncoding.DecodedLen(len(d.Base64)))
		}
	case sdk.EventStarted:
		add("attempt %d", e.Attempt)
	case sdk.EventRetrying:
		add("%s; next attempt at %s", failure(d.Error), d.RunAt)
	case sdk.EventFailed:
		add("%s", failure(d.Error))
	case sdk.EventWaiting:
		add("for %s", d.For)
	case sdk.EventSignalled:
		add("%s", d.Name)
	case sdk.EventCompleted:
		add("%s", value(d.Result))
	case sdk.EventCancelled:
		add("%s", d.Reason)
	case sdk.EventCreated, sdk.EventQueued, sdk.EventResumed:
	default:
		if data := value(e.Data); data != "{}" {
			add("%s", data)
		}
	}
	return strings.Join(parts, " ")
}
