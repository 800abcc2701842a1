package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/nagatha/nagatha-runtime/sdk"
	"github.com/nagatha/nagatha-runtime/sdk/client"
)

type submitFlags struct {
	payload      string
	sets         []string
	queue        string
	priority     int
	delay        time.Duration
	runAt        string
	timeout      time.Duration
	maxAttempts  int
	key          string
	deadline     string
	expires      string
	unique       string
	turns        string
	labels       []string
	after        []string
	follow, wait bool
}

func (a *app) submitCommand() *cobra.Command {
	var f submitFlags
	c := &cobra.Command{
		Use:   "submit KIND",
		Short: "Submit a task, and perhaps follow it to its end",
		Long: `Submit a task and print its id.

With --follow its output and progress are shown as they happen, then its result
as JSON; with --wait only the result. Both end with an exit code that says how
the task ended (see "nagatha --help"). Ctrl-C detaches; the task goes on.`,
		Example: `  nagatha submit demo.echo --payload '{"text":"hello"}' --follow
  nagatha submit mcp.call_tool --set server=files --set tool=list_directory --set arguments.path=/tmp --wait
  nagatha submit memory.import --run-at 2027-01-31T08:00:00Z --payload @page.json`,
		Args: exactly("KIND"),
		RunE: func(c *cobra.Command, args []string) error {
			if err := meant(c, "timeout", "max-attempts"); err != nil {
				return err
			}
			return a.submit(c.Context(), args[0], f)
		},
	}
	fs := c.Flags()
	fs.StringVarP(&f.payload, "payload", "p", "", "the payload: `JSON`, @file, or - for standard input")
	fs.StringArrayVar(&f.sets, "set", nil, "put a `name=value` into the payload; the value is JSON if it parses, dots nest; repeatable")
	fs.StringVar(&f.queue, "queue", "", "the queue")
	fs.IntVar(&f.priority, "priority", 0, "-100 to 100, higher starts first")
	fs.DurationVar(&f.delay, "delay", 0, "start no earlier than after this `duration`")
	fs.StringVar(&f.runAt, "run-at", "", "start no earlier than at this `time`, such as 2026-01-31T08:00:00Z")
	fs.DurationVar(&f.timeout, "timeout", 0, "most time for an attempt")
	fs.IntVar(&f.maxAttempts, "max-attempts", 0, "most attempts")
	fs.StringVar(&f.key, "idempotency-key", "", "submitting with the same `key` again returns the same task")
	fs.StringVar(&f.deadline, "deadline", "", "fail with \"expired\" if it has not ended at this `time`")
	fs.StringVar(&f.expires, "expires", "", "fail with \"expired\" if it has not started at this `time`")
	fs.StringVar(&f.unique, "unique", "", "while a task with this `text` lives, return that one")
	fs.StringVar(&f.turns, "concurrency-key", "", "tasks with the same `key` take turns")
	fs.StringSliceVar(&f.after, "after", nil, "start once the tasks with these `ids` have completed; repeatable")
	fs.StringArrayVar(&f.labels, "label", nil, "a label, `name=value`; repeatable")
	fs.BoolVarP(&f.follow, "follow", "f", false, "show what the task does until it has ended")
	fs.BoolVarP(&f.wait, "wait", "w", false, "wait until the task has ended and print its result")
	return c
}

// exactly asks for one argument per name.
func exactly(names ...string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) != len(names) {
			return usagef("%s: want %s, got %d arguments", c.CommandPath(), strings.Join(names, " "), len(args))
		}
		return nil
	}
}

// meant refuses a 0 that somebody wrote: 0 stands for the default where a flag is left
// out, and would silently be it.
func meant(c *cobra.Command, flags ...string) error {
	for _, name := range flags {
		f := c.Flags().Lookup(name)
		if v := f.Value.String(); f.Changed && (v == "0" || v == "0s") {
			return usagef("--%s %s: want more than 0, or leave it out for the default", name, v)
		}
	}
	return nil
}

func (f submitFlags) submission(a *app, kind string) (sdk.Submission, error) {
	s := sdk.Submission{Kind: kind, Queue: f.queue, Priority: f.priority, Delay: sdk.Duration(f.delay),
		Timeout: sdk.Duration(f.timeout), MaxAttempts: f.maxAttempts, IdempotencyKey: f.key, After: f.after,
		Unique: f.unique, ConcurrencyKey: f.turns}
	if f.follow && f.wait {
		return s, usagef("give --follow or --wait, not both")
	}
	if !sdk.ValidKind(kind) {
		return s, usagef("kind %q: want dotted lower-case names such as memory.search", kind)
	}
	doc, err := a.document("--payload", f.payload)
	if err != nil {
		return s, err
	}
	if s.Payload, err = withSets(doc, f.sets); err != nil {
		return s, err
	}
	for _, t := range []struct {
		flag, text string
		into       *sdk.Time
	}{{"--run-at", f.runAt, &s.RunAt}, {"--deadline", f.deadline, &s.Deadline}, {"--expires", f.expires, &s.Expires}} {
		if t.text == "" {
			continue
		}
		quoted, err := json.Marshal(t.text)
		if err != nil {
			return s, err
		}
		if err := t.into.UnmarshalJSON(quoted); err != nil {
			return s, usagef("%s: %v", t.flag, err)
		}
	}
	for _, l := range f.labels {
		k, v, ok := strings.Cut(l, "=")
		if !ok || k == "" {
			return s, usagef("--label %s: want name=value", l)
		}
		if s.Labels == nil {
			s.Labels = map[string]string{}
		}
		s.Labels[k] = v
	}
	return s, nil
}

func (a *app) submit(ctx context.Context, kind string, f submitFlags) error {
	sub, err := f.submission(a, kind)
	if err != nil {
		return err
	}
	conn, err := a.connect(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }() // never fails
	done, err := conn.Submit(ctx, sub)
	if err != nil {
		return err
	}
	if done.Deduplicated {
		a.say("this task was submitted before")
	}
	id := done.Task.ID
	switch {
	case f.follow:
		if a.output == "table" {
			a.say("%s submitted; Ctrl-C detaches", id)
		}
		return a.follow(ctx, conn, id, "")
	case f.wait:
		a.heldUp(done.Task)
		return a.wait(ctx, conn, id)
	}
	return a.show(done.Task, func(w io.Writer) error {
		_, err := fmt.Fprintln(w, clean(id))
		a.heldUp(done.Task)
		a.say("follow it with: nagatha tasks watch %s", id)
		return err
	})
}

// heldUp says why a task does not run yet, such as that nobody handles its kind: who
// waits for it would else wait for nothing that can be seen.
func (a *app) heldUp(t sdk.Task) {
	if a.output == "table" && t.Reason != "" && !t.State.Terminal() {
		a.say("%s: %s", t.State, t.Reason)
	}
}

func (a *app) wait(ctx context.Context, conn *client.Conn, id string) error {
	t, err := conn.Wait(ctx, id)
	if err != nil {
		return a.detached(err, id, "")
	}
	if a.output != "table" {
		if err := a.show(t, nil); err != nil {
			return err
		}
		return quietExit(taskExit(t.State, t.Error))
	}
	return a.report(t.ID, t.State, t.Result, t.Error, t.Reason)
}

// report says how a task ended: its result on stdout, anything else on stderr.
func (a *app) report(id string, state sdk.State, result json.RawMessage, failed *sdk.Error, reason string) error {
	code := taskExit(state, failed)
	switch state {
	case sdk.StateCompleted:
		if len(result) == 0 {
			result = json.RawMessage("null")
		}
		if _, err := fmt.Fprintf(a.stdout, "%s\n", result); err != nil {
			return err
		}
	case sdk.StateFailed:
		a.sayIn(red, fmt.Sprintf("%s failed: %s", id, failure(failed)))
		fmt.Fprintf(a.stderr, "  run it again with: nagatha tasks retry %s\n", clean(id))
	default:
		text := fmt.Sprintf("%s is %s", id, state)
		if reason != "" {
			text += ": " + reason
		}
		a.sayIn(yellow, text)
	}
	return quietExit(code)
}

// detached explains an error that ended the watching of a task, which goes on.
func (a *app) detached(err error, id, cursor string) error {
	again := "nagatha tasks watch " + id
	var lost *client.LostError
	switch {
	case errors.Is(err, context.Canceled):
		a.say("detached; the task goes on. Come back with: %s", again)
		return quietExit(exitDetached)
	case errors.As(err, &lost) && exitCode(err, true) == exitCut:
		if cursor != "" {
			again += " --from " + cursor
		}
		return &hintError{err, "the task goes on; come back with: " + again}
	}
	return err
}
