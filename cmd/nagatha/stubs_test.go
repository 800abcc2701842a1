package main

import (
	"context"
	"encoding/json"

	"github.com/nagatha/nagatha-runtime/sdk"
)

// stubs are the plugins of stubserver. broken names what does not work.
func stubs(_ []string) []*sdk.Bundle {
	return []*sdk.Bundle{
		sdk.New(sdk.Info{Name: "agent", Version: "1"},
			sdk.Func(sdk.HandlerInfo{Kind: "agent.chat", MaxAttempts: 2, Queue: "agent"}, stubChat),
			sdk.Func(sdk.HandlerInfo{Kind: "agent.sessions", ReadOnly: true, Example: json.RawMessage(`{"limit":1}`)}, func(context.Context, sdk.Host, struct {
				Limit int `json:"limit"`
			}) (any, error) {
				return json.RawMessage(`{"sessions":[{"id":"ses_9"}],"next_cursor":""}`), nil
			})),
	}
}
