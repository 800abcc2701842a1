package main

import (
	"context"
	"database/sql"
	"errors"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	_ "github.com/mattn/go-sqlite3" // the driver registers itself
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/riverdriver/riversqlite"
	"github.com/riverqueue/river/rivermigrate"
)

// echoArgs are the arguments of a job: 256 bytes of JSON.
type echoArgs struct {
	Data string `json:"data"`
}

func (echoArgs) Kind() string { return "demo.echo" }

var echoJob = echoArgs{Data: string(payload[9 : len(payload)-2])}

type echoWorker struct {
	river.WorkerDefaults[echoArgs]
	probe *probe
}

func (w *echoWorker) Work(context.Context, *river.Job[echoArgs]) error {
	if w.probe.started != nil {
		w.probe.started()
	}
	return nil
}

// riverSQLite opens River on SQLite with synchronous=FULL. A duration of 0 is
// River's default.
func riverSQLite(workers int, cooldown, poll time.Duration) opener {
	return func(b *bed, p *probe) (system, error) {
		dir, err := b.fresh()
		if err != nil {
			return nil, err
		}
		db, err := openSQLite(filepath.Join(dir, "river.db"))
		if err != nil {
			return nil, err
		}
		return openRiver[*sql.Tx](b, p, riversqlite.New(db), db.Close, workers, cooldown, poll)
	}
}

// riverPostgres opens River on a PostgreSQL server of its own.
func riverPostgres(workers int, cooldown, poll time.Duration) opener {
	return func(b *bed, p *probe) (system, error) {
		server, err := startPostgres(b)
		if err != nil {
			return nil, err
		}
		pool, err := pgxpool.New(b.ctx, server.url)
		if err != nil {
			return nil, errors.Join(err, server.stop())
		}
		return openRiver(b, p, riverpgxv5.New(pool), func() error { pool.Close(); return server.stop() }, workers, cooldown, poll)
	}
}

// openSQLite opens a database as a peer would that has one writer and wants
// every commit on the disk.
func openSQLite(path string) (*sql.DB, error) {
	db, err := sql.Open("sqlite3", "file:"+path+"?_journal_mode=WAL&_synchronous=FULL&_busy_timeout=5000&_txlock=immediate")
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(1)
	return db, nil
}

type riverSystem[T any] struct {
	client  *river.Client[T]
	close   func() error
	cancel  func() // ends the subscription
	running bool
}

func openRiver[T any](b *bed, p *probe, driver riverdriver.Driver[T], closeDB func() error, workers int, cooldown, poll time.Duration) (system, error) {
	logger := slog.New(slog.DiscardHandler)
	m, err := rivermigrate.New(driver, &rivermigrate.Config{Logger: logger})
	if err == nil {
		_, err = m.Migrate(b.ctx, rivermigrate.DirectionUp, nil)
	}
	if err != nil {
		return nil, errors.Join(err, closeDB())
	}
	all := river.NewWorkers()
	river.AddWorker(all, &echoWorker{probe: p})
	c, err := river.NewClient(driver, &river.Config{
		Queues: map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: workers}}, Workers: all,
		FetchCooldown: cooldown, FetchPollInterval: poll, Logger: logger,
	})
	if err != nil {
		return nil, errors.Join(err, closeDB())
	}
	// Told when the end of a job is stored, as our tasks are counted.
	done, cancel := c.SubscribeConfig(&river.SubscribeConfig{ChanSize: 100_000, Kinds: []river.EventKind{river.EventKindJobCompleted}})
	go func() {
		for range done {
			p.done.add(1)
		}
	}()
	return &riverSystem[T]{client: c, close: closeDB, cancel: cancel}, nil
}

func (r *riverSystem[T]) submit(k int) error {
	if k == 1 {
		_, err := r.client.Insert(context.Background(), echoJob, nil)
		return err
	}
	jobs := make([]river.InsertManyParams, k)
	for i := range jobs {
		jobs[i].Args = echoJob
	}
	_, err := r.client.InsertManyFast(context.Background(), jobs)
	return err
}

func (r *riverSystem[T]) start() error {
	r.running = true
	return r.client.Start(context.Background())
}

func (r *riverSystem[T]) stop() error {
	var err error
	if r.running {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		err = r.client.Stop(ctx)
	}
	r.cancel()
	return errors.Join(err, r.close())
}
