package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/nagatha/nagatha-runtime/sdk/client"
)

// app is one run of the command: what it was given and what its flags say.
type app struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	env            map[string]string

	server    string
	dataDir   string
	output    string
	progress  string
	reconnect time.Duration

	started   bool   // the command line was fine
	tokenFrom string // where the token was found, for messages
}

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "nagatha",
		Short: "Submit and watch tasks of a Nagatha Runtime",
		Long: `Submit and watch tasks of a Nagatha Runtime.

The server is --server, NAGATHA_SERVER or ` + client.DefaultServer + `.
The token is NAGATHA_TOKEN, the content of NAGATHA_TOKEN_FILE, or admin.token in
the runtime's data directory (--data-dir, only used for a server on this machine
unless given).

` + exitHelp,
		Version:       version,
		SilenceErrors: true,
		SilenceUsage:  true,
		PersistentPreRunE: func(*cobra.Command, []string) error {
			switch a.output {
			case "table", "json", "jsonl":
			default:
				return usagef("-o %s: want table, json or jsonl", a.output)
			}
			switch a.progress {
			case "auto", "bar", "lines":
			default:
				return usagef("--progress %s: want auto, bar or lines", a.progress)
			}
			if a.reconnect <= 0 {
				return usagef("--reconnect-for %s: want more than 0", a.reconnect)
			}
			a.started = true
			return nil
		},
	}
	root.SetIn(a.stdin)
	root.SetOut(a.stdout)
	root.SetErr(a.stderr)
	root.SetVersionTemplate("nagatha {{.Version}}\n")
	f := root.PersistentFlags()
	f.StringVar(&a.server, "server", "", "the runtime's `URL` (default NAGATHA_SERVER or "+client.DefaultServer+")")
	f.StringVar(&a.dataDir, "data-dir", "", "where the runtime keeps admin.token (default data)")
	f.StringVarP(&a.output, "output", "o", "table", "`format` of the output: table, json or jsonl")
	f.StringVar(&a.progress, "progress", "auto", "show progress as a `form`: bar, lines, or auto (a bar on a terminal)")
	f.DurationVar(&a.reconnect, "reconnect-for", 60*time.Second, "how long to try to get a broken stream back")
	complete := func(values ...string) cobra.CompletionFunc {
		return cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp)
	}
	must(root.RegisterFlagCompletionFunc("output", complete("table", "json", "jsonl")))
	must(root.RegisterFlagCompletionFunc("progress", complete("auto", "bar", "lines")))

	root.AddCommand(a.submitCommand(), a.tasksCommand(), a.eventsCommand(), a.pluginsCommand(), a.approvalsCommand(), a.queuesCommand(), a.schedulesCommand(), a.statusCommand(),
		a.chatCommand(), a.doctorCommand(), a.tokensCommand(), a.backupCommand(),
		&cobra.Command{
			Use: "version", Short: "Print the version of this command", Args: cobra.NoArgs,
			RunE: func(*cobra.Command, []string) error {
				return a.show(map[string]string{"version": version}, func(w io.Writer) error {
					_, err := fmt.Fprintln(w, "nagatha", version)
					return err
				})
			},
		})
	return root
}

// listing makes a group whose first command is also done by the group's name alone.
func listing(use, short string, list *cobra.Command, commands ...*cobra.Command) *cobra.Command {
	c := group(use, short, append([]*cobra.Command{list}, commands...)...)
	none := c.Args
	c.Args = func(c *cobra.Command, args []string) error {
		if len(args) == 0 {
			return nil
		}
		return none(c, args)
	}
	c.RunE = list.RunE
	return c
}

// must is for mistakes in the program, such as a flag's name misspelt.
func must(err error) {
	if err != nil {
		panic(err)
	}
}

// group makes a command that only holds others.
func group(use, short string, commands ...*cobra.Command) *cobra.Command {
	c := &cobra.Command{Use: use, Short: short, Args: func(c *cobra.Command, args []string) error {
		var names []string
		for _, s := range c.Commands() {
			names = append(names, s.Name())
		}
		want := strings.Join(names, ", ")
		if len(args) == 0 {
			return usagef("%s: want one of %s", c.CommandPath(), want)
		}
		return usagef("%s %s: there is no such command; want one of %s", c.CommandPath(), args[0], want)
	}, RunE: func(*cobra.Command, []string) error { return nil }}
	c.AddCommand(commands...)
	return c
}
