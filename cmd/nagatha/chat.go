package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/nagatha/nagatha-runtime/sdk"
	"github.com/nagatha/nagatha-runtime/sdk/client"
)

// chat is a conversation with the agent: each message is a task agent.chat.
type chat struct {
	app  *app
	cl   *client.Client
	conn *client.Conn

	session, model string
	alone          bool // one message, and no conversation
	interrupts     <-chan os.Signal
	lines          chan string // what is typed; nil until somebody needs it
	unread         error       // why it ended before its end, once lines is closed
	denied         error       // why this token may not decide approvals
}

// errLeave ends a conversation that goes on without anybody watching.
var errLeave = errors.New("left")

const (
	chatKind   = "agent.chat"
	chatPlugin = "agent" // usually
)

func (a *app) chatCommand() *cobra.Command {
	ch := &chat{app: a}
	var goOn bool
	c := &cobra.Command{
		Use:   "chat [MESSAGE…]",
		Short: "Talk to the agent",
		Long: `Talk to the agent: one MESSAGE, or without one a conversation, line by line. The
answer goes to stdout as it comes; tool calls and questions go to stderr.

Where a tool call needs an approval it is shown and asked for here. Ctrl-C cancels
the turn, a second one leaves; the session is kept, and --session or --continue
goes on in it. Messages that begin with / are commands of the agent, see /help.`,
		Example: `  nagatha chat
  nagatha chat "/remind in 5 minutes stretch"
  nagatha chat --continue "and tomorrow?"`,
		RunE: func(c *cobra.Command, args []string) error {
			if goOn && ch.session != "" {
				return usagef("give --session or --continue, not both")
			}
			return ch.run(c.Context(), strings.Join(args, " "), goOn)
		},
	}
	f := c.Flags()
	f.StringVar(&ch.session, "session", "", "go on in this session's `id` (default a new one)")
	f.BoolVar(&goOn, "continue", false, "go on in the session that was used last")
	f.StringVar(&ch.model, "model", "", "use this model instead of the configured one")
	return c
}

func (ch *chat) run(parent context.Context, message string, goOn bool) error {
	var err error
	if ch.cl, err = ch.app.client(); err != nil {
		return err
	}
	if ch.conn, err = ch.cl.Connect(parent); err != nil {
		return err
	}
	defer func() { _ = ch.conn.Close() }() // never fails
	if err := ch.answerable(parent); err != nil {
		return err
	}
	if goOn {
		if ch.session, err = ch.lastSession(parent); err != nil {
			return err
		}
	}
	// From here on Ctrl-C means the turn, not the program.
	interrupts := make(chan os.Signal, 4)
	signal.Notify(interrupts, os.Interrupt, syscall.SIGTERM)
	defer signal.Stop(interrupts)
	if parent.Err() != nil {
		return parent.Err()
	}
	ch.interrupts = interrupts
	ctx, cancel := context.WithCancel(context.WithoutCancel(parent))
	defer cancel()
	if ch.alone = message != ""; ch.alone {
		err = ch.turn(ctx, message)
		if errors.Is(err, errLeave) {
			return quietExit(exitDetached)
		}
		return err
	}
	return ch.talk(ctx)
}

// patient runs do, which may wait for a lost connection, until Ctrl-C.
func (ch *chat) patient(ctx context.Context, do func(context.Context) error) error {
	ctx, cancel := context.WithCancel(ctx)
	over := make(chan struct{})
	go func() {
		defer close(over)
		select {
		case <-ch.interrupts:
			cancel()
		case <-ctx.Done():
		}
	}()
	defer func() { cancel(); <-over }()
	return do(ctx)
}

// answerable says what is in the way of an answer, which otherwise would be waited for
// until somebody mends it.
func (ch *chat) answerable(ctx context.Context) error {
	plugins, err := ch.cl.Plugins(ctx)
	if err != nil {
		return nil //nolint:nilerr // this token may not see them, and perhaps may chat
	}
	for _, p := range plugins {
		if p.Name != chatPlugin && !slices.ContainsFunc(p.Kinds, func(k sdk.KindStatus) bool { return k.Kind == chatKind }) {
			continue
		}
		switch p.State {
		case sdk.PluginFailed:
			return fmt.Errorf("the plugin %s, which would answer, has failed: %s", p.Name, p.Error)
		case sdk.PluginDisabled:
			return fmt.Errorf("the plugin %s, which would answer, is disabled; enable it with: nagatha plugins enable %s", p.Name, p.Name)
		}
		return nil
	}
	return fmt.Errorf("nothing here answers: the runtime's config.hcl has no plugin %q", chatPlugin)
}

// talk is a conversation, until its input ends or somebody leaves.
func (ch *chat) talk(ctx context.Context) error {
	a := ch.app
	if ch.person() {
		a.say("Ctrl-C cancels a turn, Ctrl-D leaves, /help lists the agent's commands.")
	}
	warned := false
	for {
		ch.prompt("> ")
		select {
		case line, ok := <-ch.input():
			warned = false
			switch line = strings.TrimSpace(line); {
			case !ok, line == "/quit", line == "/exit":
				ch.leave(ok)
				if !ok {
					return ch.unread
				}
				return nil
			case line == "":
				continue
			}
			err := ch.turn(ctx, line)
			var quiet quietExit
			switch {
			case err == nil, errors.As(err, &quiet): // it was shown
			case errors.Is(err, errLeave):
				ch.leave(true)
				return quietExit(exitDetached)
			case sdk.CodeOf(err) == sdk.CodeInvalid || sdk.CodeOf(err) == sdk.CodeLimitExceeded:
				a.sayIn(red, message(err)) // the next message may be a better one
			default:
				return err
			}
		case s := <-ch.interrupts:
			if warned || s == syscall.SIGTERM {
				ch.leave(false)
				return nil
			}
			warned = true
			ch.newline()
			a.say("Ctrl-C again leaves")
		}
	}
}

// leave says how to come back.
func (ch *chat) leave(atLineStart bool) {
	if !atLineStart {
		ch.newline()
	}
	if ch.session != "" {
		ch.app.say("the session is kept; go on with: nagatha chat --session %s", ch.session)
	}
}

// person reports whether somebody types.
func (ch *chat) person() bool {
	f, ok := ch.app.stdin.(*os.File)
	return ok && terminal(f)
}

func (ch *chat) prompt(text string) {
	if ch.person() {
		fmt.Fprint(ch.app.stderr, text)
	}
}

func (ch *chat) newline() {
	if ch.person() {
		fmt.Fprintln(ch.app.stderr)
	}
}

// input is what is typed, line by line. It is read in the background from the first
// time on that somebody wants it.
func (ch *chat) input() <-chan string {
	if ch.lines == nil {
		ch.lines = make(chan string)
		go func() {
			defer close(ch.lines)
			sc := bufio.NewScanner(ch.app.stdin)
			sc.Buffer(nil, 1<<20)
			for sc.Scan() {
				ch.lines <- sc.Text()
			}
			if ch.unread = sc.Err(); errors.Is(ch.unread, bufio.ErrTooLong) {
				ch.unread = errors.New("a line is longer than 1 MiB")
			}
		}()
	}
	return ch.lines
}

// lastSession asks the agent for the session that was used last.
func (ch *chat) lastSession(ctx context.Context) (string, error) {
	done, err := ch.conn.Submit(ctx, sdk.Submission{Kind: "agent.sessions", Payload: json.RawMessage(`{"limit":1}`)})
	if err != nil {
		return "", err
	}
	if done.Task.Reason != "" && !done.Task.State.Terminal() {
		return "", fmt.Errorf("the agent cannot be asked for the last session: %s", done.Task.Reason)
	}
	t, err := ch.conn.Wait(ctx, done.Task.ID)
	if err != nil {
		return "", err
	}
	if t.State != sdk.StateCompleted {
		return "", fmt.Errorf("the agent could not say which session was the last: %s", failure(t.Error))
	}
	var r struct {
		Sessions []struct {
			Session string `json:"session"`
		} `json:"sessions"`
	}
	if err := json.Unmarshal(t.Result, &r); err != nil {
		return "", fmt.Errorf("read the agent's sessions: %w", err)
	}
	if len(r.Sessions) == 0 {
		return "", &hintError{errors.New("there is no session yet"), "begin one: leave --continue out"}
	}
	return r.Sessions[0].Session, nil
}
