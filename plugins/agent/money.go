package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"time"

	"github.com/nagatha/nagatha-runtime/sdk"
)

// What calls of models cost is kept by the plugin usage. Without it, or without a
// grant, a turn goes on and costs null.

const moneyTimeout = 20 * time.Second

// usageID names the n-th call of a model by a task, the same after a crash.
func usageID(task *sdk.Task, n int) string { return fmt.Sprintf("%s-%d-%d", task.ID, task.Life, n) }

// reserve sets money aside for the n-th call. Its error has budget_exceeded where
// there is none left; any other trouble of the plugin does not stop the turn.
func (t *turn) reserve(ctx context.Context, n int) (reservation string, err error) {
	if !t.start.has("usage.reserve") {
		return "", nil
	}
	return t.reserveTokens(ctx, n, t.estimate(t.request()), cmp.Or(t.MaxOutputTokens, outputReserve))
}

// reserveTokens is reserve for so many tokens.
func (t *turn) reserveTokens(ctx context.Context, n, input, output int) (reservation string, err error) {
	id := usageID(t.task, n)
	sub := t.child("usage.reserve", map[string]any{"id": id, "model": cmp.Or(t.in.Model, t.Model), "provider": t.UsageProvider, "session": t.session.ID,
		"input_tokens": input, "output_tokens": output}, moneyTimeout)
	out, err := t.runAgain(ctx, fmt.Sprintf("reserve %d", n), sub)
	switch {
	case err != nil && (stopped(ctx, err) || !final(err)):
		return "", err
	case err != nil:
	case out[0].State == sdk.StateCompleted:
		return id, nil
	default:
		if err = out[0].Err(); sdk.CodeOf(err) == sdk.CodeBudgetExceeded {
			return "", err
		}
	}
	t.host.Log(slog.LevelError, "no budget was reserved", "type", "model", "step", n, "error", err)
	return "", nil //nolint:nilerr // the turn goes on without
}

// release gives a reservation back when its call has failed for good.
func (t *turn) release(ctx context.Context, n int, reservation string, cause error) {
	if reservation == "" || stopped(ctx, cause) || sdk.AsError(cause).Retryable && t.task.Attempt < t.task.MaxAttempts {
		return
	}
	if _, err := sdk.Submit(ctx, t.host, t.child("usage.release", map[string]any{"id": reservation}, moneyTimeout)); err != nil {
		t.host.Log(slog.LevelError, "a reservation is left", "type", "model", "step", n, "id", reservation, "error", err)
	}
}

// recordUsage tells the plugin usage of the n-th call, which settles its
// reservation. It is a step of its own after the one that made the call, so that the
// telling is repeated and the call is not.
func (t *turn) recordUsage(ctx context.Context, n int, reservation string, r round) error {
	_, err := sdk.Step(ctx, t.host, fmt.Sprintf("usage %d", n), func(ctx context.Context) (bool, error) {
		return true, t.publishUsage(ctx, usageID(t.task, n), reservation, r)
	})
	if err != nil || t.Limits.CostUSD <= 0 {
		return err
	}
	return t.price(ctx)
}

// publishUsage publishes usage.recorded. An id counts once. Without a grant it does
// nothing.
func (t *turn) publishUsage(ctx context.Context, id, reservation string, r round) error {
	data := map[string]any{"id": id, "model": r.Model, "provider": t.UsageProvider, "input_tokens": r.Usage.InputTokens, "output_tokens": r.Usage.OutputTokens,
		"cached_tokens": r.Usage.CachedTokens, "session": t.session.ID, "task": t.task.ID, "kind": t.task.Kind}
	if reservation != "" {
		data["reservation"] = reservation
	}
	b, err := json.Marshal(data)
	if err != nil {
		return err
	}
	_, err = sdk.Publish(ctx, t.host, sdk.Event{ID: id, Type: "usage.recorded", Subject: t.session.ID, Data: b})
	if err != nil {
		t.host.Log(slog.LevelError, "usage is not recorded", "type", "model", "id", id, "error", err)
	}
	if final(err) {
		return nil
	}
	return err
}

// price asks what the turn has cost so far.
func (t *turn) price(ctx context.Context) error {
	if !t.start.has("usage.cost") || len(t.rounds) == 0 {
		return nil
	}
	calls := []any{}
	for _, r := range t.rounds {
		calls = append(calls, map[string]any{"model": r.Model, "provider": t.UsageProvider, "input_tokens": r.Usage.InputTokens,
			"output_tokens": r.Usage.OutputTokens, "cached_tokens": r.Usage.CachedTokens})
	}
	out, err := t.runAgain(ctx, "cost", t.child("usage.cost", map[string]any{"calls": calls}, moneyTimeout))
	if err != nil {
		if stopped(ctx, err) || !final(err) {
			return err
		}
		return nil
	}
	var priced struct {
		CostUSD *float64 `json:"cost_usd"`
	}
	if out[0].State == sdk.StateCompleted && json.Unmarshal(out[0].Result, &priced) == nil {
		t.cost = priced.CostUSD
	}
	return nil
}
