// Command bench measures Nagatha Runtime beside its peers, on one machine and in
// one run: make bench builds what it needs and calls it.
//
//	nagatha-bench -root .. -rounds 3 -json figures.json
//	nagatha-bench -only '^ours/engine$' -cpuprofile cpu.prof
//
// # Why
//
// A figure of one's own says little, and one measured on another day says less. So
// the subjects take turns (A B C A B C …), each turn in a process of its own on an
// empty directory, and the ratio to a peer is made of turns of the same round. The
// module is one of its own so that the peers' dependencies stay out of ours.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"regexp"
	"syscall"

	"github.com/nagatha/nagatha-runtime/sdk/process"
)

// options are the command line.
type options struct {
	root         string
	dir          string
	only         string
	rounds       int
	scale        float64
	backlog      int
	concurrency  int
	json         string
	cpuprofile   string
	memprofile   string
	allowMissing bool
	turn         string
}

func main() {
	process.Supervise() // never returns in the process that watches a plugin

	var o options
	flag.StringVar(&o.root, "root", ".", "where bin/ and build/plugins/ are")
	flag.StringVar(&o.dir, "dir", "", "where databases go; a disk, not a tmpfs (default: a temporary directory)")
	flag.StringVar(&o.only, "only", "", "measure only subjects that match this regular expression")
	flag.IntVar(&o.rounds, "rounds", 3, "how often each subject has its turn")
	flag.Float64Var(&o.scale, "scale", 1, "multiplies the number of tasks of every subject, except the backlog's")
	flag.IntVar(&o.backlog, "backlog", 200_000, "tasks of the large backlog")
	flag.IntVar(&o.concurrency, "concurrency", 1000, "of our queue")
	flag.StringVar(&o.json, "json", "", "write the raw figures to this file")
	flag.StringVar(&o.cpuprofile, "cpuprofile", "", "write a CPU profile of the last turn to this file")
	flag.StringVar(&o.memprofile, "memprofile", "", "write an allocation profile of the last turn to this file")
	flag.BoolVar(&o.allowMissing, "allow-missing", false, "go on where a peer's server is not installed")
	flag.StringVar(&o.turn, "turn", "", "run one turn of this subject here and print its figures (used by the program itself)")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	run := measure
	if o.turn != "" {
		run = turn
	}
	if err := run(ctx, o, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		stop()
		os.Exit(1)
	}
}

// measure gives every subject its turns and prints the table.
func measure(ctx context.Context, o options, out io.Writer) error {
	only, err := regexp.Compile(o.only)
	if err != nil {
		return fmt.Errorf("-only: %w", err)
	}
	var chosen []subject
	for _, s := range subjects(o) {
		if only.MatchString(s.name) {
			chosen = append(chosen, s)
		}
	}
	if len(chosen) == 0 {
		return fmt.Errorf("-only %q matches none of the subjects", o.only)
	}
	base, err := os.MkdirTemp(o.dir, "nagatha-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(base)
	if err := os.Chmod(base, 0o711); err != nil { // PostgreSQL's user must get through
		return err
	}
	r := &results{Machine: machine(base), Rounds: o.rounds}
	fmt.Fprintf(os.Stderr, "%s\n", r.Machine)
	missing := map[string]error{}
	failed := 0
	for round := range o.rounds {
		for _, s := range chosen {
			if err := s.missing(); err != nil {
				if missing[s.name] == nil {
					fmt.Fprintf(os.Stderr, "%-28s is left out: %v\n", s.name, err)
				}
				missing[s.name] = err
				continue
			}
			fmt.Fprintf(os.Stderr, "round %d  %-28s ", round+1, s.name)
			t, err := take(ctx, o, base, s.name)
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if err != nil {
				failed++
				fmt.Fprintf(os.Stderr, "FAILED: %v\n", err)
				continue
			}
			t.Round = round + 1
			fmt.Fprintf(os.Stderr, "%5.1f s, %.1f cores, %.1f foreign\n", t.Seconds, t.Cores, t.Foreign)
			r.Turns = append(r.Turns, t)
		}
	}
	r.print(out, chosen, missing)
	if o.json != "" {
		if err := r.write(o.json); err != nil {
			return err
		}
	}
	if failed > 0 {
		return fmt.Errorf("%d turns failed", failed)
	}
	if len(missing) > 0 && !o.allowMissing {
		return fmt.Errorf("%d subjects are missing; install what they need, or say -allow-missing", len(missing))
	}
	return nil
}
