// Command nagatha is the client of a Nagatha Runtime.
//
//	nagatha submit demo.echo --set text=hello --follow
//	nagatha tasks list --state failed
//	nagatha events tail 'event.>'
//
// Data goes to stdout, everything else to stderr. Exit codes are in exit.go.
package main

import (
	"context"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/nagatha/nagatha-runtime/sdk/process"
)

// version is set by the Makefile.
var version = "dev"

func main() {
	process.Supervise() // never returns in the process that watches a plugin under check
	os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr, environ(os.Environ())))
}

// run is the whole command. The first interrupt ends what waits; the second one
// ends the program.
func run(args []string, stdin io.Reader, stdout, stderr io.Writer, env map[string]string) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop)
	a := &app{stdin: stdin, stdout: stdout, stderr: stderr, env: env}
	root := a.root()
	root.SetArgs(args)
	return a.exit(root.ExecuteContext(ctx))
}

func environ(list []string) map[string]string {
	env := make(map[string]string, len(list))
	for _, kv := range list {
		k, v, _ := strings.Cut(kv, "=")
		env[k] = v
	}
	return env
}
