package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/nagatha/nagatha-runtime/sdk"
)

// The kinds that wait, and that go on after a crash where they were.

func fanout(ctx context.Context, host sdk.Host, in struct {
	Children *int            `json:"children"`
	Kind     string          `json:"kind"`
	Payload  json.RawMessage `json:"payload"`
}) (any, error) {
	n := 4
	if in.Children != nil {
		n = *in.Children
	}
	if in.Kind == "" {
		in.Kind = "demo.echo"
	}
	subs := make([]sdk.Submission, n)
	for i := range subs {
		subs[i] = sdk.Submission{Kind: in.Kind, Payload: in.Payload}
	}
	outcomes, err := sdk.RunAll(ctx, host, "", subs)
	if err != nil {
		return nil, err
	}
	results := make([]json.RawMessage, n)
	for i, o := range outcomes {
		if err := o.Err(); err != nil {
			return nil, err
		}
		results[i] = o.Result
	}
	return map[string]any{"results": results}, nil
}

func steps(ctx context.Context, host sdk.Host, in struct {
	Steps      int `json:"steps"`
	CrashAfter int `json:"crash_after"`
}) (any, error) {
	if in.Steps == 0 {
		in.Steps = 5
	}
	task := sdk.TaskFrom(ctx)
	ran := make([]int, in.Steps)
	for i := range ran {
		name := fmt.Sprintf("step %d", i+1)
		if _, err := sdk.Step(ctx, host, name, func(ctx context.Context) (bool, error) {
			host.Log(slog.LevelInfo, "doing it", "step", i+1)
			return true, count(ctx, host, task.ID, name)
		}); err != nil {
			return nil, err
		}
		host.Progress(float64(i+1), float64(in.Steps), name)
		if i+1 == in.CrashAfter && task.Attempt == 1 {
			os.Exit(3)
		}
	}
	for i := range ran {
		var err error
		if ran[i], _, err = counted(ctx, host, task.ID, fmt.Sprintf("step %d", i+1)); err != nil {
			return nil, err
		}
	}
	return map[string]any{"steps": in.Steps, "ran": ran}, nil
}

// count notes, outside of the task's own records, that a step was done.
func count(ctx context.Context, host sdk.Host, task, step string) error {
	n, version, err := counted(ctx, host, task, step)
	if err != nil {
		return err
	}
	_, err = sdk.NewKV(host).Put(ctx, sdk.KVSet{Key: counterKey(task, step), Value: fmt.Appendf(nil, "%d", n+1),
		IfVersion: &version, TTL: sdk.Duration(24 * time.Hour)})
	return err
}

func counted(ctx context.Context, host sdk.Host, task, step string) (n int, version int64, err error) {
	item, err := sdk.NewKV(host).Get(ctx, counterKey(task, step))
	if err != nil || item == nil {
		return 0, 0, err
	}
	err = json.Unmarshal(item.Value, &n)
	return n, item.Version, err
}

func counterKey(task, step string) string { return "steps/" + task + "/" + step }

func wait(ctx context.Context, host sdk.Host, in struct {
	Signal  string       `json:"signal"`
	Timeout sdk.Duration `json:"timeout"`
}) (json.RawMessage, error) {
	return sdk.Await(ctx, host, in.Signal, in.Timeout.Std())
}

// together waits for two things at once. Each has a name of its own.
func together(ctx context.Context, host sdk.Host, in struct {
	Signal string `json:"signal"`
}) (any, error) {
	var out struct {
		Child  json.RawMessage `json:"child"`
		Signal json.RawMessage `json:"signal"`
	}
	var wg sync.WaitGroup
	var childErr, signalErr error
	wg.Go(func() {
		out.Child, childErr = sdk.Run(ctx, host, sdk.Submission{Kind: "demo.echo", Payload: json.RawMessage(`"child"`)})
		_, err := sdk.Step(ctx, host, "note", func(context.Context) (bool, error) {
			host.Log(slog.LevelInfo, "the child has ended")
			return true, nil
		})
		childErr = errors.Join(childErr, err)
	})
	wg.Go(func() { out.Signal, signalErr = sdk.Await(ctx, host, in.Signal, 0) })
	wg.Wait()
	return out, errors.Join(childErr, signalErr)
}

func ask(ctx context.Context, host sdk.Host, in struct {
	Question string          `json:"question"`
	Detail   json.RawMessage `json:"detail"`
	Timeout  sdk.Duration    `json:"timeout"`
}) (any, error) {
	return sdk.Approve(ctx, host, sdk.ApproveRequest{Question: in.Question, Detail: in.Detail, Timeout: in.Timeout})
}
