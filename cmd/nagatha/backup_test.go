package main

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// A copy gets its name where the file system has no links, too, and replaces nothing
// there either.
func TestBackupWithoutLinks(t *testing.T) {
	dir := t.TempDir()
	part, path := filepath.Join(dir, "part"), filepath.Join(dir, "backup.db")
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	none := func(from, to string) error {
		return &os.LinkError{Op: "link", Old: from, New: to, Err: syscall.EOPNOTSUPP}
	}
	write(part, "copy")
	if err := name(part, path, none); err != nil {
		t.Fatal(err)
	}
	write(part, "other")
	if err := name(part, path, none); err == nil {
		t.Error("a file that was there was replaced")
	}
	if err := name(part, path, os.Link); !errors.Is(err, os.ErrExist) {
		t.Errorf("with links: %v", err)
	}
	if b, err := os.ReadFile(path); string(b) != "copy" || err != nil {
		t.Errorf("%q, %v", b, err)
	}
}
