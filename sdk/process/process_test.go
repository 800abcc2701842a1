package process_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/nagatha/nagatha-runtime/sdk"
	"github.com/nagatha/nagatha-runtime/sdk/process"
	"github.com/nagatha/nagatha-runtime/sdk/serve"
)

// The test binary plays every part: supervisor, plugin, and a host to be killed.
func TestMain(m *testing.M) {
	if dir := os.Getenv("TEST_FORGETFUL"); dir != "" {
		forgetfulMain(dir)
	}
	process.Supervise()
	switch {
	case process.Launched():
		pluginMain()
	case os.Getenv("TEST_HOST") != "":
		hostMain(os.Getenv("TEST_HOST"))
	}
	goleak.VerifyTestMain(m)
}

func pluginMain() {
	info := sdk.Info{Name: "test", Version: "1.2.3"}
	switch os.Getenv("TEST_PLUGIN") {
	case "exit":
		fmt.Fprintln(os.Stderr, "no licence found")
		os.Exit(7)
	case "garbage":
		fmt.Println("Welcome to my program!")
		time.Sleep(time.Minute)
	case "hang":
		time.Sleep(time.Minute)
	case "badmanifest":
		info.Version = ""
	case "plain": // as one in Python or Node: what asks for mutual TLS means nothing to it
		os.Unsetenv("PLUGIN_CLIENT_CERT")
	case "elsewhere":
		os.Setenv("PLUGIN_UNIX_SOCKET_DIR", os.Getenv("TEST_SOCKETS"))
	case "daemon":
		cmd := exec.Command("setsid", "sleep", "1000")
		if err := cmd.Start(); err != nil {
			panic(err)
		}
		fmt.Fprintln(os.Stderr, "daemon", cmd.Process.Pid)
	}
	start := func(sdk.Host) {}
	if os.Getenv("TEST_PLUGIN") == "between" {
		start = func(host sdk.Host) { // in a goroutine of its own: the loop hands on the replies
			go func() {
				reply, err := host.Call(context.Background(), "upper", []byte(`"abc"`))
				fmt.Fprintf(os.Stderr, "heard %s %v\n", reply, err)
				_, _ = host.Call(context.Background(), "said", fmt.Appendf(nil, "%s %v", reply, err))
			}()
		}
	}
	serve.Main(sdk.New(info, registrations()...).OnStart(start).OnConfigure(func(_ context.Context, c json.RawMessage) error {
		if string(c) == `{"bad":true}` {
			return errors.New("bad must not be true")
		}
		return nil
	}))
}

func registrations() []sdk.Registration {
	h := func(kind string, f sdk.HandlerFunc) sdk.Registration {
		return sdk.Registration{HandlerInfo: sdk.HandlerInfo{Kind: "test." + kind}, Handler: f}
	}
	var memory [][]byte
	return []sdk.Registration{
		h("echo", func(_ context.Context, t *sdk.Task, _ sdk.Host) (json.RawMessage, error) { return t.Payload, nil }),
		h("env", func(context.Context, *sdk.Task, sdk.Host) (json.RawMessage, error) { return json.Marshal(os.Environ()) }),
		h("files", func(context.Context, *sdk.Task, sdk.Host) (json.RawMessage, error) {
			var files []string
			open, err := os.ReadDir("/proc/self/fd")
			for _, f := range open {
				path, _ := os.Readlink("/proc/self/fd/" + f.Name())
				files = append(files, path)
			}
			return fmt.Appendf(nil, "%q", fmt.Sprint(files, err)), nil
		}),
		h("sleep", func(ctx context.Context, _ *sdk.Task, _ sdk.Host) (json.RawMessage, error) {
			select {
			case <-time.After(100 * time.Millisecond):
				return nil, nil
			case <-ctx.Done():
				return nil, context.Cause(ctx)
			}
		}),
		h("talk", func(ctx context.Context, t *sdk.Task, host sdk.Host) (json.RawMessage, error) {
			host.Progress(1, 2, "half")
			host.Log(slog.LevelWarn, "careful", "n", 1)
			host.Output("stdout", []byte("hello"))
			return host.Call(ctx, "upper", t.Payload)
		}),
		h("fail", func(context.Context, *sdk.Task, sdk.Host) (json.RawMessage, error) {
			return nil, sdk.RetryAfter(sdk.Errorf(sdk.CodeUnavailable, "later"), time.Minute)
		}),
		h("panic", func(context.Context, *sdk.Task, sdk.Host) (json.RawMessage, error) { panic("oh no") }),
		h("badresult", func(context.Context, *sdk.Task, sdk.Host) (json.RawMessage, error) { return []byte("{"), nil }),
		h("exit", func(context.Context, *sdk.Task, sdk.Host) (json.RawMessage, error) {
			fmt.Fprintln(os.Stderr, "giving up")
			os.Exit(3)
			return nil, nil
		}),
		h("wait", func(ctx context.Context, _ *sdk.Task, host sdk.Host) (json.RawMessage, error) {
			host.Progress(1, 0, "waiting")
			<-ctx.Done()
			return json.RawMessage(`"stopped"`), nil
		}),
		h("deaf", func(_ context.Context, _ *sdk.Task, host sdk.Host) (json.RawMessage, error) {
			host.Progress(1, 0, "deaf")
			select {}
		}),
		h("stop", func(_ context.Context, _ *sdk.Task, host sdk.Host) (json.RawMessage, error) {
			host.Progress(0, 0, strconv.Itoa(os.Getpid()))
			select {} // the test stops it
		}),
		h("oom", func(context.Context, *sdk.Task, sdk.Host) (json.RawMessage, error) {
			for range 64 {
				b := make([]byte, 32<<20)
				for i := range b {
					b[i] = 1
				}
				memory = append(memory, b)
			}
			return nil, errors.New("2 GiB were not too much")
		}),
	}
}

func config(t testing.TB, part string) process.Config {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return process.Config{Name: "test", Command: []string{self}, Env: []string{"TEST_PLUGIN=" + part},
		RunDir: runDir(t), Log: func(l slog.Level, s string) { t.Logf("plugin: %v %s", l, s) }}
}

// runDir is short: a socket's path may have about a hundred bytes.
func runDir(t testing.TB) string {
	dir, err := os.MkdirTemp("", "ngt")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func launch(t testing.TB, cfg process.Config) *process.Plugin {
	t.Helper()
	p, err := process.Launch(context.Background(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return p
}

func task(kind, payload string) *sdk.Task {
	return &sdk.Task{ID: "tsk_1", Kind: "test." + kind, Payload: json.RawMessage(payload), Life: 1, Attempt: 1, MaxAttempts: 5}
}

func TestConversation(t *testing.T) {
	p := launch(t, config(t, ""))
	if p.Info().Version != "1.2.3" || !strings.HasPrefix(p.Digest(), "sha256:") {
		t.Errorf("got %+v, %s", p.Info(), p.Digest())
	}
	if err := p.Configure(t.Context(), json.RawMessage(`{}`)); err != nil {
		t.Error(err)
	}
	if err := p.Configure(t.Context(), json.RawMessage(`{"bad":true}`)); err == nil || !strings.Contains(err.Error(), "bad must not be true") {
		t.Errorf("a bad configuration: %v", err)
	}
	host := newRecorder()
	got, err := p.Handle(t.Context(), task("talk", `"abc"`), host)
	if string(got) != `"ABC"` || err != nil {
		t.Errorf("talk: %s, %v", got, err)
	}
	if want := []string{"progress 1/2 half", "log WARN careful [n 1]", "output stdout hello"}; !slices.Equal(host.said, want) {
		t.Errorf("host heard %q", host.said)
	}
	big := `"` + strings.Repeat("x", 5<<20) + `"`
	if got, err := p.Handle(t.Context(), task("echo", big), host); string(got) != big || err != nil {
		t.Errorf("5 MiB: %d bytes, %v", len(got), err)
	}
}

func TestErrors(t *testing.T) {
	p := launch(t, config(t, ""))
	_, err := p.Handle(t.Context(), task("fail", `{}`), newRecorder())
	if e := sdk.AsError(err); e.Code != sdk.CodeUnavailable || !e.Retryable || e.After != time.Minute {
		t.Errorf("fail: %+v", e)
	}
	_, err = p.Handle(t.Context(), task("panic", `{}`), newRecorder())
	if e := sdk.AsError(err); e.Code != sdk.CodeHandlerError || !strings.Contains(e.Message, "oh no") || !strings.Contains(e.Message, "goroutine") {
		t.Errorf("panic: %+v", e)
	}
	_, err = p.Handle(t.Context(), task("badresult", `{}`), newRecorder())
	if sdk.CodeOf(err) != sdk.CodeInvalidResult {
		t.Errorf("badresult: %v", err)
	}
	if got, err := p.Handle(t.Context(), task("echo", `1`), newRecorder()); string(got) != "1" || err != nil {
		t.Errorf("after all that: %s, %v", got, err)
	}
}

func TestParallel(t *testing.T) {
	p := launch(t, config(t, ""))
	start := time.Now()
	var wg sync.WaitGroup
	for range 100 {
		wg.Go(func() {
			if _, err := p.Handle(t.Context(), task("sleep", `{}`), newRecorder()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if d := time.Since(start); d > 9*time.Second {
		t.Errorf("100 waits of 100 ms at once took %v", d)
	}
}

func TestEnvironmentIsWhatWasListed(t *testing.T) {
	t.Setenv("SECRET_OF_THE_HOST", "x")
	cfg := config(t, "")
	cfg.Env = append(cfg.Env, "GREETING=hello")
	p := launch(t, cfg)
	got, err := p.Handle(t.Context(), task("env", `{}`), newRecorder())
	if err != nil {
		t.Fatal(err)
	}
	var env []string
	if err := json.Unmarshal(got, &env); err != nil {
		t.Fatal(err)
	}
	for _, e := range env {
		name, _, _ := strings.Cut(e, "=")
		if name != "GREETING" && name != "TEST_PLUGIN" && name != "NAGATHA_PLUGIN" && !strings.HasPrefix(name, "PLUGIN_") {
			t.Errorf("the plugin sees %s", name)
		}
	}
	if !slices.Contains(env, "GREETING=hello") {
		t.Errorf("GREETING is missing in %q", env)
	}
}

func TestCancelIsHeard(t *testing.T) {
	p := launch(t, config(t, ""))
	host := newRecorder()
	ctx, cancel := context.WithCancel(sdk.WithAbort(t.Context(), make(chan struct{})))
	go func() { <-host.first; cancel() }()
	if got, err := p.Handle(ctx, task("wait", `{}`), host); string(got) != `"stopped"` || err != nil {
		t.Errorf("got %s, %v", got, err)
	}
}

// TestDoesNotRead: a plugin that reads no more does not hold those who have something to
// tell it, and who would hear of no cancel.
func TestDoesNotRead(t *testing.T) {
	cfg := config(t, "")
	cfg.ReadTimeout = 200 * time.Millisecond
	p := launch(t, cfg)
	ctx := sdk.WithAbort(t.Context(), make(chan struct{}))
	ends := make(chan error)
	host := newRecorder()
	handle := func(kind, payload string) {
		_, err := p.Handle(ctx, task(kind, payload), host)
		ends <- err
	}
	go handle("stop", `{}`)
	<-host.first
	pid := strings.TrimPrefix(host.said[0], "progress 0/0 ")
	if n, err := strconv.Atoi(pid); err != nil || syscall.Kill(n, syscall.SIGSTOP) != nil {
		t.Fatalf("stop %q: %v", pid, err)
	}
	for stopped := false; !stopped; {
		stat, err := os.ReadFile("/proc/" + pid + "/stat")
		if err != nil {
			t.Fatal(err)
		}
		stopped = strings.Contains(string(stat), ") T ")
	}
	for range 3 { // the first of them fills the window
		go handle("wait", `"`+strings.Repeat("x", 1<<20)+`"`)
	}
	for range 4 {
		err := <-ends
		if !errors.Is(err, sdk.ErrNotStarted) && (sdk.CodeOf(err) != sdk.CodePluginProtocol || !strings.Contains(err.Error(), "has not read")) {
			t.Errorf("it ended with %v", err)
		}
	}
}

// TestFilesAreNotInherited: what was open when the runtime was started is not the plugin's.
func TestFilesAreNotInherited(t *testing.T) {
	path := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	fd, err := syscall.Open(path, syscall.O_RDONLY, 0) // without O_CLOEXEC
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(fd)
	got, err := launch(t, config(t, "")).Handle(t.Context(), task("files", `{}`), newRecorder())
	if err != nil || strings.Contains(string(got), path) {
		t.Errorf("%s, %v", got, err)
	}
}

// TestRunDirIsPrivate: who could write to the directory of sockets could be the plugin.
func TestRunDirIsPrivate(t *testing.T) {
	cfg := config(t, "")
	open, link := filepath.Join(cfg.RunDir, "open"), filepath.Join(cfg.RunDir, "link")
	if err := errors.Join(os.Mkdir(open, 0o700), os.Chmod(open, 0o777), os.Symlink(open, link)); err != nil {
		t.Fatal(err)
	}
	cfg.RunDir = link
	if p, err := process.Launch(t.Context(), cfg); err == nil {
		t.Error("it launched with a link to a directory")
		_ = p.Close(context.Background())
	}
	cfg.RunDir = open
	launch(t, cfg)
	if i, err := os.Stat(open); err != nil || i.Mode().Perm() != 0o700 {
		t.Errorf("%v, %v", i.Mode(), err)
	}
}

// TestSocketElsewhere: a plugin that puts its socket where it likes does not lose what
// else is there.
func TestSocketElsewhere(t *testing.T) {
	cfg := config(t, "elsewhere")
	dir := runDir(t)
	keep := filepath.Join(dir, "keep")
	if err := os.WriteFile(keep, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	cfg.Env = append(cfg.Env, "TEST_SOCKETS="+dir)
	p := launch(t, cfg)
	if got, err := p.Handle(t.Context(), task("echo", `1`), newRecorder()); string(got) != "1" || err != nil {
		t.Errorf("got %s, %v", got, err)
	}
	if _, err := os.Stat(keep); err != nil {
		t.Error(err)
	}
	if left, err := os.ReadDir(cfg.RunDir); len(left) > 0 || err != nil {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestLaunchErrors(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(*process.Config)
		want  []string
	}{
		"missing":  {func(c *process.Config) { c.Command = []string{"/no/such/program"} }, []string{"no such file"}},
		"no exec":  {func(c *process.Config) { c.Command = []string{"process.go"} }, []string{"find the program"}},
		"exits":    {func(c *process.Config) { c.Env = []string{"TEST_PLUGIN=exit"} }, []string{"before its manifest", "code 7", "no licence found"}},
		"garbage":  {func(c *process.Config) { c.Env = []string{"TEST_PLUGIN=garbage"} }, []string{"Welcome to my program!", "handshake"}},
		"true":     {func(c *process.Config) { c.Command = []string{"true"} }, []string{"before its manifest", "code 0"}},
		"hangs":    {func(c *process.Config) { c.Env = []string{"TEST_PLUGIN=hang"}; c.StartTimeout = 300 * time.Millisecond }, []string{"no handshake within 300ms, its limits.start_timeout"}},
		"manifest": {func(c *process.Config) { c.Env = []string{"TEST_PLUGIN=badmanifest"} }, []string{"manifest", "version is empty"}},
		"no TLS":   {func(c *process.Config) { c.Env = []string{"TEST_PLUGIN=plain"}; c.MTLS = true }, []string{"mtls = true", "only plugins in Go"}},
		"pin":      {func(c *process.Config) { c.SHA256 = strings.Repeat("0", 64) }, []string{"sha256 pins 0000"}},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := config(t, "")
			c.spoil(&cfg)
			p, err := process.Launch(t.Context(), cfg)
			if err == nil {
				_ = p.Close(context.Background())
				t.Fatal("it launched")
			}
			for _, w := range c.want {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("want %q in: %v", w, err)
				}
			}
		})
	}
}

func BenchmarkEcho(b *testing.B) {
	p := launch(b, config(b, ""))
	payload := `"` + strings.Repeat("x", 254) + `"`
	b.SetParallelism(32)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := p.Handle(context.Background(), task("echo", payload), newRecorder()); err != nil {
				b.Fatal(err)
			}
		}
	})
}
