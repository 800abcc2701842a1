// Package store keeps tasks, their log, plugin data and the bus's messages in
// SQL. It implements runtime.Store on SQLite and on PostgreSQL; storetest is the
// suite that both pass.
//
//	s, err := store.Open(ctx, store.Config{Path: "data/nagatha.db", OnCommit: hook})
//	s, err := store.Open(ctx, store.Config{URL: "postgres://…", OnCommit: hook})
//	defer s.Close()
//
// # Why
//
// One goroutine writes (writer.go). It takes every request that waits, runs one
// statement for each step of each verb over the whole set, and commits once:
// with synchronous=FULL a commit costs an fsync, and a statement costs a crossing
// into C, so both are shared by as many callers as there are. Readers have
// connections of their own and, thanks to the WAL, never wait for the writer.
//
// The SQL text is meant for SQLite and PostgreSQL alike; what differs stands in
// dialect.go. Parameters are numbered in the order of their first appearance,
// because that is how go-sqlite3 binds them. Times are milliseconds, JSON is
// text.
package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/stdlib"

	"github.com/nagatha/nagatha-runtime/runtime"
	"github.com/nagatha/nagatha-runtime/sdk"
)

// Config is what a [Store] is made of. Path or URL is required.
type Config struct {
	Path string // of the SQLite file; its directory is made if need be
	URL  string // of a PostgreSQL database, version 15 or later

	// OnCommit hears of every commit; see runtime.Commit.
	OnCommit func(runtime.Commit)
	// Outbox hands published events to the bus within the transaction that
	// stores them.
	Outbox func(tx Tx, events []sdk.Event) error
	// Ends says which types of end events plugins subscribe to now; those of ended
	// tasks are handed to Outbox too. It is called in the writer's transactions.
	Ends func() []string
	// Verbs are writes of another room that run in the writer's transactions: all
	// requests that wait under one name are handed over as one set. A verb may be
	// called again with the same requests after a rollback.
	Verbs      map[string]func(tx Tx, set []any) error
	Migrations []Migrations

	// Patience is how long PostgreSQL may take over a read or a transaction: one that
	// is cut off may say nothing for ever. Default 30 s.
	Patience time.Duration

	MaxEvents int64 // of a task; default 100,000
	MaxBytes  int64 // of a task's events; default 64 MiB

	Now    func() sdk.Time // default sdk.Now
	Logger *slog.Logger
}

// Tx is a transaction of the writer's, as other rooms may use it. Over runs a
// set-based statement: see compose. Skip is the clause by which a claim passes
// over rows that another node is claiming, Among the condition that a column is
// one of what a query returns. It is an alias, so that a room need not
// import this one to name it.
type Tx = interface {
	Over(columns string, rows [][]any, body string, scan func(Row) error, fixed ...any) error
	Query(body string, scan func(Row) error, args ...any) error
	Exec(body string, args ...any) (int64, error)
	Skip() string
	Among(column, query string) string
}

// Store is an open database. It is safe for concurrent use.
type Store struct {
	cfg     Config
	dialect *dialect
	w       *sql.DB
	conn    *sql.Conn // the writer's; nil while there is none
	session session   // on it
	r       *sql.DB
	lock    *os.File // SQLite's
	wire    *wire    // PostgreSQL's

	stmts map[text]statement  // the writer's
	args  []driver.NamedValue // of the statement that it runs; kept for its memory

	offers  atomic.Pointer[runtime.Offer] // who is asked for free slots
	limits  atomic.Pointer[map[string]runtime.QueueLimits]
	paused  atomic.Pointer[map[string]bool]
	limited sync.Map             // queue → sdk.Time until which its rate holds it back
	depths  map[string]*depth    // the writer's
	turns   map[queueLine]*turns // the writer's

	down atomic.Bool // the database does not answer, and the log says so

	queue  chan *request
	mu     sync.RWMutex // guards closed against sends to queue
	closed bool
	done   chan struct{}
}

var _ runtime.Store = (*Store)(nil)

// Open opens the database, bringing its schema up to date, and starts the
// writer. An SQLite file that another runtime has open is refused.
func Open(ctx context.Context, cfg Config) (_ *Store, err error) {
	if (cfg.Path == "") == (cfg.URL == "") {
		return nil, errors.New("store: want Config.Path or Config.URL")
	}
	if cfg.MaxEvents == 0 {
		cfg.MaxEvents = 100_000
	}
	if cfg.MaxBytes == 0 {
		cfg.MaxBytes = 64 << 20
	}
	if cfg.Patience == 0 {
		cfg.Patience = 30 * time.Second
	}
	if cfg.Now == nil {
		cfg.Now = sdk.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.OnCommit == nil {
		cfg.OnCommit = func(runtime.Commit) {}
	}
	s := &Store{cfg: cfg, dialect: sqlite, stmts: map[text]statement{}, turns: map[queueLine]*turns{}, depths: map[string]*depth{}, queue: make(chan *request, maxSet), done: make(chan struct{})}
	defer func() {
		if err != nil {
			_ = s.shut()
		}
	}()
	open := s.openSQLite
	if cfg.URL != "" {
		s.dialect, open = postgres, s.openPostgres
	}
	if err := open(ctx); err != nil {
		return nil, err
	}
	s.r.SetMaxOpenConns(readers)
	s.r.SetMaxIdleConns(readers)
	if err := s.loadPaused(ctx); err != nil {
		return nil, err
	}
	if err := s.connect(ctx); err != nil {
		return nil, err
	}
	go s.write()
	return s, nil
}

const readers = 4

// Shared reports whether other runtimes may use the same database.
func (s *Store) Shared() bool { return s.dialect == postgres }

// connect gives the writer its connection.
func (s *Store) connect(ctx context.Context) (err error) {
	if s.conn == nil {
		s.conn, err = s.w.Conn(ctx)
	}
	return err
}

// speak makes the session of the writer's connection, if it has none.
func (s *Store) speak(driverConn any) {
	if s.session != nil {
		return
	}
	switch c := driverConn.(type) {
	case *stdlib.Conn:
		s.session = &pipeline{conn: c.Conn()}
	case driver.Conn:
		s.session = &sqliteSession{conn: c}
	}
}

// disconnect forgets a connection that is of no use any more.
func (s *Store) disconnect() {
	if s.conn == nil {
		return
	}
	for _, st := range s.stmts {
		_ = st.Close()
	}
	s.stmts = map[text]statement{}
	// Not back to the pool: a server that takes no writes any more still answers.
	_ = s.conn.Raw(func(any) error { return driver.ErrBadConn })
	_ = s.conn.Close()
	s.conn, s.session = nil, nil
}

// patient is ctx, or ends when the database has not answered for long enough.
func (s *Store) patient(ctx context.Context) (context.Context, context.CancelFunc) {
	if s.dialect == postgres {
		return context.WithTimeout(ctx, s.cfg.Patience)
	}
	return ctx, func() {}
}

// Reader returns the pool of read-only connections.
func (s *Store) Reader() *sql.DB { return s.r }

// Close waits for the writer to finish what it was given, and closes the
// database.
func (s *Store) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		<-s.done
		return nil
	}
	s.closed = true
	close(s.queue)
	s.mu.Unlock()
	<-s.done
	return s.shut()
}

func (s *Store) shut() error {
	if s.wire != nil {
		s.wire.close()
	}
	s.disconnect()
	var errs []error
	if s.r != nil {
		errs = append(errs, s.r.Close())
	}
	if s.w != nil {
		errs = append(errs, s.w.Close())
	}
	if s.lock != nil {
		errs = append(errs, s.lock.Close())
	}
	return errors.Join(errs...)
}
