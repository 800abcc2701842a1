package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strconv"

	"github.com/mattn/go-sqlite3"
)

// openSQLite opens the file, keeping every other runtime off it.
func (s *Store) openSQLite(ctx context.Context) (err error) {
	if err := Check(); err != nil {
		return err
	}
	path := s.cfg.Path
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("make the data directory: %w; set data_dir to one that this user may write", err)
	}
	if s.lock, err = lockFile(ctx, path); err != nil {
		return err
	}
	if err := private(path); err != nil {
		return fmt.Errorf("open the database: %w", err)
	}
	if s.w, err = sql.Open("sqlite3", dsn(path, "_txlock=immediate&_synchronous=FULL&_foreign_keys=1&_cache_size=-32768")); err != nil {
		return err
	}
	s.w.SetMaxOpenConns(1)
	// A new file's pages are twice as large as SQLite would make them: a set touches
	// fewer of them, and each costs two system calls in the WAL and two at a checkpoint.
	// While a backup reads, the WAL takes all that is written, and would stay as long as
	// it became: the limit gives the room back once it is over.
	if _, err := s.w.ExecContext(ctx, `PRAGMA page_size = 8192; PRAGMA journal_mode = WAL; PRAGMA journal_size_limit = `+strconv.Itoa(maxWAL)); err != nil {
		return fmt.Errorf("open %s: %w", path, err)
	}
	if err := s.migrate(ctx); err != nil {
		return fmt.Errorf("open %s: %w", path, err)
	}
	s.r, err = sql.Open("sqlite3", dsn(path, "_txlock=deferred&_query_only=1"))
	return err
}

// maxWAL is how long the WAL stays when nobody reads what is older: well above what it
// has between two checkpoints, so that it is hardly ever cut.
const maxWAL = 64 << 20

// private makes a file that is not there yet, for its owner alone: SQLite would let
// everybody read it whom the directory lets in.
func private(path string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	return f.Close()
}

// dsn names the file, as a URL: its path may have any character. database/sql gives a connection to one goroutine at a time, so
// SQLite's own mutex would guard nothing.
func dsn(path, options string) string {
	return "file:" + (&url.URL{Path: path}).EscapedPath() + "?_busy_timeout=10000&_mutex=no&" + options
}

// Check says whether this program was built with what the embedded store needs.
func Check() error {
	db, err := sql.Open("sqlite3", ":memory:")
	if err != nil {
		return err
	}
	defer db.Close()
	if _, err := db.Exec(`CREATE VIRTUAL TABLE t USING fts5 (x)`); err != nil {
		return errors.New("this program was built without full-text search: build it with make, or with go build -tags sqlite_fts5 and CGO_ENABLED=1")
	}
	return nil
}

// trouble is what an error of the database means for the callers of a set.
type trouble int

const (
	ownError trouble = iota // of one of them
	noSpace                 // nobody's write can succeed at present
	noServer                // and the connection is of no use any more
	tryAgain                // two nodes stood in each other's way
)

func sqliteTrouble(err error) trouble {
	var e sqlite3.Error
	if errors.As(err, &e) {
		switch e.Code {
		case sqlite3.ErrFull, sqlite3.ErrIoErr, sqlite3.ErrBusy, sqlite3.ErrReadonly, sqlite3.ErrCantOpen:
			return noSpace
		}
	}
	return ownError
}
