package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"time"

	"github.com/hibiken/asynq"
)

// asynqOpener opens asynq on a Redis server of its own, with the server's default
// snapshots, and with the append-only file where aof is set. check is how often an
// idle worker looks, 0 for asynq's default.
func asynqOpener(aof bool, check time.Duration) opener {
	return func(b *bed, p *probe) (system, error) {
		r, err := startRedis(b, aof)
		if err != nil {
			return nil, err
		}
		a := &asynqSystem{redis: r, client: asynq.NewClient(asynq.RedisClientOpt{Addr: r.addr})}
		a.server = asynq.NewServer(asynq.RedisClientOpt{Addr: r.addr},
			asynq.Config{Concurrency: 10, TaskCheckInterval: check, LogLevel: asynq.FatalLevel})
		a.handler = func(context.Context, *asynq.Task) error {
			if p.started != nil {
				p.started()
			}
			p.done.add(1)
			return nil
		}
		return a, nil
	}
}

type asynqSystem struct {
	redis   *redis
	client  *asynq.Client
	server  *asynq.Server
	handler asynq.HandlerFunc
	running bool
}

func (a *asynqSystem) submit(k int) error {
	for range k {
		if _, err := a.client.Enqueue(asynq.NewTask("demo.echo", payload)); err != nil {
			return err
		}
	}
	return nil
}

func (a *asynqSystem) start() error {
	a.running = true
	return a.server.Start(a.handler)
}

func (a *asynqSystem) stop() error {
	if a.running {
		a.server.Shutdown()
	}
	return errors.Join(a.client.Close(), a.redis.stop())
}

// redis is a server on an empty directory.
type redis struct {
	addr string
	stop func() error
}

func startRedis(b *bed, aof bool) (*redis, error) {
	dir, err := b.fresh()
	if err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0") // a port that is free
	if err != nil {
		return nil, err
	}
	addr := l.Addr().(*net.TCPAddr)
	if err := l.Close(); err != nil {
		return nil, err
	}
	args := []string{"--port", fmt.Sprint(addr.Port), "--bind", "127.0.0.1", "--dir", dir, "--save", "3600 1 300 100 60 10000"}
	if aof {
		args = append(args, "--appendonly", "yes", "--appendfsync", "everysec")
	}
	r := &redis{addr: addr.String()}
	if r.stop, err = spawn(exec.Command("redis-server", args...)); err != nil {
		return nil, err
	}
	for late := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		c, err := net.Dial("tcp", r.addr)
		if err == nil {
			return r, c.Close()
		}
		if time.Now().After(late) {
			return nil, errors.Join(fmt.Errorf("redis-server does not answer: %w", err), r.stop())
		}
	}
}
