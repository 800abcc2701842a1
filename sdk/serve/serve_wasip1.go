//go:build wasip1

package serve

import (
	"context"
	"fmt"
	"log/slog"
	"os"

	"github.com/nagatha/nagatha-runtime/sdk"
	"github.com/nagatha/nagatha-runtime/sdk/wasm"
)

// outside is the host between tasks: see [sdk.Starter]. A module does nothing then.
type outside struct{ *run }

func (outside) Progress(float64, float64, string) {}
func (outside) Output(string, []byte)             {}
func (outside) Log(slog.Level, string, ...any)    {}

func (outside) Call(context.Context, string, []byte) ([]byte, error) {
	return nil, sdk.Errorf(sdk.CodeUnavailable, "a module can call its host only in a task")
}

// Main serves p and does not return.
func Main(p sdk.Plugin) {
	if err := Loop(p, wasm.Guest()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}
