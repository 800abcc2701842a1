//go:build !wasip1

package wasm_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/nagatha/nagatha-runtime/sdk/wasm"
)

// TestCacheIsBounded: of the modules in the cache those stay that were loaded last.
func TestCacheIsBounded(t *testing.T) {
	dir := t.TempDir()
	for i := range 100 {
		old := filepath.Join(dir, fmt.Sprintf("%064x", i))
		if err := os.Mkdir(old, 0o700); err != nil {
			t.Fatal(err)
		}
		at := time.Now().Add(time.Duration(i-200) * time.Hour)
		if err := os.Chtimes(old, at, at); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"notes.txt", fmt.Sprintf("%064x.wasm", 1)} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	p, err := wasm.Load(t.Context(), wasm.Config{Name: "test", Path: guest, CacheDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close(context.WithoutCancel(t.Context()))
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	own := p.Digest()[len("sha256:"):]
	newest, oldest := fmt.Sprintf("%064x", 99), fmt.Sprintf("%064x", 100-63)
	if len(names) != 65 || !slices.Contains(names, own) || !slices.Contains(names, newest) || !slices.Contains(names, oldest) || !slices.Contains(names, "notes.txt") {
		t.Errorf("%d entries: %v", len(names), names)
	}
}
