package api_test

import (
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/nagatha/nagatha-runtime/runtime/api"
	"github.com/nagatha/nagatha-runtime/runtime/store"
)

func TestBackup(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, ".sending-x.db.part"), []byte("cut off"), 0o600); err != nil {
		t.Fatal(err)
	}
	w := start(t, func(c *api.Config) { c.DataDir = dir })
	task := w.finished(`{"kind":"bench.echo","payload":{"n":1}}`)
	resp, text := w.http("POST", "/api/v1/backup", "", nil)
	if resp.StatusCode != 200 || resp.Header.Get("Content-Type") != "application/vnd.sqlite3" || resp.Header.Get("Content-Length") != strconv.Itoa(len(text)) {
		t.Fatalf("%d %v %.100s", resp.StatusCode, resp.Header, text)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("it left %v behind, %v", left, err)
	}
	path := filepath.Join(t.TempDir(), "copy.db")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	copied, err := store.Open(t.Context(), store.Config{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	defer copied.Close()
	if found, err := copied.Task(t.Context(), task.ID); err != nil || string(found.Result) != `{"n":1}` {
		t.Errorf("%+v, %v", found, err)
	}
	resp, text = w.http("POST", "/api/v1/backup", `{"to":"/etc/passwd"}`, http.Header{"Content-Type": {"application/json"}})
	refused(t, resp, text, 422, "invalid", "to")
}

// Without room for the copy nothing is sent, and the next try is not held up.
func TestBackupFails(t *testing.T) {
	w := start(t, func(c *api.Config) { c.DataDir = filepath.Join(t.TempDir(), "gone") })
	for range 2 {
		resp, text := w.http("POST", "/api/v1/backup", "", nil)
		refused(t, resp, text, 500, "internal", "")
	}
}
