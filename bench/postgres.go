package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
)

// postgres is a server on an empty directory, with its defaults: fsync and
// synchronous_commit on.
type postgres struct {
	url  string
	stop func() error
}

// findPostgres returns the directory of the programs: Debian keeps them off the
// PATH.
func findPostgres() (string, error) {
	if found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/initdb"); len(found) > 0 {
		return filepath.Dir(found[len(found)-1]), nil
	}
	if p, err := exec.LookPath("initdb"); err == nil {
		return filepath.Dir(p), nil
	}
	return "", errors.New("PostgreSQL is not installed (apt-get install postgresql)")
}

func startPostgres(b *bed) (*postgres, error) {
	bin, err := findPostgres()
	if err != nil {
		return nil, err
	}
	dir, err := b.fresh()
	if err != nil {
		return nil, err
	}
	// A socket's path has a limit, so it is not in dir.
	sock, err := os.MkdirTemp("", "pg")
	if err != nil {
		return nil, err
	}
	attr := &syscall.SysProcAttr{}
	if os.Getuid() == 0 { // it refuses to run as root
		u, err := user.Lookup("postgres")
		if err != nil {
			return nil, err
		}
		uid, _ := strconv.Atoi(u.Uid)
		gid, _ := strconv.Atoi(u.Gid)
		attr.Credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
		if err := errors.Join(os.Chown(dir, uid, gid), os.Chown(sock, uid, gid)); err != nil {
			return nil, err
		}
	}
	data := filepath.Join(dir, "data")
	initdb := exec.Command(filepath.Join(bin, "initdb"), "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync")
	initdb.Dir, initdb.SysProcAttr = dir, attr
	if out, err := initdb.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("initdb: %w: %s", err, bytes.TrimSpace(out))
	}
	cmd := exec.Command(filepath.Join(bin, "postgres"), "-D", data, "-c", "listen_addresses=", "-c", "unix_socket_directories="+sock)
	cmd.Dir, cmd.SysProcAttr = dir, attr
	end, err := spawn(cmd)
	if err != nil {
		return nil, err
	}
	p := &postgres{url: "postgres:///postgres?user=postgres&host=" + url.QueryEscape(sock),
		stop: func() error { return errors.Join(end(), os.RemoveAll(sock)) }}
	return p, p.await(b.ctx)
}

// await waits until the server answers.
func (p *postgres) await(ctx context.Context) error {
	for late := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		c, err := pgx.Connect(ctx, p.url)
		if err == nil {
			return c.Close(ctx)
		}
		if ctx.Err() != nil || time.Now().After(late) {
			return errors.Join(fmt.Errorf("PostgreSQL does not answer: %w", err), p.stop())
		}
	}
}
