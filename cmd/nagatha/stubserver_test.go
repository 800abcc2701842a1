package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/nagatha/nagatha-runtime/runtime"
	"github.com/nagatha/nagatha-runtime/runtime/api"
	"github.com/nagatha/nagatha-runtime/runtime/store"
	"github.com/nagatha/nagatha-runtime/sdk"
)

// stubserver ADDR DIR is a real runtime with the database in DIR, whose plugins are
// linked in and behave as tests need it: see stubs_test.go. The token is "secret". It
// ends on an interrupt.
func stubserver() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	check(serveStubs(ctx, os.Args[1], os.Args[2], strings.Fields(os.Getenv("BROKEN"))))
}

func serveStubs(ctx context.Context, addr, dir string, broken []string) error {
	var hook runtime.Hook
	st, err := store.Open(ctx, store.Config{Path: filepath.Join(dir, "stub.db"), OnCommit: hook.Committed})
	if err != nil {
		return err
	}
	defer func() { _ = st.Close() }() // the process ends
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	rt, err := runtime.New(runtime.Config{Store: st, Version: "9.9", StoreName: "sqlite", BusName: "none", Logger: log,
		Queues: []runtime.Queue{{Name: "default", Concurrency: 16}, {Name: "agent", Concurrency: 8, Depth: 2}, {Name: "slow", Concurrency: 1, Depth: 10}}})
	if err != nil {
		return err
	}
	hook.To(rt.Committed)
	host := &stubHost{}
	for _, b := range stubs(broken) {
		info := b.Info()
		if err := rt.SetPlugin(ctx, runtime.Plugin{Name: info.Name, Plugin: b}); err != nil {
			return err
		}
		host.add(info, broken)
	}
	srv, err := api.New(api.Config{Runtime: rt, Plugins: host, AdminToken: "secret", Version: "9.9", Listen: addr, DataDir: dir, Logger: log})
	if err != nil {
		return err
	}
	var wg sync.WaitGroup
	engine, stopEngine := context.WithCancel(context.WithoutCancel(ctx))
	wg.Go(func() { _ = rt.Run(engine) })
	err = srv.Run(ctx)
	close(stubsEnd)
	stopEngine()
	wg.Wait()
	return err
}

// stubsEnd is closed when the server ends, for handlers that do not listen.
var stubsEnd = make(chan struct{})

// stubHost is what the api is told of the plugins.
type stubHost struct{ list []sdk.PluginStatus }

func (h *stubHost) add(info sdk.Info, broken []string) {
	p := sdk.PluginStatus{Name: info.Name, Version: info.Version, Carrier: "process", State: sdk.PluginReady, Grants: map[string]any{},
		Limits: map[string]string{}, Subscriptions: []sdk.Subscription{}}
	for _, k := range info.Handlers {
		p.Kinds = append(p.Kinds, sdk.KindStatus{Kind: k.Kind, Description: k.Description, PayloadSchema: k.PayloadSchema, ResultSchema: k.ResultSchema,
			Example: k.Example, Tool: k.Tool, ReadOnly: k.ReadOnly, Idempotent: k.Idempotent})
	}
	for _, b := range broken {
		if b == "plugin:"+info.Name {
			p.State, p.Error, p.Kinds = sdk.PluginFailed, "exec: no such file", nil
		}
		if b == "loading:"+info.Name {
			p.State, p.Error, p.Kinds = sdk.PluginLoading, "", nil
		}
	}
	h.list = append(h.list, p)
}

// Plugins implements api.Plugins.
func (h *stubHost) Plugins() []sdk.PluginStatus { return append([]sdk.PluginStatus{}, h.list...) }

func (h *stubHost) Reload(context.Context, string) error  { return errors.ErrUnsupported }
func (h *stubHost) Enable(context.Context, string) error  { return errors.ErrUnsupported }
func (h *stubHost) Disable(context.Context, string) error { return errors.ErrUnsupported }

type stubTurn struct {
	Session string `json:"session"`
	Message string `json:"message"`
	Model   string `json:"model"`
}

// stubChat is an agent without a model.
func stubChat(ctx context.Context, host sdk.Host, in stubTurn) (any, error) {
	if in.Session == "" {
		in.Session = "ses_1"
	}
	say := func(text string) { host.Output("response", []byte(text)) }
	result := map[string]any{"session": in.Session, "message_id": "msg_1", "stop_reason": "end", "steps": 1, "tool_calls": []any{},
		"usage": map[string]any{"input_tokens": 1, "output_tokens": 2, "cost_usd": nil}}
	answer := func(text string) (any, error) {
		result["response"] = text
		return result, nil
	}
	switch word, _, _ := strings.Cut(in.Message, " "); word {
	case "/help":
		say("/help lists this")
		return answer("/help lists this")
	case "stream":
		for _, w := range []string{"one ", "two ", "three"} {
			say(w)
		}
		return answer("one two three")
	case "silent":
		return answer("said at the end")
	case "long":
		say("all of a long answer, to its very end")
		return answer("all of a long answer\n[cut here]")
	case "empty":
		return answer("")
	case "tool":
		host.Log(slog.LevelInfo, "tool call", "type", "tool.start", "call", "c1", "tool", "memory_search", "target", "memory.search", "arguments", map[string]any{"query": "x"})
		host.Log(slog.LevelInfo, "tool result", "type", "tool.result", "call", "c1", "tool", "memory_search", "target", "memory.search", "result", "found\nit", "is_error", false)
		say("done")
		return answer("done")
	case "warn":
		host.Log(slog.LevelDebug, "nobody needs this")
		host.Log(slog.LevelWarn, "more tools than a model takes", "type", "model", "left_out", 2)
		host.Log(slog.LevelError, "no budget was reserved", "type", "model", "error", errors.New("the ledger is gone"))
		return answer("at your own risk")
	case "ask":
		host.Log(slog.LevelInfo, "asking a person", "type", "approval", "question", "Delete all\u202e files?")
		d, err := sdk.Approve(ctx, host, sdk.ApproveRequest{Question: "Delete all\u202e files?", Detail: []byte(`{"tool":"fs.delete"}`)})
		if err != nil {
			return nil, err
		}
		text := fmt.Sprintf("approved %v by %s: %s", d.Approved, d.By, d.Comment)
		say(text)
		return answer(text)
	case "wait-a-moment":
		_, _ = sdk.Await(ctx, host, "what nobody sends", time.Millisecond)
		return answer("it was nothing")
	case "wait":
		host.Log(slog.LevelInfo, "a new session", "type", "session", "session", "ses_new")
		say("thinking")
		<-ctx.Done()
		return nil, ctx.Err()
	case "stubborn": // says no word and takes its time to end
		<-ctx.Done()
		<-stubsEnd
		return nil, ctx.Err()
	case "fail":
		return nil, sdk.Permanent(errors.New("the model is out"))
	case "again":
		say("half of")
		if sdk.TaskFrom(ctx).Attempt == 1 {
			return nil, sdk.RetryAfter(errors.New("cut off"), 1)
		}
		say(" it")
		return answer("half of it")
	}
	say("in " + in.Session + " you said " + in.Message + in.Model)
	return answer("in " + in.Session + " you said " + in.Message + in.Model)
}
