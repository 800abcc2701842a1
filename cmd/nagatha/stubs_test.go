package main

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"sync"

	"github.com/nagatha/nagatha-runtime/sdk"
)

// stubs are the plugins of stubserver: just enough of the built-in ones for what the
// command asks of them. broken names what does not work.
func stubs(broken []string) []*sdk.Bundle {
	is := func(what string) bool { return slices.Contains(broken, what) }
	answer := func(kind, result string) sdk.Registration {
		return sdk.Func(sdk.HandlerInfo{Kind: kind, MaxAttempts: 1}, func(context.Context, sdk.Host, map[string]any) (any, error) {
			return json.RawMessage(result), nil
		})
	}
	reads := func(kind, example string, f func(context.Context, sdk.Host, map[string]any) (any, error)) sdk.Registration {
		return sdk.Func(sdk.HandlerInfo{Kind: kind, MaxAttempts: 1, ReadOnly: true, Example: json.RawMessage(example)}, f)
	}
	plain := func(result string) func(context.Context, sdk.Host, map[string]any) (any, error) {
		return func(context.Context, sdk.Host, map[string]any) (any, error) { return json.RawMessage(result), nil }
	}

	failed := `[]`
	if is("mcp") {
		failed = `[["files","exited with code 1"]]`
	}
	var mu sync.Mutex
	entries := map[string]any{}
	locked := func(f func(in map[string]any) any) func(context.Context, sdk.Host, map[string]any) (any, error) {
		return func(_ context.Context, _ sdk.Host, in map[string]any) (any, error) {
			mu.Lock()
			defer mu.Unlock()
			return f(in), nil
		}
	}
	sessions := plain(`{"sessions":[{"session":"ses_9"}],"next_cursor":""}`)
	if is("sessions") {
		sessions = func(ctx context.Context, _ sdk.Host, _ map[string]any) (any, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}
	}
	left := `1`
	if is("budget") {
		left = `0`
	}
	key := func(in map[string]any) string { k, _ := in["key"].(string); return k }

	return []*sdk.Bundle{
		sdk.New(sdk.Info{Name: "agent", Version: "1"},
			sdk.Func(sdk.HandlerInfo{Kind: "agent.chat", MaxAttempts: 2, Queue: "agent"}, stubChat),
			reads("agent.sessions", `{"limit":1}`, sessions),
			reads("agent.history", `{"session":"ses_1"}`, func(context.Context, sdk.Host, map[string]any) (any, error) {
				return nil, sdk.Permanent(sdk.Errorf(sdk.CodeNotFound, "there is no session ses_1"))
			})),
		sdk.New(sdk.Info{Name: "mcp", Version: "1"},
			reads("mcp.servers", `{}`, plain(`{"servers":[]}`)), reads("mcp.list_tools", `{}`, plain(`{"tools":[]}`)), answer("mcp.call_tool", `{}`),
			answer("mcp.check_health", `{"mcp_status":{"total_configured":2,"connected":1,"failed_servers":`+failed+`,"total_tools":5}}`),
			answer("mcp.reload", `{"added":["a"],"removed":[],"changed":[],"unchanged":["b","c"]}`)),
		sdk.New(sdk.Info{Name: "memory", Version: "1"},
			sdk.Func(sdk.HandlerInfo{Kind: "memory.set"}, locked(func(in map[string]any) any { entries[key(in)] = in["value"]; return in })),
			sdk.Func(sdk.HandlerInfo{Kind: "memory.get"}, locked(func(in map[string]any) any { return map[string]any{"entry": entries[key(in)]} })),
			sdk.Func(sdk.HandlerInfo{Kind: "memory.delete"}, locked(func(in map[string]any) any { delete(entries, key(in)); return map[string]bool{"deleted": true} })),
			sdk.Func(sdk.HandlerInfo{Kind: "memory.search"}, locked(func(map[string]any) any {
				if is("memory") {
					return map[string]any{"results": []any{}}
				}
				return map[string]any{"results": entries}
			})),
			answer("memory.stats", `{}`), answer("memory.cleanup", `{"cleaned_entries":0}`)),
		sdk.New(sdk.Info{Name: "usage", Version: "1"},
			answer("usage.record", `{}`), reads("usage.report", `{}`, plain(`{}`)), answer("usage.track", `{"total_requests":3,"total_cost":0.5}`),
			answer("usage.budget", `{"date":"2026-01-02","day":{"budget_usd":5,"left_usd":`+left+`}}`)),
		sdk.New(sdk.Info{Name: "reminders", Version: "1"},
			sdk.Func(sdk.HandlerInfo{Kind: "reminders.create"}, func(ctx context.Context, host sdk.Host, in map[string]any) (any, error) {
				if !is("reminder") {
					text, _ := in["text"].(string)
					data, err := json.Marshal(map[string]string{"id": "rem_1", "text": text})
					if err != nil {
						return nil, err
					}
					if _, err := sdk.Publish(ctx, host, sdk.Event{Type: "reminder.due", Data: data}); err != nil {
						return nil, err
					}
				}
				return json.RawMessage(`{"reminder":{"id":"rem_1"}}`), nil
			}),
			reads("reminders.list", `{}`, func(context.Context, sdk.Host, map[string]any) (any, error) {
				if is("example") {
					return nil, sdk.Permanent(sdk.Errorf(sdk.CodeInternal, "%s", strings.ToUpper("no")))
				}
				return json.RawMessage(`{"reminders":[]}`), nil
			}),
			answer("reminders.delete", `{"deleted":true}`), answer("reminders.process_due", `{"due_tasks":0,"due_reminders":0}`)),
	}
}
