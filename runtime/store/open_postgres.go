package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
)

// openPostgres connects to a server that several runtimes may share.
func (s *Store) openPostgres(ctx context.Context) (err error) {
	cfg, err := pgx.ParseConfig(s.cfg.URL)
	if err != nil {
		// The error would print the URL, and the password with it.
		return errors.New("store \"postgres\": the url is malformed; want postgres://user:password@host:5432/database")
	}
	// Every statement has an index to go by, but plans are kept, and one that was
	// made while a table was small would read it whole when it is large.
	cfg.RuntimeParams["enable_seqscan"] = "off"
	cfg.RuntimeParams["jit"] = "off"
	writer := cfg.Copy()
	// A set is joined row by row: what else planners think of compares each row of the
	// set with all others, or reads the table.
	writer.RuntimeParams["enable_hashjoin"] = "off"
	writer.RuntimeParams["enable_mergejoin"] = "off"
	writer.RuntimeParams["plan_cache_mode"] = "force_generic_plan"
	s.w = stdlib.OpenDB(*writer)
	s.w.SetMaxOpenConns(2) // the writer, and migrations beside it
	if err := s.w.PingContext(ctx); err != nil {
		return fmt.Errorf("connect to PostgreSQL: %w", err)
	}
	if err := s.migrate(ctx); err != nil {
		return fmt.Errorf("prepare the PostgreSQL database: %w", err)
	}
	s.r = stdlib.OpenDB(*cfg)
	return s.openWire(ctx)
}

func postgresTrouble(err error) trouble {
	var e *pgconn.PgError
	if errors.As(err, &e) {
		switch {
		case e.Code == "40001" || e.Code == "40P01" || e.Code == "23505": // serialization failure, deadlock, unique
			return tryAgain
		case strings.HasPrefix(e.Code, "53"): // insufficient resources: disk full, out of memory
			return noSpace
		case strings.HasPrefix(e.Code, "57P") || strings.HasPrefix(e.Code, "08") || e.Code == "25006": // shut down, gone, read only
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
