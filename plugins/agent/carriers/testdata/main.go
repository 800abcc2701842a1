// Command probe is a plugin of the model client alone, for its test on both carriers.
package main

import (
	"context"
	"time"

	"github.com/nagatha/nagatha-runtime/sdk"
	"github.com/nagatha/nagatha-runtime/sdk/serve"
)

func main() {
	serve.Main(sdk.New(sdk.Info{Name: "probe", Version: "1", Capabilities: []string{"http", "secrets"}},
		sdk.Func(sdk.HandlerInfo{Kind: "probe.ask"}, ask)))
}

// ask streams the text, and returns what the call came to.
func ask(ctx context.Context, host sdk.Host, in struct {
	Provider string       `json:"provider"`
	URL      string       `json:"url"`
	Idle     sdk.Duration `json:"idle"`
}) (any, error) {
	m, err := newModel(modelConfig{Provider: in.Provider, BaseURL: in.URL, Model: "m", KeySecret: "KEY", IdleTimeout: time.Duration(in.Idle)})
	if err != nil {
		return nil, err
	}
	r, err := m.Stream(ctx, host, Request{Messages: []Message{{Role: "user", Text: "hello"}}}, func(d Delta) {
		host.Output("response", []byte(d.Text))
	})
	out := map[string]any{"text": r.Message.Text, "calls": r.Message.Calls, "stop": r.Stop}
	if err != nil {
		out["error"] = err.Error()
	}
	return out, nil
}
