package store

import (
	"context"
	"crypto/rand"
	"database/sql"
	"embed"
	"encoding/hex"
	"fmt"
	"io/fs"
	"time"

	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/database"
	"github.com/pressly/goose/v3/lock"
)

//go:embed migrations
var migrations embed.FS

// Migrations are the tables of another room that live in the store's database,
// such as the bus's: FS has the folders "sqlite" and "postgres". Name makes the
// table that records their version.
type Migrations struct {
	Name string
	FS   fs.FS
}

// migrate brings the schema up to date. Several runtimes may start at once on one
// PostgreSQL: a lock of the session lets one of them do it.
func (s *Store) migrate(ctx context.Context) error {
	own, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return err
	}
	for _, m := range append([]Migrations{{"store", own}}, s.cfg.Migrations...) {
		if err := s.migrateOne(ctx, m); err != nil {
			return fmt.Errorf("migrate %s: %w", m.Name, err)
		}
	}
	_, err = s.w.ExecContext(ctx, `INSERT INTO log_head (id, epoch, pos, pruned) VALUES (1, $1, 0, 0) ON CONFLICT DO NOTHING`, newEpoch())
	return err
}

func (s *Store) migrateOne(ctx context.Context, m Migrations) error {
	kind := goose.DialectSQLite3
	var options []goose.ProviderOption
	if s.dialect == postgres {
		kind = goose.DialectPostgres
		options = append(options, goose.WithSessionLocker(sessionLock{}))
	}
	versions, err := database.NewStore(kind, "schema_"+m.Name)
	if err != nil {
		return err
	}
	dir, err := fs.Sub(m.FS, s.dialect.name)
	if err != nil {
		return err
	}
	p, err := goose.NewProvider("", s.w, dir, append(options, goose.WithStore(versions))...)
	if err != nil {
		return err
	}
	have, err := p.GetDBVersion(ctx)
	if err != nil {
		return err
	}
	newest := int64(0)
	for _, s := range p.ListSources() {
		newest = max(newest, s.Version)
	}
	if have > newest {
		return fmt.Errorf("the database has schema version %d, this program knows up to %d: use the newer program that made it", have, newest)
	}
	_, err = p.Up(ctx)
	return err
}

// sessionLock is the lock of goose's name, so that other programs keep it too. It is
// asked for often: goose's own asks every 5 s, and each start takes it several times, so
// nodes that are started together would be gone for longer than a dead one may be.
type sessionLock struct{}

const (
	askEvery = 50 * time.Millisecond
	askFor   = 5 * time.Minute
)

// SessionLock implements lock.SessionLocker.
func (sessionLock) SessionLock(ctx context.Context, c *sql.Conn) error {
	for end := time.Now().Add(askFor); ; {
		var got bool
		if err := c.QueryRowContext(ctx, `SELECT pg_try_advisory_lock($1)`, lock.DefaultLockID).Scan(&got); err != nil || got {
			return err
		}
		if time.Now().After(end) {
			return fmt.Errorf("another program has been changing the schema for %v", askFor)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(askEvery):
		}
	}
}

// SessionUnlock implements lock.SessionLocker.
func (sessionLock) SessionUnlock(ctx context.Context, c *sql.Conn) error {
	_, err := c.ExecContext(ctx, `SELECT pg_advisory_unlock($1)`, lock.DefaultLockID)
	return err
}

func newEpoch() string {
	var b [6]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}
