package main

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// child is the process of a server, in a group of its own, so that what it starts
// ends with it.
type child struct {
	cmd    *exec.Cmd
	stdin  io.WriteCloser
	stdout *io.PipeReader
	filter *lineFilter
	stderr tail
	done   chan struct{} // closed when it has ended and was waited for
	once   sync.Once
}

// How long a server may take to end: after its stdin is closed, and after SIGTERM.
const (
	closeGrace = 500 * time.Millisecond
	termGrace  = time.Second
)

func startChild(cfg serverConfig) (*child, error) {
	c := &child{cmd: exec.Command(cfg.Command[0], cfg.Command[1:]...), done: make(chan struct{})}
	c.cmd.Dir = cfg.Cwd
	for _, k := range []string{"PATH", "HOME"} { // not ours: they may hold secrets
		if v, ok := os.LookupEnv(k); ok {
			c.cmd.Env = append(c.cmd.Env, k+"="+v)
		}
	}
	for k, v := range cfg.Env {
		c.cmd.Env = append(c.cmd.Env, k+"="+v)
	}
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	c.cmd.Stderr = &c.stderr
	c.cmd.WaitDelay = closeGrace // a grandchild may hold the pipes open
	var w *io.PipeWriter
	c.stdout, w = io.Pipe()
	c.filter = &lineFilter{out: w}
	c.cmd.Stdout = c.filter
	var err error
	if c.stdin, err = c.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	if err := c.cmd.Start(); err != nil {
		if _, fault := os.Stat(cfg.Cwd); cfg.Cwd != "" && fault != nil {
			return nil, fmt.Errorf("start it in its cwd: %w", fault)
		}
		return nil, fmt.Errorf("start %s: %w; set the server's command to a program's whole path, or one in the PATH of plugin \"mcp\"", cfg.Command[0], err)
	}
	go func() {
		_ = c.cmd.Wait() // how it ended is in ProcessState
		_ = w.Close()
		close(c.done)
	}()
	return c, nil
}

// transport is the client's end of the child's stdin and stdout.
func (c *child) transport() mcp.Transport {
	return &mcp.IOTransport{Reader: c.stdout, Writer: c.stdin, MaxLineLength: maxLine + 1}
}

// gone is closed when the process has ended.
func (c *child) gone() <-chan struct{} { return c.done }

// end makes the process and its group end, and waits for it.
func (c *child) end() {
	c.once.Do(func() {
		_ = c.stdin.Close()
		_ = c.stdout.Close() // so that a chatty server cannot block in a write
		for _, step := range []struct {
			sig   syscall.Signal
			grace time.Duration
		}{{0, closeGrace}, {syscall.SIGTERM, termGrace}} {
			if step.sig != 0 {
				_ = syscall.Kill(-c.cmd.Process.Pid, step.sig)
			}
			t := time.NewTimer(step.grace)
			select {
			case <-c.done:
			case <-t.C:
			}
			t.Stop()
		}
		// Also after a clean end: its children may not have noticed.
		_ = syscall.Kill(-c.cmd.Process.Pid, syscall.SIGKILL)
	})
	<-c.done
}

// obituary says how the process ended and what it said last; it is for after end.
func (c *child) obituary() string {
	<-c.done
	text := "its process: " + c.cmd.ProcessState.String()
	if t := c.stderr.String(); t != "" {
		text += "; the end of its stderr:\n" + t
	}
	return text
}
