package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/nagatha/nagatha-runtime/sdk"
	"github.com/nagatha/nagatha-runtime/sdk/process"
	"github.com/nagatha/nagatha-runtime/sdk/sdktest"
)

func TestMain(m *testing.M) {
	process.Supervise()
	os.Exit(m.Run())
}

// fakeModel says what the test wrote down, call by call.
type fakeModel struct {
	mu       sync.Mutex
	say      func(n int, req Request, on func(Delta)) (Reply, error) // n: from 0
	requests []Request
}

func (f *fakeModel) Stream(ctx context.Context, _ sdk.Host, req Request, on func(Delta)) (Reply, error) {
	if req.Past != nil {
		req.Messages, req.Past = slices.Concat(req.Past.fresh, req.Messages), nil
	}
	for i := range req.Messages { // a server sees no difference
		if m := &req.Messages[i]; m.Quoted != "" {
			m.Text, m.Quoted = unquote(m.Quoted), ""
		}
	}
	f.mu.Lock()
	n := len(f.requests)
	f.requests = append(f.requests, req)
	f.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return Reply{}, context.Cause(ctx)
	}
	return f.say(n, req, on)
}

func (f *fakeModel) last() Request { return f.requests[len(f.requests)-1] }

// text is a reply of one text, in two pieces.
func text(s string, on func(Delta)) (Reply, error) {
	on(Delta{Text: s[:len(s)/2]})
	on(Delta{Text: s[len(s)/2:]})
	return Reply{Message: Message{Role: "assistant", Text: s}, Stop: stopEnd, Usage: &Usage{InputTokens: 100, OutputTokens: 10}, Model: "fake-1"}, nil
}

func calls(list ...ToolCall) (Reply, error) {
	return Reply{Message: Message{Role: "assistant", Calls: list}, Stop: stopToolCalls, Usage: &Usage{InputTokens: 100, OutputTokens: 10}, Model: "fake-1"}, nil
}

func toolOf(id, name, arguments string) ToolCall {
	return ToolCall{ID: id, Name: name, Arguments: arguments}
}

// script replies in order: what begins with { or [ is not text but calls.
func script(replies ...any) func(int, Request, func(Delta)) (Reply, error) {
	return func(n int, _ Request, on func(Delta)) (Reply, error) {
		if n >= len(replies) {
			return Reply{}, fmt.Errorf("the test has no reply for call %d of the model", n+1)
		}
		switch r := replies[n].(type) {
		case string:
			return text(r, on)
		case ToolCall:
			return calls(r)
		case []ToolCall:
			return calls(r...)
		case error:
			return Reply{}, r
		}
		return Reply{}, errors.New("bad script")
	}
}

// world is the runtime around the agent: plugins that answer, people who decide, and
// records of both that a second run of a handler finds.
type world struct {
	*testing.T
	*sdktest.Host
	agent *agent
	model *fakeModel

	mu       sync.Mutex
	answers  map[string]func(payload json.RawMessage) (any, *sdk.Error)
	decide   func(q sdk.ApproveRequest) sdk.Decision
	ran      []sdk.Submission // children that were made, once each
	asked    []sdk.ApproveRequest
	recorded map[string]any
	count    map[string]int
	crashAt  int // the operation after which nothing works; 0: never
	ops      int
}

var errCrash = errors.New("crash")

func setup(t *testing.T, config string) *world {
	t.Helper()
	w := &world{T: t, Host: sdktest.NewHost(), agent: &agent{}, model: &fakeModel{}, recorded: map[string]any{}, count: map[string]int{},
		answers: map[string]func(json.RawMessage) (any, *sdk.Error){}}
	w.Secrets["OPENAI_API_KEY"] = "key"
	if err := w.agent.configure(t.Context(), json.RawMessage(config)); err != nil {
		t.Fatal(err)
	}
	if w.agent.Model == "" {
		w.agent.Model = "fake"
	}
	w.agent.model = w.model
	w.Answer = w.answer
	w.decide = func(sdk.ApproveRequest) sdk.Decision { return sdk.Decision{Approved: true} }
	return w
}

// offer makes a kind that is a tool.
func (w *world) offer(kind string, info sdk.KindInfo, f func(payload json.RawMessage) (any, *sdk.Error)) {
	info.Kind, info.Available = kind, true
	info.Plugin, _, _ = strings.Cut(kind, ".")
	if info.PayloadSchema == nil {
		info.PayloadSchema = json.RawMessage(`{"type":"object","properties":{}}`)
	}
	w.Kinds = append(w.Kinds, info)
	slices.SortFunc(w.Kinds, func(a, b sdk.KindInfo) int { return strings.Compare(a.Kind, b.Kind) })
	w.answers[kind] = f
}

// echoes offers a tool that returns its payload.
func (w *world) echoes(kind string) {
	w.offer(kind, sdk.KindInfo{Tool: true}, func(p json.RawMessage) (any, *sdk.Error) { return p, nil })
}

// Call implements sdk.Host, up to the crash.
func (w *world) Call(ctx context.Context, op string, request []byte) ([]byte, error) {
	w.mu.Lock()
	w.ops++
	dead := w.crashAt > 0 && w.ops > w.crashAt
	w.mu.Unlock()
	if dead {
		return nil, &sdk.Error{Code: sdk.CodeCancelled, Message: errCrash.Error()}
	}
	return w.Host.Call(ctx, op, request)
}

func (w *world) answer(op string, request json.RawMessage) (any, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	var name struct{ Name string }
	_ = json.Unmarshal(request, &name)
	w.count[op+" "+name.Name]++
	key := fmt.Sprint(op, " ", name.Name, " ", w.count[op+" "+name.Name])
	if old, ok := w.recorded[key]; ok {
		return old, nil
	}
	switch op {
	case sdk.OpRun:
		var q sdk.Tasks
		_ = json.Unmarshal(request, &q)
		var reply sdk.RunReply
		for _, sub := range q.Tasks {
			w.ran = append(w.ran, sub)
			o := sdk.Outcome{ID: fmt.Sprintf("tsk_child%d", len(w.ran)), State: sdk.StateCompleted}
			f := w.answers[sub.Kind]
			if f == nil {
				return nil, sdk.Errorf(sdk.CodeInvalid, "no such kind in this test: %s", sub.Kind)
			}
			result, fault := f(sub.Payload)
			if fault != nil {
				o.State, o.Error = sdk.StateFailed, fault
			} else {
				o.Result, _ = json.Marshal(result)
			}
			reply.Outcomes = append(reply.Outcomes, o)
		}
		w.recorded[key] = reply
		return reply, nil
	case sdk.OpApprove:
		var q sdk.ApproveRequest
		_ = json.Unmarshal(request, &q)
		w.asked = append(w.asked, q)
		d := w.decide(q)
		w.recorded[key] = d
		return d, nil
	case sdk.OpAwait:
		return sdk.AwaitReply{Outcome: &sdk.Outcome{State: sdk.StateCompleted}}, nil
	}
	return nil, fmt.Errorf("%s: not in this test", op)
}

// rerun lets the next call of a handler go on after a crash.
func (w *world) rerun() {
	w.Rerun()
	w.mu.Lock()
	defer w.mu.Unlock()
	clear(w.count)
	w.crashAt, w.ops = 0, 0
}

// fresh makes the next call of a handler one of another task.
func (w *world) fresh() {
	w.rerun()
	clear(w.Steps)
	clear(w.recorded)
}

// handle runs a kind as a task.
func (w *world) handle(ctx context.Context, task *sdk.Task) (map[string]any, error) {
	w.Helper()
	got, err := newPlugin(w.agent).Handle(ctx, task, w)
	if err != nil {
		return nil, err
	}
	var m map[string]any
	if err := json.Unmarshal(got, &m); err != nil {
		w.Fatal(err)
	}
	return m, nil
}

// run runs a kind as a new task and wants it to succeed.
func (w *world) run(kind, payload string) map[string]any {
	w.Helper()
	w.fresh()
	m, err := w.handle(w.Context(), w.task(kind, payload))
	if err != nil {
		w.Fatalf("%s %s: %v", kind, payload, err)
	}
	return m
}

var taskCount int

func (w *world) task(kind, payload string) *sdk.Task {
	taskCount++
	task := sdktest.Task("agent."+kind, payload)
	task.ID = fmt.Sprintf("tsk_%04d", taskCount)
	return task
}

func (w *world) chat(session, message string) map[string]any {
	w.Helper()
	return w.run("chat", string(mustJSON(map[string]string{"session": session, "message": message})))
}

func mustJSON(v any) json.RawMessage {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return b
}

// kept is the stored conversation: role and text, calls by name.
func (w *world) kept(session string) (out []string) {
	w.Helper()
	list, err := loadMessages(w.Context(), w.Host, session, 0, 0)
	if err != nil {
		w.Fatal(err)
	}
	for i, m := range list {
		if m.N != i+1 {
			w.Errorf("message %d has number %d", i+1, m.N)
		}
		line := m.Role + ": " + m.text()
		for _, c := range m.Calls {
			line += " →" + c.Name
		}
		if m.Cut {
			line += " (cut)"
		}
		out = append(out, line)
	}
	return out
}

func (w *world) wantKept(session string, want ...string) {
	w.Helper()
	if got := w.kept(session); !slices.Equal(got, want) {
		w.Errorf("kept:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// paired checks that each call in a request is followed by its result, and by no
// other.
func paired(t *testing.T, req Request) {
	t.Helper()
	for i := 0; i < len(req.Messages); i++ {
		m := req.Messages[i]
		if m.Role == "tool" {
			t.Fatalf("message %d is a result without its call: %+v", i, m)
		}
		for _, c := range m.Calls {
			i++
			if i >= len(req.Messages) || req.Messages[i].Role != "tool" || req.Messages[i].CallID != c.ID {
				t.Fatalf("call %s is not followed by its result", c.ID)
			}
		}
	}
}
