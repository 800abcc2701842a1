package sdk_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nagatha/nagatha-runtime/sdk"
	"github.com/nagatha/nagatha-runtime/sdk/sdktest"
)

// A handler that begins again after a crash finds what it did before it.
func ExampleStep() {
	reserve := func(ctx context.Context, host sdk.Host) (string, error) {
		return sdk.Step(ctx, host, "reserve", func(context.Context) (string, error) {
			fmt.Println("reserving")
			return "seat 7", nil
		})
	}
	host := sdktest.NewHost()
	fmt.Println(reserve(context.Background(), host))
	host.Rerun()
	fmt.Println(reserve(context.Background(), host))
	// Output:
	// reserving
	// seat 7 <nil>
	// seat 7 <nil>
}

// Children run at the same time; each says how it ended.
func ExampleRunAll() {
	sum := func(ctx context.Context, host sdk.Host) (int, error) {
		var subs []sdk.Submission
		for i := range 3 {
			subs = append(subs, sdk.Submission{Kind: "math.square", Payload: fmt.Appendf(nil, "%d", i)})
		}
		all, err := sdk.RunAll(ctx, host, "squares", subs)
		if err != nil {
			return 0, err
		}
		total := 0
		for _, o := range all {
			var n int
			if err := errors.Join(o.Err(), json.Unmarshal(o.Result, &n)); err != nil {
				return 0, err
			}
			total += n
		}
		return total, nil
	}
	fmt.Println(sum(context.Background(), sdktest.NewHost())) // where each child's result is its payload
	// Output: 3 <nil>
}

func ExampleApprove() {
	ship := func(ctx context.Context, host sdk.Host) (string, error) {
		d, err := sdk.Approve(ctx, host, sdk.ApproveRequest{Question: "Ship order 12?", Detail: json.RawMessage(`{"order":12}`)})
		switch {
		case err != nil:
			return "", err
		case !d.Approved:
			return "", sdk.Permanent(errors.New("not approved: " + d.Comment))
		}
		return "shipped, says " + d.By, nil
	}
	host := sdktest.NewHost()
	host.Answer = func(string, json.RawMessage) (any, error) { return sdk.Decision{Approved: true, By: "ada"}, nil }
	fmt.Println(ship(context.Background(), host))
	// Output: shipped, says ada <nil>
}

// A poller that may wait for days, and be told to look at once.
func ExampleAwait() {
	poll := func(ctx context.Context, host sdk.Host) error {
		for {
			done, err := sdk.Step(ctx, host, "look", func(context.Context) (bool, error) { return false, nil })
			if err != nil || done {
				return err
			}
			data, err := sdk.Await(ctx, host, "wake", 6*time.Hour)
			switch {
			case sdk.CodeOf(err) == sdk.CodeTimeout:
				continue
			case err != nil:
				return err
			}
			fmt.Println("woken with", string(data))
			return nil
		}
	}
	host := sdktest.NewHost()
	waits := 0
	host.Answer = func(string, json.RawMessage) (any, error) {
		waits++
		return sdk.AwaitReply{TimedOut: waits < 3, Data: json.RawMessage(`"hurry"`)}, nil
	}
	fmt.Println(poll(context.Background(), host), waits)
	// Output:
	// woken with "hurry"
	// <nil> 3
}

// Compare-and-set: read, change, write if nobody else has, else again.
func ExampleKV_Put() {
	add := func(ctx context.Context, host sdk.Host) (n int, err error) {
		kv := sdk.NewKV(host)
		for {
			it, err := kv.Get(ctx, "visits")
			if err != nil {
				return 0, err
			}
			version := int64(0) // there is none
			if it != nil {
				version = it.Version
				if err := json.Unmarshal(it.Value, &n); err != nil {
					return 0, err
				}
			}
			_, err = kv.Put(ctx, sdk.KVSet{Key: "visits", Value: fmt.Appendf(nil, "%d", n+1), IfVersion: &version})
			if sdk.CodeOf(err) != sdk.CodeConflict {
				return n + 1, err
			}
		}
	}
	host := sdktest.NewHost()
	for range 2 {
		fmt.Println(add(context.Background(), host))
	}
	// Output:
	// 1 <nil>
	// 2 <nil>
}

// The record that says that an order is paid is written with the event that tells of it.
func ExampleCommit() {
	pay := func(ctx context.Context, host sdk.Host) error {
		none := int64(0)
		_, err := sdk.Commit(ctx, host, sdk.Transaction{
			Writes: []sdk.KVWrite{{Set: &sdk.KVSet{Key: "paid/12", Value: json.RawMessage(`true`), IfVersion: &none}}},
			Events: []sdk.Event{{Type: "order.paid", Data: json.RawMessage(`{"order":12}`)}},
		})
		if sdk.CodeOf(err) == sdk.CodeConflict {
			return nil // an earlier attempt did it
		}
		return err
	}
	host := sdktest.NewHost()
	fmt.Println(pay(context.Background(), host), pay(context.Background(), host), len(host.Events()))
	// Output: <nil> <nil> 1
}

// A server that is too busy says when to come back.
func ExampleRetryAfter() {
	err := sdk.RetryAfter(errors.New("the API wants a pause"), 30*time.Second)
	e := sdk.AsError(err) // what the runtime sees
	fmt.Println(e.Code, e.Retryable, e.After)
	// Output: handler_error true 30s
}
