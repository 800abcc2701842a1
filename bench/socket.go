package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/nagatha/nagatha-runtime/sdk"
	"github.com/nagatha/nagatha-runtime/sdk/client"
)

const (
	measureHeardStart = "submit to task.started at the client"
	measureHeardEnd   = "submit to task.completed at the client"
)

// socket measures the program from outside: a client submits over a WebSocket and
// hears over the same one that the task has started and completed.
func socket(root string, m carrier, n int) func(b *bed) error {
	return func(b *bed) (err error) {
		d, err := startProgram(b, root, m)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, d.stop()) }()
		c, err := client.New(client.Config{Server: "http://" + d.addr, Token: d.token})
		if err != nil {
			return err
		}
		conn, err := c.Connect(b.ctx)
		if err != nil {
			return err
		}
		defer conn.Close()
		sub, err := conn.Subscribe(b.ctx, client.SubscribeRequest{Topics: []string{"kind.demo.echo"}})
		if err != nil {
			return err
		}
		var starts, ends []time.Duration
		for i := -3; i < n; i++ {
			start, end, err := follow(b.ctx, conn, sub)
			if err != nil {
				return err
			}
			if i >= 0 { // the first few warm up
				starts, ends = append(starts, start), append(ends, end)
			}
			time.Sleep(20*time.Millisecond + rand.N(100*time.Millisecond))
		}
		b.percentiles(measureHeardStart, starts)
		b.percentiles(measureHeardEnd, ends)
		return nil
	}
}

// follow takes one task through its life.
func follow(ctx context.Context, conn *client.Conn, sub *client.Subscription) (start, end time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	submitted := make(chan error, 1)
	begin := time.Now()
	go func() {
		_, err := conn.Submit(ctx, sdk.Submission{Kind: "demo.echo", Payload: payload})
		submitted <- err
	}()
	for end == 0 {
		n, err := sub.Next(ctx)
		if err != nil {
			return 0, 0, errors.Join(err, <-submitted)
		}
		if n.Event == nil {
			continue
		}
		switch n.Event.Type {
		case sdk.EventStarted:
			start = time.Since(begin)
		case sdk.EventCompleted:
			end = time.Since(begin)
		}
	}
	return start, end, <-submitted
}

// program is bin/nagatha-runtime with its own configuration.
type program struct {
	addr, token string
	stop        func() error
}

func startProgram(b *bed, root string, m carrier) (*program, error) {
	dir, err := b.fresh()
	if err != nil {
		return nil, err
	}
	root, err = filepath.Abs(root)
	if err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0") // a port that is free
	if err != nil {
		return nil, err
	}
	d := &program{addr: l.Addr().String()}
	if err := l.Close(); err != nil {
		return nil, err
	}
	carried := fmt.Sprintf("command = [%q]", filepath.Join(root, "build/plugins/demo"))
	if m == carriedWasm {
		carried = fmt.Sprintf("wasm = %q", filepath.Join(root, "build/plugins/demo.wasm"))
	}
	config := filepath.Join(dir, "config.hcl")
	text := fmt.Sprintf("data_dir = \"data\"\nserver {\n  listen = %q\n}\nplugin \"demo\" {\n  %s\n}\n", d.addr, carried)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return nil, err
	}
	cmd := exec.Command(filepath.Join(root, "bin/nagatha-runtime"), "-config", config)
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	if d.stop, err = spawn(cmd); err != nil {
		return nil, fmt.Errorf("%w (make build)", err)
	}
	for late := time.Now().Add(60 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		resp, err := http.Get("http://" + d.addr + "/readyz")
		if err == nil {
			_ = resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				break
			}
		}
		if time.Now().After(late) {
			said, _ := os.ReadFile(log.Name())
			return nil, errors.Join(fmt.Errorf("the program is not ready: %s", said), d.stop())
		}
	}
	token, err := os.ReadFile(filepath.Join(dir, "data", "admin.token"))
	if err != nil {
		return nil, errors.Join(err, d.stop())
	}
	d.token = strings.TrimSpace(string(token))
	return d, nil
}
