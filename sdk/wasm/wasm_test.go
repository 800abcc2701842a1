//go:build !wasip1

package wasm_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/nagatha/nagatha-runtime/sdk"
	"github.com/nagatha/nagatha-runtime/sdk/sdktest"
	"github.com/nagatha/nagatha-runtime/sdk/wasm"
)

// The modules and the cache of compiled ones are shared by all tests.
var guest, jsonGuest, cache string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "wasmtest")
	if err != nil {
		panic(err)
	}
	guest, jsonGuest, cache = filepath.Join(dir, "guest.wasm"), filepath.Join(dir, "json.wasm"), filepath.Join(dir, "cache")
	for src, out := range map[string]string{"./testdata/guest": guest, "./testdata/jsonguest": jsonGuest} {
		cmd := exec.Command("go", "build", "-ldflags=-s -w", "-o", out, src)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=wasip1", "GOARCH=wasm")
		if b, err := cmd.CombinedOutput(); err != nil {
			panic(fmt.Sprintf("build %s: %v\n%s", src, err, b))
		}
	}
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		os.RemoveAll(dir)
		os.Exit(code)
	}))
}

func load(t testing.TB, c wasm.Config) *wasm.Plugin {
	t.Helper()
	if c.Name == "" {
		c.Name = "test"
	}
	if c.Path == "" {
		c.Path = guest
	}
	c.CacheDir = cache
	p, err := wasm.Load(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return p
}

func run(t testing.TB, p *wasm.Plugin, kind, payload string) (string, error) {
	t.Helper()
	got, err := p.Handle(t.Context(), sdktest.Task(kind, payload), sdktest.NewHost())
	return string(got), err
}

// TestDoesNotLoad: what is wrong with a module is said in words that its writer
// understands, and nothing of it stays.
func TestDoesNotLoad(t *testing.T) {
	garbage := filepath.Join(t.TempDir(), "garbage.wasm")
	if err := os.WriteFile(garbage, []byte("not a module"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		cfg  wasm.Config
		want []string
	}{
		"missing":              {wasm.Config{Path: "no/such.wasm"}, []string{"no/such.wasm", "no such file"}},
		"not a module":         {wasm.Config{Path: garbage}, []string{"no WebAssembly", "GOARCH=wasm"}},
		"pinned otherwise":     {wasm.Config{Path: guest, SHA256: strings.Repeat("00", 32)}, []string{"sha256 pins 0000", "the module has SHA-256"}},
		"exits":                {wasm.Config{Path: guest, Name: "exit"}, []string{"before its manifest", "code 7", "no licence found"}},
		"ends":                 {wasm.Config{Path: guest, Name: "end"}, []string{"before its manifest", "code 0"}},
		"panics":               {wasm.Config{Path: guest, Name: "panic"}, []string{"before its manifest", "oh no"}},
		"hangs":                {wasm.Config{Path: guest, Name: "hang", StartTimeout: 300 * time.Millisecond}, []string{"no manifest within 300ms, its limits.start_timeout"}},
		"bad manifest":         {wasm.Config{Path: guest, Name: "badmanifest"}, []string{"manifest", "version"}},
		"bad bytes":            {wasm.Config{Path: jsonGuest, Name: "garbage"}, []string{"before its manifest", "plugin_protocol"}},
		"another first":        {wasm.Config{Path: jsonGuest, Name: "noise"}, []string{"first message", "not its manifest"}},
		"a later conversation": {wasm.Config{Path: jsonGuest, Name: "future"}, []string{"version 99", "version 1"}},
		"a pointer outside":    {wasm.Config{Path: jsonGuest, Name: "outside"}, []string{"trapped", "outside the memory"}},
		"too little memory":    {wasm.Config{Path: guest, Memory: 1 << 20}, []string{"memory"}},
	} {
		t.Run(name, func(t *testing.T) {
			if c.cfg.Name == "" {
				c.cfg.Name = "test"
			}
			c.cfg.CacheDir = cache
			p, err := wasm.Load(t.Context(), c.cfg)
			if err == nil {
				_ = p.Close(t.Context())
				t.Fatal("it loaded")
			}
			for _, want := range c.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%q does not say %q", err, want)
				}
			}
		})
	}
}

func TestJSONGuest(t *testing.T) {
	p := load(t, wasm.Config{Path: jsonGuest})
	if err := p.Configure(t.Context(), json.RawMessage(`{}`)); err != nil {
		t.Fatal(err)
	}
	for _, payload := range []string{`{"a":"é"}`, `[` + strings.Repeat("1,", 50_000) + `1]`} {
		if got, err := run(t, p, "test.echo", payload); got != payload || err != nil {
			t.Errorf("got %.40s, %v", got, err)
		}
	}
}

// TestPrintsMuch: what a guest prints costs as much as there is of it, however short the
// lines and long the pieces are. By the square of it, this would take hours.
func TestPrintsMuch(t *testing.T) {
	p := load(t, wasm.Config{Path: jsonGuest})
	if got, err := run(t, p, "test.print", `{}`); got != "null" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
}

// TestDeaf: a guest that asks without end and reads no answer is ended, before its
// answers have filled the memory of the runtime.
func TestDeaf(t *testing.T) {
	p := load(t, wasm.Config{Path: jsonGuest})
	if _, err := run(t, p, "test.deaf", `{}`); sdk.CodeOf(err) != sdk.CodePluginProtocol || !strings.Contains(err.Error(), "unread") {
		t.Errorf("it ended with %v", err)
	}
}

// TestConfigure: instances that start later have the configuration too, and one
// that refuses it says why.
func TestConfigure(t *testing.T) {
	p := load(t, wasm.Config{Instances: 3})
	if err := p.Configure(t.Context(), json.RawMessage(`{"a":1}`)); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			host := sdktest.NewHost()
			ctx, cancel := context.WithCancel(sdk.WithAbort(t.Context(), nil))
			go func() { <-host.Heard(); cancel() }()
			if got, err := p.Handle(ctx, sdktest.Task("test.wait", `null`), host); string(got) != `"stopped"` {
				t.Errorf("got %s, %v", got, err)
			}
			if got, err := run(t, p, "test.config", `null`); got != `{"a":1}` || err != nil {
				t.Errorf("got %s, %v", got, err)
			}
		})
	}
	wg.Wait()
	if err := p.Configure(t.Context(), json.RawMessage(`{"bad":true}`)); err == nil || !strings.Contains(err.Error(), "bad must not be true") {
		t.Errorf("got %v", err)
	}
}

// TestShared: waits of one instance run side by side, in about the time of one.
func TestShared(t *testing.T) {
	p := load(t, wasm.Config{Instances: 1, Concurrency: 20})
	start := time.Now()
	var wg sync.WaitGroup
	for range 100 {
		wg.Go(func() {
			if got, err := run(t, p, "test.sleep", `null`); got != `"slept"` || err != nil {
				t.Errorf("got %s, %v", got, err)
			}
		})
	}
	wg.Wait()
	if d := time.Since(start); d > 9*time.Second {
		t.Errorf("100 waits of 100ms, 20 at once, took %v", d)
	}
	if p.Instances() != 1 {
		t.Errorf("%d instances", p.Instances())
	}
}

// TestRetire: an instance that has served its number is replaced.
func TestRetire(t *testing.T) {
	p := load(t, wasm.Config{Instances: 1, MaxTasks: 3})
	var got []string
	for range 7 {
		n, err := run(t, p, "test.count", `null`)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, n)
	}
	if want := "1 2 3 1 2 3 1"; strings.Join(got, " ") != want {
		t.Errorf("got %v, want %s", got, want)
	}
}

// TestExitTakesOnlyItsInstance: the runs of the instance fail, others go on, and
// the next finds a fresh instance.
func TestExitTakesOnlyItsInstance(t *testing.T) {
	p := load(t, wasm.Config{Instances: 2})
	host := sdktest.NewHost()
	ctx, cancel := context.WithCancel(sdk.WithAbort(t.Context(), nil))
	other := make(chan string, 1)
	go func() {
		got, err := p.Handle(ctx, sdktest.Task("test.wait", `null`), host)
		other <- fmt.Sprintf("%s %v", got, err)
	}()
	<-host.Heard()
	if _, err := run(t, p, "test.exit", `null`); sdk.CodeOf(err) != sdk.CodePluginCrashed || !strings.Contains(err.Error(), "code 3") {
		t.Errorf("got %v", err)
	}
	if got, err := run(t, p, "test.echo", `1`); got != "1" || err != nil {
		t.Errorf("the next: %s, %v", got, err)
	}
	cancel()
	if got := <-other; got != `"stopped" <nil>` {
		t.Errorf("the other: %s", got)
	}
}

// deaf is a host that answers no call.
type deaf struct{ *sdktest.Host }

func (deaf) Call(ctx context.Context, _ string, _ []byte) ([]byte, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

// TestTimerAroundAWait: the time of a context ends a durable wait, though nothing comes
// from the runtime.
func TestTimerAroundAWait(t *testing.T) {
	p := load(t, wasm.Config{})
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second) // where no timer fires
	defer cancel()
	got, err := p.Handle(ctx, sdktest.Task("test.patience", `null`), deaf{sdktest.NewHost()})
	if string(got) != `"cancelled: await: context deadline exceeded"` || err != nil {
		t.Errorf("got %s, %v", got, err)
	}
}

// TestSpinTakesBystanders: an instance can only be closed whole; its other runs
// are told that it was not their fault.
func TestSpinTakesBystanders(t *testing.T) {
	p := load(t, wasm.Config{Instances: 1, Concurrency: 2})
	waiting, spinning := sdktest.NewHost(), sdktest.NewHost()
	other := make(chan error, 1)
	go func() {
		_, err := p.Handle(t.Context(), sdktest.Task("test.wait", `null`), waiting)
		other <- err
	}()
	<-waiting.Heard()
	abort := make(chan struct{})
	ctx, cancel := context.WithCancelCause(sdk.WithAbort(t.Context(), abort))
	go func() {
		<-spinning.Heard()
		cancel(sdktest.ErrStopped)
		close(abort)
	}()
	if _, err := p.Handle(ctx, sdktest.Task("test.spin", `null`), spinning); !errors.Is(err, sdktest.ErrStopped) {
		t.Errorf("the spinning run: %v", err)
	}
	if err := <-other; !errors.Is(err, sdk.ErrBystander) || sdk.CodeOf(err) != sdk.CodePluginCrashed {
		t.Errorf("the bystander: %v", err)
	}
	if got, err := run(t, p, "test.echo", `1`); got != "1" || err != nil {
		t.Errorf("the next: %s, %v", got, err)
	}
}

func TestTooLargeAMessage(t *testing.T) {
	p := load(t, wasm.Config{Memory: 256 << 20})
	if _, err := run(t, p, "test.flood", `null`); err == nil {
		t.Error("17 MiB went through")
	}
	if got, err := run(t, p, "test.echo", `1`); got != "1" || err != nil {
		t.Errorf("the next: %s, %v", got, err)
	}
}

// TestClose: closing ends what runs, however busy, and refuses what comes.
func TestClose(t *testing.T) {
	p := load(t, wasm.Config{Instances: 2, Log: func(slog.Level, string) {}})
	host := sdktest.NewHost()
	ended := make(chan error, 1)
	go func() {
		_, err := p.Handle(t.Context(), sdktest.Task("test.spin", `null`), host)
		ended <- err
	}()
	<-host.Heard()
	ctx, cancel := context.WithCancel(t.Context())
	cancel() // no grace
	if err := p.Close(ctx); err != nil {
		t.Error(err)
	}
	if err := <-ended; sdk.CodeOf(err) != sdk.CodePluginCrashed {
		t.Errorf("got %v", err)
	}
	if _, err := run(t, p, "test.echo", `1`); !errors.Is(err, sdk.ErrNotStarted) {
		t.Errorf("after the close: %v", err)
	}
	if err := p.Close(ctx); err != nil {
		t.Errorf("the second close: %v", err)
	}
}

// TestCloseTellsAll: every instance is told to leave, while others leave the pool. It
// is the race detector that sees when the two disturb each other.
func TestCloseTellsAll(t *testing.T) {
	for range 5 {
		p := load(t, wasm.Config{Instances: 8})
		var all sync.WaitGroup
		for range 8 {
			all.Go(func() {
				if _, err := run(t, p, "test.sleep", `null`); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		if err := p.Close(ctx); err != nil || ctx.Err() != nil {
			t.Errorf("close: %v; %v", err, ctx.Err())
		}
		cancel()
	}
}

// TestSoak: memory does not grow with the instances that came and went.
func TestSoak(t *testing.T) {
	p := load(t, wasm.Config{Instances: 1, MaxTasks: 1})
	measure := func(n int) uint64 {
		for range n {
			if _, err := run(t, p, "test.echo", `1`); err != nil {
				t.Fatal(err)
			}
		}
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before, space := measure(20), addressSpace()
	if after := measure(100); after > before+8<<20 {
		t.Errorf("the heap grew from %d to %d bytes over 100 instances", before, after)
	}
	if after := addressSpace(); after > space+1<<30 { // each reserves 128 MiB
		t.Errorf("the address space grew from %d to %d MiB over 100 instances", space>>20, after>>20)
	}
}

// addressSpace is how many bytes of it this process has, on Linux.
func addressSpace() (bytes int64) {
	b, _ := os.ReadFile("/proc/self/statm")
	_, _ = fmt.Sscan(string(b), &bytes)
	return bytes * int64(os.Getpagesize())
}

// BenchmarkTask is one task at a time: one that does nothing, one that reads and writes
// 2 KB of JSON, and one with a loop of a million turns.
func BenchmarkTask(b *testing.B) {
	p := load(b, wasm.Config{})
	for kind, payload := range map[string]string{
		"echo": `{"a":"` + strings.Repeat("x", 248) + `"}`,
		"json": `{"rows":[` + strings.Repeat(`{"id":1234,"name":"a name","tags":["x","y"]},`, 39) + `null]}`,
		"mix":  `1`,
	} {
		task, host := sdktest.Task("test."+kind, payload), sdktest.NewHost()
		b.Run(kind, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := p.Handle(b.Context(), task, host); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkStart is from nothing to an answer of a new instance.
func BenchmarkStart(b *testing.B) {
	p := load(b, wasm.Config{Instances: 1, MaxTasks: 1})
	for b.Loop() {
		if _, err := run(b, p, "test.echo", `1`); err != nil {
			b.Fatal(err)
		}
	}
}

// TestMemoryIsOffTheHeap: what an instance takes does not count for the collector of
// the runtime's garbage, which would let the rest grow by a multiple of it.
func TestMemoryIsOffTheHeap(t *testing.T) {
	p := load(t, wasm.Config{Instances: 1})
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	payload := `"` + strings.Repeat("x", 8<<20) + `"`
	if got, err := run(t, p, "test.echo", payload); got != payload || err != nil { // in the guest it is there several times
		t.Fatalf("%.20s, %v", got, err)
	}
	if more := int64(heap()) - int64(before); more > 12<<20 {
		t.Errorf("the heap has grown by %d MiB", more>>20)
	}
}
