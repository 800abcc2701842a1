package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nagatha/nagatha-runtime/runtime/config"
)

// A reload that is asked for too early or too late kills nobody: whoever sends the
// signal does not know how far the runtime is.
func TestHangupAtAnyTime(t *testing.T) {
	d := newDaemon(t, demoProcess)
	text, err := os.ReadFile(d.config())
	if err != nil {
		t.Fatal(err)
	}
	// It reads its configuration from a pipe, and so waits for the test.
	if err := os.Remove(d.config()); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(d.config(), 0o600); err != nil {
		t.Fatal(err)
	}
	started := make(chan struct{})
	go func() { defer close(started); d.start() }()
	pipe, err := os.OpenFile(d.config(), os.O_WRONLY, 0) // waits for the reader
	if err != nil {
		t.Fatal(err)
	}
	if err := d.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	if _, err := pipe.Write(text); err != nil {
		t.Fatal(err)
	}
	_ = pipe.Close()
	<-started
	if code, m := d.rest("POST", "/api/v1/tasks?wait=20s", `{"kind":"demo.echo","payload":{"a":1}}`); code != http.StatusOK || m["state"] != "completed" {
		t.Fatalf("after a reload while it started: %d %v", code, m)
	}

	// While it drains, which waits for this task.
	d.rest("POST", "/api/v1/tasks", `{"kind":"demo.countdown","payload":{"steps":10,"interval":"100ms"}}`)
	if err := d.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(time.Minute); !strings.Contains(d.log.String(), "shutting down"); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it does not shut down")
		}
	}
	if err := d.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	if err := d.cmd.Wait(); err != nil {
		t.Errorf("a reload while it drained: it ended with %v", err)
	}
}

// Who stops a runtime that is starting gets what was asked for, and no error.
func TestStoppedWhileStarting(t *testing.T) {
	cfg, err := config.Parse(filepath.Join(t.TempDir(), "config.hcl"), []byte("server {\n  listen = \"127.0.0.1:0\"\n}\n"))
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	stop()
	var out strings.Builder
	if err := serve(ctx, cfg, nil, nil, &out, &out); err != nil {
		t.Errorf("%v\n%s", err, out.String())
	}
}

// TestHangupReadsTheConfiguration: a new block counts after SIGHUP, and one that is gone
// takes its plugin along; a file with errors changes nothing.
func TestHangupReadsTheConfiguration(t *testing.T) {
	d := newDaemon(t, demoProcess)
	d.start()
	text, err := os.ReadFile(d.config())
	if err != nil {
		t.Fatal(err)
	}
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(d.config(), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	hangup := func(logged string) {
		t.Helper()
		before := strings.Count(d.log.String(), logged)
		if err := d.cmd.Process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		for end := time.Now().Add(time.Minute); strings.Count(d.log.String(), logged) == before; time.Sleep(5 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("nothing says %q:\n%s", logged, d.log)
			}
		}
	}
	const set = `{"kind":"memory.set","payload":{"section":"facts","key":"a","value":1}}`
	memory := strings.ReplaceAll("plugin \"memory\" {\n  command = [\"BIN/memory\"]\n  grant {\n    store = true\n  }\n}\n", "BIN", d.bin)

	write(string(text) + memory)
	hangup("plugin=memory version")
	if code, m := d.rest("POST", "/api/v1/tasks?wait=20s", set); code != http.StatusOK || m["state"] != "completed" {
		t.Errorf("a new block: %d %v", code, m)
	}
	write(string(text) + memory + "plugin \"memory\" {}\n")
	hangup("the configuration has errors")
	if code, m := d.rest("POST", "/api/v1/plugins/memory/reload", ``); code != http.StatusConflict {
		t.Errorf("reload with errors in the file: %d %v", code, m)
	}
	if code, m := d.rest("POST", "/api/v1/tasks?wait=20s", set); code != http.StatusOK || m["state"] != "completed" {
		t.Errorf("after errors in the file: %d %v", code, m)
	}
	write(string(text) + "retention {\n  completed = \"1h\"\n}\n")
	hangup("plugin is not configured any more")
	if !strings.Contains(d.log.String(), "has changed beside its plugins") {
		t.Error("nothing says that another setting counts at the next start only")
	}
	if code, m := d.rest("POST", "/api/v1/tasks", set); code != http.StatusAccepted || !strings.Contains(fmt.Sprint(m["reason"]), "no handler") {
		t.Errorf("after its block has gone: %d %v", code, m)
	}
	// By name, and what it left queued is done.
	write(string(text) + memory)
	if code, m := d.rest("POST", "/api/v1/plugins/memory/reload", ``); code != http.StatusOK || m["state"] != "ready" {
		t.Errorf("reload by name: %d %v", code, m)
	}
	for end := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
		_, m := d.rest("GET", "/api/v1/tasks?kind=memory.set&state=queued", ``)
		if list, ok := m["tasks"].([]any); ok && len(list) == 0 {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("still queued: %v", m)
		}
	}
}
