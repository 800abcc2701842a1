package host_test

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/nagatha/nagatha-runtime/runtime/host"
	"github.com/nagatha/nagatha-runtime/sdk"
	"github.com/nagatha/nagatha-runtime/sdk/process"
	"github.com/nagatha/nagatha-runtime/sdk/sdktest"
	"github.com/nagatha/nagatha-runtime/sdk/serve"
)

// The test binary is the supervisor and the plugin, too.
func TestMain(m *testing.M) {
	process.Supervise()
	if process.Launched() {
		pluginMain()
		return
	}
	goleak.VerifyTestMain(m)
}

// pluginMain is a plugin whose version stands in a file, so that a reload finds
// another; "broken" does not start, "slow" takes too long.
func pluginMain() {
	b, err := os.ReadFile(os.Getenv("TEST_VERSION"))
	if err != nil || string(b) == "broken" {
		fmt.Fprintln(os.Stderr, "the file is broken")
		os.Exit(1)
	}
	if string(b) == "slow" {
		time.Sleep(time.Hour) // until it is killed
	}
	version := string(b)
	handler := func(kind string, f sdk.HandlerFunc) sdk.Registration {
		return sdk.Registration{HandlerInfo: sdk.HandlerInfo{Kind: cmp.Or(os.Getenv("TEST_NAME"), "test") + "." + kind}, Handler: f}
	}
	serve.Main(sdk.New(sdk.Info{Name: cmp.Or(os.Getenv("TEST_NAME"), "test"), Version: version},
		handler("version", func(context.Context, *sdk.Task, sdk.Host) (json.RawMessage, error) { return json.Marshal(version) }),
		handler("wait", func(ctx context.Context, _ *sdk.Task, host sdk.Host) (json.RawMessage, error) {
			host.Progress(1, 0, "waiting")
			<-ctx.Done()
			return json.Marshal(version)
		}),
		handler("stubborn", func(context.Context, *sdk.Task, sdk.Host) (json.RawMessage, error) {
			time.Sleep(time.Hour) // whatever it is told
			return nil, nil
		}),
		handler("exit", func(context.Context, *sdk.Task, sdk.Host) (json.RawMessage, error) {
			os.Exit(1)
			return nil, nil
		}),
	))
}

// station runs a Host with one plugin and keeps what it hands over.
type station struct {
	t       *testing.T
	host    *host.Host
	version string // path of the file
	ready   chan sdk.Plugin
	gone    chan string
	stop    func() // ends the Host, and waits
	log     *safeBuffer
}

type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *safeBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *safeBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func newStation(t *testing.T, edit func(*host.Config)) *station {
	t.Helper()
	run, err := os.MkdirTemp("", "host") // short: a socket's path has a limit
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(run) })
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	s := &station{t: t, version: filepath.Join(t.TempDir(), "version"), ready: make(chan sdk.Plugin, 100), gone: make(chan string, 100), log: &safeBuffer{}}
	s.write("1.0.0")
	cfg := host.Config{
		RunDir: run, CacheDir: t.TempDir(),
		Plugins: []host.Plugin{{Name: "test", Command: []string{self}, Env: map[string]string{"TEST_VERSION": s.version}}},
		Ready: func(_ context.Context, r host.Ready) error {
			s.ready <- r.Plugin
			return nil
		},
		Gone:   func(name string) { s.gone <- name },
		Logger: slog.New(slog.NewTextHandler(s.log, nil)),
	}
	if edit != nil {
		edit(&cfg)
	}
	if s.host, err = host.New(cfg); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.host.Run(ctx) }()
	s.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(s.stop)
	<-s.host.Loaded()
	return s
}

// An order that comes when the Host has ended is refused: whoever gave it does not wait.
func TestOrderAfterTheEnd(t *testing.T) {
	s := newStation(t, nil)
	s.stop()
	if err := s.host.Reload(context.Background(), "test"); sdk.CodeOf(err) != sdk.CodeUnavailable {
		t.Errorf("got %v", err)
	}
}

func (s *station) write(version string) {
	s.t.Helper()
	if err := os.WriteFile(s.version, []byte(version), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

func (s *station) next() sdk.Plugin {
	s.t.Helper()
	select {
	case p := <-s.ready:
		return p
	case <-time.After(20 * time.Second):
		s.t.Fatalf("no plugin became ready:\n%s", s.log)
		return nil
	}
}

func (s *station) status() sdk.PluginStatus { return s.host.Plugins()[0] }

func handle(t *testing.T, p sdk.Plugin, kind string) (string, error) {
	t.Helper()
	got, err := p.Handle(t.Context(), sdktest.Task(kind, `{}`), sdktest.NewHost())
	return string(got), err
}

// TestRestart: a plugin that dies is back, three times at once and then more
// slowly, and its state says so.
func TestRestart(t *testing.T) {
	back := make(chan struct{}, 100)
	s := newStation(t, func(c *host.Config) {
		c.Changed = func(what host.Changed) {
			if what.What == host.ChangedRestarted {
				back <- struct{}{}
			}
		}
	})
	for i := range 5 {
		p := s.next()
		if got, err := handle(t, p, "test.version"); got != `"1.0.0"` || err != nil {
			t.Fatalf("life %d: %s, %v", i, got, err)
		}
		start := time.Now()
		if _, err := handle(t, p, "test.exit"); sdk.CodeOf(err) != sdk.CodePluginCrashed {
			t.Errorf("life %d: %v", i, err)
		}
		if name := <-s.gone; name != "test" {
			t.Errorf("gone: %q", name)
		}
		again := s.next()
		took := time.Since(start)
		if i < 3 && took > 20*time.Second || i == 3 && took < 250*time.Millisecond {
			t.Errorf("restart %d took %v", i+1, took)
		}
		<-back // its state says so only once it has been handed over
		s.ready <- again
	}
	st := s.status()
	if st.State != sdk.PluginReady || st.Restarts != 5 || st.Error != "" {
		t.Errorf("state %q, %d restarts, error %q", st.State, st.Restarts, st.Error)
	}
}

// TestKilled: what an attempt that does not stop brings upon its process is no fault of
// the process, and nobody says that it ended by itself.
func TestKilled(t *testing.T) {
	changes := make(chan host.Changed, 100)
	s := newStation(t, func(c *host.Config) { c.Changed = func(what host.Changed) { changes <- what } })
	p := s.next()
	abort := make(chan struct{})
	close(abort)
	ctx, cancel := context.WithCancelCause(sdk.WithAbort(t.Context(), abort))
	cancel(errors.New("cancelled by force"))
	if _, err := p.Handle(ctx, sdktest.Task("test.stubborn", `{}`), sdktest.NewHost()); err == nil {
		t.Error("it ended well")
	}
	<-s.gone
	s.next()
	const why = "the runtime ended the process: an attempt of task tsk_test (test.stubborn) did not stop: cancelled by force"
	for _, want := range []host.Changed{{What: host.ChangedReady}, {What: host.ChangedFailed, Error: why}, {What: host.ChangedRestarted}} {
		if got := <-changes; got.What != want.What || got.Error != want.Error {
			t.Errorf("told %+v, want %+v", got, want)
		}
	}
	if log := s.log.String(); !strings.Contains(log, "the runtime ended the plugin; restarting it") || strings.Contains(log, "by itself") {
		t.Errorf("the log:\n%s", log)
	}
}

// TestReload: new attempts go to the new version, those that run end on the old.
func TestReload(t *testing.T) {
	s := newStation(t, nil)
	old := s.next()
	waiting := sdktest.NewHost()
	ctx, cancel := context.WithCancel(sdk.WithAbort(t.Context(), nil))
	ended := make(chan string, 1)
	go func() {
		got, err := old.Handle(ctx, sdktest.Task("test.wait", `{}`), waiting)
		ended <- fmt.Sprint(string(got), err)
	}()
	<-waiting.Heard()

	s.write("2.0.0")
	if err := s.host.Reload(t.Context(), "test"); err != nil {
		t.Fatal(err)
	}
	if got, err := handle(t, s.next(), "test.version"); got != `"2.0.0"` || err != nil {
		t.Errorf("the new version: %s, %v", got, err)
	}
	for { // the old one retires in its own time
		_, err := handle(t, old, "test.version")
		if errors.Is(err, sdk.ErrNotStarted) {
			break
		}
		if err != nil {
			t.Fatalf("the old version: %v", err)
		}
	}
	cancel()
	if got := <-ended; got != `"1.0.0"<nil>` {
		t.Errorf("the running attempt: %s", got)
	}
	if len(s.gone) != 0 {
		t.Error("a reload took the plugin away")
	}
	if st := s.status(); st.Version != "2.0.0" || st.Restarts != 0 {
		t.Errorf("status %+v", st)
	}
}

// TestFailedReload: what cannot be loaded does not take the place of what runs.
func TestFailedReload(t *testing.T) {
	s := newStation(t, nil)
	p := s.next()
	s.write("broken")
	err := s.host.Reload(t.Context(), "test")
	if err == nil || !strings.Contains(err.Error(), "the file is broken") || !strings.Contains(err.Error(), "plugin test") {
		t.Errorf("got %v", err)
	}
	if got, err := handle(t, p, "test.version"); got != `"1.0.0"` || err != nil {
		t.Errorf("the running version: %s, %v", got, err)
	}
	if st := s.status(); st.State != sdk.PluginReady || !strings.Contains(st.Error, "the file is broken") || st.Version != "1.0.0" {
		t.Errorf("status %+v", st)
	}
	s.write("3.0.0")
	if err := s.host.Reload(t.Context(), "test"); err != nil {
		t.Fatal(err)
	}
	if st := s.status(); st.Error != "" || st.Version != "3.0.0" {
		t.Errorf("after a good reload: %+v", st)
	}
	if err := s.host.Reload(t.Context(), "nobody"); sdk.CodeOf(err) != sdk.CodeNotFound {
		t.Errorf("reload of nobody: %v", err)
	}
}

// TestComesBackByReload: a plugin that did not load at the start can be mended
// without a restart of the runtime.
func TestComesBackByReload(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(t.TempDir(), "program")
	s := newStation(t, func(c *host.Config) { c.Plugins[0].Command = []string{program} })
	if st := s.status(); st.State != sdk.PluginFailed || !strings.Contains(st.Error, "no such file") {
		t.Errorf("status %+v", st)
	}
	if err := os.Symlink(self, program); err != nil {
		t.Fatal(err)
	}
	if err := s.host.Reload(t.Context(), "test"); err != nil {
		t.Fatal(err)
	}
	if got, err := handle(t, s.next(), "test.version"); got != `"1.0.0"` || err != nil {
		t.Errorf("got %s, %v", got, err)
	}
}

// TestSlowStart: a machine that is too busy at the start does not cost the plugin: it
// is tried again.
func TestSlowStart(t *testing.T) {
	s := newStation(t, func(c *host.Config) {
		c.Plugins[0].Limits.StartTimeout = time.Second
		if err := os.WriteFile(c.Plugins[0].Env["TEST_VERSION"], []byte("slow"), 0o600); err != nil {
			t.Fatal(err)
		}
	})
	if st := s.status(); st.State != sdk.PluginFailed || !strings.Contains(st.Error, "no handshake within 1s") {
		t.Errorf("status %+v", st)
	}
	s.write("1.0.0")
	if got, err := handle(t, s.next(), "test.version"); got != `"1.0.0"` || err != nil {
		t.Errorf("got %s, %v", got, err)
	}
}

// TestRefused: a plugin that the runtime's checks refuse does not stay.
func TestRefused(t *testing.T) {
	t.Run("name", func(t *testing.T) {
		s := newStation(t, func(c *host.Config) { c.Plugins[0].Name = "other" })
		if st := s.status(); st.State != sdk.PluginFailed || !strings.Contains(st.Error, `rename the block to plugin "test"`) {
			t.Errorf("status %+v", st)
		}
	})
	t.Run("config", func(t *testing.T) {
		s := newStation(t, func(c *host.Config) {
			c.Check = func(info sdk.Info, _ json.RawMessage) error { return fmt.Errorf("config of %s: no", info.Name) }
		})
		if st := s.status(); st.State != sdk.PluginFailed || !strings.Contains(st.Error, "config of test: no") {
			t.Errorf("status %+v", st)
		}
	})
	t.Run("disabled", func(t *testing.T) {
		s := newStation(t, func(c *host.Config) { c.Plugins[0].Off = true })
		if st := s.status(); st.State != sdk.PluginDisabled || len(s.ready) != 0 {
			t.Errorf("status %+v", st)
		}
	})
	if _, err := host.New(host.Config{Ready: func(context.Context, host.Ready) error { return nil }, Gone: func(string) {},
		Plugins: []host.Plugin{{Name: "test", Grant: host.Grant{HTTP: []string{"https://x/"}}}}}); err == nil || !strings.Contains(err.Error(), `plugin "test"`) {
		t.Errorf("a bad grant: %v", err)
	}
}

// TestDatabaseAwayAtStart: a plugin that is loaded while the database does not answer
// is loaded again by itself.
func TestDatabaseAwayAtStart(t *testing.T) {
	tries := 0
	s := newStation(t, func(c *host.Config) {
		ready := c.Ready
		c.Ready = func(ctx context.Context, r host.Ready) error {
			if tries++; tries <= 2 {
				return fmt.Errorf("read manifest: %w", sdk.Errorf(sdk.CodeUnavailable, "the database does not answer at present"))
			}
			return ready(ctx, r)
		}
	})
	if got, err := handle(t, s.next(), "test.version"); got != `"1.0.0"` || err != nil {
		t.Errorf("%s, %v", got, err)
	}
}
