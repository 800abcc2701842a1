package store_test

import (
	"bytes"
	"context"
	"database/sql"
	"net"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nagatha/nagatha-runtime/runtime"
	"github.com/nagatha/nagatha-runtime/runtime/store"
	"github.com/nagatha/nagatha-runtime/runtime/store/storetest"
	"github.com/nagatha/nagatha-runtime/sdk"
)

// with is a URL with one more parameter.
func with(t *testing.T, base, key, value string) string {
	t.Helper()
	u, err := url.Parse(base)
	if err != nil {
		t.Fatal(err)
	}
	q := u.Query()
	q.Set(key, value)
	u.RawQuery = strings.ReplaceAll(q.Encode(), "+", "%20")
	return u.String()
}

// execute runs statements on a database as its administrator.
func execute(t *testing.T, url string, statements ...string) {
	t.Helper()
	db, err := sql.Open("pgx", url)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for _, s := range statements {
		if _, err := db.ExecContext(t.Context(), s); err != nil {
			t.Fatalf("%s: %v", s, err)
		}
	}
}

func aTask(id string) []runtime.NewTask {
	return []runtime.NewTask{{Task: sdk.Task{ID: id, Kind: "a.b", Queue: "default", State: sdk.StateQueued, Payload: []byte(`{}`), MaxAttempts: 1, CreatedAt: 1, RunAt: 1}}}
}

// TestWhatWillNotDo: a database that would break the store later is refused at once.
func TestWhatWillNotDo(t *testing.T) {
	base := storetest.Postgres(t)
	execute(t, base, `CREATE DATABASE bytes ENCODING 'SQL_ASCII' LOCALE 'C' TEMPLATE template0`, `CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0`)
	for url, want := range map[string]string{
		with(t, base, "dbname", "bytes"):        "SQL_ASCII",
		with(t, base, "dbname", "latin"):        "LATIN1",
		with(t, base, "search_path", "nowhere"): "CREATE SCHEMA",
	} {
		s, err := store.Open(t.Context(), store.Config{URL: url})
		if err == nil {
			_ = s.Close()
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %s: %v", want, err)
		}
	}
}

// TestPooler: one that lends a connection for a session will do, one that lends it for
// a transaction is refused.
func TestPooler(t *testing.T) {
	storetest.Postgres(t) // skips, or fails, where there is none
	server, err := storetest.StartPostgres()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	s := open(t, store.Config{URL: server.Pooler(t, "postgres", "session")})
	if _, err := s.Submit(t.Context(), aTask("tsk_1")); err != nil {
		t.Error(err)
	}
	s, err = store.Open(t.Context(), store.Config{URL: server.Pooler(t, "postgres", "transaction")})
	if err == nil {
		_ = s.Close()
	}
	if err == nil || !strings.Contains(err.Error(), "pool_mode = session") {
		t.Errorf("%v", err)
	}
}

// TestSchemas: nodes hear of each other in a schema of any name, and only there.
func TestSchemas(t *testing.T) {
	base := storetest.Postgres(t)
	for _, name := range []string{"Two Words", strings.Repeat("long", 15)} {
		execute(t, base, `CREATE SCHEMA "`+name+`"`)
		own := with(t, base, "search_path", `"`+name+`"`)
		heard := make(chan runtime.Commit, 100)
		open(t, store.Config{URL: own, OnCommit: func(c runtime.Commit) {
			if len(c.Tasks) > 0 {
				heard <- c
			}
		}})
		if _, err := open(t, store.Config{URL: own}).Submit(t.Context(), aTask("tsk_1")); err != nil {
			t.Fatal(err)
		}
		if c := <-heard; c.Tasks[0].ID != "tsk_1" {
			t.Errorf("%+v", c)
		}
	}
}

// TestLimitsOfTheDatabase: what an administrator sets for all sessions of a database is
// not for this one.
func TestLimitsOfTheDatabase(t *testing.T) {
	base := storetest.Postgres(t)
	var name string
	db, err := sql.Open("pgx", base)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if err := db.QueryRowContext(t.Context(), `SELECT current_database()`).Scan(&name); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"statement_timeout": "0", "lock_timeout": "0", "idle_session_timeout": "0",
		"idle_in_transaction_session_timeout": "3s", "default_transaction_isolation": "read committed"}
	execute(t, base, `ALTER DATABASE `+name+` SET statement_timeout = '10s'`, `ALTER DATABASE `+name+` SET lock_timeout = 1`,
		`ALTER DATABASE `+name+` SET idle_session_timeout = '10s'`, `ALTER DATABASE `+name+` SET idle_in_transaction_session_timeout = 1`,
		`ALTER DATABASE `+name+` SET default_transaction_isolation = 'serializable'`)
	s := open(t, store.Config{URL: base, Verbs: map[string]func(store.Tx, []any) error{"show": func(tx store.Tx, _ []any) error {
		for k, v := range want {
			if err := tx.Query(`SELECT current_setting($1)`, func(r store.Row) error {
				var got string
				err := r.Scan(&got)
				if got != v {
					t.Errorf("writer: %s is %s", k, got)
				}
				return err
			}, k); err != nil {
				return err
			}
		}
		return nil
	}}})
	if err := s.Write(t.Context(), "show", nil); err != nil {
		t.Fatal(err)
	}
	for k, v := range want {
		var got string
		if err := s.Reader().QueryRowContext(t.Context(), `SELECT current_setting($1)`, k).Scan(&got); err != nil || got != v {
			t.Errorf("reader: %s is %s, %v", k, got, err)
		}
	}
}

// TestFrozenTransaction: a node that stops in the middle of a transaction, with the
// head of the log in its hands, stops nobody else for long.
func TestFrozenTransaction(t *testing.T) {
	base := storetest.Postgres(t)
	frozen, thaw := make(chan bool), make(chan bool)
	one := open(t, store.Config{URL: base, Verbs: map[string]func(store.Tx, []any) error{"freeze": func(tx store.Tx, _ []any) error {
		_, err := tx.Exec(`UPDATE log_head SET pos = pos + 1 WHERE id = 1`)
		frozen <- true
		<-thaw
		return err
	}}})
	two := open(t, store.Config{URL: base})
	end := make(chan error, 1)
	go func() { end <- one.Write(context.Background(), "freeze", nil) }()
	<-frozen
	if _, err := two.Submit(t.Context(), aTask("tsk_1")); err != nil {
		t.Error(err)
	}
	close(thaw)
	if err := <-end; sdk.CodeOf(err) != sdk.CodeUnavailable {
		t.Errorf("what the frozen one did: %v", err)
	}
	if _, err := one.Submit(t.Context(), aTask("tsk_2")); err != nil {
		t.Error(err)
	}
}

// hole forwards connections to a Unix socket until it is told to swallow everything.
type hole struct {
	mu    sync.Mutex
	dark  bool
	conns []net.Conn
	ready map[net.Conn]int // how often the server said that it waits, by connection
	wg    sync.WaitGroup
}

// digHole returns the URL of a database through a new hole.
func digHole(t *testing.T, base string) (*hole, string) {
	t.Helper()
	u, err := url.Parse(base)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	h := &hole{ready: map[net.Conn]int{}}
	socket := filepath.Join(u.Query().Get("host"), ".s.PGSQL.5432")
	h.wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			up, err := net.Dial("unix", socket)
			if err != nil {
				_ = c.Close()
				continue
			}
			h.mu.Lock()
			h.conns = append(h.conns, c, up)
			h.mu.Unlock()
			h.wg.Go(func() { h.copy(up, c) })
			h.wg.Go(func() { h.copy(c, up) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		h.mu.Lock()
		for _, c := range h.conns {
			_ = c.Close()
		}
		h.mu.Unlock()
		h.wg.Wait()
	})
	q := u.Query()
	q.Set("sslmode", "disable")
	u.Host = l.Addr().String()
	q.Del("host")
	u.RawQuery = q.Encode()
	return h, u.String()
}

func (h *hole) copy(to, from net.Conn) {
	defer to.Close()
	b := make([]byte, 64<<10)
	dark := false // a connection that lost something never comes back
	for {
		n, err := from.Read(b)
		if err != nil {
			return
		}
		h.mu.Lock()
		dark = dark || h.dark
		h.ready[from] += bytes.Count(b[:n], []byte("Z\x00\x00\x00\x05"))
		h.mu.Unlock()
		if dark {
			continue
		}
		if _, err := to.Write(b[:n]); err != nil {
			return
		}
	}
}

func (h *hole) darken(on bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.dark = on
}

// TestSilence: a server that says nothing any more is one that is down, and what comes
// after it is found over new connections, by those who listen too.
func TestSilence(t *testing.T) {
	base := storetest.Postgres(t)
	h, through := digHole(t, base)
	heard := make(chan string, 100)
	s := open(t, store.Config{URL: with(t, through, "connect_timeout", "1"), Patience: time.Second, OnCommit: func(c runtime.Commit) {
		for _, k := range c.Tasks {
			if c.Remote {
				heard <- k.ID
			}
		}
	}})
	if _, err := s.Submit(t.Context(), aTask("tsk_1")); err != nil {
		t.Fatal(err)
	}
	h.darken(true)
	for name, call := range map[string]func() error{
		"submit": func() error { _, err := s.Submit(t.Context(), aTask("tsk_2")); return err },
		"task":   func() error { _, err := s.Task(t.Context(), "tsk_1"); return err },
		"head":   func() error { _, err := s.Head(t.Context()); return err },
	} {
		if err := call(); sdk.CodeOf(err) != sdk.CodeUnavailable {
			t.Errorf("%s: %v", name, err)
		}
	}
	h.darken(false)
	if _, err := s.Submit(t.Context(), aTask("tsk_3")); err != nil {
		t.Error(err)
	}
	if _, err := s.Task(t.Context(), "tsk_3"); err != nil {
		t.Error(err)
	}
	other := open(t, store.Config{URL: base})
	for i := 0; ; i++ { // until the listener has found out
		if _, err := other.Submit(t.Context(), aTask("tsk_other"+string(rune('a'+i)))); err != nil {
			t.Fatal(err)
		}
		select {
		case <-heard:
			return
		case <-time.After(time.Second):
		}
		if i == 20 {
			t.Fatal("it never hears of others again")
		}
	}
}
