//go:build !wasip1

package wasm

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/sys"

	"github.com/nagatha/nagatha-runtime/sdk"
	"github.com/nagatha/nagatha-runtime/sdk/wire"
)

// instance is one running copy of the module. A goroutine runs its main, which
// calls recv and send; both run in that goroutine.
type instance struct {
	plugin  *Plugin
	session *wire.Session
	info    sdk.Info

	inbox mailbox
	hello chan *wire.Manifest // capacity 1
	ended chan struct{}       // closed when main has returned
	stop  context.CancelCauseFunc
	json  bool // it speaks the JSON form; known from its first message
	greet bool // its first message has arrived

	stderr *output

	mu   sync.Mutex
	size uint32 // bytes of memory at its last recv
	why  error  // the first reason to end it

	// Guarded by plugin.mu.
	runs, served int
	since        time.Time // when its last run ended
}

// instantiate starts an instance and waits for its manifest.
func (p *Plugin) instantiate(ctx context.Context, m *module) (*instance, error) {
	life, stop := context.WithCancelCause(context.Background())
	in := &instance{plugin: p, hello: make(chan *wire.Manifest, 1), ended: make(chan struct{}), stop: stop,
		stderr: &output{life: life, level: slog.LevelWarn, log: p.cfg.Log, keep: true}}
	in.inbox.init()
	in.session = wire.NewSession(in.post)

	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		stop(nil)
		return nil, errClosed
	}
	p.all.Add(1)
	p.mu.Unlock()
	go func() {
		defer p.all.Done()
		in.run(life, m)
	}()

	t := time.NewTimer(p.cfg.StartTimeout)
	defer t.Stop()
	fail := func(err error) (*instance, error) {
		in.kill(err)
		<-in.ended
		return nil, err
	}
	var hello *wire.Manifest
	select {
	case hello = <-in.hello:
	case <-in.ended:
		select {
		case hello = <-in.hello: // it ended after that, which the manifest may explain
		default:
			return nil, fmt.Errorf("it ended before its manifest: %w", in.why)
		}
	case <-t.C:
		return fail(sdk.Errorf(sdk.CodeTimeout, "no manifest within %s, its limits.start_timeout", p.cfg.StartTimeout))
	case <-ctx.Done():
		return fail(context.Cause(ctx))
	}
	if hello.Version != wire.Version {
		return fail(fmt.Errorf("it speaks version %d of the conversation, this runtime version %d: build it with the runtime's SDK", hello.Version, wire.Version))
	}
	if err := json.Unmarshal(hello.Info, &in.info); err != nil {
		return fail(fmt.Errorf("manifest: %w", err))
	}
	if err := in.info.Validate(); err != nil {
		return fail(fmt.Errorf("manifest: %w", err))
	}
	return in, nil
}

// run is the instance's life: its main, from beginning to end.
func (in *instance) run(ctx context.Context, m *module) {
	defer close(in.ended)
	ctx = context.WithValue(ctx, instanceKey{}, in)
	ctx, memory := withMemory(ctx)
	defer memory.free() // main has returned: whatever ends it, nothing of it runs
	config := wazero.NewModuleConfig().
		WithName(""). // many of one module
		WithArgs(in.plugin.cfg.Name).
		// Go's runtime in the module reads these. Collecting garbage less often is a good
		// part of a small task's speed; close to the limit it is collected more often again.
		WithEnv("GOGC", "400").
		WithEnv("GOMEMLIMIT", strconv.FormatInt(in.plugin.cfg.Memory/4*3, 10)).
		WithStdout(&output{life: ctx, level: slog.LevelInfo, log: in.plugin.cfg.Log}).
		WithStderr(in.stderr).
		WithRandSource(rand.Reader).
		WithSysWalltime().
		WithSysNanotime().
		WithOsyield(func() {}).
		WithNanosleep(func(ns int64) { // interruptible: closing an instance must not wait for its sleep
			t := time.NewTimer(time.Duration(ns))
			defer t.Stop()
			select {
			case <-t.C:
			case <-ctx.Done():
			}
		})
	mod, err := m.runtime.InstantiateModule(ctx, m.code, config.WithStartFunctions())
	if err == nil {
		err = in.main(ctx, mod)
		_ = mod.Close(context.WithoutCancel(ctx))
	}
	in.mu.Lock()
	if in.why == nil {
		in.why = in.cause(err)
	}
	why := in.why
	in.mu.Unlock()
	in.stop(nil)
	in.inbox.close()
	in.session.Fail(why)
	in.plugin.gone(in)
}

// main runs the module's code until it ends or, at most some microseconds after ctx has
// ended, is made to.
func (in *instance) main(ctx context.Context, mod api.Module) error {
	stop := mod.ExportedGlobal(stopGlobal).(api.MutableGlobal)
	stopped := make(chan struct{})
	unless := context.AfterFunc(ctx, func() {
		defer close(stopped)
		stop.Set(1)
	})
	defer func() {
		if !unless() {
			<-stopped
		}
	}()
	for _, name := range []string{startFunc, "_start"} {
		if f := mod.ExportedFunction(name); f != nil {
			if _, err := f.Call(ctx); err != nil {
				return err
			}
		}
	}
	return nil
}

// cause turns the end of main into an error of the plugin's.
func (in *instance) cause(err error) *sdk.Error {
	code, text := sdk.CodePluginCrashed, ""
	var exit *sys.ExitError
	switch {
	case err == nil:
		text = "the instance exited with code 0"
	case errors.As(err, &exit):
		text = fmt.Sprintf("the instance exited with code %d", exit.ExitCode())
	default:
		first, _, _ := strings.Cut(err.Error(), "\n")
		text = "the instance trapped: " + first
	}
	said := in.stderr.tail()
	if strings.Contains(said, "out of memory") || strings.Contains(text, "out of memory") {
		code = sdk.CodeOutOfMemory
		text += fmt.Sprintf(": out of memory, limits.memory allows it %dMiB", in.plugin.cfg.Memory>>20)
	}
	if said != "" {
		text += "; the end of its stderr:\n" + said
	}
	return sdk.Errorf(code, "%s", text)
}

func (in *instance) alive() bool {
	select {
	case <-in.ended:
		return false
	default:
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.why == nil
}

// kill ends the instance at once, whatever it does. Its runs return why.
func (in *instance) kill(why error) {
	in.mu.Lock()
	if in.why == nil {
		in.why = why
	}
	in.mu.Unlock()
	in.session.Fail(why)
	in.stop(why)
	in.inbox.close()
}

// leave asks the instance to end: its next recv says so.
func (in *instance) leave() { in.inbox.close() }

// bytes is how much memory the instance has.
func (in *instance) bytes() uint32 {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.size
}

// post encodes a message for the guest's next recv.
func (in *instance) post(m wire.Message) error {
	var b []byte
	var err error
	if in.json {
		b, err = wire.EncodeJSON(m)
	} else {
		b, err = wire.Append(nil, m)
	}
	if err == nil {
		err = in.inbox.put(b)
	}
	if errors.Is(err, errDeaf) {
		in.kill(err)
	}
	return err
}

// arrived takes a message of the guest's. It runs in the guest's goroutine.
func (in *instance) arrived(b []byte) error {
	first := !in.greet
	in.greet = true
	if first {
		in.json = len(b) > 0 && b[0] == '{'
	}
	var m wire.Message
	var err error
	if in.json {
		m, err = wire.DecodeJSON(b)
	} else {
		m, err = wire.DecodeFromPlugin(b)
	}
	if err != nil {
		return &sdk.Error{Code: sdk.CodePluginProtocol, Message: err.Error()}
	}
	if first {
		hello, ok := m.(*wire.Manifest)
		if !ok {
			return &sdk.Error{Code: sdk.CodePluginProtocol, Message: fmt.Sprintf("its first message is %T, not its manifest", m)}
		}
		in.hello <- hello
		return nil
	}
	return in.session.Receive(m)
}

// output splits what a guest prints into lines, and keeps the end of it.
type output struct {
	life  context.Context // ends with the instance
	level slog.Level
	log   func(slog.Level, string)
	keep  bool

	mu   sync.Mutex
	line []byte
	kept []byte
}

const (
	maxLine   = 16 << 10
	keptBytes = 4 << 10
)

// Write implements io.Writer. A guest can print all its memory many times in one call, so
// it looks between the pieces whether the instance has been ended.
func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for rest := p; len(rest) > 0; {
		if o.life.Err() != nil {
			return 0, o.life.Err()
		}
		piece := rest[:min(len(rest), maxLine)]
		rest = rest[len(piece):]
		o.write(piece)
	}
	return len(p), nil
}

func (o *output) write(p []byte) {
	if o.keep {
		o.kept = append(o.kept, p...)
		if len(o.kept) > 2*keptBytes {
			// The beginning of a death tells more than the stacks behind it.
			i := bytes.Index(o.kept, []byte("fatal error: "))
			if i < 0 {
				i = len(o.kept) - keptBytes
			}
			o.kept = append([]byte(nil), o.kept[i:min(len(o.kept), i+keptBytes)]...)
		}
	}
	line := append(o.line, p...)
	for {
		i := bytes.IndexByte(line, '\n')
		if i < 0 && len(line) < maxLine {
			break
		}
		if i < 0 || i > maxLine {
			i = maxLine
		}
		o.log(o.level, string(line[:i]))
		if i < len(line) && line[i] == '\n' {
			i++
		}
		line = line[i:]
	}
	o.line = append(o.line[:0], line...)
}

func (o *output) tail() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return strings.ToValidUTF8(string(bytes.TrimSpace(o.kept)), "\uFFFD")
}
