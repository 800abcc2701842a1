package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/nagatha/nagatha-runtime/sdk"
	"github.com/nagatha/nagatha-runtime/sdk/client"
)

func (a *app) pluginsCommand() *cobra.Command {
	return listing("plugins", "Show, reload, write and check plugins", a.pluginsListCommand(),
		a.pluginCommand("reload", "Load a plugin's file again; running attempts end on the old version", (*client.Client).ReloadPlugin),
		a.pluginCommand("enable", "Load a plugin that is disabled", (*client.Client).EnablePlugin),
		a.pluginCommand("disable", "Take a plugin out of service until it is enabled or the runtime starts again", (*client.Client).DisablePlugin),
		a.pluginsNewCommand(), a.pluginsCheckCommand())
}

func (a *app) pluginsListCommand() *cobra.Command {
	return &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List plugins and the kinds they handle", Args: exactly(),
		RunE: func(c *cobra.Command, _ []string) error {
			cl, err := a.client()
			if err != nil {
				return err
			}
			all, err := cl.Plugins(c.Context())
			if err != nil {
				return err
			}
			return a.plugins(all)
		},
	}
}

func (a *app) plugins(all []sdk.PluginStatus) error {
	return list(a, "plugins", all, func(w io.Writer) error {
		var body [][]string
		for _, p := range all {
			body = append(body, []string{p.Name, p.Version, p.Carrier, p.State, fmt.Sprint(p.Restarts), strings.Join(kindNames(p), " "), p.Error})
		}
		return rows(w, []string{"NAME", "VERSION", "CARRIER", "STATE", "RESTARTS", "KINDS", "ERROR"}, body)
	})
}

func kindNames(p sdk.PluginStatus) []string {
	var names []string
	for _, k := range p.Kinds {
		names = append(names, k.Kind)
	}
	return names
}

func (a *app) pluginCommand(verb, short string, do func(*client.Client, context.Context, string) (sdk.PluginStatus, error)) *cobra.Command {
	return act(a, verb, "NAME", short, do, func(p sdk.PluginStatus) error {
		return a.show(p, func(w io.Writer) error {
			return pairs(w, [][2]string{{"name", p.Name}, {"version", p.Version}, {"carrier", p.Carrier}, {"state", p.State}, {"error", p.Error},
				{"kinds", strings.Join(kindNames(p), " ")}, {"digest", p.Digest}})
		})
	})
}
