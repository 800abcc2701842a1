package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/nagatha/nagatha-runtime/sdk"
)

// doneCall is a tool call of the turn as its result tells of it.
type doneCall struct {
	ID        string `json:"id"`
	Name      string `json:"name"`
	Target    string `json:"target"` // a kind, or mcp.SERVER.TOOL
	Arguments string `json:"arguments"`
	IsError   bool   `json:"is_error"`
	Task      string `json:"task,omitempty"` // the child that made it
}

// plan is what is to be done about a call, as it is recorded.
type plan struct {
	Refuse     string          `json:"refuse,omitempty"` // why it is not made
	Target     string          `json:"target,omitempty"`
	Kind       string          `json:"kind,omitempty"`
	Payload    json.RawMessage `json:"payload,omitempty"`
	Ask        bool            `json:"ask,omitempty"`
	Repeatable bool            `json:"repeatable,omitempty"`
}

type plans struct {
	At    sdk.Time `json:"at"`
	Plans []plan   `json:"plans"`
	Stop  string   `json:"stop,omitempty"` // why the turn ends after these calls
}

// callResult is what the model is told of a call, as it is recorded.
type callResult struct {
	Text    string   `json:"text"`
	IsError bool     `json:"is_error"`
	Task    string   `json:"task,omitempty"`
	At      sdk.Time `json:"at"`

	of int // how much text there was, where the task's result is not all of it
}

// maxParallel is how many calls of a turn are made at once.
const maxParallel = 4

// callAll makes the calls of a step and adds their results in the order of the calls.
func (t *turn) callAll(ctx context.Context, n int, r round) (stop string, err error) {
	todo, err := sdk.Step(ctx, t.host, fmt.Sprintf("plan %d", n), func(context.Context) (plans, error) { return t.plan(r.Calls), nil })
	if err != nil {
		return "", err
	}
	results, errs := make([]callResult, len(r.Calls)), make([]error, len(r.Calls))
	places := make(chan struct{}, maxParallel)
	var wg sync.WaitGroup
	for i, c := range r.Calls {
		places <- struct{}{}
		wg.Go(func() {
			defer func() { <-places }()
			results[i], errs[i] = t.call(ctx, fmt.Sprintf("%d.%d", n, i+1), t.next()+i, c, todo.Plans[i])
		})
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return "", err
		}
	}
	asked, end := false, todo.At
	base := t.next()
	for i, c := range r.Calls {
		p := todo.Plans[i]
		t.added = append(t.added, t.resultMessage(base+i, c, p, results[i]))
		t.calls = append(t.calls, doneCall{ID: c.ID, Name: c.Name, Target: p.Target, Arguments: c.Arguments, IsError: results[i].IsError, Task: results[i].Task})
		t.repeat.note(c, results[i].Text, p.Refuse != "")
		asked, end = asked || p.Ask, max(end, results[i].At)
	}
	if !asked { // a person may take a day
		t.used += end.Sub(todo.At)
	}
	return todo.Stop, nil
}

// plan decides about calls.
func (t *turn) plan(calls []toolCall) plans {
	out := plans{At: sdk.Now()}
	left := *t.Limits.ToolCalls - len(t.calls)
	for i, c := range calls {
		p := t.planOne(c)
		switch {
		case i >= left:
			p = plan{Refuse: fmt.Sprintf("Not called: the turn has used its %d tool calls.", *t.Limits.ToolCalls), Target: p.Target}
			out.Stop = stopToolLimit
		case p.Refuse == "" && t.repeat.often(c):
			p = plan{Refuse: fmt.Sprintf("Not called: this exact call was made %d times and the result was the same each time. Do something else, or answer with what you know.", maxRepeats), Target: p.Target}
			if t.repeat.refused >= maxRefusals {
				out.Stop = stopRepeats
			}
		}
		out.Plans = append(out.Plans, p)
	}
	return out
}

func (t *turn) planOne(c toolCall) plan {
	one := t.tools.find(c.Name)
	if one == nil {
		return plan{Refuse: fmt.Sprintf("There is no tool %q.", clip(c.Name, 100))}
	}
	p := plan{Target: one.target, Kind: one.taskKind(), Ask: one.policy == policyAsk, Repeatable: one.repeatable}
	arguments := strings.TrimSpace(c.Arguments)
	if arguments == "" {
		arguments = "{}"
	}
	var object map[string]json.RawMessage
	if err := json.Unmarshal([]byte(arguments), &object); err != nil || object == nil {
		p.Refuse = "Not called: the arguments are not a JSON object."
		if syntax := new(json.SyntaxError); errors.As(err, &syntax) {
			p.Refuse = fmt.Sprintf("Not called: the arguments are not a JSON object: %v.", err)
		}
		return p
	}
	payload, err := one.payload(json.RawMessage(arguments), t.place())
	if err != nil {
		p.Refuse = fmt.Sprintf("Not called: %v.", err)
	}
	p.Payload = payload
	return p
}

// call makes one call and stores its result as the session's n-th message. id tells
// its operations from those of other calls.
func (t *turn) call(ctx context.Context, id string, n int, c toolCall, p plan) (callResult, error) {
	res := callResult{Text: p.Refuse, IsError: true}
	if p.Refuse == "" {
		_, shown := brief(c.Arguments, 4000)
		t.activity(slog.LevelInfo, "tool call", "tool.start", "call", c.ID, "tool", c.Name, "target", p.Target, "arguments", shown)
		allowed := true
		var err error
		if p.Ask {
			res, allowed, err = t.askPerson(ctx, "approve "+id, c, p, fmt.Sprintf("Let the assistant call %s with %s?", p.Target, asked(c.Arguments)), policyAsk)
		}
		if err == nil && allowed {
			res, err = t.perform(ctx, id, c, p)
		}
		if err != nil {
			return res, err
		}
	}
	return sdk.Step(ctx, t.host, "result "+id, func(ctx context.Context) (callResult, error) {
		res.At = sdk.Now()
		res.Text = res.cut(t.ToolResultBytes)
		_, shown := brief(res.Text, 4000)
		t.activity(slog.LevelInfo, "tool result", "tool.result", "call", c.ID, "tool", c.Name, "target", p.Target, "result", shown, "is_error", res.IsError, "task", res.Task)
		m := t.resultMessage(n, c, p, res)
		return res, m.put(ctx, t.host, t.session.ID)
	})
}

// asked is arguments as a question has them: what it leaves out it says.
func asked(arguments string) string {
	const most = 4000
	if len(arguments) <= most {
		return arguments
	}
	return fmt.Sprintf("%s (these are the first %d of %d bytes; the details have all)", clip(arguments, most), most, len(arguments))
}

func (t *turn) resultMessage(n int, c toolCall, p plan, r callResult) message {
	return message{ID: messageID(t.task, n-t.base), N: n, Role: "tool", Text: r.Text, CallID: c.ID, Tool: cmp.Or(p.Target, c.Name), IsError: r.IsError,
		Task: t.task.ID, CreatedAt: r.At}
}

// askPerson asks a person about exactly this call. Its result says what to tell the model
// if they refuse.
func (t *turn) askPerson(ctx context.Context, name string, c toolCall, p plan, question, why string) (callResult, bool, error) {
	detail, err := json.Marshal(map[string]any{"call": c.ID, "tool": p.Target, "kind": p.Kind, "payload": p.Payload, "session": t.sessionID(), "why": why})
	if err != nil {
		return callResult{}, false, err
	}
	t.activity(slog.LevelInfo, "asking a person", "approval", "call", c.ID, "tool", c.Name, "target", p.Target, "question", clip(question, 4000))
	d, err := sdk.Approve(ctx, t.host, sdk.ApproveRequest{Name: name, Question: clip(question, 8000), Detail: detail, Timeout: t.ApprovalTimeout})
	refused := callResult{IsError: true}
	switch {
	case err != nil && !stopped(ctx, err) && final(err):
		refused.Text = fmt.Sprintf("Not called: it needs a person's approval, which cannot be asked for: %v", err)
		return refused, false, nil
	case err != nil || d.Approved:
		return callResult{}, err == nil, err
	case d.Expired:
		refused.Text = fmt.Sprintf("Not called: nobody approved it within %s.", t.ApprovalTimeout)
	default:
		refused.Text = "Not called: a person said no."
	}
	if d.Comment != "" {
		refused.Text += " They say: " + clip(d.Comment, 1000)
	}
	return refused, false, nil
}

// perform runs the child task that makes a call. One whose outcome nobody knows is
// made again only if that does no harm, or if a person says so.
func (t *turn) perform(ctx context.Context, id string, c toolCall, p plan) (callResult, error) {
	for try := 1; ; try++ {
		name := "call " + id
		if try > 1 {
			name += fmt.Sprintf(" again %d", try-1)
		}
		sub := sdk.Submission{Kind: p.Kind, Payload: p.Payload, MaxAttempts: 1, Expires: sdk.Now().Add(startWithin),
			Labels: map[string]string{"session": t.sessionID()}}
		if p.Repeatable {
			sub.MaxAttempts = 3 // the runtime makes it again by itself
		}
		out, err := sdk.RunAll(ctx, t.host, name, []sdk.Submission{sub})
		if err != nil {
			if stopped(ctx, err) || !final(err) {
				return callResult{}, err
			}
			return callResult{Text: "The call was refused: " + err.Error(), IsError: true}, nil
		}
		if o := out[0]; p.Repeatable || !unknown(p.Kind, o) {
			return t.toldOf(o), nil
		}
		question := fmt.Sprintf("The assistant called %s, and the call was cut off (%s): whether it took effect is not known. Call it again?", p.Target, out[0].Err())
		res, again, err := t.askPerson(ctx, fmt.Sprintf("repeat %s try %d", id, try), c, p, question, "outcome_unknown")
		if err != nil {
			return callResult{}, err
		}
		if !again {
			res.Text = fmt.Sprintf("The call was cut off (%s); whether it took effect is not known. %s", out[0].Err(), strings.Replace(res.Text, "Not called", "Not called again", 1))
			res.Task = out[0].ID
			return res, nil
		}
	}
}

// final reports whether an error of an operation would come again.
func final(err error) bool {
	switch sdk.CodeOf(err) {
	case sdk.CodeInvalid, sdk.CodeCapabilityDenied, sdk.CodeLimitExceeded, sdk.CodeNotFound, sdk.CodeConflict:
		return true
	}
	return false
}

// unknown reports whether a task may have done what it was to do, or a part of it,
// though it failed. The plugin mcp says in words that a server went away in a call.
func unknown(kind string, o sdk.Outcome) bool {
	if o.State == sdk.StateCompleted || o.Error == nil {
		return false
	}
	switch o.Error.Code {
	case sdk.CodePluginCrashed, sdk.CodeNodeLost, sdk.CodeTimeout, sdk.CodeOutOfMemory:
		return true
	case sdk.CodeUnavailable:
		return kind == "mcp.call_tool" && strings.Contains(o.Error.Message, "the connection broke")
	}
	return false
}

// toldOf is what the model is told of a task that ended.
func (t *turn) toldOf(o sdk.Outcome) callResult {
	res := callResult{Task: o.ID}
	if err := o.Err(); err != nil {
		res.Text, res.IsError = "It failed: "+err.Error(), true
		return res
	}
	var called struct {
		Content    []contentBlock  `json:"content"`
		Structured json.RawMessage `json:"structured"`
		IsError    *bool           `json:"is_error"`
		TextBytes  int             `json:"text_bytes"`
	}
	if json.Unmarshal(o.Result, &called) != nil || called.IsError == nil { // not of an MCP tool
		var b bytes.Buffer
		if json.Compact(&b, o.Result) != nil {
			b.WriteString("null")
		}
		res.Text = b.String()
		return res
	}
	res.IsError, res.of = *called.IsError, called.TextBytes
	var parts []string
	for _, c := range called.Content {
		parts = append(parts, c.text())
	}
	res.Text = strings.Join(parts, "\n")
	if res.Text == "" && len(called.Structured) > 0 && string(called.Structured) != "null" {
		res.Text = string(called.Structured)
	}
	if res.Text == "" {
		res.Text = "[the tool said nothing]"
	}
	return res
}

// cut is at most n bytes of the text, and no more than can be stored.
func (r *callResult) cut(n int) string {
	n = min(n, jsonPrefix(r.Text, maxStoredJSON))
	if r.of > 0 {
		return cutOf(r.Text, n, r.of, "")
	}
	return cut(r.Text, n, r.Task)
}

// contentBlock is a part of what an MCP tool says.
type contentBlock struct {
	Type     string `json:"type"`
	Text     string `json:"text"`
	MimeType string `json:"mimeType"`
	Data     string `json:"data"`
	URI      string `json:"uri"`
	Resource *struct {
		URI  string `json:"uri"`
		Text string `json:"text"`
	} `json:"resource"`
}

func (c contentBlock) text() string {
	switch {
	case c.Type == "text":
		return c.Text
	case c.Resource != nil && c.Resource.Text != "":
		return c.Resource.URI + ":\n" + c.Resource.Text
	case c.Resource != nil:
		return fmt.Sprintf("[a resource: %s]", c.Resource.URI)
	case c.URI != "":
		return fmt.Sprintf("[%s: %s]", c.Type, c.URI)
	}
	return fmt.Sprintf("[%s %s, %d bytes, not shown]", c.Type, c.MimeType, len(c.Data)*3/4)
}

// brief shortens text for people, and gives it as JSON where it is that and whole.
func brief(text string, n int) (short string, shown any) {
	if len(text) > n {
		return clip(text, n), clip(text, n)
	}
	var v any
	if json.Unmarshal([]byte(text), &v) == nil {
		return text, v
	}
	return text, text
}

// repeats finds a model that makes the same call again and again.
type repeats struct {
	seen    map[string]*repeated
	refused int
}

type repeated struct {
	result string
	times  int
}

const (
	maxRepeats  = 3 // equal calls with equal results
	maxRefusals = 2 // of such calls, before the turn ends
)

func repeatKey(c toolCall) string {
	var b bytes.Buffer
	if json.Compact(&b, []byte(c.Arguments)) != nil {
		b.WriteString(c.Arguments)
	}
	return c.Name + " " + b.String()
}

func (r *repeats) note(c toolCall, result string, refused bool) {
	if r.seen == nil {
		r.seen = map[string]*repeated{}
	}
	key := repeatKey(c)
	old := r.seen[key]
	switch {
	case old == nil:
		r.seen[key] = &repeated{result, 1}
	case refused && old.times >= maxRepeats:
		r.refused++
	case old.result == result:
		old.times++
	default:
		*old = repeated{result, 1}
	}
}

// often reports whether the call was made often enough.
func (r *repeats) often(c toolCall) bool {
	old := r.seen[repeatKey(c)]
	return old != nil && old.times >= maxRepeats
}

// patience is how long a person's commands wait for another plugin.
const patience = 30 * time.Second
