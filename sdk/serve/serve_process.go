//go:build !wasip1

package serve

import (
	"fmt"
	"log/slog"
	"os"

	"github.com/nagatha/nagatha-runtime/sdk"
	"github.com/nagatha/nagatha-runtime/sdk/process"
	"github.com/nagatha/nagatha-runtime/sdk/wire"
)

// outside is the host between tasks: see [sdk.Starter].
type outside struct{ *run }

func (outside) Progress(float64, float64, string) {}
func (outside) Output(string, []byte)             {}

// Log prints a line, which the runtime logs.
func (outside) Log(_ slog.Level, message string, args ...any) {
	fmt.Fprintln(os.Stderr, append([]any{message}, args...)...)
}

// Main serves p and does not return.
func Main(p sdk.Plugin) {
	if !process.Launched() {
		info := p.Info()
		fmt.Fprintf(os.Stderr, "%s %s is a plugin of nagatha-runtime and is not run by hand. Add it to config.hcl:\n\n"+
			"plugin %q {\n  command = [%q]\n}\n", info.Name, info.Version, info.Name, os.Args[0])
		os.Exit(2)
	}
	process.Serve(func(conn wire.Conn) error { return Loop(p, conn) })
	os.Exit(0)
}
