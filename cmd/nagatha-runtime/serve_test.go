package main

import (
	"path/filepath"
	"strings"
	"testing"
)

// TestRunDir: a socket's path is short, and no two runtimes share where their plugins'
// sockets are: who starts removes what is there.
func TestRunDir(t *testing.T) {
	if got := runDir("/srv/data"); got != "/srv/data/run" {
		t.Errorf("a short path: %s", got)
	}
	t.Setenv("TMPDIR", "/tmp")
	deep := "/srv/" + strings.Repeat("deep/", 20)
	a, b := runDir(deep+"a"), runDir(deep+"b")
	if a == b || len(a) > 60 || filepath.Dir(a) != "/tmp" || a != runDir(deep+"a") {
		t.Errorf("deep paths: %s and %s", a, b)
	}
}
