package main

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/nagatha/nagatha-runtime/sdk/process"
)

func TestMain(m *testing.M) {
	process.Supervise() // also of the command when it runs a plugin: it is this program
	testscript.Main(m, map[string]func(){"nagatha": main, "fakeserver": fakeserver, "stubserver": stubserver})
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata",
		RequireExplicitExec: true,
		Setup: func(e *testscript.Env) error {
			addr := freeAddr()
			e.Setenv("ADDR", addr)
			e.Setenv("NAGATHA_SERVER", "http://"+addr)
			e.Setenv("NAGATHA_TOKEN", "secret")
			return goEnv(e)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"code": code, "waitserver": waitServer, "waitfor": waitFor,
		},
	})
}

var lastPort atomic.Int64

// freeAddr returns an address that stays free between a script's servers: below the
// ports that the kernel gives to whoever asks for any.
func freeAddr() string {
	for {
		addr := fmt.Sprintf("127.0.0.1:%d", 24_000+(os.Getpid()+int(lastPort.Add(1)))%4_000)
		if l, err := net.Listen("tcp", addr); err == nil {
			_ = l.Close()
			return addr
		}
	}
}

// goEnv lets scripts build with what the machine has, and without a network.
func goEnv(e *testscript.Env) error {
	out, err := exec.Command("go", "env", "GOCACHE", "GOMODCACHE", "GOPATH").Output()
	if err != nil {
		return err
	}
	dirs := strings.Fields(string(out))
	root, err := filepath.Abs("../..")
	for i, name := range []string{"GOCACHE", "GOMODCACHE", "GOPATH"} {
		e.Setenv(name, dirs[i])
	}
	e.Setenv("GOPROXY", "off")
	e.Setenv("GOFLAGS", strings.TrimSpace(os.Getenv("GOFLAGS")+" -mod=mod")) // the flags of the rest, and so its cache
	e.Setenv("SDK", root)
	return err
}

// code N COMMAND… runs a command that must end with that exit code.
func code(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: code N COMMAND…")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		var exit *exec.ExitError
		if !errors.As(err, &exit) {
			ts.Fatalf("%v", err)
		}
		got = exit.ExitCode()
	}
	if got != want {
		ts.Fatalf("%v ended with code %d, want %d", args[1:], got, want)
	}
}

// poll waits for another process.
func poll(ts *testscript.TestScript, what string, ok func() bool) {
	for end := time.Now().Add(time.Minute); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			ts.Fatalf("%s: not within a minute", what)
		}
	}
}

func waitServer(ts *testscript.TestScript, _ bool, _ []string) {
	poll(ts, "the server", func() bool {
		res, err := http.Get("http://" + ts.Getenv("ADDR") + "/healthz")
		return err == nil && res.Body.Close() == nil
	})
}

// waitfor FILE REGEXP
func waitFor(ts *testscript.TestScript, _ bool, args []string) {
	re, err := regexp.Compile(args[1])
	ts.Check(err)
	poll(ts, args[1]+" in "+args[0], func() bool {
		b, err := os.ReadFile(ts.MkAbs(args[0]))
		return err == nil && re.Match(b)
	})
}
