package main

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/nagatha/nagatha-runtime/sdk"
)

func (a *app) statusCommand() *cobra.Command {
	return &cobra.Command{
		Use: "status", Short: "Show how the runtime is", Args: exactly(),
		RunE: func(c *cobra.Command, _ []string) error {
			cl, err := a.client()
			if err != nil {
				return err
			}
			s, err := cl.System(c.Context())
			if err != nil {
				return err
			}
			return a.show(s, func(w io.Writer) error { return statusPairs(w, cl.Server(), s) })
		},
	}
}

func statusPairs(w io.Writer, server string, s sdk.SystemStatus) error {
	var tasks, nodes, lag []string
	for _, state := range sdk.States {
		if n := s.Tasks[state]; n > 0 {
			tasks = append(tasks, fmt.Sprintf("%d %s", n, state))
		}
	}
	for _, n := range s.Nodes {
		nodes = append(nodes, fmt.Sprintf("%s (%d running, beat %s ago)", n.ID, n.Running, n.BeatAge))
	}
	for name, n := range s.Lag {
		lag = append(lag, fmt.Sprintf("%s %d", name, n))
	}
	slices.Sort(lag)
	if len(tasks) == 0 {
		tasks = []string{"none"}
	}
	return pairs(w, [][2]string{
		{"server", server}, {"version", s.Version}, {"uptime", span(s.Uptime)}, {"store", s.Store}, {"bus", s.Bus},
		{"tasks", strings.Join(tasks, ", ")},
		{"plugins", fmt.Sprintf("%d ready, %d failed", s.Plugins.Ready, s.Plugins.Failed)},
		{"nodes", strings.Join(nodes, ", ")}, {"connections", fmt.Sprint(s.Connections)}, {"lag", strings.Join(lag, ", ")},
	})
}
