package process_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nagatha/nagatha-runtime/sdk"
	"github.com/nagatha/nagatha-runtime/sdk/process"
)

func TestExitFailsItsAttempts(t *testing.T) {
	p := launch(t, config(t, ""))
	waiting := newRecorder()
	other := make(chan error, 1)
	go func() {
		_, err := p.Handle(context.Background(), task("wait", `{}`), waiting)
		other <- err
	}()
	<-waiting.first
	_, err := p.Handle(t.Context(), task("exit", `{}`), newRecorder())
	if e := sdk.AsError(err); e.Code != sdk.CodePluginCrashed || !strings.Contains(e.Message, "exited with code 3") || !strings.Contains(e.Message, "giving up") {
		t.Errorf("exit: %+v", e)
	}
	if err := <-other; sdk.CodeOf(err) != sdk.CodePluginCrashed || errors.Is(err, sdk.ErrBystander) {
		t.Errorf("the other attempt: %v", err)
	}
	<-p.Done()
	if _, err := p.Handle(t.Context(), task("echo", `1`), newRecorder()); !errors.Is(err, sdk.ErrNotStarted) {
		t.Errorf("after the end: %v", err)
	}
}

func TestKill9(t *testing.T) {
	p := launch(t, config(t, ""))
	host := newRecorder()
	done := make(chan error, 1)
	go func() {
		_, err := p.Handle(context.Background(), task("wait", `{}`), host)
		done <- err
	}()
	<-host.first
	for _, pid := range childrenOf(t, p.PID()) {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
	}
	if err := <-done; sdk.CodeOf(err) != sdk.CodePluginCrashed || !strings.Contains(err.Error(), "the plugin was killed by signal 9") {
		t.Errorf("got %v", err)
	}
}

func TestAbortKillsAndSparesBystanders(t *testing.T) {
	p := launch(t, config(t, ""))
	host, bystander := newRecorder(), newRecorder()
	other := make(chan error, 1)
	go func() {
		_, err := p.Handle(context.Background(), task("wait", `{}`), bystander)
		other <- err
	}()
	<-bystander.first
	abort := make(chan struct{})
	ctx, cancel := context.WithCancelCause(sdk.WithAbort(t.Context(), abort))
	why := errors.New("enough")
	go func() { <-host.first; cancel(why); close(abort) }()
	if _, err := p.Handle(ctx, task("deaf", `{}`), host); !errors.Is(err, why) {
		t.Errorf("the aborted attempt: %v", err)
	}
	if err := <-other; !errors.Is(err, sdk.ErrBystander) || sdk.CodeOf(err) != sdk.CodePluginCrashed {
		t.Errorf("the bystander: %v", err)
	}
	// One that comes while the process dies was no bystander: it may run again
	// even with max_attempts 1.
	if _, err := p.Handle(t.Context(), task("echo", `1`), newRecorder()); !errors.Is(err, sdk.ErrNotStarted) || errors.Is(err, sdk.ErrBystander) {
		t.Errorf("the late one: %v", err)
	}
	<-p.Done()
}

// hostMain launches a plugin that starts a daemon, says so, and waits to be
// killed.
func hostMain(dir string) {
	self, _ := os.Executable()
	pids := make(chan string, 1)
	p, err := process.Launch(context.Background(), process.Config{Name: "test", Command: []string{self},
		Env: []string{"TEST_PLUGIN=daemon", "PATH=" + os.Getenv("PATH")}, RunDir: dir,
		Log: func(_ slog.Level, line string) {
			if strings.HasPrefix(line, "daemon ") {
				pids <- line
			}
		}})
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println("ready", p.PID(), <-pids)
	select {}
}

func TestNothingSurvivesTheHost(t *testing.T) {
	dir := runDir(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	host := exec.Command(self)
	host.Env = append(os.Environ(), "TEST_HOST="+dir)
	out, err := host.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := host.Start(); err != nil {
		t.Fatal(err)
	}
	var supervisor, daemon int
	if _, err := fmt.Fscanf(out, "ready %d daemon %d\n", &supervisor, &daemon); err != nil {
		t.Fatal(err)
	}
	pids := append(childrenOf(t, supervisor), supervisor, daemon)
	if len(pids) < 3 {
		t.Fatalf("only %v", pids)
	}
	if err := host.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = host.Wait()
	for _, pid := range pids {
		waitGone(t, pid)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "*", "*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	if err := process.Sweep(dir); err != nil {
		t.Error(err)
	}
	if left, _ := os.ReadDir(dir); len(left) > 0 {
		t.Errorf("not swept: %v", left)
	}
}

func TestCloseLeavesNothing(t *testing.T) {
	cfg := config(t, "daemon")
	cfg.Env = append(cfg.Env, "PATH="+os.Getenv("PATH"))
	p := launch(t, cfg)
	pids := append(childrenOf(t, p.PID()), p.PID())
	if err := p.Close(t.Context()); err != nil {
		t.Error(err)
	}
	for _, pid := range pids {
		waitGone(t, pid)
	}
	if left, _ := os.ReadDir(cfg.RunDir); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func childrenOf(t *testing.T, pid int) []int {
	t.Helper()
	b, err := exec.Command("ps", "-o", "pid=", "--ppid", fmt.Sprint(pid)).Output()
	if err != nil {
		t.Fatalf("children of %d: %v", pid, err)
	}
	var out []int
	for _, f := range strings.Fields(string(b)) {
		var n int
		fmt.Sscan(f, &n)
		out = append(out, n)
	}
	return out
}

// waitGone waits until another program's process has ended, which only polling
// can tell.
func waitGone(t *testing.T, pid int) {
	t.Helper()
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil || strings.Contains(string(b), ") Z ") {
			return
		}
	}
	t.Errorf("process %d lives", pid)
}

// forgetfulMain launches a plugin, and is not prepared to be its supervisor.
func forgetfulMain(dir string) {
	self, _ := os.Executable()
	_, err := process.Launch(context.Background(), process.Config{Name: "test", Command: []string{self}, Env: os.Environ(), RunDir: dir})
	fmt.Println("launched:", err)
	os.Exit(1)
}

// A program that forgets Supervise does not start itself without end.
func TestSuperviseForgotten(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	host := exec.Command(self)
	host.Env = append(os.Environ(), "TEST_FORGETFUL="+runDir(t))
	out, err := host.CombinedOutput()
	if err == nil || strings.Count(string(out), "launched:") != 1 || !strings.Contains(string(out), "call process.Supervise() first in main") {
		t.Errorf("%v\n%s", err, out)
	}
}
