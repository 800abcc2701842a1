package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/nagatha/nagatha-runtime/sdk"
)

func (a *app) pluginsCommand() *cobra.Command {
	return group("plugins", "Show plugins", &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List plugins and the kinds they handle", Args: exactly(),
		RunE: func(c *cobra.Command, _ []string) error {
			cl, err := a.client()
			if err != nil {
				return err
			}
			list, err := cl.Plugins(c.Context())
			if err != nil {
				return err
			}
			return a.plugins(list)
		},
	})
}

func (a *app) plugins(list []sdk.PluginStatus) error {
	if a.output == "jsonl" {
		for _, p := range list {
			if err := a.line(p); err != nil {
				return err
			}
		}
		return nil
	}
	if list == nil {
		list = []sdk.PluginStatus{}
	}
	return a.show(map[string]any{"plugins": list}, func(w io.Writer) error {
		var body [][]string
		for _, p := range list {
			var kinds []string
			for _, k := range p.Kinds {
				kinds = append(kinds, k.Kind)
			}
			body = append(body, []string{p.Name, p.Version, p.Carrier, p.State, fmt.Sprint(p.Restarts), strings.Join(kinds, " "), p.Error})
		}
		return rows(w, []string{"NAME", "VERSION", "CARRIER", "STATE", "RESTARTS", "KINDS", "ERROR"}, body)
	})
}
