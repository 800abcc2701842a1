package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/nagatha/nagatha-runtime/sdk"
)

func (a *app) tokensCommand() *cobra.Command {
	return listing("tokens", "Make, show and revoke tokens of clients", a.tokensListCommand(), a.tokensCreateCommand(), a.tokensRevokeCommand())
}

func (a *app) tokensListCommand() *cobra.Command {
	return &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List tokens, without what must stay secret", Args: exactly(),
		RunE: func(c *cobra.Command, _ []string) error {
			cl, err := a.client()
			if err != nil {
				return err
			}
			all, err := cl.Tokens(c.Context())
			if err != nil {
				return err
			}
			return list(a, "tokens", all, func(w io.Writer) error {
				var body [][]string
				for _, t := range all {
					body = append(body, []string{t.ID, t.Name, strings.Join(t.Scopes, " "), orNone(moment(t.CreatedAt)), orNone(moment(t.ExpiresAt)), orNone(moment(t.LastUsed))})
				}
				return rows(w, []string{"ID", "NAME", "SCOPES", "CREATED", "EXPIRES", "LAST USED"}, body)
			})
		},
	}
}

func (a *app) tokensCreateCommand() *cobra.Command {
	var scopes []string
	var age time.Duration
	c := &cobra.Command{
		Use:   "create NAME",
		Short: "Make a token and print it, once",
		Long: `Make a token and print it, once: nobody can show it again.

NAME says whose it is and becomes the owner of its tasks. Scopes are admin,
tasks:read, tasks:submit, tasks:cancel, tasks:admin, approve, chat, plugins:admin,
PLUGIN:read and PLUGIN:write, or the roles viewer, operator and approver.`,
		Example: `  nagatha tokens create web-app --scope chat --expires-in 720h
  nagatha tokens create grafana --scope viewer > grafana.token`,
		Args: exactly("NAME"),
		RunE: func(c *cobra.Command, args []string) error {
			if len(scopes) == 0 {
				return usagef("give at least one --scope, such as viewer")
			}
			if age < 0 {
				return usagef("--expires-in %s: want more than 0", age)
			}
			cl, err := a.client()
			if err != nil {
				return err
			}
			t := sdk.AccessToken{Name: args[0], Scopes: scopes}
			if age > 0 {
				t.ExpiresAt = sdk.Now().Add(age)
			}
			if t, err = cl.CreateToken(c.Context(), t); err != nil {
				return err
			}
			return a.show(t, func(w io.Writer) error {
				a.say("token %s of %s may: %s", t.ID, t.Name, strings.Join(t.Scopes, " "))
				a.say("keep it: it is not shown again. Revoke it with: nagatha tokens revoke %s", t.ID)
				_, err := fmt.Fprintln(w, clean(t.Token))
				return err
			})
		},
	}
	c.Flags().StringSliceVar(&scopes, "scope", nil, "what it may do, a `scope` or a role; repeatable")
	c.Flags().DurationVar(&age, "expires-in", 0, "how long it is good (default for ever)")
	return c
}

func (a *app) tokensRevokeCommand() *cobra.Command {
	return &cobra.Command{
		Use: "revoke ID", Aliases: []string{"delete"}, Short: "Revoke a token; connections that it opened are closed at once", Args: exactly("ID"),
		RunE: func(c *cobra.Command, args []string) error {
			cl, err := a.client()
			if err != nil {
				return err
			}
			if err := cl.RevokeToken(c.Context(), args[0]); err != nil {
				return err
			}
			a.say("token %s is revoked", args[0])
			return nil
		},
	}
}
