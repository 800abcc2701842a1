package sdktest

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/nagatha/nagatha-runtime/sdk"
)

// Recorded operations of the in-memory host. A second run of a handler on the same
// host, after [Host.Rerun], finds what the first has recorded.

// Rerun makes the next run of a handler one that goes on after a crash: it counts
// occurrences anew and finds what is recorded. Without it another run on the same host
// is that of another task, as is one after clear(h.Steps).
func (h *Host) Rerun() {
	h.mu.Lock()
	defer h.mu.Unlock()
	clear(h.counts)
	clear(h.asked)
}

// Forgotten returns the recorded operations that were not asked for since [Host.Rerun],
// in order. A runtime fails a task whose handler goes on as the same attempt, as after a
// wait, and ends without having asked for all of them: replay_mismatch.
func (h *Host) Forgotten() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	var out []string
	for key := range h.Steps {
		if !h.asked[key] {
			out = append(out, key)
		}
	}
	slices.Sort(out)
	return out
}

// recorded names an operation and finds its record. what tells it from others under the
// same name.
func (h *Host) recorded(name, what string) (n int, value json.RawMessage, done bool, err error) {
	if name == "" || len(name) > sdk.MaxOperationName || !clean(name) {
		return 0, nil, false, sdk.Invalid("name", "want 1 to %d bytes of UTF-8 without NUL", sdk.MaxOperationName)
	}
	h.counts[name]++
	n = h.counts[name]
	key := stepKey(name, n)
	h.asked[key] = true
	value, done = h.Steps[key]
	if was := h.whats[key]; done && was != "" && was != what {
		return 0, nil, false, sdk.Errorf(sdk.CodeReplayMismatch, "operation %q (%d) was recorded as %q and now is asked for as %q: a handler must ask for the same operations when it runs again",
			name, n, was, what)
	}
	h.whats[key] = what
	return n, value, done, nil
}

func stepKey(name string, occurrence int) string { return fmt.Sprintf("%s#%d", name, occurrence) }

func (h *Host) stepGet(q sdk.StepGet) (sdk.StepGetReply, error) {
	n, value, done, err := h.recorded(q.Name, "step")
	if err != nil {
		return sdk.StepGetReply{}, err
	}
	return sdk.StepGetReply{Occurrence: n, Done: done, Value: value}, nil
}

func (h *Host) stepPut(q sdk.StepPut) (struct{}, error) {
	if len(q.Value) > maxValue {
		return struct{}{}, tooLarge(fmt.Sprintf("the value of step %q", q.Name), len(q.Value))
	}
	h.Steps[stepKey(q.Name, q.Occurrence)] = q.Value
	return struct{}{}, nil
}

// operation is what [Host.Answer] answers, and submit. Its answer is recorded, an error
// is not.
func (h *Host) operation(op string, request []byte) ([]byte, error) {
	h.mu.Lock()
	name, what, tasks, err := h.check(op, request)
	var n int
	var old json.RawMessage
	var done bool
	if err == nil {
		n, old, done, err = h.recorded(name, what)
	}
	var ids []string
	if err == nil && !done {
		for _, t := range tasks {
			ids = append(ids, h.submit(t))
		}
	}
	reply := h.Answer
	h.mu.Unlock()
	if err != nil || done {
		return old, err
	}
	var v any
	switch {
	case op == sdk.OpSubmit:
		v = sdk.SubmitReply{IDs: ids}
	case reply != nil:
		if v, err = reply(op, request); err != nil {
			return nil, err
		}
	case op == sdk.OpRun:
		var r sdk.RunReply
		for i, t := range tasks {
			r.Outcomes = append(r.Outcomes, sdk.Outcome{ID: ids[i], State: sdk.StateCompleted, Result: t.Payload})
		}
		v = r
	case op == sdk.OpApprove:
		v = sdk.Decision{Approved: true, By: "sdktest"}
	default:
		v = sdk.AwaitReply{Data: request}
	}
	b, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.Steps[stepKey(name, n)] = b
	return b, nil
}

// check is what a runtime checks before it performs an operation. It returns its name
// and what it is.
func (h *Host) check(op string, request []byte) (name, what string, tasks []sdk.Submission, err error) {
	bad := func(err error) error { return sdk.Errorf(sdk.CodeInvalid, "request: %v", err) }
	switch op {
	case sdk.OpAwait:
		var q sdk.AwaitRequest
		if err := json.Unmarshal(request, &q); err != nil {
			return "", "", nil, bad(err)
		}
		if (q.Signal == "") == (q.Task == "") {
			return "", "", nil, sdk.Invalid("signal", "give either signal or task")
		}
		if len(q.Signal) > 128 || !clean(q.Signal) || strings.TrimSpace(q.Signal) != q.Signal {
			return "", "", nil, sdk.Invalid("name", "%.140q: want 1 to 128 bytes of UTF-8 without NUL or space around them", q.Signal)
		}
		if q.Timeout < 0 || q.Timeout.Std() > maxAhead {
			return "", "", nil, sdk.Invalid("timeout", "want 0s to 10 years")
		}
		target := cmp.Or(q.Signal, q.Task)
		return cmp.Or(q.Name, op+" "+target), op + " " + target, nil, nil
	case sdk.OpApprove:
		var q sdk.ApproveRequest
		if err := json.Unmarshal(request, &q); err != nil {
			return "", "", nil, bad(err)
		}
		if q.Question == "" || !clean(q.Question) {
			return "", "", nil, sdk.Invalid("question", "want a text in UTF-8 without NUL")
		}
		if q.Timeout < 0 || q.Timeout.Std() > maxAhead {
			return "", "", nil, sdk.Invalid("timeout", "want more than 0s and at most 10 years")
		}
		if size := len(q.Question) + len(q.Detail); size > maxValue {
			return "", "", nil, tooLarge("question and detail", size)
		}
		return cmp.Or(q.Name, op), op, nil, nil
	}
	var q sdk.Tasks
	if err := json.Unmarshal(request, &q); err != nil {
		return "", "", nil, bad(err)
	}
	if len(q.Tasks) == 0 || len(q.Tasks) > 1000 {
		return "", "", nil, sdk.Invalid("tasks", "want 1 to 1000, not %d", len(q.Tasks))
	}
	kinds := make([]string, len(q.Tasks))
	for i, t := range q.Tasks {
		if err := checkTask(t, h.Now()); err != nil {
			return "", "", nil, err
		}
		if len(t.Payload) == 0 {
			q.Tasks[i].Payload = json.RawMessage("{}")
		}
		kinds[i] = t.Kind
	}
	return cmp.Or(q.Name, op+" "+kinds[0]), op + " " + strings.Join(kinds, " "), q.Tasks, nil
}

// checkTask is what a runtime checks of every submission, whatever is configured.
func checkTask(t sdk.Submission, now sdk.Time) error {
	begin := max(t.RunAt, now.Add(t.Delay.Std()))
	switch {
	case !sdk.ValidKind(t.Kind):
		return sdk.Invalid("kind", "%.140q is malformed: want dotted lower-case names such as \"demo.echo\", at most %d characters", t.Kind, sdk.MaxKind)
	case len(t.Payload) > maxValue:
		return tooLarge("payload", len(t.Payload))
	case t.Priority < -100 || t.Priority > 100:
		return sdk.Invalid("priority", "want -100 to 100, not %d", t.Priority)
	case t.Delay != 0 && t.RunAt != 0:
		return sdk.Invalid("delay", "give delay or run_at, not both")
	case t.Delay < 0 || t.Delay.Std() > maxAhead || t.RunAt > now.Add(maxAhead):
		return sdk.Invalid("delay", "want 0s to 10 years")
	case t.Timeout != 0 && t.Timeout.Std() < time.Millisecond || t.Timeout.Std() > 720*time.Hour:
		return sdk.Invalid("timeout", "want 1ms to 720h")
	case t.MaxAttempts < 0 || t.MaxAttempts > 1000:
		return sdk.Invalid("max_attempts", "want 1 to 1000, not %d", t.MaxAttempts)
	case t.Deadline != 0 && t.Deadline <= begin:
		return sdk.Invalid("deadline", "is not after the time at which the task may start")
	case t.Expires != 0 && t.Expires <= begin:
		return sdk.Invalid("expires", "is not after the time at which the task may start")
	case !isText(t.Unique) || !isText(t.IdempotencyKey) || !isText(t.ConcurrencyKey) || strings.Contains(t.ConcurrencyKey, "\n"):
		return sdk.Invalid("unique", "and the other keys: want at most %d bytes of UTF-8 without NUL", maxText)
	}
	if len(t.Labels) > 32 || len(t.After) > 1000 {
		return sdk.Invalid("labels", "want at most 32, and 1,000 tasks in after")
	}
	for k, v := range t.Labels {
		if k == "" || len(k) > 64 || strings.Contains(k, "=") || !clean(k) || !isText(v) {
			return sdk.Invalid("labels", "%.80q: want a key of 1 to 64 bytes without \"=\" and a value of at most %d, in UTF-8 without NUL", k, maxText)
		}
	}
	return nil
}

const (
	maxText  = 256 // bytes of most short texts
	maxAhead = 10 * 366 * 24 * time.Hour
)

func isText(s string) bool { return len(s) <= maxText && clean(s) }

// submit writes a task down and returns its id.
func (h *Host) submit(t sdk.Submission) string {
	h.Submitted = append(h.Submitted, t)
	return fmt.Sprintf("tsk_%d", len(h.Submitted))
}

// maxValue is the runtime's default for payloads, results and what a plugin stores.
const maxValue = 256 << 10

func tooLarge(what string, size int) error {
	return sdk.Errorf(sdk.CodeLimitExceeded, "%s has %d bytes, at most %d are allowed", what, size, maxValue)
}

func clean(s string) bool { return utf8.ValidString(s) && !strings.Contains(s, "\x00") }
