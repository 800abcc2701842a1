package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/nagatha/nagatha-runtime/sdk"
	"github.com/nagatha/nagatha-runtime/sdk/client"
)

func (a *app) queuesCommand() *cobra.Command {
	list := &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List queues with what is in them", Args: exactly(),
		RunE: func(c *cobra.Command, _ []string) error { return a.listQueues(c.Context()) },
	}
	return listing("queues", "Show, pause and resume queues", list,
		a.queueCommand("pause", "Start no more tasks of a queue, on every node, until it is resumed", (*client.Client).PauseQueue),
		a.queueCommand("resume", "Let a paused queue go on", (*client.Client).ResumeQueue))
}

func (a *app) listQueues(ctx context.Context) error {
	cl, err := a.client()
	if err != nil {
		return err
	}
	all, err := cl.Queues(ctx)
	if err != nil {
		return err
	}
	return list(a, "queues", all, func(w io.Writer) error {
		var body [][]string
		for _, q := range all {
			state := "open"
			if q.Paused {
				state = "paused"
			}
			body = append(body, []string{q.Name, state, fmt.Sprintf("%d of %d", q.Running, q.Concurrency), fmt.Sprint(q.Queued), fmt.Sprint(q.Scheduled),
				orNone(span(q.OldestWait)), orNone(q.Rate), orNone(number(q.DepthLimit))})
		}
		return rows(w, []string{"NAME", "STATE", "RUNNING", "QUEUED", "SCHEDULED", "OLDEST WAIT", "RATE", "DEPTH LIMIT"}, body)
	})
}

// orNone keeps a table's column from being empty.
func orNone(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func (a *app) queueCommand(verb, short string, do func(*client.Client, context.Context, string) (sdk.QueueStatus, error)) *cobra.Command {
	return act(a, verb, "NAME", short, do, func(q sdk.QueueStatus) error {
		return a.show(q, func(w io.Writer) error {
			return pairs(w, [][2]string{
				{"name", q.Name}, {"paused", fmt.Sprint(q.Paused)}, {"running", fmt.Sprint(q.Running)}, {"queued", fmt.Sprint(q.Queued)}, {"scheduled", fmt.Sprint(q.Scheduled)},
				{"oldest wait", span(q.OldestWait)}, {"concurrency", fmt.Sprint(q.Concurrency)}, {"rate", q.Rate},
				{"depth limit", number(q.DepthLimit)}, {"key concurrency", fmt.Sprint(q.KeyConcurrency)}, {"key rate", q.KeyRate},
			})
		})
	})
}
