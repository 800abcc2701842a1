package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/nagatha/nagatha-runtime/sdk"
	"github.com/nagatha/nagatha-runtime/sdk/client"
)

// doctor runs checks of a runtime through its public API: real tasks, no network, no
// key. Each check says ok, or what is broken.
type doctor struct {
	app     *app
	cl      *client.Client
	conn    *client.Conn
	plugins []sdk.PluginStatus
	patient time.Duration // with one task
	report  []finding
	code    int // to exit with if something is broken
}

// finding is what a check came to.
type finding struct {
	Check  string       `json:"check"`
	OK     bool         `json:"ok"`
	Detail string       `json:"detail"`
	Took   sdk.Duration `json:"took"`
}

// exam is one thing that is looked at. Its detail says what was found, its error
// what is broken and what to do about it.
type exam struct {
	name string
	task string // the name under which --task selects it
	run  func(ctx context.Context, d *doctor) (detail string, err error)
}

// checks are all of them, in the order in which they build on each other.
var checks = []exam{
	{"plugins", "", checkPlugins},
	{"kinds", "", checkKinds},
	{"queues", "", checkQueues},
	{"schedules", "", checkSchedules},
	{"message", "message", checkMessage},
	{"mcp", "mcp", checkMCP},
	{"memory", "memory", checkMemory},
	{"usage", "usage", checkUsage},
	{"scheduled", "scheduled", checkScheduled},
	{"reload", "reload", checkReload},
	{"examples", "", checkExamples},
}

func (a *app) doctorCommand() *cobra.Command {
	var task string
	var patient time.Duration
	names := []string{"all"}
	for _, c := range checks {
		if c.task != "" {
			names = append(names, c.task)
		}
	}
	c := &cobra.Command{
		Use:   "doctor",
		Short: "Check a runtime by running real tasks; exit 0 only if all is well",
		Long: `Check a runtime by running real tasks through its public API, and print a line for
each check: ok, or what is broken and what to do. Exit code 0 only if everything
passed, 6 if there is no server, 4 if it refuses the token, else 1. It needs no network
and no key, and leaves nothing behind but ended tasks.

  server      reachable, the token is good, the store takes writes and tasks run
  plugins     every one that is enabled is loaded
  kinds       the kinds of the built-in plugins are there
  queues      none is full
  schedules   those of the configuration submit their tasks
  message     agent.chat answers a command, which needs no model
  mcp         every MCP server that is configured answers
  memory      an entry is set, found and deleted
  usage       what was used is summed up
  scheduled   a reminder fires in time
  reload      the MCP servers' configuration is read again
  examples    the example of every kind that changes nothing`,
		Example: `  nagatha doctor
  nagatha doctor --task mcp`,
		Args: exactly(),
		RunE: func(c *cobra.Command, _ []string) error {
			if !slices.Contains(names, task) {
				return usagef("--task %s: want one of %s", task, strings.Join(names, ", "))
			}
			d := &doctor{app: a, patient: patient, code: exitError}
			return d.run(c.Context(), task)
		},
	}
	c.Flags().StringVar(&task, "task", "all", "check only this `part`: "+strings.Join(names, ", "))
	c.Flags().DurationVar(&patient, "timeout", 30*time.Second, "how long to wait for one task")
	must(c.RegisterFlagCompletionFunc("task", cobra.FixedCompletions(names, cobra.ShellCompDirectiveNoFileComp)))
	return c
}

func (d *doctor) run(ctx context.Context, task string) error {
	began := time.Now()
	detail, err := d.server(ctx)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	d.found("server", began, detail, err)
	if d.conn != nil {
		defer func() { _ = d.conn.Close() }() // never fails
	}
	for _, c := range checks {
		if err != nil { // without a server there is nothing more to say
			break
		}
		if task != "all" && task != c.task {
			continue
		}
		began := time.Now()
		detail, bad := c.run(ctx, d)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		d.found(c.name, began, detail, bad)
	}
	return d.end()
}

// found notes a finding, and shows it at once to a person.
func (d *doctor) found(name string, began time.Time, detail string, err error) {
	f := finding{Check: name, OK: err == nil, Detail: clean(detail), Took: sdk.Duration(time.Since(began).Round(time.Millisecond))}
	if err != nil {
		f.Detail = clean(message(err))
	}
	d.report = append(d.report, f)
	switch d.app.output {
	case "table":
		mark := "ok  "
		if !f.OK {
			mark = "FAIL"
		}
		fmt.Fprintf(d.app.stdout, "%s  %-10s  %s\n", mark, f.Check, f.Detail)
	case "jsonl":
		_ = d.app.line(f) // the exit code still says it
	}
}

func (d *doctor) end() error {
	bad := 0
	for _, f := range d.report {
		if !f.OK {
			bad++
		}
	}
	if d.app.output == "json" {
		if err := d.app.show(map[string]any{"ok": bad == 0, "checks": d.report}, func(io.Writer) error { return nil }); err != nil {
			return err
		}
	}
	if bad == 0 {
		d.app.say("all is well: %d checks passed", len(d.report))
		return nil
	}
	d.app.say("%d of %d checks failed", bad, len(d.report))
	return quietExit(d.code)
}

// server looks whether there is one, and whether a task can be stored, run and read.
func (d *doctor) server(ctx context.Context) (string, error) {
	var err error
	if d.cl, err = d.app.client(); err != nil {
		return "", err
	}
	status, err := d.cl.System(ctx)
	if err != nil {
		code := exitCode(err, true)
		if code == exitUnreachable || code == exitUnauthorized {
			d.code = code
		}
		if hint := d.app.hint(err, code); hint != "" {
			err = fmt.Errorf("%s: %s", message(err), hint)
		}
		return "", err
	}
	if d.plugins, err = d.loaded(ctx); err != nil {
		return "", err
	}
	if d.conn, err = d.cl.Connect(ctx); err != nil {
		return "", err
	}
	if _, err := d.task(ctx, "system.refresh_status", `{}`); err != nil {
		return "", fmt.Errorf("a task cannot be stored and run: %s", message(err))
	}
	return fmt.Sprintf("%s, version %s, up %s, store %s, bus %s", d.cl.Server(), status.Version, status.Uptime, status.Store, status.Bus), nil
}

// loaded lists the plugins once none is loading any more: compiling modules for the
// first time may take a minute. What loads for longer is shown as it is.
func (d *doctor) loaded(ctx context.Context) ([]sdk.PluginStatus, error) {
	again := time.NewTicker(500 * time.Millisecond)
	defer again.Stop()
	enough := time.After(4 * d.patient)
	for said := false; ; {
		all, err := d.cl.Plugins(ctx)
		i := slices.IndexFunc(all, func(p sdk.PluginStatus) bool { return p.State == sdk.PluginLoading })
		if err != nil || i < 0 {
			return all, err
		}
		if !said {
			said = true
			d.app.say("waiting for plugin %s to load", all[i].Name)
		}
		select {
		case <-again.C:
		case <-enough:
			return all, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// task runs a task to its end and returns its result.
func (d *doctor) task(ctx context.Context, kind, payload string) (json.RawMessage, error) {
	ctx, cancel := context.WithTimeout(ctx, d.patient)
	defer cancel()
	done, err := d.conn.Submit(ctx, sdk.Submission{Kind: kind, Payload: json.RawMessage(payload), MaxAttempts: 1,
		Labels: map[string]string{"by": "nagatha doctor"}, Timeout: sdk.Duration(d.patient)})
	if sdk.CodeOf(err) == sdk.CodeLimitExceeded {
		return nil, fmt.Errorf("%s: %w%s", kind, err, d.jams(ctx, ""))
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", kind, err)
	}
	t, err := d.conn.Wait(ctx, done.Task.ID)
	if err != nil {
		if ctx.Err() == nil {
			return nil, err
		}
		if t, err = d.stuck(done.Task.ID); err != nil {
			return nil, fmt.Errorf("%s: %w", kind, err)
		}
	}
	if t.State == sdk.StateCompleted {
		return t.Result, nil
	}
	if t.Error == nil {
		return nil, fmt.Errorf("%s was %s %s", kind, t.State, t.Reason)
	}
	return nil, fmt.Errorf("%s: %w", kind, t.Error)
}

// stuck says why a task has not ended in time, and gives it up. One that just has is
// as good as any.
func (d *doctor) stuck(id string) (sdk.Task, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	t, err := d.conn.Get(ctx, id)
	if err != nil {
		return t, fmt.Errorf("it did not end within %s, and the server does not answer: %w", d.patient, err)
	}
	if t.State.Terminal() {
		return t, nil
	}
	_, _ = d.conn.Cancel(ctx, id, client.CancelRequest{Force: true, Reason: "nagatha doctor gave it up"}) // or it ends by its timeout
	text := fmt.Sprintf("it did not end within %s: it is %s", d.patient, t.State)
	if t.Reason != "" {
		text += ", " + t.Reason
	}
	queue := ""
	if t.State == sdk.StateQueued {
		queue = t.Queue
	}
	return t, sdk.Errorf(sdk.CodeTimeout, "%s%s", text, d.jams(ctx, queue))
}

// has reports whether some plugin that is ready handles a kind.
func (d *doctor) has(kind string) bool {
	for _, p := range d.plugins {
		for _, k := range p.Kinds {
			if k.Kind == kind && p.State == sdk.PluginReady {
				return true
			}
		}
	}
	return false
}

// want refuses a check whose kinds are not there, which is quicker and clearer than a
// task that waits for them.
func (d *doctor) want(kinds ...string) error {
	for _, kind := range kinds {
		if d.has(kind) {
			continue
		}
		name, _, _ := strings.Cut(kind, ".")
		for _, p := range d.plugins {
			switch {
			case p.Name != name:
				continue
			case p.State != sdk.PluginReady:
				return ailing(p)
			}
			return fmt.Errorf("plugin %q %s does not handle %s: is it an old build?", name, p.Version, kind)
		}
		return fmt.Errorf("no plugin handles %s: add plugin %q to config.hcl", kind, name)
	}
	return nil
}
