package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/nagatha/nagatha-runtime/sdk"
	"github.com/nagatha/nagatha-runtime/sdk/client"
)

func (a *app) eventsCommand() *cobra.Command {
	return group("events", "Publish events and listen to them", a.publishCommand(), a.tailCommand())
}

func (a *app) publishCommand() *cobra.Command {
	var event sdk.Event
	var data string
	var sets, attributes []string
	c := &cobra.Command{
		Use:     "publish TYPE",
		Short:   "Publish an event and print its id",
		Example: `  nagatha events publish demo.ping --data '{"n":1}'`,
		Args:    exactly("TYPE"),
		RunE: func(c *cobra.Command, args []string) error {
			event.Type = args[0]
			doc, err := a.document("--data", data)
			if err != nil {
				return err
			}
			if event.Data, err = withSets(doc, sets); err != nil {
				return err
			}
			for _, s := range attributes {
				name, v, ok := strings.Cut(s, "=")
				if !ok || name == "" {
					return usagef("--attribute %s: want name=value", s)
				}
				if event.Extensions == nil {
					event.Extensions = map[string]string{}
				}
				event.Extensions[name] = v
			}
			conn, err := a.connect(c.Context())
			if err != nil {
				return err
			}
			defer func() { _ = conn.Close() }() // never fails
			id, err := conn.Publish(c.Context(), event)
			if err != nil {
				return err
			}
			return a.show(map[string]string{"id": id}, func(w io.Writer) error {
				_, err := fmt.Fprintln(w, clean(id))
				return err
			})
		},
	}
	f := c.Flags()
	f.StringVar(&data, "data", "", "its data: `JSON`, @file, or - for standard input")
	f.StringArrayVar(&sets, "set", nil, "put a `name=value` into the data; the value is JSON if it parses, dots nest; repeatable")
	f.StringVar(&event.ID, "id", "", "its id (default: a new one)")
	f.StringVar(&event.Source, "source", "", "where it comes from")
	f.StringArrayVar(&attributes, "attribute", nil, "a further attribute, `name=value`; repeatable")
	f.StringVar(&event.Subject, "subject", "", "what it is about")
	return c
}

func (a *app) tailCommand() *cobra.Command {
	var req client.SubscribeRequest
	c := &cobra.Command{
		Use:   "tail TOPIC…",
		Short: "Print events as they happen, until Ctrl-C",
		Long: `Print events as they happen, until Ctrl-C.

Topics are task.<id>, kind.<kind>, queue.<name>, event.<type> and system.<name>,
each with * for one level and > for the rest; quote them.`,
		Example: `  nagatha events tail 'kind.mcp.*' --types task.failed
  nagatha events tail 'event.>' --last 10 -o jsonl`,
		Args: func(c *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usagef("%s: want at least one TOPIC, such as 'event.>'", c.CommandPath())
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			if req.Last < 0 {
				return usagef("--last %d: want more than 0", req.Last)
			}
			if req.Last > 0 && req.From != "" {
				return usagef("give --last or --from, not both")
			}
			req.Topics = args
			return a.tail(c.Context(), req)
		},
	}
	f := c.Flags()
	f.StringVar(&req.From, "from", "", "`where` to begin: start, now, or a cursor (default now)")
	f.IntVar(&req.Last, "last", 0, "begin with the last `n` events")
	f.StringSliceVar(&req.Types, "types", nil, "only events of these `types`; repeatable")
	return c
}

func (a *app) tail(ctx context.Context, req client.SubscribeRequest) error {
	conn, err := a.connect(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }() // never fails
	s, err := conn.Subscribe(ctx, req)
	if err != nil {
		return err
	}
	for n, err := range s.All(ctx) {
		if err == nil {
			err = a.tailed(n)
		}
		if err != nil {
			return a.tailEnd(err, req.Topics, s.Cursor())
		}
	}
	return nil
}

// tailed prints one notification.
func (a *app) tailed(n client.Notification) error {
	switch {
	case n.Method == client.MethodGap:
		a.say("part of the history is missing: %s", n.Reason)
	case n.Method == client.MethodLag:
		a.say("%d events behind", n.Behind)
	case n.Method != client.MethodEvent:
	case a.output != "table":
		return a.raw(n.Raw)
	case n.Event != nil:
		var d eventData
		_ = json.Unmarshal(n.Event.Data, &d) // what is of another form is shown as it is
		_, err := fmt.Fprintln(a.stdout, clean(fmt.Sprintf("%s %s %s %s %s", n.Event.Time, n.Event.Type, n.Event.Task, n.Event.Kind,
			describe(n.Event.TaskEvent, d))))
		return err
	case n.Message != nil:
		m := n.Message
		_, err := fmt.Fprintln(a.stdout, clean(fmt.Sprintf("%s %s %s %s", m.Time, m.Type, m.ID, value(m.Data))))
		return err
	}
	return nil
}

// tailEnd says how to go on. Ctrl-C is how tail is meant to end.
func (a *app) tailEnd(err error, topics []string, cursor string) error {
	again := "nagatha events tail '" + strings.Join(topics, "' '") + "'"
	if cursor != "" {
		again += " --from " + cursor
	}
	var lost *client.LostError
	switch {
	case errors.Is(err, context.Canceled):
		if cursor != "" {
			a.say("go on from here with: %s", again)
		}
		return nil
	case errors.As(err, &lost) && exitCode(err, true) == exitCut:
		return &hintError{err, "go on from here with: " + again}
	}
	return err
}
