package host

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nagatha/nagatha-runtime/sdk"
)

// Audit is one operation that a plugin asked for.
type Audit struct {
	Plugin, Version, Task, Op string
	Target                    string // what it was about: a host, an event type, a secret's name
	Denied                    bool
	Code                      sdk.Code // of the error, or ""
}

// operation is one row of the table of host operations. Every call goes the same
// way: capability, then quota, then the operation, then audit.
type operation struct {
	grant string // the capability it needs; "": free
	// target says what the request is about and whether the grant covers it.
	target func(g Grant, request []byte) (what string, ok bool)
	do     func(g *guard, ctx context.Context, request []byte) ([]byte, error)
	audits bool // itself
}

var operations = map[string]operation{
	sdk.OpTimeNow:    {do: timeNow},
	sdk.OpRandomRead: {do: randomRead},
	sdk.OpKVGet:      {grant: "store", do: engine(sdk.OpKVGet)},
	sdk.OpKVSet:      {grant: "store", do: kvSet},
	sdk.OpKVDelete:   {grant: "store", do: engine(sdk.OpKVDelete)},
	sdk.OpKVApply:    {grant: "store", do: kvApply},
	sdk.OpKVList:     {grant: "store", do: engine(sdk.OpKVList)},
	sdk.OpKVSearch:   {grant: "store", do: engine(sdk.OpKVSearch)},
	sdk.OpKVCount:    {grant: "store", do: engine(sdk.OpKVCount)},
	sdk.OpKVClear:    {grant: "store", do: engine(sdk.OpKVClear)},
	sdk.OpStepGet:    {do: engine(sdk.OpStepGet)},
	sdk.OpStepPut:    {do: engine(sdk.OpStepPut)},
	sdk.OpSubmit:     {grant: "submit", target: taskKinds, do: engine(sdk.OpSubmit)},
	sdk.OpRun:        {grant: "submit", target: taskKinds, do: engine(sdk.OpRun)},
	sdk.OpKindsList:  {grant: "submit", do: kindsList},
	sdk.OpAwait:      {grant: "await", do: engine(sdk.OpAwait)},
	sdk.OpApprove:    {grant: "approve", do: engine(sdk.OpApprove)},
	sdk.OpPublish:    {grant: "publish", target: eventType, do: engine(sdk.OpPublish)},
	sdk.OpCommit:     {do: commit, audits: true},
	sdk.OpHTTPStart:  {grant: "http", target: httpTarget, do: httpStart},
	sdk.OpHTTPRead:   {grant: "http", do: httpRead},
	sdk.OpHTTPClose:  {grant: "http", do: httpClose},
	sdk.OpSecretGet:  {grant: "secrets", target: secretName, do: secretGet},
}

// engine is an operation that the engine performs.
func engine(op string) func(*guard, context.Context, []byte) ([]byte, error) {
	return func(g *guard, ctx context.Context, request []byte) ([]byte, error) {
		return g.Host.Call(ctx, op, request)
	}
}

// guard is the Host that an attempt's plugin sees.
type guard struct {
	sdk.Host // the engine's
	version  *version
	task     *sdk.Task

	mu      sync.Mutex
	calls   int
	handles map[int]*httpHandle
	next    int
	closed  bool
}

// maxCalls is how many operations of one attempt may be under way at once.
const maxCalls = 256

// Call implements sdk.Host: the one door.
func (g *guard) Call(ctx context.Context, name string, request []byte) ([]byte, error) {
	op, known := operations[name]
	if !known {
		return nil, sdk.Errorf(sdk.CodeUnavailable, "this runtime has no operation %q", name)
	}
	grant := g.version.cfg.Grant
	what, ok := "", true
	if op.target != nil {
		what, ok = op.target(grant, request)
	}
	if !ok || op.grant != "" && !grant.has(op.grant) {
		return nil, g.deny(name, what, op.grant)
	}
	if !g.enter() {
		return nil, sdk.Errorf(sdk.CodeLimitExceeded, "%s: more than %d operations of one attempt at once", name, maxCalls)
	}
	reply, err := op.do(g, ctx, request)
	g.leave()
	if !op.audits && (op.target != nil || err != nil) {
		g.audit(name, what, false, err)
	}
	return reply, err
}

func (g *guard) deny(name, what, grant string) error {
	err := sdk.Errorf(sdk.CodeCapabilityDenied, "%s: not granted; add it to grant.%s of plugin %q in config.hcl",
		strings.TrimSpace(name+" "+what), grant, g.version.cfg.Name)
	g.audit(name, what, true, err)
	return err
}

func (g *guard) enter() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.calls >= maxCalls {
		return false
	}
	g.calls++
	return true
}

func (g *guard) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.calls--
}

func (g *guard) audit(op, target string, denied bool, err error) {
	g.version.plugin.host.cfg.Audit(Audit{
		Plugin: g.version.cfg.Name, Version: g.version.info.Version,
		Task: g.task.ID, Op: op, Target: target, Denied: denied, Code: sdk.CodeOf(err),
	})
}

func timeNow(*guard, context.Context, []byte) ([]byte, error) {
	now := time.Now()
	return json.Marshal(sdk.TimeNow{Time: sdk.TimeOf(now), UnixNano: now.UnixNano()})
}

func randomRead(_ *guard, _ context.Context, request []byte) ([]byte, error) {
	q, err := decode[sdk.RandomRead](sdk.OpRandomRead, request)
	if err != nil {
		return nil, err
	}
	if q.N < 1 || q.N > 64<<10 {
		return nil, sdk.Errorf(sdk.CodeInvalid, "%s: n: want 1 to 65536, not %d", sdk.OpRandomRead, q.N)
	}
	b := make([]byte, q.N)
	_, err = rand.Read(b)
	return b, err
}

func eventType(grant Grant, request []byte) (string, bool) {
	q, err := decode[struct {
		Type string `json:"type"`
	}](sdk.OpPublish, request)
	return q.Type, err == nil && grant.publishes(q.Type)
}

// taskKinds says what a submit or run is about: the first task that the grant does
// not cover, or the first of all.
func taskKinds(grant Grant, request []byte) (string, bool) {
	q, err := decode[sdk.Tasks](sdk.OpSubmit, request)
	if err != nil || len(q.Tasks) == 0 {
		return "", err == nil // the engine says what is wrong with none
	}
	for _, t := range q.Tasks {
		if !grant.submits(t.Kind) {
			return t.Kind, false
		}
		if !grant.queues(t.Queue) {
			return t.Kind + " in queue " + t.Queue, false
		}
	}
	return q.Tasks[0].Kind, true
}

// kindsList leaves out what the plugin may not submit, and says whether there may be
// more soon.
func kindsList(g *guard, ctx context.Context, request []byte) ([]byte, error) {
	b, err := g.Host.Call(ctx, sdk.OpKindsList, request)
	if err != nil {
		return nil, err
	}
	all, err := decode[sdk.KindsReply](sdk.OpKindsList, b)
	if err != nil {
		return nil, err
	}
	grant := g.version.cfg.Grant
	all.Kinds = slices.DeleteFunc(all.Kinds, func(k sdk.KindInfo) bool { return !grant.submits(k.Kind) })
	select {
	case <-g.version.plugin.host.loaded:
	default:
		all.Loading = true
	}
	return json.Marshal(all)
}

func secretName(grant Grant, request []byte) (string, bool) {
	q, err := decode[sdk.SecretGet](sdk.OpSecretGet, request)
	_, ok := grant.Secrets[q.Name]
	return q.Name, err == nil && ok
}

func secretGet(g *guard, _ context.Context, request []byte) ([]byte, error) {
	q, err := decode[sdk.SecretGet](sdk.OpSecretGet, request)
	if err != nil {
		return nil, err
	}
	return json.Marshal(sdk.SecretReply{Value: g.version.cfg.Grant.Secrets[q.Name]})
}

func decode[Q any](op string, request []byte) (Q, error) {
	var q Q
	if err := json.Unmarshal(request, &q); err != nil {
		return q, sdk.Errorf(sdk.CodeInvalid, "%s: request: %v", op, err)
	}
	return q, nil
}

// line writes a line of a plugin's stdout or stderr to the log.
func (p *plugin) line(level slog.Level, text string) { p.lines.write(p.log, level, text) }

var errAttemptOver = sdk.Errorf(sdk.CodeUnavailable, "the attempt is over")
