package main

import (
	"net/http"
	"os"
	"testing"
)

// Whoever reads the log goes away, as a pager or a log collector does: the runtime
// goes on, and ends in order.
func TestLogThatNobodyReads(t *testing.T) {
	d := newDaemon(t, demoProcess)
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := read.Close(); err != nil {
		t.Fatal(err)
	}
	d.cmd = d.command()
	d.cmd.Stdout, d.cmd.Stderr = write, write
	if err := d.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_ = write.Close()
	d.log = &safeBuffer{}
	d.ready()
	if code, m := d.rest("POST", "/api/v1/plugins/demo/reload", ""); code != http.StatusOK {
		t.Errorf("reload: %d %v", code, m)
	}
	if code, m := d.rest("POST", "/api/v1/tasks?wait=20s", `{"kind":"demo.echo"}`); code != http.StatusOK || m["state"] != "completed" {
		t.Errorf("submit: %d %v", code, m)
	}
	if err := d.cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := d.cmd.Wait(); err != nil {
		t.Errorf("it ended with %v", err)
	}
}
