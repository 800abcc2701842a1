package main

import (
	"github.com/spf13/cobra"

	"github.com/nagatha/nagatha-runtime/sdk"
	"github.com/nagatha/nagatha-runtime/sdk/client"
)

func (a *app) signalCommand() *cobra.Command {
	var data string
	c := &cobra.Command{
		Use:   "signal ID NAME",
		Short: "Send a signal to a task that waits for it, or will",
		Example: `  nagatha tasks signal tsk_… go
  nagatha tasks signal tsk_… answer --data '{"n":42}'`,
		Args: exactly("ID", "NAME"),
		RunE: func(c *cobra.Command, args []string) error {
			doc, err := a.document("--data", data)
			if err != nil {
				return err
			}
			return a.one(c.Context(), func(conn *client.Conn) (sdk.Task, error) {
				if err := conn.Signal(c.Context(), args[0], args[1], doc); err != nil {
					return sdk.Task{}, err
				}
				return conn.Get(c.Context(), args[0])
			})
		},
	}
	c.Flags().StringVar(&data, "data", "", "what the task gets: `JSON`, @file, or - for standard input")
	return c
}
