package store_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/nagatha/nagatha-runtime/runtime"
	"github.com/nagatha/nagatha-runtime/runtime/store"
	"github.com/nagatha/nagatha-runtime/sdk"
)

// BenchmarkLives measures whole lives (submit, claim, complete, four events) in
// sets, with 256 bytes of payload and of result, durable as by default.
func BenchmarkLives(b *testing.B) {
	for _, n := range []int{50, 200, 1000} {
		b.Run(fmt.Sprintf("set=%d", n), func(b *testing.B) { benchLives(b, n) })
	}
}

func benchLives(b *testing.B, n int) {
	s := open(b, store.Config{})
	ctx := b.Context()
	body := json.RawMessage(`"` + strings.Repeat("x", 254) + `"`)
	id := 0
	done := 0
	for b.Loop() {
		tasks := make([]runtime.NewTask, n)
		for i := range tasks {
			id++
			now := sdk.Now()
			tasks[i].Task = sdk.Task{ID: fmt.Sprintf("tsk_%012d", id), Kind: "demo.echo", Queue: "default", State: sdk.StateQueued,
				Payload: body, MaxAttempts: 5, Timeout: 60e9, CreatedAt: now, RunAt: now}
		}
		if _, err := s.Submit(ctx, tasks); err != nil {
			b.Fatal(err)
		}
		claimed, err := s.Claim(ctx, runtime.ClaimRequest{Node: "n", Lanes: []runtime.Lane{{Queue: "default", Limit: n,
			Kinds: []runtime.KindSlots{{Kind: "demo.echo", Limit: n, Plugin: "demo", PluginVersion: "1"}}}}})
		if err != nil || len(claimed) != n {
			b.Fatal(len(claimed), err)
		}
		ends := make([]runtime.FinishRequest, n)
		for i, c := range claimed {
			ends[i] = runtime.FinishRequest{AppendRequest: runtime.AppendRequest{Fence: runtime.Fence{Task: c.Task.ID, Token: c.Token}},
				Now: sdk.Now(), State: sdk.StateCompleted, Result: body}
		}
		errs, err := s.Finish(ctx, ends)
		if err != nil || errs[0] != nil {
			b.Fatal(errs, err)
		}
		done += n
	}
	b.ReportMetric(float64(done)/b.Elapsed().Seconds(), "lives/s")
}
