// Command nagatha-runtime is the daemon: flags, signals and wiring, nothing
// else.
//
//	nagatha-runtime -config config.hcl           serve
//	nagatha-runtime -config config.hcl -check    say what is wrong with it
//	nagatha-runtime -version
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	_ "time/tzdata" // schedules name time zones, and not every machine knows them

	"github.com/nagatha/nagatha-runtime/runtime"
	"github.com/nagatha/nagatha-runtime/runtime/config"
	"github.com/nagatha/nagatha-runtime/runtime/store"
	"github.com/nagatha/nagatha-runtime/sdk/process"
)

// version is set by the Makefile.
var version = "dev"

func main() {
	process.Supervise() // never returns in the process that watches a plugin
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}

func run(args []string, stdout, stderr io.Writer) int {
	fs := flag.NewFlagSet("nagatha-runtime", flag.ContinueOnError)
	fs.SetOutput(stderr)
	path := fs.String("config", "config.hcl", "the configuration `file`")
	check := fs.Bool("check", false, "check the configuration and exit: 0 if it is good, 1 if not")
	show := fs.Bool("version", false, "print the version and exit")
	if err := fs.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return 0
		}
		return 2
	}
	if fs.NArg() > 0 {
		fmt.Fprintf(stderr, "nagatha-runtime: unexpected argument %q; the file is given as -config FILE\n", fs.Arg(0))
		return 2
	}
	if *show {
		fmt.Fprintln(stdout, "nagatha-runtime", version)
		return 0
	}
	// From here on, since whoever asks for a reload does not know how far a start or a
	// shutdown is: unheard, the signal would kill.
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)

	loader := config.Loader{Cron: runtime.CheckCron, Kinds: runtime.SystemKinds(), URL: store.CheckURL}
	cfg, err := loader.Load(*path)
	if err != nil {
		fmt.Fprintln(stderr, err)
		return 1
	}
	if *check {
		fmt.Fprintf(stdout, "%s: ok\n", *path)
		return 0
	}

	if os.Getenv("GOGC") == "" {
		tuneGC()
	}

	// Whoever reads the log may go away: then its lines are lost, and nothing else.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)

	again := func() (*config.Config, error) {
		if f, err := os.Stat(*path); err == nil && !f.Mode().IsRegular() {
			return cfg, nil // a pipe says it once
		}
		return loader.Load(*path)
	}

	// The first signal drains, the second does not wait.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop)
	if err := serve(ctx, cfg, again, hangup, stdout, stderr); err != nil {
		fmt.Fprintf(stderr, "nagatha-runtime: %v\n", err)
		return 1
	}
	return 0
}
