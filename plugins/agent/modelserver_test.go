package main

import (
	"bufio"
	"bytes"
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// startServer runs a model server that others wrote until the test ends, and returns
// what follows the words with which it says that it listens.
func startServer(t *testing.T, says string, program string, args ...string) string {
	t.Helper()
	cmd := exec.Command(program, args...)
	cmd.SysProcAttr = dieWithParent()
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = cmd.Stdout
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	late := time.AfterFunc(time.Minute, func() { _ = cmd.Process.Kill() })
	read := make(chan struct{})
	t.Cleanup(func() {
		late.Stop()
		_ = cmd.Process.Kill()
		<-read
		_ = cmd.Wait()
	})
	var said bytes.Buffer
	for lines := bufio.NewScanner(out); lines.Scan(); {
		fmt.Fprintln(&said, lines.Text())
		if _, address, ok := strings.Cut(lines.Text(), says); ok {
			late.Stop()
			go func() { // until it is killed
				defer close(read)
				for lines.Scan() {
				}
			}()
			return address
		}
	}
	close(read)
	t.Fatalf("%s did not start:\n%s", program, &said)
	return ""
}
