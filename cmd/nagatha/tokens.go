package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/nagatha/nagatha-runtime/sdk"
	"github.com/nagatha/nagatha-runtime/sdk/client"
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
		Long: `Revoke a token; connections that it opened are closed at once. ID is its id, or its
name where no other token has that name.`,
		RunE: func(c *cobra.Command, args []string) error {
			cl, err := a.client()
			if err != nil {
				return err
			}
			id := args[0]
			err = cl.RevokeToken(c.Context(), id)
			if sdk.CodeOf(err) == sdk.CodeNotFound {
				if id, err = tokenNamed(c.Context(), cl, id); err == nil {
					err = cl.RevokeToken(c.Context(), id)
				}
			}
			if err != nil {
				return err
			}
			return a.show(map[string]string{"revoked": id}, func(io.Writer) error {
				if id == args[0] {
					a.say("token %s is revoked", id)
				} else {
					a.say("token %s of %s is revoked", id, args[0])
				}
				return nil
			})
		},
	}
}

// tokenNamed returns the id of the only token with a name. Several may have one name,
// and it would be a pity to revoke the wrong one.
func tokenNamed(ctx context.Context, cl *client.Client, name string) (string, error) {
	all, err := cl.Tokens(ctx)
	if err != nil {
		return "", err
	}
	var ids []string
	for _, t := range all {
		if t.Name == name {
			ids = append(ids, t.ID)
		}
	}
	switch len(ids) {
	case 0:
		return "", sdk.Errorf(sdk.CodeNotFound, "there is no token with the id or name %.80q", name)
	case 1:
		return ids[0], nil
	}
	return "", usagef("%d tokens are named %s: give the id of one, %s", len(ids), name, strings.Join(ids, " or "))
}
