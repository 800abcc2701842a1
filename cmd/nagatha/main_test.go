package main

import (
	"errors"
	"net"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"nagatha": main, "fakeserver": fakeserver, "stubserver": stubserver})
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata",
		RequireExplicitExec: true,
		Setup: func(e *testscript.Env) error {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				return err
			}
			addr := l.Addr().String()
			e.Setenv("ADDR", addr)
			e.Setenv("NAGATHA_SERVER", "http://"+addr)
			e.Setenv("NAGATHA_TOKEN", "secret")
			return l.Close()
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"code": code, "waitserver": waitServer, "waitfor": waitFor,
		},
	})
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
	for end := time.Now().Add(20 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			ts.Fatalf("%s: not within 20 s", what)
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
