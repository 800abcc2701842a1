//go:build !race

package process_test

import (
	"testing"

	"github.com/nagatha/nagatha-runtime/sdk"
)

// The race detector's shadow memory does not fit a limit, so this test is built
// without it; sdk/sdktest runs the same case over a plugin of its own.
func TestMemoryLimit(t *testing.T) {
	cfg := config(t, "")
	cfg.Memory = 512 << 20
	p := launch(t, cfg)
	if _, err := p.Handle(t.Context(), task("oom", `{}`), newRecorder()); sdk.CodeOf(err) != sdk.CodeOutOfMemory {
		t.Errorf("got %v", err)
	}
}
