package store_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/nagatha/nagatha-runtime/runtime"
	"github.com/nagatha/nagatha-runtime/runtime/store"
	"github.com/nagatha/nagatha-runtime/runtime/store/storetest"
	"github.com/nagatha/nagatha-runtime/sdk"
)

func open(t testing.TB, cfg store.Config) *store.Store {
	t.Helper()
	if cfg.Path == "" && cfg.URL == "" {
		cfg.Path = filepath.Join(t.TempDir(), "nagatha.db")
	}
	s, err := store.Open(context.Background(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// options are the store's for a case of the suite.
func options(o storetest.Options) store.Config {
	cfg := store.Config{OnCommit: o.OnCommit, Now: o.Now, Ends: o.Ends, MaxEvents: o.MaxEvents, MaxBytes: o.MaxBytes}
	if o.Outbox != nil {
		cfg.Outbox = func(_ store.Tx, events []sdk.Event) error { return o.Outbox(events) }
	}
	return cfg
}

func TestSQLite(t *testing.T) {
	storetest.Run(t, func(t *testing.T, o storetest.Options) runtime.Store { return open(t, options(o)) })
}

func TestPostgres(t *testing.T) {
	storetest.Run(t, func(t *testing.T, o storetest.Options) runtime.Store {
		cfg := options(o)
		cfg.URL = storetest.Postgres(t)
		return open(t, cfg)
	})
}

// What others changed at every try may well succeed later, and its caller is told so.
func TestAlwaysInTheWay(t *testing.T) {
	tries := 0
	s := open(t, store.Config{URL: storetest.Postgres(t), Verbs: map[string]func(store.Tx, []any) error{
		"lose": func(store.Tx, []any) error { tries++; return &pgconn.PgError{Code: "40P01"} }}})
	if err := s.Write(t.Context(), "lose", nil); sdk.CodeOf(err) != sdk.CodeUnavailable {
		t.Errorf("got %v", err)
	}
	if tries < 2 {
		t.Errorf("%d tries", tries)
	}
}

// Which file of the server's is full is for its log, not for clients.
func TestFullServer(t *testing.T) {
	var log logged
	s := open(t, store.Config{URL: storetest.Postgres(t), Logger: slog.New(slog.NewTextHandler(&log, nil)), Verbs: map[string]func(store.Tx, []any) error{
		"fill": func(store.Tx, []any) error {
			return &pgconn.PgError{Code: "53100", Message: "could not extend base/1/2"}
		}}})
	if err := s.Write(t.Context(), "fill", nil); sdk.CodeOf(err) != sdk.CodeUnavailable || strings.Contains(err.Error(), "base/1/2") {
		t.Errorf("got %v", err)
	}
	if !strings.Contains(log.String(), "base/1/2") {
		t.Errorf("the log does not say so: %s", log.String())
	}
}

// A path is taken as it is, whatever would mean something in a URL.
func TestPath(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a#b?c=d%20", "nagatha.db")
	s := open(t, store.Config{Path: path})
	if err := s.Backup(t.Context(), path+".copy"); err != nil {
		t.Error(err)
	}
	for _, file := range []string{"", "-wal", "-shm", ".copy"} {
		if info, err := os.Stat(path + file); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("others may read it: %v, %v", info, err)
		}
	}
}

// Two nodes see the same ticks; each fires once.
func TestTickOnTwoNodes(t *testing.T) {
	url := storetest.Postgres(t)
	nodes := []*store.Store{open(t, store.Config{URL: url}), open(t, store.Config{URL: url})}
	const ticks = 50
	s := runtime.Schedule{Schedule: sdk.Schedule{ID: "sch_x", Name: "x", Kind: "a.a", Payload: []byte(`{}`), NextAt: 1, Source: sdk.SourceConfig}}
	if ok, err := nodes[0].PutSchedule(t.Context(), s); err != nil || !ok {
		t.Fatal(ok, err)
	}
	var wg sync.WaitGroup
	for n, node := range nodes {
		wg.Go(func() {
			for {
				due, _, err := node.DueSchedules(t.Context(), ticks, 1)
				if err != nil {
					t.Error(err)
					return
				}
				if len(due) == 0 {
					return
				}
				now := sdk.Now()
				task := sdk.Task{ID: fmt.Sprintf("tsk_%d_%d", n, due[0].NextAt), Kind: "a.a", Queue: "default", State: sdk.StateQueued, Payload: []byte(`{}`),
					MaxAttempts: 1, CreatedAt: now, RunAt: now, Schedule: s.ID, Labels: map[string]string{"tick": fmt.Sprint(int64(due[0].NextAt))}}
				if _, err := node.Tick(t.Context(), runtime.TickRequest{ID: s.ID, Version: due[0].Version, Now: now, Next: due[0].NextAt + 1, Last: due[0].NextAt,
					Overlap: sdk.OverlapAllow, Tasks: []runtime.NewTask{{Task: task}}}); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	page, err := nodes[0].Tasks(t.Context(), runtime.TaskFilter{Schedule: s.ID, Limit: 1000})
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, k := range page.Tasks {
		seen[k.Labels["tick"]] = true
	}
	if len(page.Tasks) != ticks || len(seen) != ticks {
		t.Errorf("%d ticks made %d tasks of %d ticks", ticks, len(page.Tasks), len(seen))
	}
}
