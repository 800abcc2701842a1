package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/nagatha/nagatha-runtime/runtime"
	"github.com/nagatha/nagatha-runtime/runtime/store"
	"github.com/nagatha/nagatha-runtime/sdk"
)

const measureLives = "whole lives"

// ceiling drives the store directly: submit, claim and finish in sets of size, one
// after the other, with the four events of every life. No engine on this schema can
// be faster unless it makes larger sets.
func ceiling(n, size int) func(b *bed) error {
	return func(b *bed) (err error) {
		tune()
		dir, err := b.fresh()
		if err != nil {
			return err
		}
		s, err := store.Open(b.ctx, store.Config{Path: filepath.Join(dir, "nagatha.db")})
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, s.Close()) }()
		size := min(size, n)
		begin := time.Now()
		done := 0
		for ; done < n; done += size {
			if err := lives(b, s, done, size); err != nil {
				return err
			}
		}
		b.report(measureLives, "/s", float64(done)/time.Since(begin).Seconds())
		return nil
	}
}

// lives takes one set of tasks through their lives.
func lives(b *bed, s *store.Store, first, n int) error {
	tasks := make([]runtime.NewTask, n)
	now := sdk.Now()
	for i := range tasks {
		tasks[i].Task = sdk.Task{ID: fmt.Sprintf("tsk_%020d", first+i), Kind: "demo.echo", Queue: runtime.DefaultQueue, State: sdk.StateQueued,
			Payload: payload, Life: 1, MaxAttempts: 5, Timeout: sdk.Duration(time.Minute), CreatedAt: now, RunAt: now}
	}
	if _, err := s.Submit(b.ctx, tasks); err != nil {
		return err
	}
	claimed, err := s.Claim(b.ctx, runtime.ClaimRequest{Node: "n", Lanes: []runtime.Lane{{Queue: runtime.DefaultQueue, Limit: n,
		Kinds: []runtime.KindSlots{{Kind: "demo.echo", Limit: n, Plugin: "demo", PluginVersion: "1"}}}}})
	if err != nil {
		return err
	}
	if len(claimed) != n {
		return fmt.Errorf("claimed %d of %d", len(claimed), n)
	}
	ends := make([]runtime.FinishRequest, n)
	for i, c := range claimed {
		ends[i] = runtime.FinishRequest{AppendRequest: runtime.AppendRequest{Fence: runtime.Fence{Task: c.Task.ID, Token: c.Token}},
			Now: sdk.Now(), State: sdk.StateCompleted, Result: json.RawMessage(payload)}
	}
	refused, err := s.Finish(b.ctx, ends)
	return errors.Join(append(refused, err)...)
}
