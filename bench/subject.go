package main

import (
	"fmt"
	"os/exec"
	"time"
)

// subject is one system in one configuration.
type subject struct {
	name  string
	setup string // in words, for the table
	needs string // "redis" or "postgres"
	run   func(b *bed) error
}

// missing says what is not installed.
func (s subject) missing() error {
	switch s.needs {
	case "redis":
		if _, err := exec.LookPath("redis-server"); err != nil {
			return fmt.Errorf("redis-server is not installed (apt-get install redis-server)")
		}
	case "postgres":
		if _, err := findPostgres(); err != nil {
			return err
		}
	}
	return nil
}

// subjects are all that are measured, in the order of their turns.
func subjects(o options) []subject {
	n := func(tasks int) int { return max(int(float64(tasks)*o.scale), 200) }
	ours := func(m carrier, nodes int, pg bool) opener {
		return ourOpener(ourConfig{carrier: m, nodes: nodes, postgres: pg, concurrency: o.concurrency, root: o.root})
	}
	oursLoad := func(tasks int) load {
		return load{n: n(tasks), callers: 256, sets: n(tasks), setCallers: 8, set: 200}
	}
	setup := fmt.Sprintf("SQLite FULL, concurrency %d", o.concurrency)
	return []subject{
		{name: "ceiling/200", setup: "our schema's statements in sets of 200, SQLite FULL", run: ceiling(n(40_000), 200)},
		{name: "ours/engine", setup: setup, run: throughput(ours(linked, 1, false), oursLoad(30_000))},
		{name: "asynq/rdb", setup: "Redis, RDB only, concurrency 10", needs: "redis",
			run: throughput(asynqOpener(false, 10*time.Millisecond), load{n: n(20_000), callers: 16})},
		{name: "ours/process", setup: setup, run: throughput(ours(carriedProcess, 1, false), oursLoad(20_000))},
		{name: "asynq/aof", setup: "Redis, AOF everysec, concurrency 10", needs: "redis",
			run: throughput(asynqOpener(true, 10*time.Millisecond), load{n: n(20_000), callers: 16})},
		{name: "ours/wasm", setup: setup + ", guard on, 2 instances", run: throughput(ours(carriedWasm, 1, false), oursLoad(20_000))},
		{name: "river/sqlite", setup: "SQLite FULL, 500 workers, cooldown 2 ms",
			run: throughput(riverSQLite(500, 2*time.Millisecond, 20*time.Millisecond), load{n: n(1_500), callers: 8, sets: n(2_500), setCallers: 1, set: 200})},
		{name: "goqite/sqlite", setup: "SQLite FULL, limit 10, poll 1 ms", run: throughput(goqiteOpener(time.Millisecond), load{n: n(2_000), callers: 8})},
		{name: "ceiling/1000", setup: "our schema's statements in sets of 1,000, SQLite FULL", run: ceiling(n(40_000), 1000)},
		{name: "ours/postgres", setup: "PostgreSQL, one engine", needs: "postgres", run: throughput(ours(linked, 1, true), oursLoad(15_000))},
		{name: "river/postgres", setup: "PostgreSQL, 500 workers, cooldown 2 ms", needs: "postgres",
			run: throughput(riverPostgres(500, 2*time.Millisecond, 20*time.Millisecond), load{n: n(5_000), callers: 8, sets: n(10_000), setCallers: 2, set: 200})},
		{name: "ours/postgres/two", setup: "PostgreSQL, two engines", needs: "postgres", run: throughput(ours(linked, 2, true), oursLoad(15_000))},
		{name: "ours/backlog", setup: fmt.Sprintf("%s, %d tasks", setup, o.backlog), run: backlog(ours(linked, 1, false), o.backlog)},
		{name: "ours/bus", setup: "SQLite FULL, 64 publishers, one group", run: busCase(n(40_000))},

		{name: "idle/ours/engine", setup: setup, run: idle(ours(linked, 1, false), 100)},
		{name: "idle/ours/process", setup: "the program, Go client on loopback", run: socket(o.root, carriedProcess, 100)},
		{name: "idle/ours/wasm", setup: "the program, Go client on loopback", run: socket(o.root, carriedWasm, 100)},
		{name: "idle/asynq", setup: "defaults", needs: "redis", run: idle(asynqOpener(false, 0), 8)},
		{name: "idle/river/sqlite", setup: "defaults, 100 workers", run: idle(riverSQLite(100, 0, 0), 50)},
		{name: "idle/river/postgres", setup: "defaults, 100 workers", needs: "postgres", run: idle(riverPostgres(100, 0, 0), 100)},
		{name: "idle/goqite", setup: "defaults", run: idle(goqiteOpener(0), 50)},
	}
}
