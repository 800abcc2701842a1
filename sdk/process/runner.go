package process

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"syscall"
)

// supervised is go-plugin's runner.Runner for a plugin under a supervisor.
type supervised struct {
	cfg    *Config
	cmd    *exec.Cmd
	stdout io.ReadCloser
	stderr io.ReadCloser
	tail   *tail // the last lines of stderr

	mu     sync.Mutex
	pipe   *os.File // to the supervisor; closing it ends the plugin
	killed bool     // before there was a pipe

	once sync.Once
	err  error
	done chan struct{} // closed when the supervisor has been waited for
}

// newSupervised prepares the command; env is what go-plugin wants set.
func newSupervised(cfg *Config, env []string) (*supervised, error) {
	if !asked.Load() {
		return nil, errors.New("this program starts itself again to watch over plugins, and does not expect it: call process.Supervise() first in main, and in TestMain")
	}
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this program: %w", err)
	}
	order, err := json.Marshal(superviseOrder{Command: cfg.Command, Dir: cfg.Dir, Memory: cfg.Memory})
	if err != nil {
		return nil, err
	}
	s := &supervised{cfg: cfg, done: make(chan struct{}), tail: &tail{}}
	s.cmd = exec.Command(self)
	s.cmd.Args = []string{"nagatha-supervisor: " + cfg.Name}
	s.cmd.Env = append(append([]string{}, cfg.Env...), env...)
	s.cmd.Env = append(s.cmd.Env, superviseEnv+"="+string(order))
	// A group of its own: Ctrl-C in the terminal is for the runtime, which then
	// ends its plugins in order.
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	return s, nil
}

// Start implements runner.Runner.
func (s *supervised) Start(context.Context) error {
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer r.Close()
	s.cmd.ExtraFiles = []*os.File{r} // becomes controlFD
	if s.stdout, err = s.cmd.StdoutPipe(); err == nil {
		s.stderr, err = s.cmd.StderrPipe()
	}
	if err == nil {
		err = s.cmd.Start()
	}
	if err != nil {
		_ = w.Close()
		return fmt.Errorf("start the supervisor: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pipe = w
	if s.killed {
		_, _ = w.Write([]byte{controlKill})
	}
	return nil
}

// Wait implements runner.Runner.
func (s *supervised) Wait(context.Context) error {
	s.once.Do(func() {
		s.err = s.cmd.Wait()
		close(s.done)
		s.closePipe()
	})
	<-s.done
	return nil // how it ended is told by status, not by go-plugin's log
}

// Kill implements runner.Runner: everything ends at once, also what is only about to
// start.
func (s *supervised) Kill(context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pipe == nil {
		s.killed = true
		return nil
	}
	_, _ = s.pipe.Write([]byte{controlKill})
	return nil
}

// closePipe ends the plugin, if there is one.
func (s *supervised) closePipe() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pipe != nil {
		_ = s.pipe.Close()
	}
}

// Diagnose implements runner.Runner.
func (s *supervised) Diagnose(context.Context) string { return "" }

// Stdout implements runner.Runner.
func (s *supervised) Stdout() io.ReadCloser { return s.stdout }

// Stderr implements runner.Runner.
func (s *supervised) Stderr() io.ReadCloser {
	return struct {
		io.Reader
		io.Closer
	}{io.TeeReader(s.stderr, s.tail), s.stderr}
}

// Name implements runner.Runner.
func (s *supervised) Name() string { return s.cfg.Name }

// ID implements runner.Runner.
func (s *supervised) ID() string {
	if s.cmd.Process == nil {
		return ""
	}
	return strconv.Itoa(s.cmd.Process.Pid)
}

// PluginToHost implements runner.Runner.
func (s *supervised) PluginToHost(network, addr string) (string, string, error) {
	return network, addr, nil
}

// HostToPlugin implements runner.Runner.
func (s *supervised) HostToPlugin(network, addr string) (string, string, error) {
	return network, addr, nil
}

// status says how the plugin ended, as what "it" did. The supervisor passes its status on, with
// 128 and more for a signal, as shells do.
func (s *supervised) status() string {
	state := s.cmd.ProcessState
	switch code := state.ExitCode(); {
	case code > 128:
		return fmt.Sprintf("was killed by signal %d (%v)", code-128, syscall.Signal(code-128))
	case code >= 0:
		return fmt.Sprintf("exited with code %d", code)
	}
	return "ended with its supervisor, which was killed"
}

// tail keeps what matters of stderr: its end, or where a Go program began to say
// that it dies, since the stacks that follow are long.
type tail struct {
	mu    sync.Mutex
	buf   []byte
	fatal []byte
	oom   bool
}

const tailBytes = 4 << 10

// Signs of death: Go's, and of memory that ran out in Go, Python, C++ and Node.
var (
	fatalSigns = [][]byte{[]byte("fatal error: "), []byte("panic: ")}
	oomSigns   = [][]byte{[]byte("out of memory"), []byte("cannot allocate memory"), []byte("MemoryError"), []byte("std::bad_alloc")}
)

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf = append(t.buf, p...)
	recent := t.buf[max(0, len(t.buf)-len(p)-64):]
	for _, s := range oomSigns {
		t.oom = t.oom || bytes.Contains(recent, s)
	}
	if t.fatal != nil {
		t.fatal = append(t.fatal, p[:min(len(p), max(0, tailBytes-len(t.fatal)))]...)
	}
	for _, s := range fatalSigns {
		if i := bytes.Index(recent, s); i >= 0 && t.fatal == nil {
			t.fatal = append([]byte{}, recent[i:min(len(recent), i+tailBytes)]...)
		}
	}
	if len(t.buf) > 2*tailBytes {
		t.buf = append([]byte(nil), t.buf[len(t.buf)-tailBytes:]...)
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.fatal != nil {
		return string(bytes.TrimSpace(t.fatal))
	}
	return string(bytes.TrimSpace(t.buf))
}

func (t *tail) outOfMemory() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.oom
}

// ended reports whether the process is gone.
func (s *supervised) ended() bool {
	select {
	case <-s.done:
		return true
	default:
		return false
	}
}
