package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode"

	"github.com/nagatha/nagatha-runtime/sdk"
)

const helpText = `Commands, which need no model:
/help                     this list
/new [TITLE]              begin a new session
/sessions                 list the sessions, those used last first
/switch SESSION           go on in another session
/history [N]              the last N messages of this session (20)
/clear                    forget this session's conversation from here on; its messages stay in the history
/tools                    list the tools
/tool NAME {JSON}         call a tool
/models                   show the model and where it is
/usage [day|model|session|kind]  what was used, and what it cost
/memory [QUERY]           statistics of the memory, or what is remembered about something
/memory remember FACT     remember a fact
/memory forget ID         forget one
/memory list SECTION      what a section holds; also: get SECTION KEY, set SECTION KEY VALUE, delete SECTION KEY
/remind WHEN TEXT         such as: /remind in 10 minutes stretch
/remind list              what you are reminded of
Anything else is said to the model.`

// command does what a message that begins with a slash says.
func (t *turn) command(ctx context.Context) (chatResult, error) {
	name, rest := firstWord(strings.TrimSpace(t.in.Message))
	session := t.in.Session
	text, err := "", error(nil)
	switch strings.ToLower(name) {
	case "/help", "/":
		text = helpText
	case "/new":
		session, text, err = t.newSession(ctx, rest)
	case "/sessions":
		text, err = t.listSessions(ctx)
	case "/switch":
		session, text, err = t.switchTo(ctx, rest)
	case "/history":
		text, err = t.showHistory(ctx, rest)
	case "/clear":
		text, err = t.clear(ctx)
	case "/tools":
		text, err = t.listTools(ctx)
	case "/tool":
		text, err = t.callTool(ctx, rest)
	case "/models":
		text = t.showModels()
	case "/usage":
		text, err = t.showUsage(ctx, rest)
	case "/memory":
		text, err = t.memoryCommand(ctx, rest)
	case "/remind":
		text, err = t.remindCommand(ctx, rest)
	default:
		err = sdk.Invalid("message", "there is no command %s; /help lists them", clip(name, 50))
	}
	if err != nil {
		if final(err) {
			err = sdk.Permanent(err)
		}
		return chatResult{}, err
	}
	return t.say(session, text, stopCommand), nil
}

// firstWord is the first word of a text, and what follows the white space behind it.
func firstWord(text string) (word, rest string) {
	i := strings.IndexFunc(text, unicode.IsSpace)
	if i < 0 {
		return text, ""
	}
	return text[:i], strings.TrimSpace(text[i:])
}

func (t *turn) newSession(ctx context.Context, title string) (string, string, error) {
	id := "ses_" + strings.TrimPrefix(t.task.ID, "tsk_")
	_, err := sdk.Step(ctx, t.host, "new", func(ctx context.Context) (bool, error) {
		s, err := getSession(ctx, t.host, place(t.task.Owner, id))
		if err != nil || s != nil {
			return true, err
		}
		s = &session{ID: place(t.task.Owner, id), Title: clip(oneLine(title), 200), CreatedAt: t.start.At, UpdatedAt: t.start.At, Next: 1}
		return true, s.save(ctx, t.host)
	})
	return id, "A new session: " + id, err
}

// current is the session that the command was said in.
func (t *turn) current(ctx context.Context) (*session, error) {
	if t.in.Session == "" {
		return nil, sdk.Invalid("session", "this command is about a session; name one, or /switch to it")
	}
	return findSession(ctx, t.host, t.place())
}

func (t *turn) listSessions(ctx context.Context) (string, error) {
	list, next, err := listSessions(ctx, t.host, "", 20)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	for _, s := range list {
		mark := " "
		if s.name() == t.in.Session {
			mark = "*"
		}
		fmt.Fprintf(&b, "%s %s  %s  %d messages  %s\n", mark, s.name(), s.UpdatedAt.Time().Format("2006-01-02 15:04"), s.Messages, s.Title)
	}
	if b.Len() == 0 {
		return "There are no sessions yet; say something, or /new.", nil
	}
	if next != "" {
		b.WriteString("… and older ones; agent.sessions lists them all.\n")
	}
	return strings.TrimRight(b.String(), "\n"), nil
}

func (t *turn) switchTo(ctx context.Context, id string) (string, string, error) {
	if id == "" {
		return "", "", sdk.Invalid("message", "want /switch SESSION; /sessions lists them")
	}
	s, err := findSession(ctx, t.host, place(t.task.Owner, strings.ReplaceAll(id, ownerMark, "?")))
	if err != nil {
		return "", "", err
	}
	return s.name(), strings.TrimSpace("Now in session " + s.name() + ": " + s.Title), nil
}

func (t *turn) showHistory(ctx context.Context, rest string) (string, error) {
	n := 20
	if rest != "" {
		var err error
		if n, err = strconv.Atoi(rest); err != nil || n < 1 || n > 200 {
			return "", sdk.Invalid("message", "want /history N, with N from 1 to 200")
		}
	}
	s, err := t.current(ctx)
	if err != nil {
		return "", err
	}
	list, more, err := lastMessages(ctx, t.host, s, n, 0)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	if more {
		b.WriteString("…\n")
	}
	for _, m := range list {
		transcribe(&b, &m)
	}
	if b.Len() == 0 {
		return "Nothing was said yet.", nil
	}
	return strings.TrimRight(b.String(), "\n"), nil
}

func (t *turn) clear(ctx context.Context) (string, error) {
	s, err := t.current(ctx)
	if err != nil {
		return "", err
	}
	_, err = change(ctx, t.host, s.ID, func(s *session) error {
		last := s.Next - 1
		if s.Turn != "" { // one is under way, or was cut off
			last, s.Cleared = s.TurnBase-1, s.Turn
		}
		s.Summary, s.SummaryUpTo = "", max(s.SummaryUpTo, last)
		return nil
	})
	return "Cleared: from here on the conversation starts anew. Its messages stay in the history.", err
}

func (t *turn) showModels() string {
	if t.Model == "" {
		return t.missing(context.Background(), t.host)
	}
	where := t.BaseURL
	if where == "" {
		where = "the provider's own server"
	}
	text := fmt.Sprintf("* %s  (%s, %s)", t.Model, t.Provider, where)
	for _, m := range t.Models {
		text += "\n  " + m
	}
	return text
}

func (t *turn) listTools(ctx context.Context) (string, error) {
	if err := t.findTools(ctx); err != nil {
		return "", err
	}
	var b strings.Builder
	for _, one := range t.tools.list {
		line, _, _ := strings.Cut(one.description, "\n")
		fmt.Fprintf(&b, "%s (%s): %s\n", one.name, one.policy, clip(line, 120))
	}
	if b.Len() == 0 {
		return "There are no tools. Every kind that is marked as a tool and granted to plugin \"agent\" by submit is one, and every tool of an MCP server.", nil
	}
	return strings.TrimRight(b.String(), "\n"), nil
}

func (t *turn) findTools(ctx context.Context) error {
	t.in.Message = "" // nothing to remember about
	mcp, _, err := t.gather(ctx)
	if err != nil {
		return err
	}
	return t.loadTools(ctx, mcp)
}

// callTool makes one call for a person, under the same policy as a model's.
func (t *turn) callTool(ctx context.Context, rest string) (string, error) {
	name, arguments := firstWord(rest)
	if name == "" {
		return "", sdk.Invalid("message", "want /tool NAME {JSON}; /tools lists them")
	}
	if err := t.findTools(ctx); err != nil {
		return "", err
	}
	c := toolCall{ID: "call_1", Name: name, Arguments: arguments}
	p, err := sdk.Step(ctx, t.host, "plan", func(context.Context) (plan, error) { return t.planOne(c), nil })
	if err != nil {
		return "", err
	}
	if p.Refuse != "" {
		return "", sdk.Invalid("message", "%s", p.Refuse)
	}
	res, err := t.oneCall(ctx, c, p)
	if err != nil {
		return "", err
	}
	t.calls = append(t.calls, doneCall{ID: c.ID, Name: c.Name, Target: p.Target, Arguments: clip(c.Arguments, 1000), IsError: res.IsError, Task: res.Task})
	if res.IsError {
		return "", sdk.Permanent(errors.New(clip(res.Text, 4000)))
	}
	return res.cut(32 << 10), nil
}

func (t *turn) oneCall(ctx context.Context, c toolCall, p plan) (callResult, error) {
	if p.Ask {
		res, allowed, err := t.askPerson(ctx, "approve", c, p, fmt.Sprintf("Call %s with %s?", p.Target, asked(c.Arguments)), policyAsk)
		if err != nil || !allowed {
			return res, err
		}
	}
	return t.perform(ctx, "1", c, p)
}
