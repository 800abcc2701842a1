package store_test

import (
	"database/sql"
	"testing"
	"time"

	"github.com/pressly/goose/v3/lock"

	"github.com/nagatha/nagatha-runtime/runtime/store"
	"github.com/nagatha/nagatha-runtime/runtime/store/storetest"
)

// TestStartsDoNotWaitForEachOther: a node that finds another one at the schema goes on
// as soon as that has done. Nodes that were killed together, and are started together,
// are back before their tasks have waited too long.
func TestStartsDoNotWaitForEachOther(t *testing.T) {
	url := storetest.Postgres(t)
	db, err := sql.Open("pgx", url)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	held, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	if _, err := held.ExecContext(t.Context(), `SELECT pg_advisory_lock($1)`, lock.DefaultLockID); err != nil {
		t.Fatal(err)
	}
	opened := make(chan error, 1)
	go func() {
		s, err := store.Open(t.Context(), store.Config{URL: url})
		if err == nil {
			err = s.Close()
		}
		opened <- err
	}()
	for asked := 0; asked == 0; {
		if err := db.QueryRowContext(t.Context(), `SELECT count(*) FROM pg_stat_activity
			WHERE pid <> pg_backend_pid() AND query LIKE '%pg_try_advisory_lock%' AND datname = current_database()`).Scan(&asked); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := held.ExecContext(t.Context(), `SELECT pg_advisory_unlock($1)`, lock.DefaultLockID); err != nil {
		t.Fatal(err)
	}
	free := time.Now()
	if err := <-opened; err != nil {
		t.Fatal(err)
	}
	if d := time.Since(free); d > 4*time.Second {
		t.Errorf("it went on after %v", d)
	}
}
