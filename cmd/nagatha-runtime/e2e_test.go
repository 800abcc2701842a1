package main

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/nagatha/nagatha-runtime/runtime/store/storetest"
)

// The whole thing, as its users meet it: real binaries, real kills, a WebSocket
// client that is not ours.

// built builds the binaries and modules once.
var built = sync.OnceValues(func() (dir string, err error) {
	if dir, err = os.MkdirTemp("", "nagatha-e2e"); err != nil {
		return "", err
	}
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

func TestMain(m *testing.M) {
	code := m.Run()
	storetest.StopPostgres()
	if dir, err := built(); err == nil {
		_ = os.RemoveAll(dir)
	}
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

// newDaemon prepares a runtime whose plugins are written in HCL; BIN stands for
// where the binaries are.
func newDaemon(t *testing.T, plugins string) *daemon {
	t.Helper()
	bin, err := built()
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	d := &daemon{T: t, bin: bin, dir: t.TempDir(), addr: l.Addr().String()}
	_ = l.Close()
	if !strings.Contains(plugins, `queue "default"`) {
		plugins = "queue \"default\" {\n  concurrency = 64\n}\n" + plugins
	}
	config := fmt.Sprintf("data_dir = \"data\"\nserver {\n  listen = %q\n}\n%s", d.addr, strings.ReplaceAll(plugins, "BIN", bin))
	if err := os.WriteFile(d.config(), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		d.kill()
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
	for end := time.Now().Add(60 * time.Second); ; time.Sleep(20 * time.Millisecond) {
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

// A person follows a task; the runtime is killed and comes back.
func TestFollowSurvivesKill9(t *testing.T) {
	for name, plugin := range map[string]string{"process": demoProcess, "wasm": demoWasm} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newDaemon(t, plugin)
			d.start()
			cmd := d.nagatha("submit", "demo.countdown", "--set", "steps=60", "--follow", "-o", "jsonl")
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			seq, attempts := int64(0), 0
			for sc := bufio.NewScanner(out); sc.Scan(); {
				var e struct {
					Seq  int64
					Type string
				}
				if json.Unmarshal(sc.Bytes(), &e) != nil || e.Seq == 0 {
					continue
				}
				if seq++; e.Seq != seq {
					t.Fatalf("event %d after %d", e.Seq, seq-1)
				}
				if e.Type == "task.started" {
					attempts++
				}
				if e.Seq == 12 {
					d.kill()
					d.start()
				}
			}
			if err := cmd.Wait(); err != nil {
				t.Errorf("follow: %v", err)
			}
			if attempts != 2 || seq < 120 {
				t.Errorf("%d attempts, %d events", attempts, seq)
			}
		})
	}
}

// rpc is a JSON-RPC client on a library that is not ours.
type rpc struct {
	ws *websocket.Conn
}

func dial(ctx context.Context, d *daemon) (*rpc, error) {
	ws, resp, err := websocket.Dial(ctx, "ws://"+d.addr+"/api/v1/ws", &websocket.DialOptions{HTTPHeader: http.Header{"Authorization": {"Bearer " + d.token()}}})
	if err != nil {
		return nil, err
	}
	if resp.Body != nil {
		_ = resp.Body.Close()
	}
	ws.SetReadLimit(8 << 20)
	return &rpc{ws}, nil
}

type reply struct {
	ID     *int
	Method string
	Params struct {
		Event struct{ Task, Type string }
	}
	Result struct {
		Task struct{ ID string }
	}
	Error *struct{ Message string }
}

func (c *rpc) read(ctx context.Context) (reply, error) {
	var r reply
	_, b, err := c.ws.Read(ctx)
	if err == nil {
		err = json.Unmarshal(b, &r)
	}
	return r, err
}

func (c *rpc) call(ctx context.Context, id int, method, params string) error {
	return c.ws.Write(ctx, websocket.MessageText, fmt.Appendf(nil, `{"jsonrpc":"2.0","id":%d,"method":%q,"params":%s}`, id, method, params))
}

// 10,000 tasks over one WebSocket, and three kills: what was acknowledged is done,
// once.
func TestNothingAcknowledgedIsLost(t *testing.T) {
	const tasks = 10_000
	d := newDaemon(t, demoProcess)
	d.start()
	acked := map[int]string{}
	kills := map[int]bool{}
	for len(kills) < 3 {
		kills[rand.IntN(tasks*8/10)+tasks/10] = true
	}
	for len(acked) < tasks {
		ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
		c, err := dial(ctx, d)
		if err != nil {
			t.Fatal(err)
		}
		var todo []int
		for i := range tasks {
			if acked[i] == "" {
				todo = append(todo, i)
			}
		}
		var wg sync.WaitGroup
		wg.Go(func() {
			for _, i := range todo {
				// The key makes a submit whose answer was cut safe to repeat.
				if c.call(ctx, i, "task.submit", fmt.Sprintf(`{"kind":"demo.echo","payload":{"n":%d},"idempotency_key":"n%d"}`, i, i)) != nil {
					return
				}
			}
		})
		for range todo {
			r, err := c.read(ctx)
			if err != nil {
				break
			}
			if r.Error != nil || r.ID == nil {
				t.Fatalf("submit: %+v", r.Error)
			}
			acked[*r.ID] = r.Result.Task.ID
			if kills[len(acked)] {
				delete(kills, len(acked))
				d.kill()
				d.start()
			}
		}
		_ = c.ws.CloseNow()
		wg.Wait()
		cancel()
	}
	if len(kills) != 0 {
		t.Fatalf("%d kills did not happen", len(kills))
	}

	ctx, cancel := context.WithTimeout(t.Context(), 120*time.Second)
	defer cancel()
	c, err := dial(ctx, d)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.ws.CloseNow() }()
	if err := c.call(ctx, 1, "subscribe", `{"topics":["kind.demo.echo"],"from":"start","types":["task.completed","task.failed","task.cancelled"]}`); err != nil {
		t.Fatal(err)
	}
	ends := map[string]int{}
	for len(ends) < tasks {
		r, err := c.read(ctx)
		if err != nil {
			t.Fatalf("after %d ends: %v", len(ends), err)
		}
		if r.Method != "event" {
			continue
		}
		if r.Params.Event.Type != "task.completed" {
			t.Fatalf("%s: %s", r.Params.Event.Task, r.Params.Event.Type)
		}
		if ends[r.Params.Event.Task]++; ends[r.Params.Event.Task] > 1 {
			t.Fatalf("%s ended twice", r.Params.Event.Task)
		}
	}
	for i, id := range acked {
		if ends[id] != 1 {
			t.Fatalf("task %d, %s, was acknowledged and has %d ends", i, id, ends[id])
		}
	}
	if _, m := d.rest("GET", "/api/v1/system", ""); fmt.Sprint(m["tasks"].(map[string]any)["completed"]) != fmt.Sprint(float64(tasks)) {
		t.Errorf("system counts %v", m["tasks"])
	}
}

func TestEventStartsOneTask(t *testing.T) {
	d := newDaemon(t, demoProcess)
	d.start()
	for range 3 {
		code, m := d.rest("POST", "/api/v1/events", `{"specversion":"1.0","id":"e1","source":"me","type":"demo.ping","data":{"a":1}}`, "Content-Type", "application/cloudevents+json")
		if code != http.StatusAccepted || fmt.Sprint(m["ids"]) != "[e1]" {
			t.Fatalf("%d %v", code, m)
		}
	}
	pongs := func() []any {
		_, m := d.rest("GET", "/api/v1/tasks?kind=demo.pong&state=completed", "")
		list, _ := m["tasks"].([]any)
		return list
	}
	for end := time.Now().Add(time.Minute); len(pongs()) == 0; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("no pong")
		}
	}
	// A later event has been through the bus: so have the doubles before it.
	if code, m := d.rest("POST", "/api/v1/tasks?wait=20s", `{"kind":"demo.publish","payload":{"type":"demo.ping","data":2}}`); code != http.StatusOK || m["state"] != "completed" {
		t.Fatalf("%d %v", code, m)
	}
	for end := time.Now().Add(time.Minute); len(pongs()) < 2; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("no second pong")
		}
	}
	if n := len(pongs()); n != 2 {
		t.Errorf("%d pongs", n)
	}
}

func TestPluginsThatDoNotLoad(t *testing.T) {
	d := newDaemon(t, demoProcess+`
plugin "missing" {
  wasm = "no/such/file.wasm"
}
plugin "garbage" {
  wasm = "config.hcl"
}
plugin "ends" {
  command = ["true"]
}
plugin "prints" {
  command = ["echo", "hello"]
}
plugin "other" {
  wasm = "BIN/demo.wasm"
}
`)
	d.start()
	_, m := d.rest("GET", "/api/v1/plugins", "")
	want := map[string][]string{
		"system": {"ready", ""}, "demo": {"ready", ""}, "missing": {"failed", "no such file"}, "garbage": {"failed", "compile"},
		"ends": {"failed", "before its manifest"}, "prints": {"failed", "hello"}, "other": {"failed", `calls itself`, `"demo"`},
	}
	for _, p := range m["plugins"].([]any) {
		p := p.(map[string]any)
		w := want[p["name"].(string)]
		if w == nil {
			t.Errorf("there is a plugin %v", p["name"])
			continue
		}
		if p["state"] != w[0] || !strings.Contains(p["error"].(string), w[len(w)-1]) {
			t.Errorf("%s: %s %q, want %v", p["name"], p["state"], p["error"], w)
		}
		delete(want, p["name"].(string))
	}
	if len(want) > 0 {
		t.Errorf("not reported: %v", want)
	}
	if code, m := d.rest("POST", "/api/v1/tasks?wait=20s", `{"kind":"demo.echo","payload":{"a":1}}`); code != http.StatusOK || m["state"] != "completed" {
		t.Errorf("%d %v", code, m)
	}
}

// Crashes fail attempts, with the right code, and never the runtime.
func TestCrashes(t *testing.T) {
	for name, plugin := range map[string]string{
		"process": "plugin \"demo\" {\n  command = [\"BIN/demo\"]\n  limits {\n    memory = \"512MiB\"\n  }\n}\n", "wasm": demoWasm,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newDaemon(t, plugin)
			d.start()
			for how, want := range map[string]string{"panic": "handler_error", "exit": "plugin_crashed", "oom": "out_of_memory", "spin": "timeout", "deadlock": "timeout"} {
				code, m := d.rest("POST", "/api/v1/tasks?wait=30s", `{"kind":"demo.crash","payload":{"how":"`+how+`"},"max_attempts":1,"timeout":"3s"}`)
				fault, _ := m["error"].(map[string]any)
				if code != http.StatusOK || m["state"] != "failed" || fault["code"] != want {
					t.Errorf("%s: %d %v %v, want %s", how, code, m["state"], fault, want)
				}
				if code, m := d.rest("POST", "/api/v1/tasks?wait=30s", `{"kind":"demo.echo"}`); code != http.StatusOK || m["state"] != "completed" {
					t.Errorf("after %s: %d %v", how, code, m)
				}
			}
		})
	}
}

func TestStartErrors(t *testing.T) {
	d := newDaemon(t, demoProcess)
	d.start()
	try := func(want string, edit func(config string) string) {
		t.Helper()
		b, err := os.ReadFile(d.config())
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(d.dir, "other.hcl")
		if err := os.WriteFile(path, []byte(edit(string(b))), 0o600); err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command(filepath.Join(d.bin, "nagatha-runtime"), "-config", path).CombinedOutput()
		if exit, ok := err.(*exec.ExitError); !ok || exit.ExitCode() != 1 || !strings.Contains(string(out), want) {
			t.Errorf("want exit 1 and %q, got %v and:\n%s", want, err, out)
		}
	}
	try("another runtime is using", func(c string) string { return c })
	try("server.listen", func(c string) string { return strings.Replace(c, `"data"`, `"data2"`, 1) })
	if _, err := os.Stat(filepath.Join(d.dir, "data2")); err == nil {
		t.Error("a runtime that found its port taken left a data directory")
	}
	try("data_dir", func(c string) string { return strings.Replace(c, `"data"`, `"config.hcl/data"`, 1) })
	try(`Did you mean "data_dir"`, func(c string) string { return strings.Replace(c, "data_dir", "data_dri", 1) })
	if code, _ := d.rest("GET", "/api/v1/system", ""); code != http.StatusOK {
		t.Errorf("the first runtime answers %d", code)
	}
	if out, err := exec.Command(filepath.Join(d.bin, "nagatha-runtime"), "-config", d.config(), "-check").CombinedOutput(); err != nil {
		t.Errorf("-check: %v %s", err, out)
	}
}

// SIGTERM ends running work in order, and leaves no process and no socket.
func TestTermination(t *testing.T) {
	d := newDaemon(t, demoProcess)
	d.start()
	_, m := d.rest("POST", "/api/v1/tasks", `{"kind":"demo.countdown","payload":{"steps":5,"interval":"100ms"}}`)
	id, _ := m["id"].(string)
	if err := d.cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := d.cmd.Wait(); err != nil {
		t.Errorf("it ended with %v", err)
	}
	noDemo := func(what string) {
		t.Helper()
		for end := time.Now().Add(30 * time.Second); exec.Command("pgrep", "-f", d.bin+"/demo$").Run() == nil; time.Sleep(20 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatal(what)
			}
		}
	}
	noDemo("a plugin survives the runtime")
	d.start()
	if _, m := d.rest("GET", "/api/v1/tasks/"+id+"?wait=20s", ""); m["state"] != "completed" || m["attempt"] != 1.0 {
		t.Errorf("the task: %v", m)
	}
	d.kill()
	noDemo("a plugin survives kill -9 of the runtime")
	if left, _ := filepath.Glob(filepath.Join(d.dir, "data", "run", "*", "*")); len(left) > 0 {
		t.Errorf("sockets are left: %v", left)
	}
}
