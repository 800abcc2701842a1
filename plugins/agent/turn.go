package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/nagatha/nagatha-runtime/sdk"
)

// Why a turn ended, besides the model's own end, length and refusal.
const (
	stopSteps     = "max_steps"
	stopToolLimit = "max_tool_calls"
	stopTime      = "time_limit"
	stopTokens    = "token_limit"
	stopCost      = "cost_limit"
	stopBudget    = "budget_exceeded"
	stopRepeats   = "repeated_calls"
	stopNoModel   = "no_model"
	stopCommand   = "command"
)

type chatRequest struct {
	Session       string       `json:"session"`
	Message       string       `json:"message"`
	Model         string       `json:"model"`
	Stream        *bool        `json:"stream"`
	Attachments   []attachment `json:"attachments"`
	UserMessageID string       `json:"user_message_id"`
}

type attachment struct {
	Name string `json:"name"`
	Text string `json:"text"`
}

type chatResult struct {
	Session    string      `json:"session"`
	MessageID  string      `json:"message_id"` // of the reply; "" where none is kept
	Response   string      `json:"response"`
	StopReason string      `json:"stop_reason"`
	Usage      turnUsage   `json:"usage"`
	Steps      int         `json:"steps"`
	ToolCalls  []doneCall  `json:"tool_calls"`
	Memories   []memoryRef `json:"memories,omitempty"`
}

type turnUsage struct {
	InputTokens  int      `json:"input_tokens"`
	OutputTokens int      `json:"output_tokens"`
	CachedTokens int      `json:"cached_tokens"`
	CostUSD      *float64 `json:"cost_usd"`
}

// turn is one agent.chat task at work. Everything that decides what it does next is
// the answer of a recorded operation, so that it goes on where it was cut: see
// sdk/operation.go. What is not recorded only shows, or is stored under a key that
// does not change.
type turn struct {
	*agent
	host sdk.Host
	task *sdk.Task
	in   chatRequest

	start     started
	kinds     []sdk.KindInfo
	kindsSaid string // what kinds was read from; "": not asked for
	session   *session
	ended     map[string]bool // tasks of the session that this one has waited for
	base      int             // number of the turn's first message
	tools     *toolset
	memories  []memoryRef
	past      *transcript // before the turn, from the last summary on; nil: unfolded
	history   []message   // the same, unfolded
	told      []Message   // history as the model is told it; nil: not made yet
	added     []message   // by the turn, first the user's

	rounds []round
	calls  []doneCall
	repeat repeats
	used   time.Duration // by the model and by tools, recorded
	cost   *float64
}

// started is what the first step finds out.
type started struct {
	At      sdk.Time `json:"at"`
	Missing string   `json:"missing,omitempty"` // which setting, where no model can be used
	Kinds   []string `json:"kinds"`             // that can be submitted now
}

func (s started) has(kind string) bool { return slices.Contains(s.Kinds, kind) }

func (a *agent) chat(ctx context.Context, host sdk.Host, in chatRequest) (chatResult, error) {
	t := &turn{agent: a, host: host, task: sdk.TaskFrom(ctx), in: in, ended: map[string]bool{}}
	if strings.TrimSpace(in.Message) == "" && len(in.Attachments) == 0 {
		return chatResult{}, sdk.Permanent(sdk.Invalid("message", "is empty; write something, or /help"))
	}
	var err error
	t.start, err = sdk.Step(ctx, host, "start", func(ctx context.Context) (started, error) {
		s := started{At: sdk.Now(), Missing: a.missing(ctx, host)}
		t.start = s
		if err := t.findKinds(ctx); err != nil {
			return s, err
		}
		for _, k := range t.kinds {
			if k.Available {
				s.Kinds = append(s.Kinds, k.Kind)
			}
		}
		return s, nil
	})
	if err != nil {
		return chatResult{}, err
	}
	if strings.HasPrefix(strings.TrimSpace(in.Message), "/") {
		return t.command(ctx)
	}
	if t.start.Missing != "" {
		return t.say(t.in.Session, t.start.Missing, stopNoModel), nil
	}
	if err := t.lock(ctx); err != nil {
		return chatResult{}, err
	}
	if t.in.Session == "" { // who cancels the turn gets no result, and may want to go on
		t.activity(slog.LevelInfo, "a new session", "session", "session", t.sessionID())
	}
	mcp, memories, err := t.gather(ctx)
	if err != nil {
		return chatResult{}, err
	}
	if err := t.letPass(ctx); err != nil {
		return chatResult{}, err
	}
	if err := t.prepare(ctx, mcp, memories); err != nil {
		return chatResult{}, err
	}
	return t.run(ctx)
}

// say answers without a model. Nothing of it is kept in the session.
func (t *turn) say(session, text, why string) chatResult {
	if t.in.Stream == nil || *t.in.Stream {
		t.output("response", text)
	}
	return chatResult{Session: session, Response: text, StopReason: why, ToolCalls: append([]doneCall{}, t.calls...)}
}

// maxChunk is a part of the runtime's limit of an output chunk.
const maxChunk = 32 << 10

func (t *turn) output(stream, text string) {
	for len(text) > maxChunk {
		n := len(clip(text, maxChunk)) - len("…")
		t.host.Output(stream, []byte(text[:n]))
		text = text[n:]
	}
	if text != "" {
		t.host.Output(stream, []byte(text))
	}
}

func (t *turn) userMessage(n int) message {
	text := t.in.Message
	for _, a := range t.in.Attachments {
		text += fmt.Sprintf("\n\nAttached, %s:\n%s", a.Name, a.Text)
	}
	id := t.in.UserMessageID
	if id == "" {
		id = messageID(t.task, 0)
	}
	return message{ID: id, N: n, Role: "user", Text: text, Task: t.task.ID, CreatedAt: t.start.At}
}

// run is the loop: the model speaks, its calls are made, until it wants no more.
func (t *turn) run(ctx context.Context) (chatResult, error) {
	defer func() {
		if t.past != nil {
			t.transcripts.keep(t.session.ID, t.past)
		}
	}()
	for n := 1; ; n++ {
		if stop := t.limit(n); stop != "" {
			return t.finish(ctx, stop)
		}
		r, stop, err := t.step(ctx, n)
		if err != nil {
			return chatResult{}, err
		}
		if stop != "" {
			return t.finish(ctx, stop)
		}
		if len(r.Calls) == 0 {
			return t.finish(ctx, r.Stop)
		}
		if stop, err = t.callAll(ctx, n, r); err != nil {
			return chatResult{}, err
		}
		if stop != "" {
			return t.finish(ctx, stop)
		}
		t.host.Progress(float64(n), float64(t.Limits.Steps), fmt.Sprintf("step %d", n))
	}
}

// step makes the n-th call of the model, in its budget.
func (t *turn) step(ctx context.Context, n int) (round, string, error) {
	reserved, err := t.reserve(ctx, n)
	if sdk.CodeOf(err) == sdk.CodeBudgetExceeded {
		if n == 1 {
			return round{}, "", sdk.Permanent(err)
		}
		return round{}, stopBudget, nil
	}
	if err != nil {
		return round{}, "", err
	}
	r, err := sdk.Step(ctx, t.host, fmt.Sprintf("model %d", n), func(ctx context.Context) (round, error) { return t.ask(ctx, n, reserved) })
	if err != nil {
		t.release(ctx, n, reserved, err)
		return r, "", err
	}
	t.rounds = append(t.rounds, r)
	t.used += time.Duration(r.Millis) * time.Millisecond
	if r.Text != "" || len(r.Calls) > 0 {
		m := t.assistantMessage(&r)
		t.added = append(t.added, m)
	}
	return r, "", t.recordUsage(ctx, n, reserved, r)
}

// limit says why the turn must not go on with its n-th step, or "".
func (t *turn) limit(n int) string {
	tokens := 0
	for _, r := range t.rounds {
		tokens += r.Usage.InputTokens + r.Usage.OutputTokens
	}
	switch {
	case n > t.Limits.Steps:
		return stopSteps
	case t.used >= t.Limits.Time.Std():
		return stopTime
	case t.Limits.Tokens > 0 && tokens >= t.Limits.Tokens:
		return stopTokens
	case t.Limits.CostUSD > 0 && t.cost != nil && *t.cost >= t.Limits.CostUSD:
		return stopCost
	}
	return ""
}

// next is the number of the message that is added next.
func (t *turn) next() int { return t.base + len(t.added) }

// finish gives the session free and makes the result.
func (t *turn) finish(ctx context.Context, stop string) (chatResult, error) {
	if err := t.price(ctx); err != nil {
		return chatResult{}, err
	}
	out := chatResult{Session: t.session.name(), StopReason: stop, Steps: len(t.rounds), ToolCalls: append([]doneCall{}, t.calls...), Memories: t.memories}
	out.Usage.CostUSD = t.cost
	var texts []string
	for _, r := range t.rounds {
		out.Usage.InputTokens += r.Usage.InputTokens
		out.Usage.OutputTokens += r.Usage.OutputTokens
		out.Usage.CachedTokens += r.Usage.CachedTokens
		if r.Text != "" {
			texts = append(texts, r.Text)
		}
	}
	out.Response = strings.Join(texts, textBreak)
	for _, m := range t.added {
		if m.Role == "assistant" {
			out.MessageID = m.ID
		}
	}
	_, err := sdk.Step(ctx, t.host, "end", func(ctx context.Context) (bool, error) {
		_, err := change(ctx, t.host, t.session.ID, func(s *session) error {
			if s.Turn != t.task.ID {
				return nil // it was given free before this step was cut
			}
			s.Turn = ""
			s.Next, s.Messages, s.UpdatedAt = t.next(), t.next()-1, sdk.Now()
			if n := len(t.rounds); n > 0 && t.rounds[n-1].TokensPerByte > 0 {
				s.TokensPerByte = t.rounds[n-1].TokensPerByte
			}
			return nil
		})
		if sdk.CodeOf(err) == sdk.CodeNotFound { // it was deleted meanwhile: so are the turn's messages
			_, err = deleteMessages(ctx, t.host, t.session.ID, 0)
		}
		return true, err
	})
	if err != nil {
		return chatResult{}, err
	}
	t.clipResult(&out)
	return out, nil
}

// The text in a result is bounded, which has 256 KiB for everything, and as JSON.
const (
	maxResponse     = 120 << 10
	maxResponseJSON = 160 << 10
)

func (t *turn) clipResult(out *chatResult) {
	out.Response = cutJSON(out.Response, maxResponse, maxResponseJSON)
	for i := range out.ToolCalls {
		out.ToolCalls[i].Arguments, _ = brief(out.ToolCalls[i].Arguments, 1000)
	}
}

// activity is a line that clients show: what the turn does.
func (t *turn) activity(level slog.Level, message, typ string, attrs ...any) {
	t.host.Log(level, message, append([]any{"type", typ}, attrs...)...)
}

// stopped reports whether an error only says that the turn was told to end.
func stopped(ctx context.Context, err error) bool {
	return ctx.Err() != nil || errors.Is(err, context.Canceled) || sdk.CodeOf(err) == sdk.CodeCancelled
}
