//go:build wasip1

package serve

import (
	"fmt"
	"os"

	"github.com/nagatha/nagatha-runtime/sdk"
	"github.com/nagatha/nagatha-runtime/sdk/wasm"
)

// Main serves p and does not return.
func Main(p sdk.Plugin) {
	if err := Loop(p, wasm.Guest()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}
