//go:build !race

package process_test

import (
	"strings"
	"testing"

	"github.com/nagatha/nagatha-runtime/sdk"
)

// The race detector's shadow memory does not fit a limit, so this test is built
// without it; sdk/sdktest runs the same case over a plugin of its own.
func TestMemoryLimit(t *testing.T) {
	cfg := config(t, "")
	cfg.Memory = 512 << 20
	p := launch(t, cfg)
	_, err := p.Handle(t.Context(), task("oom", `{}`), newRecorder())
	if sdk.CodeOf(err) != sdk.CodeOutOfMemory || !strings.Contains(err.Error(), "limits.memory allows it 512MiB") {
		t.Errorf("got %v", err)
	}
}
