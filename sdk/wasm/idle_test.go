//go:build !wasip1

package wasm_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nagatha/nagatha-runtime/sdk"
	"github.com/nagatha/nagatha-runtime/sdk/sdktest"
	"github.com/nagatha/nagatha-runtime/sdk/wasm"
)

// until waits for a condition.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within 30s: %s", what)
		}
	}
}

// TestIdle: a plugin without work has no instance and no code; the next attempt finds
// both again, with the configuration, though the file that they came from is another.
func TestIdle(t *testing.T) {
	file := filepath.Join(t.TempDir(), "plugin.wasm")
	binary, err := os.ReadFile(guest)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, binary, 0o600); err != nil {
		t.Fatal(err)
	}
	p := load(t, wasm.Config{Path: file, Instances: 3, Idle: 20 * time.Millisecond})
	if err := p.Configure(t.Context(), json.RawMessage(`{"a":1}`)); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte("rebuilt"), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		until(t, "the plugin rests", func() bool { return p.Instances() == 0 && !p.Loaded() })
		var wg sync.WaitGroup
		for range 6 {
			wg.Go(func() {
				if got, err := run(t, p, "test.config", `null`); got != `{"a":1}` || err != nil {
					t.Errorf("got %s, %v", got, err)
				}
			})
		}
		wg.Wait()
	}
	if p.Info().Name != "test" || p.Capacity() != 3 {
		t.Errorf("%+v, capacity %d", p.Info(), p.Capacity())
	}
}

// TestIdleLeavesWorkAlone: only those leave that have nothing to do.
func TestIdleLeavesWorkAlone(t *testing.T) {
	p := load(t, wasm.Config{Instances: 4, Idle: 20 * time.Millisecond})
	host, stop := sdktest.NewHost(), make(chan struct{})
	ended := make(chan string, 1)
	go func() {
		ctx, cancel := context.WithCancel(sdk.WithAbort(t.Context(), nil))
		go func() { <-stop; cancel() }()
		got, err := p.Handle(ctx, sdktest.Task("test.wait", `null`), host)
		ended <- fmt.Sprint(string(got), err)
	}()
	<-host.Heard()
	var wg sync.WaitGroup
	for range 3 { // beside it
		wg.Go(func() {
			if _, err := run(t, p, "test.sleep", `null`); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	until(t, "the others leave", func() bool { return p.Instances() == 1 })
	close(stop)
	if got := <-ended; got != `"stopped"<nil>` {
		t.Errorf("the one that worked: %s", got)
	}
	until(t, "it leaves too", func() bool { return !p.Loaded() })
}

// TestIdleLosesNothing: attempts that arrive in the moment of leaving succeed.
func TestIdleLosesNothing(t *testing.T) {
	p := load(t, wasm.Config{Instances: 2, Idle: time.Microsecond})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 10 {
				if got, err := run(t, p, "test.echo", `1`); got != "1" || err != nil {
					t.Errorf("got %s, %v", got, err)
				}
			}
		})
	}
	wg.Wait()
}

// TestIdleFindsTheFile: a cache that was emptied meanwhile does no harm while the file
// is the same; when neither is, the error says what to do, and nothing else is broken.
func TestIdleFindsTheFile(t *testing.T) {
	dir, file := t.TempDir(), filepath.Join(t.TempDir(), "plugin.wasm")
	binary, err := os.ReadFile(guest)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, binary, 0o600); err != nil {
		t.Fatal(err)
	}
	p, err := wasm.Load(t.Context(), wasm.Config{Name: "test", Path: file, CacheDir: dir, Idle: 20 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close(context.WithoutCancel(t.Context()))
	rests := func() {
		until(t, "the plugin rests", func() bool { return p.Instances() == 0 && !p.Loaded() })
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
	}
	rests()
	if got, err := run(t, p, "test.echo", `1`); got != "1" || err != nil {
		t.Errorf("from the file: %s, %v", got, err)
	}
	rests()
	if err := os.WriteFile(file, []byte("rebuilt"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := run(t, p, "test.echo", `1`); err == nil || !strings.Contains(err.Error(), "nagatha plugins reload") {
		t.Errorf("from nowhere: %v", err)
	}
	if err := os.WriteFile(file, binary, 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := run(t, p, "test.echo", `2`); got != "2" || err != nil {
		t.Errorf("back again: %s, %v", got, err)
	}
}

// TestIdleNeedsACopy: without a place for one the module stays, and works.
func TestIdleNeedsACopy(t *testing.T) {
	p, err := wasm.Load(t.Context(), wasm.Config{Name: "test", Path: guest, Idle: time.Microsecond, Log: func(slog.Level, string) {}})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close(context.WithoutCancel(t.Context()))
	for range 3 {
		if got, err := run(t, p, "test.echo", `1`); got != "1" || err != nil {
			t.Errorf("got %s, %v", got, err)
		}
	}
	if !p.Loaded() || p.Instances() != 1 {
		t.Error("it left without a way back")
	}
}
