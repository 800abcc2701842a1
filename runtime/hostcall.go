package runtime

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"math"
	"strings"
	"unicode/utf8"

	"github.com/nagatha/nagatha-runtime/sdk"
)

// An attempt is the innermost sdk.Host: it writes to the store under the
// attempt's token. runtime/host wraps it with grants and the operations that
// need no store.
var _ sdk.Host = (*attempt)(nil)

// Progress implements sdk.Host.
func (a *attempt) Progress(done, total float64, message string) {
	p := sdk.Progress{Progress: finite(done), Total: finite(total), Message: message}
	if a.tooLong("progress message", len(message), a.r.cfg.Limits.LogLine, "limits.log_line") {
		return
	}
	p.Message = cleanString(p.Message, len(p.Message))
	a.add(func(l *attemptLog) (NewEvent, bool) {
		l.progress = &p
		return event(sdk.EventProgress, p)
	})
}

func finite(f float64) float64 {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return 0
	}
	return f
}

type logData struct {
	Level   string         `json:"level"`
	Message string         `json:"message"`
	Attrs   map[string]any `json:"attrs,omitempty"`
}

// Log implements sdk.Host.
func (a *attempt) Log(level slog.Level, message string, args ...any) {
	d := logData{Level: strings.ToLower(level.String()), Message: cleanString(message, math.MaxInt-8)}
	if len(args) > 0 {
		d.Attrs = map[string]any{}
		rec := slog.Record{}
		rec.Add(args...)
		rec.Attrs(func(at slog.Attr) bool {
			v := at.Value.Resolve().Any()
			if fault, ok := v.(error); ok {
				v = fault.Error()
			}
			if text, err := json.Marshal(v); err != nil || tooDeep(text) {
				v = fmt.Sprint(v)
			}
			if s, ok := v.(string); ok {
				v = cleanString(s, math.MaxInt-8)
			}
			d.Attrs[cleanString(at.Key, math.MaxInt-8)] = v
			return true
		})
	}
	a.add(func(*attemptLog) (NewEvent, bool) {
		e, ok := event(sdk.EventLog, d)
		if ok && a.tooLong("log line", len(e.Data), a.r.cfg.Limits.LogLine, "limits.log_line") {
			return e, false
		}
		return e, ok
	})
}

type outputData struct {
	Stream string  `json:"stream"`
	Offset int64   `json:"offset"`
	Text   *string `json:"text,omitempty"`
	Base64 *string `json:"base64,omitempty"`
}

// Output implements sdk.Host.
func (a *attempt) Output(stream string, data []byte) {
	if len(data) == 0 ||
		a.tooLong("output chunk", len(data), a.r.cfg.Limits.OutputChunk, "limits.output_chunk") ||
		a.tooLong("name of an output stream", len(stream), maxKey, "this version") {
		return
	}
	a.add(func(l *attemptLog) (NewEvent, bool) {
		if l.offsets == nil {
			l.offsets = map[string]int64{}
		}
		d := outputData{Stream: cleanString(stream, maxKey), Offset: l.offsets[stream]}
		if utf8.Valid(data) {
			s := string(data)
			d.Text = &s
		} else {
			s := base64.StdEncoding.EncodeToString(data)
			d.Base64 = &s
		}
		l.offsets[stream] += int64(len(data))
		return event(sdk.EventOutput, d)
	})
}

func event(typ string, data any) (NewEvent, bool) {
	b, err := json.Marshal(data)
	return NewEvent{Type: typ, Data: b}, err == nil
}

// tooLong stops the attempt for good when something it wrote is beyond a cap.
func (a *attempt) tooLong(what string, size, limit int, setting string) bool {
	if size <= limit {
		return false
	}
	a.stop(&sdk.Error{Code: sdk.CodeLimitExceeded,
		Message: what + " " + sizeMessage(size, limit, setting)}, graceTimeout)
	return true
}

// Call implements sdk.Host for the operations that the store answers.
func (a *attempt) Call(ctx context.Context, op string, request []byte) ([]byte, error) {
	if a.entry == nil {
		return nil, sdk.Errorf(sdk.CodeUnavailable, "%s: the plugin is not loaded", op)
	}
	s, ns, fence := a.r.store, a.entry.info.Name, Fence{a.task.ID, a.token}
	switch op {
	case sdk.OpKVGet:
		return serve(request, func(q sdk.KVGet) (sdk.KVGetReply, error) { return s.KVGet(ctx, ns, q) })
	case sdk.OpKVSet:
		return serve(request, func(q sdk.KVSet) (sdk.KVSetReply, error) {
			if err := a.fits(q); err != nil {
				return sdk.KVSetReply{}, err
			}
			return s.KVSet(ctx, ns, fence, q)
		})
	case sdk.OpKVDelete:
		return serve(request, func(q sdk.KVDelete) (sdk.KVDeleteReply, error) { return s.KVDelete(ctx, ns, fence, q) })
	case sdk.OpKVApply:
		return serve(request, func(q sdk.KVApply) (sdk.KVApplyReply, error) {
			if err := a.fit(q.Writes); err != nil {
				return sdk.KVApplyReply{}, err
			}
			return s.KVApply(ctx, ns, fence, q)
		})
	case sdk.OpCommit:
		return serve(request, func(q sdk.Transaction) (sdk.Committed, error) { return a.commit(ctx, q) })
	case sdk.OpKVList:
		return serve(request, func(q sdk.KVList) (sdk.KVListReply, error) { return s.KVList(ctx, ns, q) })
	case sdk.OpKVSearch:
		return serve(request, func(q sdk.KVSearch) (sdk.KVSearchReply, error) { return s.KVSearch(ctx, ns, q) })
	case sdk.OpKVCount:
		return serve(request, func(q sdk.KVCount) (sdk.KVCountReply, error) { return s.KVCount(ctx, ns, q) })
	case sdk.OpKVClear:
		return serve(request, func(q sdk.KVClear) (sdk.KVClearReply, error) { return s.KVClear(ctx, ns, fence, q) })
	case sdk.OpStepGet:
		return serve(request, func(q sdk.StepGet) (sdk.StepGetReply, error) { return a.stepGet(ctx, q) })
	case sdk.OpStepPut:
		return serve(request, func(q sdk.StepPut) (struct{}, error) { return a.stepPut(ctx, q) })
	case sdk.OpSubmit:
		return serve(request, func(q sdk.Tasks) (sdk.SubmitReply, error) { return a.submitTasks(ctx, q) })
	case sdk.OpRun:
		return serve(request, func(q sdk.Tasks) (sdk.RunReply, error) { return a.runTasks(ctx, q) })
	case sdk.OpAwait:
		return serve(request, func(q sdk.AwaitRequest) (sdk.AwaitReply, error) { return a.awaitAnswer(ctx, q) })
	case sdk.OpApprove:
		return serve(request, func(q sdk.ApproveRequest) (sdk.Decision, error) { return a.approve(ctx, q) })
	case sdk.OpKindsList:
		return json.Marshal(sdk.KindsReply{Kinds: a.r.registry.list()})
	case sdk.OpPublish:
		return serve(request, func(e sdk.Event) (sdk.PublishReply, error) {
			ids, err := a.r.publish(ctx, fence, a.signed(e))
			if err != nil {
				return sdk.PublishReply{}, err
			}
			return sdk.PublishReply{ID: ids[0]}, nil
		})
	}
	return nil, sdk.Errorf(sdk.CodeUnavailable, "this runtime has no operation %q", op)
}

// signed says where an attempt's events come from.
func (a *attempt) signed(events ...sdk.Event) []sdk.Event {
	for i := range events {
		e := &events[i]
		e.Hops, e.TraceParent = a.hops+1, a.trace
		if e.Source == "" {
			e.Source = "plugin/" + a.entry.info.Name
		}
	}
	return events
}

// commit makes writes, events and tasks in one transaction.
func (a *attempt) commit(ctx context.Context, q sdk.Transaction) (sdk.Committed, error) {
	done := sdk.Committed{Results: []sdk.KVResult{}, Events: []string{}, Tasks: []string{}}
	if err := q.Check(); err != nil {
		return done, err
	}
	if err := a.fit(q.Writes); err != nil {
		return done, err
	}
	events, err := a.r.checkEvents(a.signed(q.Events...))
	if err != nil {
		return done, err
	}
	tasks, err := a.children(q.Tasks)
	if err != nil {
		return done, err
	}
	t := Transaction{Namespace: a.entry.info.Name, Fence: Fence{a.task.ID, a.token}, Writes: q.Writes, Events: events, Tasks: tasks}
	results, children, err := a.r.store.Commit(ctx, t)
	if err != nil {
		return done, err
	}
	a.r.published(events)
	done.Results = append(done.Results, results...)
	for _, e := range events {
		done.Events = append(done.Events, e.ID)
	}
	for _, c := range children {
		done.Tasks = append(done.Tasks, c.ID)
	}
	return done, nil
}

// fit checks the sizes of values that a plugin stores.
func (a *attempt) fit(writes []sdk.KVWrite) error {
	for _, w := range writes {
		if w.Set == nil {
			continue
		}
		if err := a.fits(*w.Set); err != nil {
			return err
		}
	}
	return nil
}

// fits checks the size of a value that a plugin stores.
func (a *attempt) fits(q sdk.KVSet) error {
	if size, limit := len(q.Value)+len(q.Text), a.r.cfg.Limits.Payload; size > limit {
		return sdk.Errorf(sdk.CodeLimitExceeded, "value and text of %.80q %s", q.Key, sizeMessage(size, limit, "limits.payload"))
	}
	return nil
}

// serve decodes a request, calls f, and encodes its reply.
func serve[Q, R any](request []byte, f func(Q) (R, error)) ([]byte, error) {
	var q Q
	if err := json.Unmarshal(request, &q); err != nil {
		return nil, sdk.Errorf(sdk.CodeInvalid, "request: %v", err)
	}
	reply, err := f(q)
	if err != nil {
		return nil, err
	}
	return json.Marshal(reply)
}
