package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/nagatha/nagatha-runtime/sdk"
	"github.com/nagatha/nagatha-runtime/sdk/client"
)

func (a *app) schedulesCommand() *cobra.Command {
	return listing("schedules", "Show, make and change schedules",
		a.schedulesListCommand(), a.schedulesGetCommand(), a.schedulesCreateCommand(), a.schedulesDeleteCommand(),
		a.scheduleActCommand("pause", "Stop the ticks of a schedule", (*client.Client).PauseSchedule),
		a.scheduleActCommand("resume", "Let a paused schedule go on", (*client.Client).ResumeSchedule),
		a.scheduleActCommand("trigger", "Submit a task of a schedule now", (*client.Client).TriggerSchedule))
}

func (a *app) schedulesListCommand() *cobra.Command {
	return &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List schedules", Args: exactly(),
		RunE: func(c *cobra.Command, _ []string) error {
			cl, err := a.client()
			if err != nil {
				return err
			}
			all, err := every(func(cursor string) ([]sdk.Schedule, string, error) { return cl.Schedules(c.Context(), cursor) })
			if err != nil {
				return err
			}
			return a.schedules(all)
		},
	}
}

func (a *app) schedules(all []sdk.Schedule) error {
	return list(a, "schedules", all, func(w io.Writer) error {
		var body [][]string
		for _, s := range all {
			next := moment(s.NextAt)
			if s.Paused {
				next = "paused"
			}
			body = append(body, []string{s.Name, when(&s), s.Kind, next, moment(s.LastAt), string(s.Source), s.ID, s.Error})
		}
		return rows(w, []string{"NAME", "WHEN", "KIND", "NEXT", "LAST", "SOURCE", "ID", "ERROR"}, body)
	})
}

// when says when a schedule ticks.
func when(s *sdk.Schedule) string {
	switch {
	case s.Cron != "" && s.Zone != "":
		return s.Cron + " " + s.Zone
	case s.Cron != "":
		return s.Cron
	case s.Every != 0:
		return "every " + s.Every.String()
	}
	return "at " + moment(s.At)
}

func (a *app) schedule(s sdk.Schedule) error {
	return a.show(s, func(w io.Writer) error {
		paused := ""
		if s.Paused {
			paused = "yes"
		}
		return pairs(w, [][2]string{{"id", s.ID}, {"name", s.Name}, {"when", when(&s)}, {"kind", s.Kind}, {"payload", value(s.Payload)},
			{"queue", s.Queue}, {"priority", number(s.Priority)}, {"timeout", span(s.Timeout)}, {"max attempts", number(s.MaxAttempts)},
			{"missed", string(s.Missed)}, {"overlap", string(s.Overlap)}, {"jitter", span(s.Jitter)}, {"paused", paused},
			{"next", moment(s.NextAt)}, {"last", moment(s.LastAt)}, {"last task", s.LastTask}, {"error", s.Error}, {"source", string(s.Source)}})
	})
}

func (a *app) schedulesGetCommand() *cobra.Command {
	return a.scheduleActCommand("get", "Show a schedule", (*client.Client).Schedule)
}

func (a *app) scheduleActCommand(verb, short string, do func(*client.Client, context.Context, string) (sdk.Schedule, error)) *cobra.Command {
	cmd := act(a, verb, "ID", short, do, func(s sdk.Schedule) error {
		if verb == "trigger" {
			a.say("follow it with: nagatha tasks watch %s", s.LastTask)
		}
		return a.schedule(s)
	})
	cmd.Long = short + ". ID is its id or its name."
	return cmd
}

func (a *app) schedulesDeleteCommand() *cobra.Command {
	return &cobra.Command{
		Use: "delete ID", Aliases: []string{"rm"}, Short: "Delete a schedule; its tasks stay", Args: exactly("ID"),
		RunE: func(c *cobra.Command, args []string) error {
			cl, err := a.client()
			if err != nil {
				return err
			}
			if err := cl.DeleteSchedule(c.Context(), args[0]); err != nil {
				return err
			}
			return a.show(map[string]string{"deleted": args[0]}, func(w io.Writer) error {
				_, err := fmt.Fprintln(w, clean(args[0]), "deleted")
				return err
			})
		},
	}
}

type scheduleFlags struct {
	sdk.Schedule
	every, timeout, jitter       time.Duration
	at, missed, overlap, payload string
	sets                         []string
}

func (a *app) schedulesCreateCommand() *cobra.Command {
	var f scheduleFlags
	c := &cobra.Command{
		Use:   "create NAME KIND",
		Short: "Make a schedule",
		Long: `Make a schedule that submits a task of KIND at each of its ticks. Give one of
--cron, --every and --at.`,
		Example: `  nagatha schedules create nightly-report reports.make --cron '30 2 * * *' --zone Europe/Berlin
  nagatha schedules create poll mcp.check_health --every 10m --jitter 30s
  nagatha schedules create once demo.echo --at 2027-01-31T08:00:00+01:00 --set text=hello`,
		Args: exactly("NAME", "KIND"),
		RunE: func(c *cobra.Command, args []string) error {
			if err := meant(c, "timeout", "max-attempts"); err != nil {
				return err
			}
			f.Name, f.Kind = args[0], args[1]
			s, err := f.schedule(a)
			if err != nil {
				return err
			}
			cl, err := a.client()
			if err != nil {
				return err
			}
			if s, err = cl.CreateSchedule(c.Context(), s); err != nil {
				return err
			}
			return a.schedule(s)
		},
	}
	fs := c.Flags()
	fs.StringVar(&f.Cron, "cron", "", "5 fields (minute hour day month weekday), or 6 with seconds first, as one `line`")
	fs.StringVar(&f.Zone, "zone", "", "the IANA time `zone` of --cron, such as Europe/Berlin (default UTC)")
	fs.DurationVar(&f.every, "every", 0, "an `interval` of at least 1s")
	fs.StringVar(&f.at, "at", "", "one `time`, such as 2027-01-31T08:00:00Z")
	fs.StringVarP(&f.payload, "payload", "p", "", "the payload of its tasks: `JSON`, @file, or - for standard input")
	fs.StringArrayVar(&f.sets, "set", nil, "put a `name=value` into the payload; the value is JSON if it parses, dots nest; repeatable")
	fs.StringVar(&f.Queue, "queue", "", "the queue of its tasks")
	fs.IntVar(&f.Priority, "priority", 0, "-100 to 100, higher starts first")
	fs.DurationVar(&f.timeout, "timeout", 0, "most time for an attempt")
	fs.IntVar(&f.MaxAttempts, "max-attempts", 0, "most attempts of a task")
	fs.StringVar(&f.missed, "missed", "", "ticks that passed while nothing ran: `once`, skip or all (default once)")
	fs.StringVar(&f.overlap, "overlap", "", "a tick while its last task has not ended: `skip`, allow or cancel_previous (default skip)")
	fs.DurationVar(&f.jitter, "jitter", 0, "start each task up to this `duration` later, at random")
	fs.BoolVar(&f.Paused, "paused", false, "without ticks until it is resumed")
	return c
}

func (f scheduleFlags) schedule(a *app) (sdk.Schedule, error) {
	s := f.Schedule
	s.Every, s.Timeout, s.Jitter = sdk.Duration(f.every), sdk.Duration(f.timeout), sdk.Duration(f.jitter)
	s.Missed, s.Overlap = sdk.MissedPolicy(f.missed), sdk.OverlapPolicy(f.overlap)
	given := 0
	for _, is := range []bool{s.Cron != "", f.every != 0, f.at != ""} {
		if is {
			given++
		}
	}
	switch {
	case !sdk.ValidKind(s.Kind):
		return s, usagef("kind %q: want dotted lower-case names such as memory.search", s.Kind)
	case given != 1:
		return s, usagef("give one of --cron, --every and --at")
	}
	if f.at != "" {
		quoted, err := json.Marshal(f.at)
		if err != nil {
			return s, err
		}
		if err := s.At.UnmarshalJSON(quoted); err != nil {
			return s, usagef("--at: %v", err)
		}
	}
	doc, err := a.document("--payload", f.payload)
	if err != nil {
		return s, err
	}
	s.Payload, err = withSets(doc, f.sets)
	return s, err
}
