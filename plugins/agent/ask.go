package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/nagatha/nagatha-runtime/sdk"
)

// round is what one call of the model came to, as it is recorded.
type round struct {
	Text      string     `json:"text"`
	Calls     []toolCall `json:"calls,omitempty"`
	Stop      string     `json:"stop"`
	Cut       bool       `json:"cut,omitempty"`
	Model     string     `json:"model"`
	Usage     tokens     `json:"usage"`
	At        sdk.Time   `json:"at"` // its end
	Millis    int64      `json:"millis"`
	MessageN  int        `json:"message_n"`
	MessageID string     `json:"message_id"`

	TokensPerByte float64 `json:"tokens_per_byte,omitempty"`
}

// tokens are those of one call of a model.
type tokens struct {
	InputTokens  int `json:"input_tokens"`
	OutputTokens int `json:"output_tokens"`
	CachedTokens int `json:"cached_tokens"`
}

// textBreak stands between the texts of two steps.
const textBreak = "\n\n"

// errTimeUp is the cause with which a model call ends when the turn has had its time.
var errTimeUp = errors.New("the turn has had its time")

// ask calls the model, once more after the context was shortened if it was too long,
// and stores what it said. Its text streams while it comes. When the turn is stopped,
// what was said so far is kept, marked as cut; should the turn go on after all, the
// call is made again and its message takes that one's place.
func (t *turn) ask(ctx context.Context, n int, reservation string) (round, error) {
	began := time.Now()
	timed, cancel := context.WithTimeoutCause(ctx, t.Limits.Time.Std()-t.used, errTimeUp)
	defer cancel()
	if t.model == nil {
		return round{}, sdk.Errorf(sdk.CodeUnavailable, "%s", t.missing(ctx, t.host))
	}
	req, err := t.compose(timed, false)
	if err != nil {
		return round{}, err
	}
	reply, err := t.stream(timed, req)
	if errors.Is(err, errContextLength) && reply.Message.Text == "" {
		if req, err = t.compose(timed, true); err != nil {
			return round{}, err
		}
		reply, err = t.stream(timed, req)
	}
	r := t.roundOf(n, req, reply)
	r.Millis = time.Since(began).Milliseconds()
	made := !errors.Is(err, errBetween)
	if !made {
		r.Usage = tokens{}
	}
	timeUp := err != nil && ctx.Err() == nil && errors.Is(context.Cause(timed), errTimeUp)
	switch {
	case timeUp:
		r.Stop, r.Cut, r.Calls = stopTime, true, nil
	case err != nil:
		if ctx.Err() != nil { // told to end: say what was said, with the last breath
			r.Cut, r.Calls = true, nil
			keep := context.WithoutCancel(ctx)
			_ = t.keep(keep, &r) // the end matters more
			if made {
				_ = t.publishUsage(keep, usageID(t.task, n)+"-cut", reservation, r)
			}
		}
		return r, fmt.Errorf("call the model: %w", err)
	}
	if r.Stop == stopLength || r.Stop == stopRefusal {
		r.Calls = nil // they may be incomplete
	}
	if r.Stop == stopToolCalls && len(r.Calls) == 0 {
		r.Stop = stopEnd
	}
	r.Text = cutJSON(r.Text, maxStored, maxStoredJSON)
	if b, _ := json.Marshal(r); len(b) > maxRound {
		return r, sdk.Permanent(sdk.Errorf(sdk.CodeLimitExceeded, "the model's reply with its tool calls has %d bytes, at most %d can be recorded: lower max_output_tokens of plugin \"agent\"", len(b), maxRound))
	}
	t.activity(slog.LevelInfo, "model", "model", "step", n, "model", r.Model, "stop", r.Stop, "input_tokens", r.Usage.InputTokens,
		"output_tokens", r.Usage.OutputTokens, "calls", len(r.Calls), "millis", r.Millis)
	return r, t.keep(ctx, &r)
}

// maxRound is a part of the runtime's limit of a recorded value.
const maxRound = 240 << 10

// keep stores the assistant's message, if it said something.
func (t *turn) keep(ctx context.Context, r *round) error {
	if r.Text == "" && len(r.Calls) == 0 {
		return nil
	}
	m := t.assistantMessage(r)
	return m.put(ctx, t.host, t.session.ID)
}

func (t *turn) assistantMessage(r *round) message {
	return message{ID: r.MessageID, N: r.MessageN, Role: "assistant", Text: r.Text, Calls: r.Calls, Cut: r.Cut,
		Task: t.task.ID, Model: r.Model, CreatedAt: r.At}
}

// stream makes one model call and passes its text on.
func (t *turn) stream(ctx context.Context, req Request) (Reply, error) {
	first := true
	loud := t.in.Stream == nil || *t.in.Stream
	aloud := speaker{pass: func(s string) { t.output("response", s) }}
	thinks := speaker{pass: func(s string) { t.output("reasoning", s) }}
	defer aloud.end()
	defer thinks.end()
	return t.model.Stream(ctx, t.host, req, func(d Delta) {
		if !loud {
			return
		}
		thinks.say(d.Reasoning)
		if d.Text != "" && first {
			first = false
			for _, r := range t.rounds {
				if r.Text != "" {
					d.Text = textBreak + d.Text
					break
				}
			}
		}
		aloud.say(d.Text)
	})
}

// roundOf takes from a reply what is recorded. Where the server counted no tokens, or
// what cannot be, they are estimated: a call that costs must not look free.
func (t *turn) roundOf(n int, req Request, reply Reply) round {
	r := round{Text: reply.Message.Text, Stop: reply.Stop, Model: reply.Model, At: sdk.Now(), MessageN: t.next(), MessageID: messageID(t.task, t.next()-t.base)}
	if r.Model == "" {
		r.Model = req.Model
	}
	for _, c := range reply.Message.Calls {
		r.Calls = append(r.Calls, toolCall{c.ID, c.Name, c.Arguments, isObject(c.Arguments)})
	}
	size := requestBytes(req)
	perByte := t.tokensPerByte()
	if u := reply.Usage; u != nil && u.possible() {
		r.Usage = tokens{u.InputTokens, u.OutputTokens, u.CachedTokens}
		if size > 500 && u.InputTokens > 0 { // a short one says little
			perByte += (float64(u.InputTokens)/float64(size) - perByte) * learning
		}
	} else {
		out := len(r.Text)
		for _, c := range r.Calls {
			out += len(c.Name) + len(c.Arguments)
		}
		r.Usage = tokens{InputTokens: int(float64(size) * perByte), OutputTokens: int(float64(out) * perByte)}
	}
	r.TokensPerByte = min(max(perByte, 0.05), 1)
	return r
}

// learning is how much one call changes the estimate of tokens.
const learning = 0.3

// tokensPerByte is what the session has learnt of the model's tokens; at first a
// token is four bytes.
func (t *turn) tokensPerByte() float64 {
	for i := len(t.rounds) - 1; i >= 0; i-- {
		if p := t.rounds[i].TokensPerByte; p > 0 {
			return p
		}
	}
	if t.session.TokensPerByte > 0 {
		return t.session.TokensPerByte
	}
	return 0.25
}
