package host_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/nagatha/nagatha-runtime/runtime/host"
	"github.com/nagatha/nagatha-runtime/sdk"
)

// The code of a plugin that was disabled ran all the same when the old system looked for
// plugins. docs/old-system.md lists all of its defects.
func TestOldDisabledPluginsRan(t *testing.T) {
	trace := filepath.Join(t.TempDir(), "it-ran")
	script := []string{"/bin/sh", "-c", "echo here > " + trace + "; exit 1"}
	s := newStation(t, func(c *host.Config) { c.Plugins[0].Command, c.Plugins[0].Off = script, true })
	if st := s.status(); st.State != sdk.PluginDisabled {
		t.Errorf("status %+v", st)
	}
	if _, err := os.Stat(trace); err == nil {
		t.Error("its program was started")
	}
	// The same program leaves a trace when it is enabled.
	s = newStation(t, func(c *host.Config) { c.Plugins[0].Command = script })
	if st := s.status(); st.State != sdk.PluginFailed {
		t.Errorf("status %+v", st)
	}
	if _, err := os.Stat(trace); err != nil {
		t.Error(err)
	}
}
