// Package process is the carrier that runs a plugin as a process of its own. Both
// ends are here: [Serve] in the plugin, [Launch] in the runtime.
//
// hashicorp/go-plugin starts the process, shakes hands and carries its output;
// then one bidirectional gRPC stream carries the whole conversation (sdk/wire).
//
// # Why
//
// go-plugin alone leaves a plugin behind when the runtime is killed, and its
// socket file as well. Here the plugin's parent is a supervisor (supervise.go)
// that ends it with all its descendants as soon as the runtime is gone, and the
// socket is unlinked once it is connected. One stream, rather than one unary call
// a task, carries several times as many small tasks, and its end tells each side
// of the other's death.
package process

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	goplugin "github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"

	"github.com/nagatha/nagatha-runtime/sdk"
	"github.com/nagatha/nagatha-runtime/sdk/wire"
)

// Config says what to launch and how.
type Config struct {
	Name    string
	Command []string // program and arguments
	Env     []string // all that the plugin sees, but for go-plugin's own settings
	Dir     string   // working directory; default: the runtime's
	RunDir  string   // where socket directories are made; made with mode 0700
	Memory  int64    // bytes of data (RLIMIT_DATA); 0: no limit
	SHA256  string   // pin of the program in hex; empty: none
	MTLS    bool     // mutual TLS on the socket; only Go plugins can
	// StartTimeout is until the manifest has arrived. Default 10s.
	StartTimeout time.Duration
	// ReadTimeout is how long a message to the plugin may wait until it is read; then
	// the plugin is ended. Default 30s.
	ReadTimeout time.Duration
	// Between is called by the plugin outside its tasks; nil: it may not.
	Between sdk.Host
	// Log gets the lines of stdout and stderr.
	Log func(level slog.Level, line string)
}

// Plugin is a running process. It implements sdk.Plugin and sdk.Configurer and
// is safe for concurrent use.
type Plugin struct {
	cfg     Config
	digest  string
	sockets string // the directory that the plugin is told to put its socket in
	info    sdk.Info
	client  *goplugin.Client
	proc    *supervised
	session *wire.Session
	sender  sender
	cancel  context.CancelFunc // of the stream

	blame  atomic.Pointer[string] // why the process was killed; nil: it was not
	reader sync.WaitGroup
	closed sync.Once
}

// Launch starts a plugin and returns once its manifest has arrived and is good. One
// that takes longer than StartTimeout is [sdk.CodeTimeout].
func Launch(ctx context.Context, cfg Config) (*Plugin, error) {
	if cfg.StartTimeout == 0 {
		cfg.StartTimeout = 10 * time.Second
	}
	if cfg.ReadTimeout == 0 {
		cfg.ReadTimeout = 30 * time.Second
	}
	if cfg.Log == nil {
		cfg.Log = func(slog.Level, string) {}
	}
	if len(cfg.Command) == 0 {
		return nil, errors.New("no command")
	}
	digest, err := cfg.resolve()
	if err != nil {
		return nil, err
	}
	if err := private(cfg.RunDir); err != nil {
		return nil, fmt.Errorf("make the directory for sockets: %w", err)
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	p := &Plugin{cfg: cfg, digest: digest}
	p.sender.wait, p.sender.stuck = cfg.ReadTimeout, p.deaf
	p.session = wire.NewSession(p.sender.send)
	if cfg.Between != nil {
		p.session.Between(cfg.Between)
	}
	if err := p.start(ctx); err != nil {
		p.end()
		return nil, err
	}
	return p, nil
}

// private makes a directory that nobody else can write, or sees that it is one: whoever
// could put a socket there would be the plugin. It may be in a directory of everybody's.
func private(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	i, err := os.Lstat(dir)
	if err != nil {
		return err
	}
	if s, ok := i.Sys().(*syscall.Stat_t); !i.IsDir() || ok && int(s.Uid) != os.Geteuid() {
		return fmt.Errorf("%s is no directory of this user's: remove it", dir)
	}
	if i.Mode().Perm()&0o077 != 0 {
		return os.Chmod(dir, 0o700)
	}
	return nil
}

// resolve finds the program and checks it against its pin.
func (c *Config) resolve() (digest string, err error) {
	path, err := exec.LookPath(c.Command[0])
	if errors.Is(err, exec.ErrDot) {
		err = nil
	}
	if err != nil {
		return "", fmt.Errorf("find the program: %w", err)
	}
	if path, err = filepath.Abs(path); err != nil {
		return "", err
	}
	c.Command = append([]string{path}, c.Command[1:]...)
	f, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("read the program: %w", err)
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", fmt.Errorf("read the program: %w", err)
	}
	digest = hex.EncodeToString(h.Sum(nil))
	if c.SHA256 != "" && !strings.EqualFold(c.SHA256, digest) {
		return "", fmt.Errorf("%s has SHA-256 %s, but sha256 pins %s: if the change is yours, pin the new one", path, digest, strings.ToLower(c.SHA256))
	}
	return "sha256:" + digest, nil
}

// settle is how long the end of a process may lag behind the end of its stream: on a busy
// machine by a second, and then why it ended would not be known.
const settle = 5 * time.Second

func recv(stream grpc.ClientStream) (wire.Message, error) {
	var f frame
	if err := stream.RecvMsg(&f); err != nil {
		return nil, err
	}
	m, err := wire.DecodeFromPlugin(f.b)
	if err != nil {
		return nil, &sdk.Error{Code: sdk.CodePluginProtocol, Message: err.Error()}
	}
	return m, nil
}

// read hands messages on until the stream ends.
func (p *Plugin) read(stream grpc.ClientStream) {
	for {
		m, err := recv(stream)
		if err == nil {
			err = p.session.Receive(m)
		}
		if err == nil {
			continue
		}
		if sdk.CodeOf(err) != sdk.CodePluginProtocol {
			err = p.death()
		} else {
			p.blamed("it broke the protocol: " + err.Error())
		}
		p.session.Fail(err)
		p.kill() // it may still live, with nobody to talk to
		return
	}
}

// death explains the end of the stream by the end of the process.
func (p *Plugin) death() error {
	text := "the plugin closed its stream"
	select {
	case <-p.proc.done:
		text = "the plugin " + p.proc.status()
	case <-time.After(settle):
	}
	tail := p.proc.tail.String()
	code := sdk.CodePluginCrashed
	if p.proc.tail.outOfMemory() {
		code = sdk.CodeOutOfMemory
		if p.cfg.Memory > 0 {
			text += fmt.Sprintf(": out of memory, limits.memory allows it %dMiB", p.cfg.Memory>>20)
		}
	}
	if tail != "" {
		text += "; the end of its stderr:\n" + tail
	}
	return sdk.Errorf(code, "%s", text)
}

// Info returns the manifest.
func (p *Plugin) Info() sdk.Info { return p.info }

// Digest is the program's, as "sha256:…".
func (p *Plugin) Digest() string { return p.digest }

// PID is the supervisor's process id.
func (p *Plugin) PID() int { return p.proc.cmd.Process.Pid }

// Configure implements sdk.Configurer.
func (p *Plugin) Configure(ctx context.Context, config json.RawMessage) error {
	ctx, cancel := context.WithTimeout(ctx, p.cfg.StartTimeout)
	defer cancel()
	return p.session.Configure(ctx, config)
}

// Handle implements sdk.Plugin. Killing an attempt that does not stop kills the
// process; the other attempts in it return [sdk.ErrBystander].
func (p *Plugin) Handle(ctx context.Context, task *sdk.Task, host sdk.Host) (json.RawMessage, error) {
	result, err := p.session.Run(ctx, task, host, func() {
		p.blamed(fmt.Sprintf("an attempt of task %s (%s) did not stop: %v", task.ID, task.Kind, context.Cause(ctx)))
		p.session.Fail(fmt.Errorf("%w: %w", sdk.ErrBystander,
			sdk.Errorf(sdk.CodePluginCrashed, "the process was killed because another attempt in it did not stop")))
		p.kill()
	})
	if errors.Is(err, sdk.ErrNotStarted) {
		// It will be tried again at once, here as long as the process is not gone.
		select {
		case <-p.proc.done:
		case <-ctx.Done():
		}
	}
	return result, err
}

// deaf ends a plugin that does not read. Whoever wants to tell it something waits.
func (p *Plugin) deaf() {
	why := sdk.Errorf(sdk.CodePluginProtocol, "the plugin has not read what it was told for %s", p.cfg.ReadTimeout)
	p.blamed(why.Message)
	p.session.Fail(why)
	p.kill()
}

func (p *Plugin) kill() {
	if p.proc != nil {
		_ = p.proc.Kill(context.Background())
	}
}

// blamed notes why the process is about to be killed, unless it is gone already.
func (p *Plugin) blamed(why string) {
	if !p.proc.ended() {
		p.blame.CompareAndSwap(nil, &why)
	}
}

// Done is closed when the process has ended.
func (p *Plugin) Done() <-chan struct{} { return p.proc.done }

// ErrKilled is in the chain of [Plugin.Err] where the process did not end by itself: it
// was killed because an attempt in it did not stop, or it broke the protocol.
var ErrKilled = errors.New("the runtime ended the process")

// Err says how the process ended; it is for after Done.
func (p *Plugin) Err() error {
	if why := p.blame.Load(); why != nil {
		return fmt.Errorf("%w: %s", ErrKilled, *why)
	}
	return p.death()
}

// Close asks the plugin to end, and makes it when ctx ends or [farewell] is over:
// first by SIGTERM, then by SIGKILL, together with all that it started. It
// returns when nothing of it is left.
func (p *Plugin) Close(ctx context.Context) error {
	p.closed.Do(func() {
		if p.proc != nil && p.proc.ended() {
			// By itself, and its runs are to hear why, whoever is faster: this or
			// the reader of its stream.
			p.session.Fail(p.death())
		}
		if p.sender.send(&wire.Shutdown{}) == nil {
			t := time.NewTimer(farewell)
			defer t.Stop()
			select {
			case <-p.proc.done:
			case <-ctx.Done():
			case <-t.C:
			}
		}
		p.end()
	})
	return nil
}

// farewell is how long a plugin may take to end by itself.
const farewell = 3 * time.Second

// end closes the supervisor's pipe and waits for everything.
func (p *Plugin) end() {
	if p.proc != nil && p.proc.pipe != nil {
		p.proc.closePipe()
		<-p.proc.done
	}
	p.session.Fail(sdk.Errorf(sdk.CodePluginCrashed, "the plugin was closed"))
	if p.cancel != nil {
		p.cancel()
	}
	p.reader.Wait()
	p.session.Wait()
	p.client.Kill() // the process is gone: this waits for go-plugin's goroutines
}

// Sweep removes what an earlier runtime that was killed left in runDir.
func Sweep(runDir string) error {
	entries, err := os.ReadDir(runDir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), "plugin-dir") {
			err = errors.Join(err, os.RemoveAll(filepath.Join(runDir, e.Name())))
		}
	}
	return err
}
