package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	goruntime "runtime"
	"runtime/pprof"
	"slices"
	"strconv"
	"syscall"
	"time"
)

// Turn is one subject measured once.
type Turn struct {
	Subject string
	Round   int
	Figures []Figure
	Seconds float64
	Cores   float64 // CPU that the turn used, its servers included
	Foreign float64 // CPU that others used meanwhile
}

// Figure is one measured value.
type Figure struct {
	Name  string
	Unit  string // "/s", "ms", "MiB"
	Value float64
}

// bed is what a subject is measured on: an empty directory and a place for
// figures.
type bed struct {
	ctx     context.Context
	dir     string
	figures []Figure
	dirs    int
}

func (b *bed) report(name, unit string, value float64) {
	b.figures = append(b.figures, Figure{name, unit, value})
}

// fresh makes a directory of its own for a part of the turn.
func (b *bed) fresh() (string, error) {
	b.dirs++
	dir := filepath.Join(b.dir, strconv.Itoa(b.dirs))
	return dir, os.Mkdir(dir, 0o755)
}

// take runs a turn in a process of its own, so that no heap, cache or goroutine of
// one subject weighs on another.
func take(ctx context.Context, o options, base, name string) (Turn, error) {
	t := Turn{Subject: name}
	dir, err := os.MkdirTemp(base, "t")
	if err != nil {
		return t, err
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o755); err != nil {
		return t, err
	}
	self, err := os.Executable()
	if err != nil {
		return t, err
	}
	cmd := exec.CommandContext(ctx, self, "-turn", name, "-dir", dir, "-root", o.root, "-scale", fmt.Sprint(o.scale),
		"-backlog", strconv.Itoa(o.backlog), "-concurrency", strconv.Itoa(o.concurrency),
		"-cpuprofile", o.cpuprofile, "-memprofile", o.memprofile)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 20 * time.Second
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	begin, busy := time.Now(), busyTime()
	if err := cmd.Run(); err != nil {
		return t, fmt.Errorf("%w: %s", err, bytes.TrimSpace(errs.Bytes()))
	}
	t.Seconds = time.Since(begin).Seconds()
	own := (cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()).Seconds()
	t.Cores = own / t.Seconds
	t.Foreign = max(0, (busyTime()-busy).Seconds()-own) / t.Seconds
	err = json.Unmarshal(out.Bytes(), &t.Figures)
	return t, err
}

// turn is the other end of take.
func turn(ctx context.Context, o options, out io.Writer) (err error) {
	all := subjects(o)
	i := slices.IndexFunc(all, func(s subject) bool { return s.name == o.turn })
	if i < 0 {
		return fmt.Errorf("there is no subject %q", o.turn)
	}
	if o.cpuprofile != "" {
		f, err := os.Create(o.cpuprofile)
		if err != nil {
			return err
		}
		defer f.Close()
		if err := pprof.StartCPUProfile(f); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
	}
	if o.memprofile != "" {
		defer func() { err = errors.Join(err, writeHeap(o.memprofile)) }()
	}
	dir, err := os.MkdirTemp(o.dir, "turn-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o711); err != nil { // PostgreSQL's user must get through
		return err
	}
	b := &bed{ctx: ctx, dir: dir}
	if err := all[i].run(b); err != nil {
		return err
	}
	return json.NewEncoder(out).Encode(b.figures)
}

func writeHeap(path string) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	goruntime.GC()
	return pprof.Lookup("allocs").WriteTo(f, 0)
}

// busyTime is the CPU time that the whole machine has used, 0 where /proc does not
// say.
func busyTime() time.Duration {
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0
	}
	line, _, _ := bytes.Cut(b, []byte("\n"))
	var ticks int64
	for i, f := range bytes.Fields(line) {
		if i == 4 || i == 5 || i > 8 || i == 0 { // idle, iowait; guest is in user
			continue
		}
		n, _ := strconv.ParseInt(string(f), 10, 64)
		ticks += n
	}
	return time.Duration(ticks) * (time.Second / 100)
}

// resident is the memory of this process in MiB.
func resident() float64 {
	b, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	f := bytes.Fields(b)
	if len(f) < 2 {
		return 0
	}
	pages, _ := strconv.ParseFloat(string(f[1]), 64)
	return pages * float64(os.Getpagesize()) / (1 << 20)
}

// spawn starts a server that dies with this process.
func spawn(cmd *exec.Cmd) (stop func() error, err error) {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	started := make(chan error)
	ended := make(chan error, 1)
	go func() {
		goruntime.LockOSThread() // the death signal comes when the thread ends that forked
		defer goruntime.UnlockOSThread()
		cmd.SysProcAttr.Pdeathsig = syscall.SIGINT
		err := cmd.Start()
		started <- err
		if err == nil {
			ended <- cmd.Wait()
		}
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	return func() error {
		_ = cmd.Process.Signal(os.Interrupt)
		select {
		case <-ended:
			return nil
		case <-time.After(20 * time.Second):
			_ = cmd.Process.Kill()
			<-ended
			return fmt.Errorf("%s did not end when asked", filepath.Base(cmd.Path))
		}
	}, nil
}
