package main

import (
	"context"
	"io"

	"github.com/spf13/cobra"

	"github.com/nagatha/nagatha-runtime/sdk"
	"github.com/nagatha/nagatha-runtime/sdk/client"
)

func (a *app) tasksCommand() *cobra.Command {
	return group("tasks", "List, show, watch, cancel, retry and signal tasks",
		a.listCommand(), a.getCommand(), a.watchCommand(), a.cancelCommand(), a.retryCommand(), a.signalCommand())
}

func (a *app) listCommand() *cobra.Command {
	var filter filterFlags
	var limit int
	var cursor string
	c := &cobra.Command{
		Use:     "list",
		Aliases: []string{"ls"},
		Short:   "List tasks, newest first",
		Example: `  nagatha tasks list --state failed --kind 'mcp.*'
  nagatha tasks list -o jsonl --limit 1000 | jq .id`,
		Args: exactly(),
		RunE: func(c *cobra.Command, _ []string) error {
			req := filter.filter()
			req.Limit, req.Cursor = limit, cursor
			return a.list(c.Context(), req)
		},
	}
	filter.register(c)
	c.Flags().IntVar(&limit, "limit", 0, "most tasks to list, at most 1000 (default 50)")
	c.Flags().StringVar(&cursor, "cursor", "", "go on where another list ended")
	return c
}

func (a *app) list(ctx context.Context, req client.ListRequest) error {
	conn, err := a.connect(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }() // never fails
	page, err := conn.List(ctx, req)
	if err != nil {
		return err
	}
	if page.Tasks == nil {
		page.Tasks = []sdk.Task{}
	}
	if a.output != "json" && page.Next != "" {
		defer a.say("there are more: --cursor %s", page.Next)
	}
	if a.output == "jsonl" {
		return lines(a, page.Tasks)
	}
	return a.show(page, func(w io.Writer) error {
		var body [][]string
		for _, t := range page.Tasks {
			note := t.Reason
			switch {
			case t.State == sdk.StateFailed || t.State == sdk.StateRetrying:
				note = failure(t.Error)
			case t.State == sdk.StateRunning && t.Progress != nil:
				note = progressText(t.Progress)
			}
			body = append(body, []string{t.ID, t.Kind, string(t.State), t.Queue, age(t.CreatedAt), shorten(note, 60)})
		}
		return rows(w, []string{"ID", "KIND", "STATE", "QUEUE", "AGE", "NOTE"}, body)
	})
}

func shorten(s string, n int) string {
	if r := []rune(s); len(r) > n {
		return string(r[:n-1]) + "…"
	}
	return s
}

// one runs do on a connection and shows the task it returns.
func (a *app) one(ctx context.Context, do func(conn *client.Conn) (sdk.Task, error)) error {
	conn, err := a.connect(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }() // never fails
	t, err := do(conn)
	if err != nil {
		return err
	}
	return a.show(t, func(w io.Writer) error { return taskPairs(w, t) })
}

func (a *app) getCommand() *cobra.Command {
	return &cobra.Command{
		Use: "get ID", Short: "Show a task", Args: exactly("ID"),
		RunE: func(c *cobra.Command, args []string) error {
			return a.one(c.Context(), func(conn *client.Conn) (sdk.Task, error) { return conn.Get(c.Context(), args[0]) })
		},
	}
}

func (a *app) watchCommand() *cobra.Command {
	var from string
	c := &cobra.Command{
		Use:   "watch ID",
		Short: "Show what a task did and does until it has ended",
		Long: `Show what a task did and does until it has ended; then its result as JSON, and an
exit code that says how it ended. Ctrl-C detaches; the task goes on.`,
		Args: exactly("ID"),
		RunE: func(c *cobra.Command, args []string) error {
			conn, err := a.connect(c.Context())
			if err != nil {
				return err
			}
			defer func() { _ = conn.Close() }() // never fails
			return a.follow(c.Context(), conn, args[0], from)
		},
	}
	c.Flags().StringVar(&from, "from", "", "`where` to begin: start, now, or a cursor (default start)")
	return c
}

func (a *app) cancelCommand() *cobra.Command {
	var req client.CancelRequest
	var m many
	c := &cobra.Command{
		Use:   "cancel [ID]",
		Short: "Cancel a task, or all that a filter matches",
		Example: `  nagatha tasks cancel tsk_01jd…
  nagatha tasks cancel --state queued --kind 'mcp.*' --dry-run`,
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) == 0 {
				return a.bulk(c.Context(), c, &m, client.BulkRequest{Action: client.BulkCancel, Force: req.Force, Reason: req.Reason})
			}
			return a.one(c.Context(), func(conn *client.Conn) (sdk.Task, error) {
				return conn.Cancel(c.Context(), args[0], req)
			})
		},
	}
	m.register(c)
	c.Flags().BoolVar(&req.Force, "force", false, "do not wait for its handler to stop by itself")
	c.Flags().StringVar(&req.Reason, "reason", "", "why; shown with the task")
	return c
}

func (a *app) retryCommand() *cobra.Command {
	var m many
	c := &cobra.Command{
		Use:   "retry [ID]",
		Short: "Run a failed or cancelled task again, or all that a filter matches",
		Example: `  nagatha tasks retry tsk_01jd…
  nagatha tasks retry --state failed --kind 'mcp.*' --expect 12`,
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) == 0 {
				return a.bulk(c.Context(), c, &m, client.BulkRequest{Action: client.BulkRetry})
			}
			return a.one(c.Context(), func(conn *client.Conn) (sdk.Task, error) { return conn.Retry(c.Context(), args[0]) })
		},
	}
	m.register(c)
	return c
}
