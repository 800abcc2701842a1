// Guest is the module of the carrier's tests. The name that it is loaded under
// says how it behaves before its manifest.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/nagatha/nagatha-runtime/sdk"
	"github.com/nagatha/nagatha-runtime/sdk/serve"
)

func main() {
	info := sdk.Info{Name: "test", Version: "1.2.3"}
	switch os.Args[0] {
	case "exit":
		fmt.Fprintln(os.Stderr, "no licence found")
		os.Exit(7)
	case "end":
		return
	case "panic":
		panic("oh no")
	case "hang":
		for {
		}
	case "badmanifest":
		info.Version = ""
	}
	kept := 0
	config := json.RawMessage("null")
	handler := func(kind string, f sdk.HandlerFunc) sdk.Registration {
		return sdk.Registration{HandlerInfo: sdk.HandlerInfo{Kind: "test." + kind}, Handler: f}
	}
	serve.Main(sdk.New(info,
		handler("echo", func(_ context.Context, t *sdk.Task, _ sdk.Host) (json.RawMessage, error) { return t.Payload, nil }),
		handler("config", func(context.Context, *sdk.Task, sdk.Host) (json.RawMessage, error) { return config, nil }),
		handler("count", func(context.Context, *sdk.Task, sdk.Host) (json.RawMessage, error) {
			kept++
			return json.Marshal(kept)
		}),
		handler("sleep", func(ctx context.Context, _ *sdk.Task, _ sdk.Host) (json.RawMessage, error) {
			select {
			case <-time.After(100 * time.Millisecond):
				return json.RawMessage(`"slept"`), nil
			case <-ctx.Done():
				return nil, context.Cause(ctx)
			}
		}),
		handler("wait", func(ctx context.Context, _ *sdk.Task, host sdk.Host) (json.RawMessage, error) {
			host.Progress(1, 0, "waiting")
			<-ctx.Done()
			return json.RawMessage(`"stopped"`), nil
		}),
		handler("patience", func(ctx context.Context, _ *sdk.Task, host sdk.Host) (json.RawMessage, error) {
			ctx, cancel := context.WithTimeout(ctx, 20*time.Millisecond)
			defer cancel()
			_, err := sdk.Await(ctx, host, "never", 0)
			return json.Marshal(fmt.Sprint(err))
		}),
		handler("spin", func(_ context.Context, _ *sdk.Task, host sdk.Host) (json.RawMessage, error) {
			host.Progress(1, 0, "spinning")
			for {
			}
		}),
		handler("json", func(_ context.Context, t *sdk.Task, _ sdk.Host) (json.RawMessage, error) {
			var v map[string]any
			if err := json.Unmarshal(t.Payload, &v); err != nil {
				return nil, err
			}
			return json.Marshal(v)
		}),
		handler("mix", func(_ context.Context, t *sdk.Task, _ sdk.Host) (json.RawMessage, error) {
			x := uint64(len(t.Payload))
			for range 1_000_000 { // xorshift
				x ^= x << 13
				x ^= x >> 7
				x ^= x << 17
			}
			return json.Marshal(x)
		}),
		handler("recurse", func(_ context.Context, _ *sdk.Task, host sdk.Host) (json.RawMessage, error) {
			host.Progress(1, 0, "recursing")
			return json.Marshal(fibonacci(100))
		}),
		handler("flood", func(context.Context, *sdk.Task, sdk.Host) (json.RawMessage, error) {
			return bytes.Repeat([]byte("1"), 17<<20), nil
		}),
		handler("exit", func(context.Context, *sdk.Task, sdk.Host) (json.RawMessage, error) {
			os.Exit(3)
			return nil, nil
		}),
	).OnConfigure(func(_ context.Context, c json.RawMessage) error {
		if string(c) == `{"bad":true}` {
			return errors.New("bad must not be true")
		}
		config = append(json.RawMessage(nil), c...)
		return nil
	}))
}

func fibonacci(n int) int {
	if n < 2 {
		return n
	}
	return fibonacci(n-1) + fibonacci(n-2)
}
