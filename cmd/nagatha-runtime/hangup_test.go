package main

import (
	"context"
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
	if err := serve(ctx, cfg, nil, &out, &out); err != nil {
		t.Errorf("%v\n%s", err, out.String())
	}
}
