package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/nagatha/nagatha-runtime/sdk/client"
)

// act is a command that does one thing to what its argument names, and shows what
// became of it.
func act[T any](a *app, verb, argument, short string, do func(*client.Client, context.Context, string) (T, error), show func(T) error) *cobra.Command {
	return &cobra.Command{
		Use: verb + " " + argument, Short: short, Args: exactly(argument),
		RunE: func(c *cobra.Command, args []string) error {
			cl, err := a.client()
			if err != nil {
				return err
			}
			got, err := do(cl, c.Context(), args[0])
			if err != nil {
				return err
			}
			return show(got)
		},
	}
}
