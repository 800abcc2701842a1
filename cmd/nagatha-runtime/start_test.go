package main

import (
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

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
	try("the runtime has no kind \"system.nope\"", func(c string) string { return c + "schedule \"a\" {\n  every = \"5m\"\n  kind = \"system.nope\"\n}\n" })
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
