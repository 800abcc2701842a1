package main

import (
	"io"

	"github.com/spf13/cobra"

	"github.com/nagatha/nagatha-runtime/sdk"
)

func (a *app) approvalsCommand() *cobra.Command {
	return listing("approvals", "Show and decide what waits for a person",
		a.approvalsListCommand(), a.approvalsGetCommand(), a.decideCommand("approve", "Approve", true), a.decideCommand("reject", "Reject", false))
}

func (a *app) approvalsListCommand() *cobra.Command {
	var state string
	c := &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List what waits for a person, oldest first", Args: exactly(),
		RunE: func(c *cobra.Command, _ []string) error {
			cl, err := a.client()
			if err != nil {
				return err
			}
			all, err := every(func(cursor string) ([]sdk.Approval, string, error) { return cl.Approvals(c.Context(), state, cursor) })
			if err != nil {
				return err
			}
			return a.approvals(all)
		},
	}
	c.Flags().StringVar(&state, "state", "", "`pending`, approved, rejected, expired, withdrawn or all (default pending)")
	return c
}

func (a *app) approvals(all []sdk.Approval) error {
	return list(a, "approvals", all, func(w io.Writer) error {
		var body [][]string
		for _, p := range all {
			body = append(body, []string{p.ID, p.Task, string(p.State), age(p.RequestedAt), moment(p.ExpiresAt),
				shorten(p.Question, 60), shorten(value(p.Detail), 60)})
		}
		return rows(w, []string{"ID", "TASK", "STATE", "AGE", "EXPIRES", "QUESTION", "DETAIL"}, body)
	})
}

func (a *app) approvalsGetCommand() *cobra.Command {
	return &cobra.Command{
		Use: "get ID", Short: "Show one whole", Args: exactly("ID"),
		RunE: func(c *cobra.Command, args []string) error {
			cl, err := a.client()
			if err != nil {
				return err
			}
			found, err := cl.Approval(c.Context(), args[0])
			if err != nil {
				return err
			}
			return a.approval(found)
		},
	}
}

func (a *app) approval(p sdk.Approval) error {
	return a.show(p, func(w io.Writer) error {
		return pairs(w, [][2]string{{"id", p.ID}, {"task", p.Task}, {"state", string(p.State)}, {"question", visible(p.Question)},
			{"detail", visible(value(p.Detail))}, {"digest", p.Digest}, {"expires", moment(p.ExpiresAt)}, {"by", p.DecidedBy}, {"comment", p.Comment}})
	})
}

func (a *app) decideCommand(verb, title string, approve bool) *cobra.Command {
	var comment, digest string
	c := &cobra.Command{
		Use:   verb + " ID",
		Short: title + " what a task asks",
		Long: title + ` what a task asks. The decision holds for exactly the question that this
command reads and shows; --digest makes it hold for one that was read before.`,
		Args: exactly("ID"),
		RunE: func(c *cobra.Command, args []string) error {
			cl, err := a.client()
			if err != nil {
				return err
			}
			found, err := cl.Approval(c.Context(), args[0])
			if err != nil {
				return err
			}
			if digest == "" {
				digest = found.Digest
			}
			conn, err := a.connect(c.Context())
			if err != nil {
				return err
			}
			defer func() { _ = conn.Close() }() // never fails
			if err := conn.Decide(c.Context(), found.ID, approve, digest, comment); err != nil {
				return err
			}
			if found, err = cl.Approval(c.Context(), found.ID); err != nil {
				return err
			}
			return a.approval(found)
		},
	}
	c.Flags().StringVar(&comment, "comment", "", "why; the task sees it")
	c.Flags().StringVar(&digest, "digest", "", "the `digest` of the question that is decided")
	return c
}
