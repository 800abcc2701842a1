package storetest

import (
	"context"
	"database/sql"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // the driver registers itself
)

// Server is a PostgreSQL server of a test's own, on a temporary directory.
type Server struct {
	dir  string
	data string
	n    atomic.Int64
}

var (
	shared     *Server
	sharedErr  error
	sharedOnce sync.Once
)

// Postgres returns the URL of a new, empty database on a server that all tests of
// the binary share; [StopPostgres] ends it. A machine without PostgreSQL skips the
// test, or fails it where NAGATHA_NO_SKIP is set.
func Postgres(t testing.TB) string {
	t.Helper()
	sharedOnce.Do(func() { shared, sharedErr = StartPostgres() })
	if sharedErr != nil {
		if os.Getenv("NAGATHA_NO_SKIP") != "" {
			t.Fatalf("needs PostgreSQL: %v", sharedErr)
		}
		t.Skipf("SKIPPED: needs PostgreSQL: %v", sharedErr)
	}
	return shared.Database(t)
}

// StopPostgres ends the shared server. Call it when all tests have run.
func StopPostgres() {
	if shared != nil {
		shared.Close()
	}
}

// StartPostgres starts a server that listens on a Unix socket only.
func StartPostgres() (_ *Server, err error) {
	bin, err := findPostgres()
	if err != nil {
		return nil, err
	}
	s := &Server{}
	if s.dir, err = os.MkdirTemp("", "pg"); err != nil { // short: a socket's path has a limit
		return nil, err
	}
	s.data = filepath.Join(s.dir, "data")
	if os.Getuid() == 0 { // it refuses to run as root
		u, err := user.Lookup("postgres")
		if err != nil {
			return nil, err
		}
		uid, _ := strconv.Atoi(u.Uid)
		gid, _ := strconv.Atoi(u.Gid)
		if err := os.Chown(s.dir, uid, gid); err != nil {
			return nil, err
		}
	}
	if err := s.run(filepath.Join(bin, "initdb"), "-D", s.data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync"); err != nil {
		return nil, err
	}
	return s, s.Start()
}

// findPostgres returns the directory of the programs: Debian keeps them off the
// PATH.
func findPostgres() (string, error) {
	if p, err := exec.LookPath("initdb"); err == nil {
		return filepath.Dir(p), nil
	}
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if len(found) == 0 {
		return "", fmt.Errorf("initdb is not installed (apt-get install postgresql)")
	}
	return filepath.Dir(found[len(found)-1]), nil
}

// run runs a program of PostgreSQL's as a user that it accepts.
func (s *Server) run(name string, args ...string) error {
	cmd := exec.Command(name, args...)
	cmd.Dir = s.dir
	if os.Getuid() == 0 {
		u, err := user.Lookup("postgres")
		if err != nil {
			return err
		}
		uid, _ := strconv.Atoi(u.Uid)
		gid, _ := strconv.Atoi(u.Gid)
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
	}
	// Not a pipe: the server would inherit it, and nobody would see its end.
	out, err := os.Create(filepath.Join(s.dir, "out"))
	if err != nil {
		return err
	}
	defer out.Close()
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Run(); err != nil {
		text, _ := os.ReadFile(out.Name())
		return fmt.Errorf("%s: %w\n%s", filepath.Base(name), err, text)
	}
	return nil
}

// Start starts the server again after [Server.Stop].
func (s *Server) Start() error {
	bin, err := findPostgres()
	if err != nil {
		return err
	}
	return s.run(filepath.Join(bin, "pg_ctl"), "-D", s.data, "-w", "-t", "60", "-l", filepath.Join(s.dir, "log"),
		"-o", "-c listen_addresses='' -c unix_socket_directories="+s.dir+" -c max_connections=300 -c fsync=off -c full_page_writes=off", "start")
}

// Stop stops the server at once, as a crash of it would.
func (s *Server) Stop() error {
	bin, err := findPostgres()
	if err != nil {
		return err
	}
	return s.run(filepath.Join(bin, "pg_ctl"), "-D", s.data, "-w", "-m", "immediate", "stop")
}

// Close ends the server and removes its files.
func (s *Server) Close() {
	_ = s.Stop()
	_ = os.RemoveAll(s.dir)
}

// URL is that of one of its databases.
func (s *Server) URL(database string) string {
	return "postgres:///" + database + "?user=postgres&host=" + url.QueryEscape(s.dir)
}

// Database makes an empty database and returns its URL.
func (s *Server) Database(t testing.TB) string {
	t.Helper()
	db, err := sql.Open("pgx", s.URL("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	name := fmt.Sprintf("test_%d", s.n.Add(1))
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if _, err := db.ExecContext(ctx, `CREATE DATABASE `+name); err != nil {
		t.Fatal(err)
	}
	return s.URL(name)
}

// Pooler starts pgbouncer before the server, lending connections for as long as mode
// says, and returns the URL of a database through it. A machine without it skips the
// test.
func (s *Server) Pooler(t testing.TB, database, mode string) string {
	t.Helper()
	bin, err := exec.LookPath("pgbouncer")
	if err != nil {
		t.Skipf("SKIPPED: needs pgbouncer: %v", err)
	}
	dir := filepath.Join(s.dir, mode)
	if err := s.run("mkdir", dir); err != nil {
		t.Fatal(err)
	}
	config := fmt.Sprintf("[databases]\n* = host=%s user=postgres\n[pgbouncer]\nlisten_port = 5432\nunix_socket_dir = %s\nlogfile = %s/log\npidfile = %s/pid\nauth_type = any\npool_mode = %s\n",
		s.dir, dir, dir, dir, mode)
	if err := os.WriteFile(filepath.Join(dir, "ini"), []byte(config), 0o644); err != nil { // another user's program reads it
		t.Fatal(err)
	}
	if err := s.run(bin, "-d", filepath.Join(dir, "ini")); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(time.Minute); ; { // it goes into the background before it listens
		c, err := net.Dial("unix", filepath.Join(dir, ".s.PGSQL.5432"))
		if err == nil {
			_ = c.Close()
			break
		}
		if time.Now().After(end) {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		pid, err := os.ReadFile(filepath.Join(dir, "pid"))
		if err == nil {
			err = s.run("kill", strings.TrimSpace(string(pid)))
		}
		if err != nil {
			t.Error(err)
		}
	})
	return "postgres:///" + database + "?user=postgres&host=" + url.QueryEscape(dir)
}
