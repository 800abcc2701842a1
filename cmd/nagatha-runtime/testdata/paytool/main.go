// Command paytool is a tool with an effect: its first call takes for ever after it
// has taken effect.
package main

import (
	"context"
	"encoding/json"

	"github.com/nagatha/nagatha-runtime/sdk"
	"github.com/nagatha/nagatha-runtime/sdk/serve"
)

func main() {
	serve.Main(sdk.New(sdk.Info{Name: "pay", Version: "1", Capabilities: []string{"store"}},
		sdk.Func(sdk.HandlerInfo{Kind: "pay.send", Description: "Pays.", Tool: true,
			PayloadSchema: json.RawMessage(`{"type":"object","additionalProperties":false,"properties":{"amount":{"type":"integer"}}}`)}, pay)))
}

func pay(ctx context.Context, host sdk.Host, in struct {
	Amount int `json:"amount"`
}) (any, error) {
	kv := sdk.NewKV(host)
	item, err := kv.Get(ctx, "paid")
	if err != nil {
		return nil, err
	}
	paid := 0
	if item != nil {
		if err := json.Unmarshal(item.Value, &paid); err != nil {
			return nil, err
		}
	}
	if _, err := kv.Set(ctx, "paid", paid+1, 0); err != nil {
		return nil, err
	}
	if host.Progress(1, 2, "paid"); paid == 0 {
		<-ctx.Done()
		return nil, context.Cause(ctx)
	}
	return map[string]int{"paid": paid + 1}, nil
}
