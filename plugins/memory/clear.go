package main

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/nagatha/nagatha-runtime/sdk"
)

// batch is how many entries go in one transaction.
const batch = 500

func (m *memory) clear(ctx context.Context, host sdk.Host, in struct {
	Section string `json:"section"`
	Session string `json:"session"`
	Confirm bool   `json:"confirm"`
}) (any, error) {
	within := scopeOf(in.Section, in.Session)
	if !in.Confirm {
		n, err := sdk.NewKV(host).Count(ctx, within)
		if err != nil {
			return nil, err
		}
		return nil, sdk.Invalid("confirm", "must be true to delete the %d entries for good", n.Items)
	}
	n, err := clearAll(ctx, host, within)
	if err == nil && in.Section == facts {
		_, err = clearAll(ctx, host, scopeOf(past, in.Session))
	}
	m.quota.forget()
	return map[string]int{"cleared": n}, err
}

// clearAll deletes the entries under a prefix, and tells of each.
func clearAll(ctx context.Context, host sdk.Host, within string) (int, error) {
	n := 0
	for {
		gone, err := sdk.NewKV(host).Clear(ctx, sdk.KVClear{Prefix: within, Limit: batch})
		if err != nil {
			return n, err
		}
		n += len(gone)
		if err := publishAll(ctx, host, "deleted", gone); err != nil {
			return n, err
		}
		if len(gone) < batch {
			return n, nil
		}
		host.Progress(float64(n), 0, fmt.Sprintf("deleted %d entries", n))
	}
}

// endSession deletes what belongs to a session that has ended. Its part of other
// sections stays until it expires or somebody clears it.
func (m *memory) endSession(ctx context.Context, host sdk.Host, in struct {
	Session string          `json:"session"`
	Event   json.RawMessage `json:"event"`
}) (any, error) {
	if in.Event != nil {
		var e struct {
			Data struct {
				Session string `json:"session"`
			} `json:"data"`
		}
		if err := json.Unmarshal(in.Event, &e); err != nil {
			return nil, sdk.Invalid("event", "has no data.session: %v", err)
		}
		in.Session = e.Data.Session
	}
	if in.Session == "" {
		return nil, sdk.Invalid("session", "is required, or an event with data.session")
	}
	n, err := clearAll(ctx, host, prefix(sessions, in.Session))
	m.quota.forget()
	return map[string]any{"session": in.Session, "cleared": n}, err
}
