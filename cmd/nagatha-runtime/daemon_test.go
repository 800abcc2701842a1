package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nagatha/nagatha-runtime/runtime/store/storetest"
)

// built builds the binaries and modules once.
var built = sync.OnceValues(func() (dir string, err error) {
	if dir, err = os.MkdirTemp("", "nagatha-e2e"); err != nil {
		return "", err
	}
	binDir = dir
	build := func(out, pkg string, env ...string) {
		if err != nil {
			return
		}
		cmd := exec.Command("go", "build", "-tags", "sqlite_fts5", "-o", filepath.Join(dir, out), "../../"+pkg)
		cmd.Env = append(os.Environ(), env...)
		var text []byte
		if text, err = cmd.CombinedOutput(); err != nil {
			err = fmt.Errorf("build %s: %w\n%s", pkg, err, text)
		}
	}
	build("nagatha-runtime", "cmd/nagatha-runtime")
	build("nagatha", "cmd/nagatha")
	build("demo.wasm", "plugins/demo", "GOOS=wasip1", "GOARCH=wasm", "CGO_ENABLED=0")
	build("demo", "plugins/demo", "CGO_ENABLED=0")
	build("agent.wasm", "plugins/agent", "GOOS=wasip1", "GOARCH=wasm", "CGO_ENABLED=0")
	build("agent", "plugins/agent", "CGO_ENABLED=0")
	build("mcp", "plugins/mcp", "CGO_ENABLED=0")
	build("memory.wasm", "plugins/memory", "GOOS=wasip1", "GOARCH=wasm", "CGO_ENABLED=0")
	build("memory", "plugins/memory", "CGO_ENABLED=0")
	build("usage.wasm", "plugins/usage", "GOOS=wasip1", "GOARCH=wasm", "CGO_ENABLED=0")
	build("usage", "plugins/usage", "CGO_ENABLED=0")
	build("reminders.wasm", "plugins/reminders", "GOOS=wasip1", "GOARCH=wasm", "CGO_ENABLED=0")
	build("reminders", "plugins/reminders", "CGO_ENABLED=0")
	build("watcher", "cmd/nagatha-runtime/testdata/watcher", "CGO_ENABLED=0")
	return dir, err
})

// binDir is where built has put them.
var binDir string

func TestMain(m *testing.M) {
	code := m.Run()
	storetest.StopPostgres()
	_ = os.RemoveAll(binDir) // "" where no test wanted any
	os.Exit(code)
}

// safeBuffer is written by a process while it is read.
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

// daemon is a runtime with a data directory that outlives its processes.
type daemon struct {
	*testing.T
	bin, dir, addr string
	program        string // default nagatha-runtime
	env            []string
	cmd            *exec.Cmd
	log            *safeBuffer
}

var lastPort atomic.Int64

// freeAddr returns an address that stays free while no daemon listens there: below the
// ports that the kernel gives to whoever asks for any.
func freeAddr() string {
	for {
		addr := fmt.Sprintf("127.0.0.1:%d", 20_000+(os.Getpid()+int(lastPort.Add(1)))%4_000)
		if l, err := net.Listen("tcp", addr); err == nil {
			_ = l.Close()
			return addr
		}
	}
}

// newDaemon prepares a runtime whose plugins are written in HCL; BIN stands for
// where the binaries are.
func newDaemon(t *testing.T, plugins string) *daemon {
	t.Helper()
	bin, err := built()
	if err != nil {
		t.Fatal(err)
	}
	d := &daemon{T: t, bin: bin, dir: t.TempDir(), addr: freeAddr()}
	if !strings.Contains(plugins, `queue "default"`) {
		plugins = "queue \"default\" {\n  concurrency = 64\n}\n" + plugins
	}
	config := fmt.Sprintf("data_dir = \"data\"\nserver {\n  listen = %q\n}\n%s", d.addr, strings.ReplaceAll(plugins, "BIN", bin))
	if err := os.WriteFile(d.config(), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		d.kill()
		_ = os.RemoveAll(runDir(filepath.Join(d.dir, "data"))) // it may be elsewhere
		if t.Failed() && d.log != nil {
			t.Logf("the runtime's log:\n%s", d.log)
		}
	})
	return d
}

const demoProcess = "plugin \"demo\" {\n  command = [\"BIN/demo\"]\n  grant {\n    publish = [\"demo.*\"]\n  }\n}\n"
const demoWasm = "plugin \"demo\" {\n  wasm = \"BIN/demo.wasm\"\n}\n"

func (d *daemon) config() string { return filepath.Join(d.dir, "config.hcl") }

func (d *daemon) command() *exec.Cmd {
	cmd := exec.Command(filepath.Join(d.bin, cmp.Or(d.program, "nagatha-runtime")), "-config", d.config())
	cmd.Env = append(os.Environ(), d.env...)
	return cmd
}

// start runs the binary and waits until it is ready.
func (d *daemon) start() {
	d.Helper()
	if d.log == nil {
		d.log = &safeBuffer{}
	}
	d.cmd = d.command()
	d.cmd.Stdout, d.cmd.Stderr = d.log, d.log
	if err := d.cmd.Start(); err != nil {
		d.Fatal(err)
	}
	d.ready()
}

// ready waits until it is ready, which takes as long as compiling its modules does: on a
// busy machine minutes.
func (d *daemon) ready() {
	d.Helper()
	for end := time.Now().Add(5 * time.Minute); ; time.Sleep(20 * time.Millisecond) {
		resp, err := http.Get("http://" + d.addr + "/readyz")
		if err == nil {
			_ = resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return
			}
		}
		if time.Now().After(end) {
			d.Fatalf("it is not ready: %v\n%s", err, d.log)
		}
	}
}

// kill is kill -9.
func (d *daemon) kill() {
	if d.cmd != nil && d.cmd.ProcessState == nil {
		_ = d.cmd.Process.Kill()
		_ = d.cmd.Wait()
	}
}

func (d *daemon) token() string {
	d.Helper()
	b, err := os.ReadFile(filepath.Join(d.dir, "data", "admin.token"))
	if err != nil {
		d.Fatal(err)
	}
	return strings.TrimSpace(string(b))
}

// nagatha runs the client command.
func (d *daemon) nagatha(args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(d.bin, "nagatha"), append([]string{"--server", "http://" + d.addr, "--data-dir", filepath.Join(d.dir, "data")}, args...)...)
	cmd.Stderr = os.Stderr
	return cmd
}

func (d *daemon) rest(method, path, body string, header ...string) (int, map[string]any) {
	d.Helper()
	req, err := http.NewRequestWithContext(d.Context(), method, "http://"+d.addr+path, strings.NewReader(body))
	if err != nil {
		d.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+d.token())
	req.Header.Set("Content-Type", "application/json")
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		d.Fatal(err)
	}
	defer resp.Body.Close()
	var m map[string]any
	b, _ := io.ReadAll(resp.Body)
	_ = json.Unmarshal(b, &m)
	return resp.StatusCode, m
}
