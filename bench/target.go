package main

// target is what a figure of ours should reach: least (or at most) times that of a
// peer, or in its own unit where there is no peer.
type target struct {
	ours, measure     string
	peer, peerMeasure string
	least, most       float64 // either; both 0: the ratio is only shown
}

// targets are the aims, in the order in which they are shown.
var targets = []target{
	{ours: "ours/engine", measure: measureSets, peer: "ceiling/200", peerMeasure: measureLives, least: 0.6},
	{ours: "ours/engine", measure: measureSets, peer: "ceiling/1000", peerMeasure: measureLives, least: 0.6},
	{ours: "ours/engine", measure: measureSets, peer: "asynq/rdb", peerMeasure: measureSingly, least: 2},
	{ours: "ours/engine", measure: measureSets, peer: "asynq/aof", peerMeasure: measureSingly},
	{ours: "ours/engine", measure: measureSets, peer: "river/sqlite", peerMeasure: measureSets, least: 20},
	{ours: "ours/engine", measure: measureSets, peer: "goqite/sqlite", peerMeasure: measureSingly},
	{ours: "ours/engine", measure: measureSingly, peer: "ceiling/200", peerMeasure: measureLives, least: 0.6},
	{ours: "ours/engine", measure: measureSingly, peer: "asynq/rdb", peerMeasure: measureSingly, least: 2},
	{ours: "ours/engine", measure: measureSingly, peer: "river/sqlite", peerMeasure: measureSingly, least: 20},
	{ours: "ours/engine", measure: measureSingly, peer: "goqite/sqlite", peerMeasure: measureSingly},
	{ours: "ours/engine", measure: measureDrain, peer: "asynq/rdb", peerMeasure: measureDrain},
	{ours: "ours/engine", measure: measureDrain, peer: "river/sqlite", peerMeasure: measureDrain},
	{ours: "ours/engine", measure: measureDrain, peer: "goqite/sqlite", peerMeasure: measureDrain},
	{ours: "ours/process", measure: measureSets, peer: "asynq/rdb", peerMeasure: measureSingly, least: 1.5},
	{ours: "ours/process", measure: measureSingly, peer: "asynq/rdb", peerMeasure: measureSingly, least: 1.5},
	{ours: "ours/process", measure: measureDrain, peer: "asynq/rdb", peerMeasure: measureDrain},
	{ours: "ours/wasm", measure: measureSets, peer: "asynq/rdb", peerMeasure: measureSingly, least: 1},
	{ours: "ours/wasm", measure: measureSingly, peer: "asynq/rdb", peerMeasure: measureSingly, least: 1},
	{ours: "ours/wasm", measure: measureDrain, peer: "asynq/rdb", peerMeasure: measureDrain},
	{ours: "ours/postgres", measure: measureSets, peer: "river/postgres", peerMeasure: measureSets, least: 2},
	{ours: "ours/postgres", measure: measureSingly, peer: "river/postgres", peerMeasure: measureSingly, least: 2},
	{ours: "ours/postgres", measure: measureDrain, peer: "river/postgres", peerMeasure: measureDrain, least: 2},
	{ours: "ours/postgres/two", measure: measureSets, peer: "ours/postgres", peerMeasure: measureSets, least: 1.3},
	{ours: "ours/postgres/two", measure: measureSingly, peer: "ours/postgres", peerMeasure: measureSingly, least: 1.3},
	{ours: "ours/postgres/two", measure: measureDrain, peer: "ours/postgres", peerMeasure: measureDrain, least: 1.3},
	{ours: "ours/backlog", measure: "rate of the last tenth", peer: "ours/backlog", peerMeasure: "rate of the first tenth", least: 0.8},
	{ours: "ours/backlog", measure: "memory after the last tenth", peer: "ours/backlog", peerMeasure: "memory after the first tenth", most: 1.2},
	{ours: "ours/bus", measure: measureBus, least: 15_000},
	{ours: "idle/ours/engine", measure: measureStart + ", p99", most: 5},
	{ours: "idle/ours/engine", measure: measureStart + ", p50", peer: "idle/asynq", peerMeasure: measureStart + ", p50"},
	{ours: "idle/ours/engine", measure: measureStart + ", p50", peer: "idle/river/sqlite", peerMeasure: measureStart + ", p50"},
	{ours: "idle/ours/engine", measure: measureStart + ", p50", peer: "idle/river/postgres", peerMeasure: measureStart + ", p50"},
	{ours: "idle/ours/engine", measure: measureStart + ", p50", peer: "idle/goqite", peerMeasure: measureStart + ", p50"},
	{ours: "idle/ours/process", measure: measureHeardEnd + ", p99", most: 15},
	{ours: "idle/ours/wasm", measure: measureHeardEnd + ", p99", most: 15},
}
