package main

import (
	"context"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// A token that one node makes is good on all of them, and ends on all of them.
func TestTokensOfNodes(t *testing.T) {
	nodes := newNodes(t, 2, demoProcess)
	code, made := nodes[0].rest("POST", "/api/v1/tokens", `{"name":"app","scopes":["viewer"]}`)
	token, _ := made["token"].(string)
	id, _ := made["id"].(string)
	if code != http.StatusCreated || token == "" || id == "" {
		t.Fatalf("%d %v", code, made)
	}
	header := []string{"Authorization", "Bearer " + token}
	if code, m := nodes[1].rest("GET", "/api/v1/tasks", "", header...); code != http.StatusOK {
		t.Fatalf("the other node does not know it: %d %v", code, m)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	ws, _, err := websocket.Dial(ctx, "ws://"+nodes[1].addr+"/api/v1/ws", &websocket.DialOptions{HTTPHeader: http.Header{"Authorization": {"Bearer " + token}}})
	if err != nil {
		t.Fatal(err)
	}
	defer ws.CloseNow()
	if code, m := nodes[0].rest("DELETE", "/api/v1/tokens/"+id, ""); code != http.StatusNoContent {
		t.Fatalf("%d %v", code, m)
	}
	began := time.Now()
	_, _, err = ws.Read(ctx)
	if websocket.CloseStatus(err) != 4500 || time.Since(began) > 10*time.Second {
		t.Errorf("the connection ended with %v after %v", err, time.Since(began))
	}
	if code, m := nodes[1].rest("GET", "/api/v1/tasks", "", header...); code != http.StatusUnauthorized {
		t.Errorf("it is still good: %d %v", code, m)
	}

	// PostgreSQL has a tool of its own.
	copied := filepath.Join(t.TempDir(), "copy.db")
	cmd := nodes[0].nagatha("backup", copied)
	cmd.Stderr = nil
	out, err := cmd.CombinedOutput()
	if err == nil || !strings.Contains(string(out), "pg_dump") {
		t.Errorf("backup: %v, %s", err, out)
	}
	if _, err := os.Stat(copied); err == nil {
		t.Error("it left a file")
	}
}

// A copy that is made under load is a database that another runtime serves, with all
// that was acknowledged before.
func TestBackupIsServed(t *testing.T) {
	d := newDaemon(t, demoProcess)
	d.start()
	id := d.submit(`{"kind":"demo.echo","payload":{"n":7}}`)
	d.await(id)
	copied := filepath.Join(t.TempDir(), "copy.db")
	if out, err := d.nagatha("backup", copied).Output(); err != nil {
		t.Fatalf("%v %s", err, out)
	}
	again := newDaemon(t, demoProcess)
	if err := os.Mkdir(filepath.Join(again.dir, "data"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(copied, filepath.Join(again.dir, "data", "nagatha.db")); err != nil {
		t.Fatal(err)
	}
	again.start()
	if m := again.await(id); m["state"] != "completed" {
		t.Errorf("%v", m)
	}
}
