// Command watcher is a plugin that hears of the end of every task.
package main

import (
	"context"
	"encoding/json"

	"github.com/nagatha/nagatha-runtime/sdk"
	"github.com/nagatha/nagatha-runtime/sdk/serve"
)

func main() {
	serve.Main(sdk.New(sdk.Info{Name: "watcher", Version: "1",
		Subscriptions: []sdk.Subscription{{Type: "task.*", Kind: "watcher.saw"}}},
		sdk.Func(sdk.HandlerInfo{Kind: "watcher.saw"}, func(_ context.Context, _ sdk.Host, in json.RawMessage) (json.RawMessage, error) {
			return in, nil
		})))
}
