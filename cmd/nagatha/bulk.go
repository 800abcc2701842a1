package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/nagatha/nagatha-runtime/sdk"
	"github.com/nagatha/nagatha-runtime/sdk/client"
)

// filterFlags are the flags by which commands select tasks.
type filterFlags struct {
	req    client.ListRequest
	states []string
}

func (f *filterFlags) register(c *cobra.Command) {
	flags := c.Flags()
	flags.StringSliceVar(&f.states, "state", nil, "only in these `states`; repeatable")
	flags.StringSliceVar(&f.req.Kinds, "kind", nil, "only these `kinds`, such as mcp.call_tool or mcp.*; repeatable")
	flags.StringVar(&f.req.Queue, "queue", "", "only of this queue")
	flags.StringArrayVar(&f.req.Labels, "label", nil, "only with this label, `name=value`; repeatable")
	flags.StringVar(&f.req.Parent, "parent", "", "only children of this task `id`")
	flags.StringVar(&f.req.Schedule, "schedule", "", "only of this schedule")
	flags.StringVarP(&f.req.Query, "search", "q", "", "only with this `text` in id, kind, error or a label")
	must(c.RegisterFlagCompletionFunc("state", func(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
		var names []cobra.Completion
		for _, s := range sdk.States {
			names = append(names, string(s))
		}
		return names, cobra.ShellCompDirectiveNoFileComp
	}))
}

// filter is what the flags say.
func (f *filterFlags) filter() client.ListRequest {
	req := f.req
	for _, s := range f.states {
		req.States = append(req.States, sdk.State(s))
	}
	return req
}

// filterNames are the flags that select tasks.
var filterNames = []string{"state", "kind", "queue", "label", "parent", "schedule", "search"}

// many are the flags of a command that takes one ID, or a filter for many.
type many struct {
	filterFlags
	dryRun bool
	expect int
}

func (m *many) register(c *cobra.Command) {
	m.filterFlags.register(c)
	c.Flags().BoolVar(&m.dryRun, "dry-run", false, "with a filter: only say how many tasks it would be")
	c.Flags().IntVar(&m.expect, "expect", 0, "with a filter: do it only if it matches exactly this `number` of tasks")
	c.Args = func(c *cobra.Command, args []string) error {
		filtered := false
		for _, name := range filterNames {
			filtered = filtered || c.Flags().Changed(name)
		}
		switch {
		case len(args) > 1:
			return usagef("%s: want one ID, or a filter for many tasks", c.CommandPath())
		case len(args) == 1 && filtered:
			return usagef("%s: give an ID or a filter, not both", c.CommandPath())
		case len(args) == 0 && !filtered:
			return usagef("%s: want an ID, or a filter such as --state or --kind for many tasks", c.CommandPath())
		case len(args) == 1 && (m.dryRun || c.Flags().Changed("expect")):
			return usagef("%s: --dry-run and --expect go with a filter, not with an ID", c.CommandPath())
		}
		return nil
	}
}

// bulk does something to all tasks that the filter matches and says how many they
// were.
func (a *app) bulk(ctx context.Context, c *cobra.Command, m *many, req client.BulkRequest) error {
	cl, err := a.client()
	if err != nil {
		return err
	}
	req.Filter, req.DryRun = m.filter(), m.dryRun
	if c.Flags().Changed("expect") {
		req.Expected = &m.expect
	}
	done, err := cl.Bulk(ctx, req)
	if err != nil {
		return err
	}
	return a.show(done, func(w io.Writer) error {
		past := map[string]string{client.BulkCancel: "cancelled", client.BulkRetry: "queued again", client.BulkDelete: "deleted"}[req.Action]
		if req.DryRun {
			_, err := fmt.Fprintf(w, "%d tasks would be %s\n", done.Matched, past)
			return err
		}
		text := fmt.Sprintf("%d tasks %s", done.Changed, past)
		if n := done.Matched - done.Changed; n > 0 {
			text += fmt.Sprintf(", %d left alone", n)
		}
		_, err := fmt.Fprintln(w, text)
		return err
	})
}
