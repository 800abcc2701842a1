package process

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	goruntime "runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// The supervisor is the host's own program, started again. It stands between the
// runtime and a plugin for one purpose: when the runtime dies, however it dies,
// the pipe from it closes, and the supervisor ends the plugin with everything
// that the plugin started. Being a subreaper it also inherits processes that
// detached themselves, so none can hide.

// superviseEnv marks a process as supervisor and tells it what to start.
const superviseEnv = "NAGATHA_SUPERVISE"

type superviseOrder struct {
	Command []string
	Dir     string
	Memory  int64 // RLIMIT_DATA; 0: none
}

const (
	controlFD   = 3 // the pipe from the runtime
	controlKill = 'K'

	// How long the plugin's processes have between SIGTERM and SIGKILL.
	termGrace = time.Second
)

// asked is set once Supervise was called. A program that does not call it would, as
// its own supervisor, be its own host again, and start itself without end.
var asked atomic.Bool

// Supervise must be called first in main, and in TestMain, of every program that
// launches plugins; [Launch] fails where it was not. In a process that was started as
// supervisor it does the supervisor's work and never returns; in any other it does
// nothing.
func Supervise() {
	text, ok := os.LookupEnv(superviseEnv)
	if !ok {
		asked.Store(true)
		return
	}
	var order superviseOrder
	if err := json.Unmarshal([]byte(text), &order); err != nil || len(order.Command) == 0 {
		fmt.Fprintln(os.Stderr, "supervisor: bad order:", err)
		os.Exit(125)
	}
	code, err := supervise(order)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	os.Exit(code)
}

func supervise(order superviseOrder) (int, error) {
	// Pdeathsig is sent when the forking thread ends, so it must be this one.
	goruntime.LockOSThread()
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return 125, fmt.Errorf("become subreaper: %w", err)
	}
	keepFiles()
	// The pipe says when to go. Ignoring the signals would pass on to the plugin.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGPIPE)
	path, err := exec.LookPath(order.Command[0])
	if err != nil {
		return 127, fmt.Errorf("start the plugin: %w", err)
	}
	if order.Memory > 0 {
		limit := unix.Rlimit{Cur: uint64(order.Memory), Max: uint64(order.Memory)}
		if err := unix.Setrlimit(unix.RLIMIT_DATA, &limit); err != nil {
			return 125, fmt.Errorf("limit memory: %w", err)
		}
	}
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return 125, err
	}
	var env []string
	for _, e := range os.Environ() {
		if !strings.HasPrefix(e, superviseEnv+"=") {
			env = append(env, e)
		}
	}
	child, err := os.StartProcess(path, order.Command, &os.ProcAttr{
		Dir: order.Dir, Env: env, Files: []*os.File{null, os.Stdout, os.Stderr},
		Sys: &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL},
	})
	if err != nil {
		return 126, fmt.Errorf("start the plugin: %w", err)
	}
	go control(os.NewFile(controlFD, "control"))
	return reap(child.Pid), nil
}

// keepFiles keeps all files but the standard ones from the plugin: the pipe, and what
// whoever started the runtime left open.
func keepFiles() {
	syscall.CloseOnExec(controlFD)
	open, _ := os.ReadDir("/proc/self/fd") // where there is none, there are no descendants either
	for _, f := range open {
		if fd, err := strconv.Atoi(f.Name()); err == nil && fd >= controlFD {
			syscall.CloseOnExec(fd)
		}
	}
}

// control waits for the runtime's word, or for its end.
func control(pipe *os.File) {
	b := make([]byte, 1)
	n, _ := pipe.Read(b)
	if n == 1 && b[0] == controlKill {
		signalAll(syscall.SIGKILL)
	} else {
		signalAll(syscall.SIGTERM)
		time.Sleep(termGrace)
	}
	for { // until reap finds that nobody is left and exits
		signalAll(syscall.SIGKILL)
		time.Sleep(10 * time.Millisecond)
	}
}

// reap waits for all children. When the plugin itself ends, what it left behind
// is killed, and its status becomes the supervisor's.
func reap(plugin int) int {
	code := 0
	ended := false
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, 0, nil)
		switch {
		case errors.Is(err, syscall.EINTR):
			continue
		case errors.Is(err, syscall.ECHILD):
			return code
		case err != nil:
			return 125
		}
		if pid == plugin {
			ended = true
			code = status.ExitStatus()
			if status.Signaled() {
				code = 128 + int(status.Signal())
			}
		}
		if ended {
			signalAll(syscall.SIGKILL)
		}
	}
}

// signalAll signals every descendant. Children of a killed process become ours,
// so nothing escapes in the end.
func signalAll(sig syscall.Signal) {
	for _, pid := range descendants(os.Getpid()) {
		_ = syscall.Kill(pid, sig)
	}
}

// descendants lists the processes below root, from /proc.
func descendants(root int) []int {
	dir, err := os.Open("/proc")
	if err != nil {
		return nil
	}
	defer dir.Close()
	names, _ := dir.Readdirnames(-1)
	children := map[int][]int{}
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		if parent, ok := parentOf(pid); ok {
			children[parent] = append(children[parent], pid)
		}
	}
	var out []int
	for queue := []int{root}; len(queue) > 0; queue = queue[1:] {
		out = append(out, children[queue[0]]...)
		queue = append(queue, children[queue[0]]...)
	}
	return out
}

func parentOf(pid int) (int, bool) {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return 0, false
	}
	// pid (name) state ppid …, and the name may contain anything.
	i := bytes.LastIndexByte(b, ')')
	if i < 0 {
		return 0, false
	}
	f := strings.Fields(string(b[i+1:]))
	if len(f) < 2 || f[0] == "Z" {
		return 0, false
	}
	parent, err := strconv.Atoi(f[1])
	return parent, err == nil
}
