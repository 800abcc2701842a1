package host_test

import (
	"context"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/nagatha/nagatha-runtime/runtime/host"
	"github.com/nagatha/nagatha-runtime/sdk"
)

// file is a configuration that a test edits.
type file struct {
	mu   sync.Mutex
	list []host.Plugin
	err  error
}

func (f *file) read() ([]host.Plugin, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.list, f.err
}

func (f *file) write(err error, list ...host.Plugin) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.list, f.err = list, err
}

// with is a block with other variables.
func with(c host.Plugin, env map[string]string) host.Plugin {
	c.Env = maps.Clone(c.Env)
	maps.Copy(c.Env, env)
	return c
}

// TestReloadOfTheConfiguration: blocks that are new, changed or gone count without a
// restart of the runtime.
func TestReloadOfTheConfiguration(t *testing.T) {
	conf := &file{}
	var block host.Plugin
	forgotten := make(chan string, 10)
	s := newStation(t, func(c *host.Config) {
		block = c.Plugins[0]
		c.Read = conf.read
		c.Forget = func(_ context.Context, name string) error { forgotten <- name; return nil }
	})
	version := func(kind, want string) {
		t.Helper()
		if got, err := handle(t, s.next(), kind); got != want || err != nil {
			t.Errorf("%s: %s, %v", kind, got, err)
		}
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	states := func(want ...string) {
		t.Helper()
		got := []string{}
		for _, p := range s.host.Plugins() {
			got = append(got, p.Name+" "+p.State)
		}
		if len(got) != len(want) {
			t.Fatalf("plugins %q, want %q", got, want)
		}
		for i := range want {
			if got[i] != want[i] {
				t.Errorf("plugins %q, want %q", got, want)
			}
		}
	}
	version("test.version", `"1.0.0"`)

	// A changed block; what does not load leaves what runs as it was configured.
	other := filepath.Join(t.TempDir(), "other")
	must(os.WriteFile(other, []byte("2.0.0"), 0o600))
	changed := with(block, map[string]string{"TEST_VERSION": other})
	conf.write(nil, changed)
	must(s.host.Reload(t.Context(), "test"))
	version("test.version", `"2.0.0"`)
	conf.write(nil, with(block, map[string]string{"TEST_VERSION": other + ".none"}))
	if err := s.host.Reload(t.Context(), "test"); err == nil {
		t.Error("a block that does not load is no error")
	}
	states("test ready")

	// A new one, by its name; it comes first in the file.
	second := with(block, map[string]string{"TEST_NAME": "second"})
	second.Name = "second"
	conf.write(nil, second, changed)
	if err := s.host.Reload(t.Context(), "third"); sdk.CodeOf(err) != sdk.CodeNotFound {
		t.Errorf("a plugin that is nowhere: %v", err)
	}
	must(s.host.Reload(t.Context(), "second"))
	version("second.version", `"1.0.0"`)
	states("test ready", "second ready")

	// All of it, of which one part does not load.
	third := second
	third.Name, third.Command = "third", []string{other + ".none"}
	off := second
	off.Name, off.Off = "off", true
	conf.write(nil, second, third, off, changed)
	if err := s.host.ReloadAll(t.Context()); err == nil {
		t.Error("a plugin that does not load is no error")
	}
	version("second.version", `"1.0.0"`)
	version("test.version", `"2.0.0"`)
	states("second ready", "third failed", "off disabled", "test ready")

	// Nothing can be read: nothing changes.
	conf.write(errors.New("misspelt"))
	if err := s.host.ReloadAll(t.Context()); err == nil {
		t.Error("a configuration that cannot be read is no error")
	}
	states("second ready", "third failed", "off disabled", "test ready")

	// Disabled by its block, and on again; disabled by hand it stays so.
	switched := changed
	switched.Off = true
	conf.write(nil, second, switched)
	must(s.host.ReloadAll(t.Context()))
	version("second.version", `"1.0.0"`)
	states("second ready", "test disabled")
	for range 2 {
		<-forgotten
	}
	conf.write(nil, second, changed)
	must(s.host.Disable(t.Context(), "second"))
	must(s.host.ReloadAll(t.Context()))
	version("test.version", `"2.0.0"`)
	states("second disabled", "test ready")

	// Gone.
	conf.write(nil, second)
	if err := s.host.Reload(t.Context(), "test"); sdk.CodeOf(err) != sdk.CodeConflict {
		t.Errorf("a plugin whose block is gone: %v", err)
	}
	must(s.host.ReloadAll(t.Context()))
	if name := <-forgotten; name != "test" {
		t.Errorf("forgotten: %s", name)
	}
	states("second disabled")
	if err := s.host.Enable(t.Context(), "test"); sdk.CodeOf(err) != sdk.CodeNotFound {
		t.Errorf("enable what is gone: %v", err)
	}
	must(s.host.Enable(t.Context(), "second"))
	version("second.version", `"1.0.0"`)
	s.stop()
	if err := s.host.ReloadAll(t.Context()); err == nil {
		t.Error("a reload after the end is no error")
	}
}
