package sdktest

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nagatha/nagatha-runtime/sdk"
)

// Host is an in-memory host for unit tests: it writes down what it is told, keeps
// key-value data with TTL and versions, records operations and published events, and
// makes HTTP requests to wherever it is asked. It is safe for concurrent use; a test
// that changes a field while a handler runs must not.
//
// # What it does not do
//
// It refuses what a runtime with default limits refuses whatever its configuration:
// malformed kinds and types, values of more than 256 KiB, a page of more than 1,000.
// Other than in a runtime,
//
//   - everything is granted that is not in Denied, every secret that is in Secrets, and
//     every address for HTTP;
//   - a wait does not wait: Answer answers it at once. A task is never parked, put away or
//     cancelled, signals are not kept, and timeouts of waits are Answer's to tell;
//   - children are not run, nor checked against a schema; with Answer nil each completes
//     with its payload as its result;
//   - no event becomes a task;
//   - an answer is found again only after [Host.Rerun], whatever the number of the task's
//     attempt, and a handler that forgets an operation is found by [Host.Forgotten] only;
//   - search looks for words and, from three letters on, what begins so: a runtime knows
//     inflections and ranks better;
//   - progress, log and output have no limit, nor has the number of events or of items.
type Host struct {
	mu        sync.Mutex
	Said      []string // progress, log and output, in order
	Published []sdk.Event
	Items     map[string]StoredItem
	Secrets   map[string]string
	Denied    map[string]bool // operations (sdk.Op…) that are not granted
	// Answer answers a durable wait: run with an [sdk.RunReply], await with an
	// [sdk.AwaitReply], approve with an [sdk.Decision]. Where it is nil, each child
	// completes with its payload, a signal's data is the request, and every question is
	// approved.
	Answer    func(op string, request json.RawMessage) (any, error)
	Submitted []sdk.Submission           // by submit, run and commit; the n-th is "tsk_n"
	Kinds     []sdk.KindInfo             // what kinds.list tells
	Loading   func() bool                // whether it says that there may be more soon; nil: no
	Steps     map[string]json.RawMessage // the record of operations, by name and occurrence ("step 1#1", "approve#1")
	Now       func() sdk.Time

	counts map[string]int    // how often a name was used
	asked  map[string]bool   // keys of Steps
	whats  map[string]string // what they are
	bodies map[int]cancelledBody
	next   int
	heard  chan struct{}
	once   sync.Once
}

// StoredItem is a value with its search text.
type StoredItem struct {
	sdk.Item
	Text string
}

// NewHost makes an empty Host.
func NewHost() *Host {
	return &Host{Items: map[string]StoredItem{}, Secrets: map[string]string{}, Denied: map[string]bool{},
		Steps: map[string]json.RawMessage{}, counts: map[string]int{}, asked: map[string]bool{}, whats: map[string]string{}, Now: sdk.Now, bodies: map[int]cancelledBody{}, heard: make(chan struct{})}
}

// Heard is closed when the host has been told something for the first time.
func (h *Host) Heard() <-chan struct{} { return h.heard }

// Lines returns what was said so far.
func (h *Host) Lines() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.Said)
}

// Events returns what was published so far.
func (h *Host) Events() []sdk.Event {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.Published)
}

func (h *Host) say(format string, args ...any) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.Said = append(h.Said, fmt.Sprintf(format, args...))
	h.once.Do(func() { close(h.heard) })
}

// Progress implements sdk.Host.
func (h *Host) Progress(done, total float64, message string) {
	h.say("progress %v/%v %s", done, total, message)
}

// Log implements sdk.Host.
func (h *Host) Log(level slog.Level, message string, args ...any) {
	h.say("log %v %s %v", level, message, args)
}

// Output implements sdk.Host.
func (h *Host) Output(stream string, data []byte) { h.say("output %s %s", stream, data) }

// Call implements sdk.Host.
func (h *Host) Call(ctx context.Context, op string, request []byte) ([]byte, error) {
	h.mu.Lock()
	denied := h.Denied[op]
	h.mu.Unlock()
	if denied {
		return nil, sdk.Errorf(sdk.CodeCapabilityDenied, "%s: not granted", op)
	}
	reply, err := h.do(ctx, op, request)
	if ctx.Err() != nil { // a plugin does not wait for the reply then
		return nil, sdk.Errorf(sdk.CodeCancelled, "%s: %v", op, context.Cause(ctx))
	}
	return reply, err
}

func (h *Host) do(ctx context.Context, op string, request []byte) ([]byte, error) {
	switch op {
	case sdk.OpTimeNow:
		return json.Marshal(sdk.TimeNow{Time: h.Now(), UnixNano: int64(h.Now()) * 1e6})
	case sdk.OpRandomRead:
		return random(request)
	case sdk.OpKVGet:
		return answer(h, request, h.get)
	case sdk.OpKVSet:
		return answer(h, request, h.set)
	case sdk.OpKVDelete:
		return answer(h, request, h.remove)
	case sdk.OpKVApply:
		return answer(h, request, h.apply)
	case sdk.OpKVList:
		return answer(h, request, h.list)
	case sdk.OpKVSearch:
		return answer(h, request, h.search)
	case sdk.OpKVCount:
		return answer(h, request, h.count)
	case sdk.OpKVClear:
		return answer(h, request, h.clear)
	case sdk.OpPublish:
		return answer(h, request, h.publish)
	case sdk.OpCommit:
		return answer(h, request, h.commit)
	case sdk.OpSecretGet:
		return answer(h, request, h.secret)
	case sdk.OpStepGet:
		return answer(h, request, h.stepGet)
	case sdk.OpStepPut:
		return answer(h, request, h.stepPut)
	case sdk.OpSubmit, sdk.OpRun, sdk.OpAwait, sdk.OpApprove:
		return h.operation(op, request)
	case sdk.OpKindsList:
		loading := h.Loading != nil && h.Loading()
		return json.Marshal(sdk.KindsReply{Kinds: append([]sdk.KindInfo{}, h.Kinds...), Loading: loading})
	case sdk.OpHTTPStart, sdk.OpHTTPRead, sdk.OpHTTPClose:
		return h.http(ctx, op, request)
	}
	return nil, sdk.Errorf(sdk.CodeUnavailable, "this host has no operation %q", op)
}

func answer[Q, R any](h *Host, request []byte, f func(Q) (R, error)) ([]byte, error) {
	var q Q
	if err := json.Unmarshal(request, &q); err != nil {
		return nil, sdk.Errorf(sdk.CodeInvalid, "request: %v", err)
	}
	h.mu.Lock()
	r, err := f(q)
	h.mu.Unlock()
	if err != nil {
		return nil, err
	}
	return json.Marshal(r)
}

func random(request []byte) ([]byte, error) {
	var q sdk.RandomRead
	if err := json.Unmarshal(request, &q); err != nil || q.N < 1 || q.N > 64<<10 {
		return nil, sdk.Errorf(sdk.CodeInvalid, "%s: n: want 1 to 65536", sdk.OpRandomRead)
	}
	b := make([]byte, q.N)
	_, err := rand.Read(b)
	return b, err
}

func (h *Host) secret(q sdk.SecretGet) (sdk.SecretReply, error) {
	v, ok := h.Secrets[q.Name]
	if !ok {
		return sdk.SecretReply{}, sdk.Errorf(sdk.CodeCapabilityDenied, "secret %q is not granted", q.Name)
	}
	return sdk.SecretReply{Value: v}, nil
}

type cancelledBody struct {
	io.ReadCloser
	cancel context.CancelFunc
}

func (h *Host) http(ctx context.Context, op string, request []byte) ([]byte, error) {
	switch op {
	case sdk.OpHTTPStart:
		q, err := sdk.DecodeHTTPRequest(request)
		if err != nil {
			return nil, sdk.Errorf(sdk.CodeInvalid, "request: %v", err)
		}
		// As in the runtime, the response outlives the call, and the timeout bounds
		// the wait for its header.
		life, cancel := context.WithCancel(context.WithoutCancel(ctx))
		req, err := http.NewRequestWithContext(life, cmp.Or(q.Method, "GET"), q.URL, strings.NewReader(string(q.Body)))
		if err != nil {
			cancel()
			return nil, sdk.Errorf(sdk.CodeInvalid, "http: %v", err)
		}
		req.Header = q.Header
		late := time.AfterFunc(cmp.Or(q.Timeout.Std(), 30*time.Second), cancel)
		stop := context.AfterFunc(ctx, cancel)
		client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
		resp, err := client.Do(req)
		late.Stop()
		stop()
		if err != nil {
			cancel()
			return nil, sdk.Errorf(sdk.CodeUnavailable, "http: %v", err)
		}
		h.mu.Lock()
		defer h.mu.Unlock()
		h.next++
		h.bodies[h.next] = cancelledBody{resp.Body, cancel}
		return json.Marshal(sdk.HTTPStartReply{Handle: h.next, Status: resp.StatusCode, Header: resp.Header})
	case sdk.OpHTTPRead:
		var q sdk.HTTPRead
		_ = json.Unmarshal(request, &q)
		h.mu.Lock()
		body := h.bodies[q.Handle]
		h.mu.Unlock()
		if body.cancel == nil {
			return nil, sdk.Errorf(sdk.CodeInvalid, "http: no handle %d", q.Handle)
		}
		stop := context.AfterFunc(ctx, body.cancel)
		defer stop()
		b := make([]byte, cmp.Or(q.Max, 32<<10))
		for {
			n, err := body.Read(b)
			if n > 0 || err == io.EOF {
				return b[:n], nil
			}
			if err != nil {
				return nil, sdk.Errorf(sdk.CodeUnavailable, "http: %v", err)
			}
		}
	}
	var q sdk.HTTPClose
	_ = json.Unmarshal(request, &q)
	h.mu.Lock()
	defer h.mu.Unlock()
	if body := h.bodies[q.Handle]; body.cancel != nil {
		body.cancel()
		_ = body.Close()
	}
	delete(h.bodies, q.Handle)
	return []byte("{}"), nil
}
