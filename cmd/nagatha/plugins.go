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
		act(a, "get", "NAME", "Show a plugin: what each of its kinds does, and a payload that works", (*client.Client).Plugin, a.plugin),
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
			body = append(body, []string{p.Name, p.Version, p.Carrier, p.State, fmt.Sprint(p.Restarts), shorten(strings.Join(kindNames(p), " "), 60), p.Error})
		}
		return rows(w, []string{"NAME", "VERSION", "CARRIER", "STATE", "RESTARTS", "KINDS", "ERROR"}, body)
	})
}

// plugin shows one plugin and, ready to be copied, how to ask for each of its kinds.
func (a *app) plugin(p sdk.PluginStatus) error {
	return a.show(p, func(w io.Writer) error {
		err := pairs(w, [][2]string{{"name", p.Name}, {"version", p.Version}, {"carrier", p.Carrier}, {"state", p.State}, {"error", p.Error},
			{"restarts", number(p.Restarts)}, {"digest", p.Digest}})
		for _, k := range p.Kinds {
			if err == nil {
				_, err = fmt.Fprintf(w, "\n%s  %s\n  nagatha submit %[1]s%[3]s --wait\n", k.Kind, clean(k.Description), asked(k))
			}
		}
		return err
	})
}

// asked is the payload of the example as an argument for a shell.
func asked(k sdk.KindStatus) string {
	text := clean(value(k.Example))
	if text == "" || text == "{}" {
		return ""
	}
	return " --payload '" + strings.ReplaceAll(text, "'", `'\''`) + "'"
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
