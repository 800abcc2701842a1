package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"syscall"
	"time"

	"github.com/nagatha/nagatha-runtime/sdk"
	"github.com/nagatha/nagatha-runtime/sdk/client"
)

// turn is one message and its answer, while it is watched.
type turn struct {
	*chat
	id      string
	view    *view // of the end, and of lines left open
	said    strings.Builder
	attempt int
	cancel  bool // it was asked to end

	waiting bool // for a person, or for a tool
	asks    asks
}

// chatResult is what of the result is of interest here.
type chatResult struct {
	Session    string `json:"session"`
	Response   string `json:"response"`
	StopReason string `json:"stop_reason"`
	Usage      struct {
		Input  int      `json:"input_tokens"`
		Output int      `json:"output_tokens"`
		Cost   *float64 `json:"cost_usd"`
	} `json:"usage"`
	Steps int `json:"steps"`
}

// turn says something and shows what comes of it. Its error is a quietExit where the
// turn itself did not go well, which was shown.
func (ch *chat) turn(ctx context.Context, message string) error {
	payload := map[string]string{"message": message}
	if ch.session != "" {
		payload["session"] = ch.session
	}
	if ch.model != "" {
		payload["model"] = ch.model
	}
	doc, err := json.Marshal(payload)
	if err != nil {
		return err
	}
	var done client.Submitted
	err = ch.patient(ctx, func(ctx context.Context) error {
		done, err = ch.conn.Submit(ctx, sdk.Submission{Kind: chatKind, Payload: doc})
		return err
	})
	if err != nil {
		return err
	}
	t := &turn{chat: ch, id: done.Task.ID, view: &view{app: ch.app}}
	if done.Task.Reason != "" {
		ch.app.say("%s: %s", done.Task.State, done.Task.Reason)
	}
	return t.watch(ctx)
}

type noted struct {
	n   client.Notification
	err error
}

func (t *turn) watch(ctx context.Context) error {
	var sub *client.Subscription
	err := t.patient(ctx, func(ctx context.Context) (err error) {
		sub, err = t.conn.Subscribe(ctx, client.SubscribeRequest{Task: t.id})
		return err
	})
	if err != nil {
		return t.app.detached(err, t.id, "")
	}
	defer func() { _ = sub.Close() }() // never fails
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	events := make(chan noted)
	go func() {
		defer close(events)
		for n, err := range sub.All(ctx) {
			select {
			case events <- noted{n, err}:
			case <-ctx.Done():
				return
			}
		}
	}()
	look := time.NewTicker(time.Second)
	defer look.Stop()
	for {
		var answers <-chan string
		if t.asks.open() {
			answers = t.input()
		}
		select {
		case e, ok := <-events:
			switch {
			case !ok:
				return t.end()
			case e.err != nil:
				t.view.endLine()
				return t.app.detached(e.err, t.id, sub.Cursor())
			}
			if err := t.show(ctx, e.n); err != nil {
				return err
			}
		case <-look.C:
			if t.waiting {
				t.lookForQuestions(ctx)
			}
		case line, ok := <-answers:
			t.answer(ctx, line, ok)
		case s := <-t.interrupts:
			t.view.endLine()
			if t.cancel || s == syscall.SIGTERM {
				t.app.say("left; the turn goes on by itself. Watch it with: nagatha tasks watch %s", t.id)
				return errLeave
			}
			t.cancel = true
			t.app.say("cancelling; Ctrl-C again leaves")
			go t.stop(ctx)
		}
	}
}

// stop asks for the end of the turn, beside the watching, since nothing may keep a
// second Ctrl-C from leaving.
func (t *turn) stop(ctx context.Context) {
	if _, err := t.conn.Cancel(ctx, t.id, client.CancelRequest{Reason: "cancelled in the chat"}); err != nil && ctx.Err() == nil {
		t.app.say("cannot cancel: %s", message(err))
	}
}

// show shows one notification.
func (t *turn) show(ctx context.Context, n client.Notification) error {
	if n.Method == client.MethodSnapshot && n.Task.State.Terminal() {
		t.view.state, t.view.result, t.view.failed, t.view.reason = n.Task.State, n.Task.Result, n.Task.Error, n.Task.Reason
	}
	if n.Method != client.MethodEvent || n.Event == nil {
		return nil
	}
	e := n.Event
	var d eventData
	_ = json.Unmarshal(e.Data, &d) // what is of another form is passed over
	t.view.note(e, d)
	switch e.Type {
	case sdk.EventWaiting:
		t.waiting = true
		t.lookForQuestions(ctx)
	case sdk.EventResumed, sdk.EventStarted:
		t.waiting = false
	}
	if t.app.output == "jsonl" {
		return t.app.raw(n.Raw)
	}
	switch e.Type {
	case sdk.EventOutput:
		if d.Stream == "response" {
			return t.speak(e, d)
		}
	case sdk.EventLog:
		t.activity(d)
	case sdk.EventRetrying:
		t.aside(yellow, "%s; trying again", failure(d.Error))
	}
	return nil
}

// speak passes a piece of the answer on.
func (t *turn) speak(e *client.TaskEvent, d eventData) error {
	text := []byte(d.Text)
	if d.Base64 != "" {
		var err error
		if text, err = base64.StdEncoding.DecodeString(d.Base64); err != nil {
			return fmt.Errorf("output of %s: %w", e.Task, err)
		}
	}
	if t.attempt != 0 && t.attempt != e.Attempt {
		t.aside(yellow, "the answer begins anew")
		t.said.Reset()
		t.view.out = pieces{}
	}
	t.attempt = e.Attempt
	t.said.Write(text)
	if t.app.output != "table" || len(text) == 0 {
		return nil
	}
	t.view.midLine = text[len(text)-1] != '\n'
	_, err := t.app.stdout.Write(t.view.out.plain(text, terminal(t.app.stdout)))
	return err
}

// activity shows what the agent does besides speaking.
func (t *turn) activity(d eventData) {
	var a struct {
		Type     string          `json:"type"`
		Tool     string          `json:"tool"`
		Target   string          `json:"target"`
		Args     json.RawMessage `json:"arguments"`
		Result   json.RawMessage `json:"result"`
		Session  string          `json:"session"`
		Question string          `json:"question"`
		IsError  bool            `json:"is_error"`
		Error    string          `json:"error"`
	}
	_ = json.Unmarshal(d.Attrs, &a) // of another form: a plain line
	tool := a.Target
	if tool == "" {
		tool = a.Tool
	}
	switch {
	case a.Type == "session": // without an end that goes well nothing else says it
		t.session = a.Session
	case a.Type == "approval":
		t.asks.heard = append(t.asks.heard, a.Question)
		t.passOn()
	case a.Type == "tool.start":
		t.aside(dim, "→ %s %s", tool, shorten(value(a.Args), 200))
	case a.Type == "tool.result" && a.IsError:
		t.aside(red, "← %s failed: %s", tool, shorten(text(a.Result), 200))
	case a.Type == "tool.result":
		t.aside(dim, "← %s %s", tool, shorten(text(a.Result), 200))
	case d.Level == "warn" || d.Level == "error":
		t.aside(yellow, "%s", strings.TrimSuffix(d.Message+": "+a.Error, ": "))
	}
}

// text is a JSON string's text, or other JSON as it is.
func text(raw json.RawMessage) string {
	var s string
	if json.Unmarshal(raw, &s) == nil {
		return s
	}
	return value(raw)
}

// aside says something on a line of its own.
func (t *turn) aside(colour, format string, args ...any) {
	t.view.newline()
	t.app.sayIn(colour, fmt.Sprintf(format, args...))
}

// end says how the turn ended, and keeps its session for the next one.
func (t *turn) end() error {
	t.asks = asks{}
	v := t.view
	var r chatResult
	if v.state == sdk.StateCompleted {
		if err := json.Unmarshal(v.result, &r); err != nil {
			return fmt.Errorf("the result of %s is not the agent's: %w", t.id, err)
		}
		if r.Session != "" {
			t.session = r.Session
		}
	}
	if t.app.output != "table" {
		if t.app.output == "json" {
			if err := t.app.show(map[string]any{"task": t.id, "state": v.state, "result": v.result, "error": v.failed}, nil); err != nil {
				return err
			}
		}
		return quietly(taskExit(v.state, v.failed))
	}
	if v.state == sdk.StateCompleted && !whole(t.said.String(), r.Response) {
		v.endLine() // what streamed is not all, or not it: another attempt may have said a part
		v.midLine = true
		if _, err := t.app.stdout.Write(plain([]byte(r.Response), terminal(t.app.stdout))); err != nil {
			return err
		}
	}
	v.endLine()
	switch v.state {
	case sdk.StateCompleted:
		if strings.TrimSpace(r.Response) == "" {
			t.app.sayIn(yellow, "it answered nothing")
		}
		t.foot(r)
	case sdk.StateCancelled:
		t.app.sayIn(yellow, "cancelled")
	default:
		t.app.sayIn(red, failure(v.failed))
	}
	return quietly(taskExit(v.state, v.failed))
}

// whole reports whether what streamed is the answer. Of a very long one the result has
// only the beginning.
func whole(said, response string) bool {
	said, response = strings.TrimSpace(said), strings.TrimSpace(response)
	return said == response || len(said) > len(response) && strings.HasPrefix(said, response[:len(response)/2])
}

// foot says what a turn took, where a person looks and a model was asked.
func (t *turn) foot(r chatResult) {
	if !terminal(t.app.stderr) || r.Steps == 0 {
		return
	}
	steps := "steps"
	if r.Steps == 1 {
		steps = "step"
	}
	line := fmt.Sprintf("%d %s, %d tokens in, %d out", r.Steps, steps, r.Usage.Input, r.Usage.Output)
	if r.Usage.Cost != nil {
		line += fmt.Sprintf(", $%.4f", *r.Usage.Cost)
	}
	if r.StopReason != "end" && r.StopReason != "" {
		line += ", ended by " + r.StopReason
	}
	t.app.sayIn(dim, line)
}

// quietly is a quietExit for what did not go well.
func quietly(code int) error {
	if code == exitOK {
		return nil
	}
	return quietExit(code)
}
