package main

import (
	"context"
	"database/sql"
	_ "embed"
	"errors"
	"path/filepath"
	"sync"
	"time"

	"maragu.dev/goqite"
	"maragu.dev/goqite/jobs"
)

// goqiteSchema is the library's schema_sqlite.sql: it does not create its table by
// itself.
//
//go:embed goqite.sql
var goqiteSchema string

// goqiteOpener opens goqite's job runner on SQLite with synchronous=FULL. poll of 0
// is its default.
func goqiteOpener(poll time.Duration) opener {
	return func(b *bed, p *probe) (system, error) {
		dir, err := b.fresh()
		if err != nil {
			return nil, err
		}
		db, err := openSQLite(filepath.Join(dir, "goqite.db"))
		if err != nil {
			return nil, err
		}
		if _, err := db.ExecContext(b.ctx, goqiteSchema); err != nil {
			return nil, errors.Join(err, db.Close())
		}
		q := goqite.New(goqite.NewOpts{DB: db, Name: "jobs"})
		r := jobs.NewRunner(jobs.NewRunnerOpts{Queue: q, Limit: 10, PollInterval: poll})
		r.Register("demo.echo", func(context.Context, []byte) error {
			if p.started != nil {
				p.started()
			}
			p.done.add(1)
			return nil
		})
		return &goqiteSystem{db: db, queue: q, runner: r}, nil
	}
}

type goqiteSystem struct {
	db      *sql.DB
	queue   *goqite.Queue
	runner  *jobs.Runner
	cancel  context.CancelFunc
	running sync.WaitGroup
}

func (g *goqiteSystem) submit(k int) error {
	for range k {
		if _, err := jobs.Create(context.Background(), g.queue, "demo.echo", goqite.Message{Body: payload}); err != nil {
			return err
		}
	}
	return nil
}

func (g *goqiteSystem) start() error {
	ctx, cancel := context.WithCancel(context.Background())
	g.cancel = cancel
	g.running.Go(func() { g.runner.Start(ctx) })
	return nil
}

func (g *goqiteSystem) stop() error {
	if g.cancel != nil {
		g.cancel()
		g.running.Wait()
	}
	return g.db.Close()
}
