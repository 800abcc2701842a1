package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
)

// settings are what each connection is told when it is made, and not before: a pooler
// refuses them in the startup message.
//
// Every statement has an index to go by, but plans are kept, and one that was made
// while a table was small would read it whole when it is large. A transaction of a
// node that froze or was cut off holds what all others need, so the server ends it,
// well before a node that waits would be called dead; a connection whose other end is
// gone must not count against max_connections for hours. What else is set here would
// break the store if the database's administrator had set it for everybody: it has
// limits of its own.
const settings = `SET enable_seqscan = off; SET jit = off;
	SET idle_in_transaction_session_timeout = '3s'; SET tcp_user_timeout = '30s';
	SET tcp_keepalives_idle = 30; SET tcp_keepalives_interval = 10; SET tcp_keepalives_count = 3;
	SET statement_timeout = 0; SET lock_timeout = 0; SET idle_session_timeout = 0;
	SET default_transaction_isolation = 'read committed'`

// writing is what the writer's connection is told besides. A set is joined row by row:
// what else planners think of compares each row of the set with all others, or reads
// the table.
const writing = `; SET enable_hashjoin = off; SET enable_mergejoin = off; SET plan_cache_mode = force_generic_plan`

// connecting is how long making a connection may take, unless the URL says otherwise.
const connecting = 10 * time.Second

// openPostgres connects to a server that several runtimes may share.
func (s *Store) openPostgres(ctx context.Context) (err error) {
	if err := CheckURL(s.cfg.URL); err != nil {
		return fmt.Errorf("store \"postgres\": %w", err)
	}
	cfg, err := pgx.ParseConfig(s.cfg.URL)
	if err != nil {
		return err // cannot happen
	}
	if cfg.ConnectTimeout == 0 {
		cfg.ConnectTimeout = connecting
	}
	schema, err := examine(ctx, cfg)
	if err != nil {
		return fmt.Errorf("connect to PostgreSQL: %w", err)
	}
	s.w = stdlib.OpenDB(*cfg, stdlib.OptionAfterConnect(func(ctx context.Context, c *pgx.Conn) error { return order(ctx, c, settings+writing) }))
	s.w.SetMaxOpenConns(2) // the writer, and migrations beside it
	if err := s.migrate(ctx); err != nil {
		return fmt.Errorf("prepare the PostgreSQL database: %w", err)
	}
	s.r = stdlib.OpenDB(*cfg, stdlib.OptionAfterConnect(func(ctx context.Context, c *pgx.Conn) error { return order(ctx, c, settings) }))
	return s.openWire(ctx, cfg, schema)
}

// CheckURL says what is wrong with an address, without its parts: where it is torn
// apart wrongly, any of them may be the password.
func CheckURL(text string) error {
	_, err := pgx.ParseConfig(text)
	if err == nil {
		return nil
	}
	var torn *url.Error
	var refused *pgconn.ParseConfigError
	why := "the url is malformed"
	if !errors.As(err, &torn) && errors.As(err, &refused) && errors.Unwrap(refused) != nil {
		why = errors.Unwrap(refused).Error()
	}
	return fmt.Errorf("%s; want postgres://user:password@host:5432/database, special characters of the password percent-encoded", why)
}

// order runs statements that return nothing.
func order(ctx context.Context, c *pgx.Conn, statements string) error {
	_, err := c.PgConn().Exec(ctx, statements).ReadAll()
	return err
}

// examine says why a database will not do, and which schema is ours.
func examine(ctx context.Context, cfg *pgx.ConnConfig) (schema string, err error) {
	ctx, cancel := context.WithTimeout(ctx, 2*cfg.ConnectTimeout)
	defer cancel()
	var conns [2]*pgx.Conn
	for i := range conns {
		if conns[i], err = pgx.ConnectConfig(ctx, cfg); err != nil {
			return "", err
		}
		defer func() { _ = conns[i].Close(context.WithoutCancel(ctx)) }()
	}
	if encoding := conns[0].PgConn().ParameterStatus("server_encoding"); encoding != "UTF8" {
		return "", fmt.Errorf("the encoding of database %q is %s, which cannot keep every text; make one with: CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0", cfg.Database, encoding)
	}
	var version int
	err = conns[0].QueryRow(ctx, `SELECT CAST(current_setting('server_version_num') AS INTEGER), COALESCE(current_schema(), '')`,
		pgx.QueryExecModeSimpleProtocol).Scan(&version, &schema)
	switch {
	case err != nil:
		return "", err
	case version < 150000:
		return "", fmt.Errorf("the server's version is %d; want PostgreSQL 15 or later", version/10000)
	case schema == "":
		return "", errors.New("no schema of the search_path exists, or this user may not use it; make it with CREATE SCHEMA")
	}
	// A connection has its own process in the server, which never changes, unless a
	// pooler lends one to whoever has a transaction.
	var own [2]uint32
	for i := range 6 {
		var pid uint32
		if err := conns[i%2].QueryRow(ctx, `SELECT pg_backend_pid()`, pgx.QueryExecModeSimpleProtocol).Scan(&pid); err != nil {
			return "", fmt.Errorf("a second connection: %w", err)
		}
		if i >= 2 && own[i%2] != pid || own[1-i%2] == pid {
			return "", errors.New("there is a pooler in between that lends connections for a transaction; use pool_mode = session, or connect to the server directly")
		}
		own[i%2] = pid
	}
	return schema, nil
}

func postgresTrouble(err error) trouble {
	var e *pgconn.PgError
	if errors.As(err, &e) {
		switch {
		case e.Code == "40001" || e.Code == "40P01" || e.Code == "23505", // serialization failure, deadlock, unique
			e.Code == "57014" || e.Code == "55P03": // cancelled by somebody, a lock that is not to be had
			return tryAgain
		case e.Code == "53300": // too many connections
			return noServer
		case strings.HasPrefix(e.Code, "53"): // insufficient resources: disk full, out of memory
			return noSpace
		case strings.HasPrefix(e.Code, "57P") || strings.HasPrefix(e.Code, "08"), // shut down, gone
			e.Code == "25006" || strings.HasPrefix(e.Code, "25P"), // read only, ended for having been idle
			strings.HasPrefix(e.Code, "28") || e.Code == "3D000":  // not let in, no such database: it was good at start
			return noServer
		}
		return ownError
	}
	var n net.Error
	var c *pgconn.ConnectError
	if errors.Is(err, driver.ErrBadConn) || errors.Is(err, sql.ErrConnDone) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.As(err, &n) || errors.As(err, &c) || pgconn.SafeToRetry(err) || strings.Contains(err.Error(), "conn closed") {
		return noServer
	}
	return ownError
}
