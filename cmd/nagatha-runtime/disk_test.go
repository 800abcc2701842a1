package main

import (
	"context"
	"database/sql"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	_ "github.com/mattn/go-sqlite3" // the driver registers itself
)

// A disk that is full, and a database that somebody else holds.

// smallDisk mounts a file system of a few megabytes where the daemon keeps its data.
func (d *daemon) smallDisk(size string) (dir string) {
	d.Helper()
	dir = filepath.Join(d.dir, "data")
	if err := os.Mkdir(dir, 0o700); err != nil {
		d.Fatal(err)
	}
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size="+size, "tmpfs", dir).CombinedOutput(); err != nil {
		if os.Getenv("NAGATHA_NO_SKIP") != "" {
			d.Fatalf("mount a small disk: %v\n%s", err, out)
		}
		d.Skipf("SKIPPED: cannot mount a small disk: %v\n%s", err, out)
	}
	d.Cleanup(func() {
		d.kill()
		// The plugins of a killed runtime end a moment after it, and hold the disk till then.
		d.until("nobody uses the disk", func() bool { return exec.Command("umount", dir).Run() == nil })
	})
	return dir
}

// refused waits until a submit is refused, and returns the ids of those that were
// not.
func (d *daemon) refused(body string) (ids []string) {
	d.Helper()
	for end := time.Now().Add(60 * time.Second); time.Now().Before(end); {
		code, m, err := d.try(d.Context(), "POST", "/api/v1/tasks", body)
		switch {
		case err != nil:
			d.Fatal(err)
		case code == http.StatusAccepted:
			ids = append(ids, m["id"].(string))
		case code == http.StatusServiceUnavailable && m["code"] == "unavailable":
			return ids
		default:
			d.Fatalf("submit: %d %v", code, m)
		}
	}
	d.Fatal("no submit was refused")
	return nil
}

// TestDiskFull: while the disk is full submits are refused, nothing acknowledged is
// lost, and what runs ends when there is room again.
func TestDiskFull(t *testing.T) {
	d := newDaemon(t, demoProcess)
	dir := d.smallDisk("24m")
	d.start()
	var running []string
	for range 4 {
		running = append(running, d.submit(`{"kind":"demo.countdown","payload":{"steps":20,"interval":"100ms"}}`))
	}
	ballast, err := os.Create(filepath.Join(dir, "ballast"))
	if err != nil {
		t.Fatal(err)
	}
	block := make([]byte, 64<<10)
	for err == nil {
		_, err = ballast.Write(block)
	}
	_ = ballast.Close()
	payload := fmt.Sprintf(`{"kind":"demo.echo","payload":{"x":%q}}`, strings.Repeat("x", 20_000))
	acked := d.refused(payload)
	// The running tasks come to their end meanwhile, and it cannot be stored.
	time.Sleep(3 * time.Second)
	if code, _, err := d.try(t.Context(), "GET", "/healthz", ""); err == nil && code != http.StatusOK {
		t.Errorf("healthz: %d", code)
	}
	if err := os.Remove(ballast.Name()); err != nil {
		t.Fatal(err)
	}
	for _, id := range append(running, acked...) {
		if m := d.await(id); m["state"] != "completed" || m["attempt"] != 1.0 {
			t.Errorf("%s is %v after %v attempts: %v", id, m["state"], m["attempt"], m["error"])
		}
	}
	d.await(d.submit(payload))
}

// TestDatabaseHeld: another program holds the database for longer than anybody
// waits for it.
func TestDatabaseHeld(t *testing.T) {
	d := newDaemon(t, demoProcess)
	d.start()
	running := d.submit(`{"kind":"demo.countdown","payload":{"steps":5,"interval":"100ms"}}`)
	db, err := sql.Open("sqlite3", "file:"+filepath.Join(d.dir, "data", "nagatha.db")+"?_txlock=immediate&_busy_timeout=10000")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	tx, err := db.BeginTx(context.Background(), nil)
	if err != nil {
		t.Fatal(err)
	}
	code, m := d.rest("POST", "/api/v1/tasks", `{"kind":"demo.echo"}`) // the runtime waits 10 s
	if code != http.StatusServiceUnavailable || m["code"] != "unavailable" {
		t.Errorf("submit while the database is held: %d %v", code, m)
	}
	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}
	if m := d.await(running); m["state"] != "completed" {
		t.Errorf("%v: %v", m["state"], m["error"])
	}
	d.await(d.submit(`{"kind":"demo.echo"}`))
}

// TestCancelIgnored: a handler that does not listen is cancelled all the same, and
// the plugin serves others.
func TestCancelIgnored(t *testing.T) {
	for name, plugin := range map[string]string{"process": demoProcess, "wasm": demoWasm} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newDaemon(t, plugin)
			d.start()
			id := d.submit(`{"kind":"demo.crash","payload":{"how":"spin"}}`)
			runner(t, []*daemon{d}, id)
			start := time.Now()
			d.rest("POST", "/api/v1/tasks/"+id+"/cancel", `{}`)
			if m := d.await(id); m["state"] != "cancelled" || time.Since(start) > 30*time.Second {
				t.Errorf("%v after %v", m["state"], time.Since(start))
			}
			d.await(d.submit(`{"kind":"demo.echo"}`))
		})
	}
}
