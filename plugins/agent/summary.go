package main

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"

	"github.com/nagatha/nagatha-runtime/sdk"
)

const summaryPrompt = `Summarize the conversation below for the assistant that will go on with it. Keep what was decided, what was promised, names, numbers, dates, preferences and open questions, in the order in which they came up. Leave out greetings and detours. Write plain sentences, at most 300 words, and nothing else.`

// summaryTokens is the most tokens of a summary.
const summaryTokens = 1024

// summarizeHistory replaces the turns before this one by a summary in what is sent,
// except the latest that fit into keep tokens. The messages themselves stay. The
// summary is stored at once: a call that is cut afterwards does not need it again.
func (t *turn) summarizeHistory(ctx context.Context, keep int) error {
	from := len(t.history)
	for i, size := len(t.history)-1, 0; i >= 0; i-- {
		size += t.history[i].bytes()
		if float64(size)*t.tokensPerByte() > float64(keep) {
			break
		}
		if t.history[i].Role == "user" { // calls and their results stay together
			from = i
		}
	}
	if from == 0 {
		return nil // there is nothing before this turn
	}
	old := t.history[:from]
	text, used, err := t.summary(ctx, t.host, cmp.Or(t.in.Model, t.Model), t.session.Summary, old, t.tokensPerByte())
	if err != nil {
		return fmt.Errorf("summarize the conversation: %w", err)
	}
	upTo := old[len(old)-1].N
	t.activity(slog.LevelInfo, "summarized", "model", "messages", upTo, "model", cmp.Or(t.in.Model, t.Model))
	s, err := change(ctx, t.host, t.session.ID, func(s *session) error {
		if s.SummaryUpTo < upTo {
			s.Summary, s.SummaryUpTo = text, upTo
		}
		return nil
	})
	if err != nil {
		return err
	}
	_ = t.publishUsage(ctx, fmt.Sprintf("%s-summary-%d", usageID(t.task, len(t.rounds)+1), upTo), "",
		round{Model: cmp.Or(t.in.Model, t.Model), Usage: used})
	t.session, t.history, t.told = s, t.history[from:], nil
	return nil
}

// summary has the model tell a conversation in short, part by part where it does not
// fit in one.
func (a *agent) summary(ctx context.Context, host sdk.Host, model, before string, list []message, perByte float64) (text string, used tokens, err error) {
	room := int(float64(a.inputBudget()) * fullness / perByte) // bytes of a part
	text = before
	for i := 0; i < len(list); {
		var b strings.Builder
		if text != "" {
			fmt.Fprintf(&b, "Summary of what came before:\n%s\n\n", text)
		}
		for begin := b.Len(); i < len(list) && (b.Len() < room || b.Len() == begin); i++ {
			transcribe(&b, &list[i])
		}
		req := Request{Model: model, System: summaryPrompt, Messages: []Message{{Role: "user", Text: b.String()}}, MaxTokens: summaryTokens}
		reply, err := a.model.Stream(ctx, host, req, func(Delta) {})
		if err != nil {
			return "", used, err
		}
		if u := reply.Usage; u != nil {
			used = tokens{used.InputTokens + u.InputTokens, used.OutputTokens + u.OutputTokens, used.CachedTokens + u.CachedTokens}
		} else {
			used.InputTokens += int(float64(requestBytes(req)) * perByte)
			used.OutputTokens += int(float64(len(reply.Message.Text)) * perByte)
		}
		if text = strings.TrimSpace(reply.Message.Text); text == "" {
			return "", used, sdk.Errorf(sdk.CodeUnavailable, "model %q gave an empty summary: try again, or use another model", model)
		}
		text = clip(text, 16<<10)
	}
	return text, used, nil
}

// transcribe writes a message as a summary's model reads it.
func transcribe(b *strings.Builder, m *message) {
	switch m.Role {
	case "tool":
		fmt.Fprintf(b, "[%s answered: %s]\n", cmp.Or(m.Tool, "a tool"), clip(m.text(), 500))
	default:
		if text := m.text(); text != "" {
			fmt.Fprintf(b, "%s: %s\n", m.Role, clip(text, 8<<10))
		}
		for _, c := range m.Calls {
			fmt.Fprintf(b, "[%s calls %s %s]\n", m.Role, c.Name, clip(c.Arguments, 300))
		}
	}
}

// summarize is the kind: everything up to now, or up to the turn under way, from now
// on stands in the context as a summary.
func (a *agent) summarize(ctx context.Context, host sdk.Host, in struct {
	Session string `json:"session"`
}) (any, error) {
	s, err := findSession(ctx, host, placeFor(ctx, in.Session))
	if err != nil {
		return nil, err
	}
	if missing := a.missing(ctx, host); missing != "" {
		return nil, sdk.Permanent(sdk.Errorf(sdk.CodeUnavailable, "%s", missing))
	}
	list, err := loadMessages(ctx, host, s.ID, s.SummaryUpTo, 0)
	if err != nil {
		return nil, err
	}
	for len(list) > 0 && s.Turn != "" && list[len(list)-1].N >= s.TurnBase {
		list = list[:len(list)-1]
	}
	if len(list) == 0 {
		return map[string]any{"session": s.name(), "summary": s.Summary, "summarized": s.SummaryUpTo, "usage": tokens{}}, nil
	}
	perByte := s.TokensPerByte
	if perByte == 0 {
		perByte = 0.25
	}
	t := &turn{agent: a, host: host, task: sdk.TaskFrom(ctx), session: s}
	reserved, err := t.reserveSummary(ctx, list, perByte)
	if err != nil {
		return nil, err
	}
	text, used, err := a.summary(ctx, host, a.Model, s.Summary, list, perByte)
	if err != nil {
		t.release(ctx, 1, reserved, err)
		return nil, err
	}
	upTo := list[len(list)-1].N
	s, err = change(ctx, host, s.ID, func(s *session) error {
		if s.SummaryUpTo < upTo {
			s.Summary, s.SummaryUpTo = text, upTo
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	_ = t.publishUsage(ctx, usageID(t.task, 1), reserved, round{Model: a.Model, Usage: used})
	return map[string]any{"session": s.name(), "summary": s.Summary, "summarized": s.SummaryUpTo, "usage": used}, nil
}

// reserveSummary sets money aside for a summary that is asked for. One that a turn needs
// is within what the turn has reserved for its whole context.
func (t *turn) reserveSummary(ctx context.Context, list []message, perByte float64) (reservation string, err error) {
	r, _, err := t.known.kindsList(ctx, t.host)
	if err != nil || !slices.ContainsFunc(r.Kinds, func(k sdk.KindInfo) bool { return k.Kind == "usage.reserve" && k.Available }) {
		return "", err
	}
	size := len(summaryPrompt) + len(t.session.Summary)
	for i := range list {
		size += list[i].bytes()
	}
	reservation, err = t.reserveTokens(ctx, 1, int(float64(size)*perByte), summaryTokens)
	if sdk.CodeOf(err) == sdk.CodeBudgetExceeded {
		err = sdk.Permanent(err)
	}
	return reservation, err
}
