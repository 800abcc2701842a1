package runtime

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/nagatha/nagatha-runtime/sdk"
)

// What a submission may carry at most, beyond Limits.Payload.
const (
	maxSubmissions = 1000
	maxLabels      = 32
	maxAfter       = 1000
	maxLabelKey    = 64
	maxLabelValue  = 256
	maxKey         = 256 // idempotency_key
	maxAttempts    = 1000
	maxTimeout     = 30 * day
	maxAhead       = 10 * 366 * day // run_at and delay
)

// What a filter may carry at most.
const (
	maxFilter = 100  // states, kinds, labels
	maxQuery  = 1000 // bytes of q
)

// Submit checks submissions and inserts the good ones in one durable commit.
// The results are in the order of subs; the error of one leaves the others. The
// method's own error means that nothing was written. owner is who submits; it
// scopes idempotency keys.
func (r *Runtime) Submit(ctx context.Context, owner string, subs []sdk.Submission) ([]Submitted, error) {
	select {
	case <-r.draining:
		return nil, sdk.Errorf(sdk.CodeUnavailable, "the runtime is shutting down; submit again when it is back")
	default:
	}
	if len(subs) > maxSubmissions {
		return nil, sdk.Invalid("tasks", "at most %d in one call, not %d", maxSubmissions, len(subs))
	}
	out := make([]Submitted, len(subs))
	tasks := make([]NewTask, 0, len(subs))
	index := make([]int, 0, len(subs))
	now := sdk.Now()
	for i := range subs {
		t, err := r.newTask(owner, &subs[i], now)
		if err != nil {
			var earlier *Submitted
			if subs[i].IdempotencyKey != "" && err.Code == sdk.CodeInvalid {
				var bad error
				if earlier, bad = r.submittedBefore(ctx, owner, &subs[i]); bad != nil {
					return nil, bad
				}
			}
			if out[i].Err = err; earlier != nil {
				out[i] = *earlier
			}
			continue
		}
		tasks, index = append(tasks, t), append(index, i)
	}
	if len(tasks) == 0 {
		return out, nil
	}
	done, err := r.store.Submit(ctx, tasks)
	if err != nil {
		return nil, err
	}
	for i, s := range done {
		r.explain(&s.Task)
		out[index[i]] = s
	}
	return out, nil
}

// submittedBefore finds the task of a submission that is refused now and was taken
// before: a time has passed since, its kind has a new schema, its queue is gone. Its
// client asks again because it never saw the answer. nil: there is none.
func (r *Runtime) submittedBefore(ctx context.Context, owner string, s *sdk.Submission) (*Submitted, error) {
	payload := s.Payload
	if len(payload) == 0 {
		payload = json.RawMessage(`{}`)
	}
	if len(s.IdempotencyKey) > maxKey || !cleanText(s.IdempotencyKey) || !utf8.Valid(payload) || !json.Valid(payload) || tooDeep(payload) {
		return nil, nil // never was taken
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, payload); err != nil {
		return nil, err
	}
	task, hash, err := r.store.Keyed(ctx, owner, s.IdempotencyKey)
	if err != nil || task.ID == "" {
		return nil, err
	}
	if hash != bodyHash(s, compact.Bytes()) {
		return &Submitted{Err: KeyConflict(s.IdempotencyKey)}, nil
	}
	r.explain(&task)
	return &Submitted{Task: task, Duplicate: true}, nil
}

// KeyConflict refuses an idempotency key that was used with another body.
func KeyConflict(key string) *sdk.Error {
	return &sdk.Error{Code: sdk.CodeConflict, Message: fmt.Sprintf("idempotency_key %.80q was used for another submission; use a new key", key),
		Fields: []sdk.Field{{Field: "idempotency_key", Message: "was used for another submission"}}}
}

// newTask checks one submission and fills in the defaults of its kind.
func (r *Runtime) newTask(owner string, s *sdk.Submission, now sdk.Time) (NewTask, *sdk.Error) {
	if err := checkSubmission(s, now); err != nil {
		return NewTask{}, err
	}
	payload := s.Payload
	if len(payload) == 0 {
		payload = json.RawMessage(`{}`)
	}
	if len(payload) > r.cfg.Limits.Payload {
		return NewTask{}, &sdk.Error{Code: sdk.CodeLimitExceeded,
			Message: "payload is larger than limits.payload",
			Fields: []sdk.Field{{Field: "payload",
				Message: sizeMessage(len(payload), r.cfg.Limits.Payload, "limits.payload")}}}
	}
	if !utf8.Valid(payload) {
		return NewTask{}, sdk.Invalid("payload", "is not UTF-8")
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, payload); err != nil {
		return NewTask{}, sdk.Invalid("payload", "is not JSON: %v", err)
	}
	if tooDeep(payload) {
		return NewTask{}, sdk.Invalid("payload", "is nested more than %d deep", maxNesting)
	}
	payload = compact.Bytes()

	var info sdk.HandlerInfo
	if _, k := r.registry.lookup(s.Kind); k != nil {
		if fields := k.payload.check("payload", payload); len(fields) > 0 {
			return NewTask{}, &sdk.Error{Code: sdk.CodeInvalid, Message: describe(fields), Fields: fields}
		}
		info = k.HandlerInfo
	} else if plugin, _, _ := strings.Cut(s.Kind, "."); plugin == "system" {
		return NewTask{}, sdk.Invalid("kind", "there is no kind %q; system.* belongs to the runtime", s.Kind)
	}

	queue := cmp.Or(s.Queue, info.Queue, DefaultQueue)
	if !r.dispatch.known(queue) {
		return NewTask{}, sdk.Invalid("queue", "there is no queue %q; config.hcl has %s",
			queue, strings.Join(r.dispatch.names(), ", "))
	}
	t := NewTask{
		Task: sdk.Task{
			ID: newID("tsk_"), Kind: s.Kind, Queue: queue, State: sdk.StateQueued,
			Priority: s.Priority, Payload: payload, Life: 1,
			MaxAttempts: cmp.Or(s.MaxAttempts, info.MaxAttempts, r.cfg.Retry.MaxAttempts),
			Timeout:     sdk.Duration(max(time.Millisecond, cmp.Or(s.Timeout.Std(), info.Timeout.Std(), r.cfg.Retry.Timeout).Truncate(time.Millisecond))),
			CreatedAt:   now, RunAt: now, Labels: s.Labels, Owner: owner, Version: 1,
			Deadline: s.Deadline, ConcurrencyKey: s.ConcurrencyKey,
		},
		IdempotencyKey: s.IdempotencyKey, After: s.After, Unique: s.Unique, Expires: s.Expires,
	}
	if s.Delay > 0 {
		t.Task.RunAt = now.Add(s.Delay.Std())
	}
	if s.RunAt > 0 {
		t.Task.RunAt = s.RunAt
	}
	if t.Task.RunAt > now {
		t.Task.State = sdk.StateScheduled
	} else {
		t.Task.RunAt = now
	}
	if t.Task.Labels == nil {
		t.Task.Labels = map[string]string{}
	}
	if s.IdempotencyKey != "" {
		t.BodyHash = bodyHash(s, payload)
	}
	return t, nil
}

func checkSubmission(s *sdk.Submission, now sdk.Time) *sdk.Error {
	if !sdk.ValidKind(s.Kind) {
		if s.Kind == "" {
			return sdk.Invalid("kind", "is required, such as \"demo.echo\"")
		}
		return sdk.Invalid("kind", "%.140q is malformed: want dotted lower-case names such as \"demo.echo\", at most %d characters",
			s.Kind, sdk.MaxKind)
	}
	switch {
	case s.Priority < -100 || s.Priority > 100:
		return sdk.Invalid("priority", "want -100 to 100, not %d", s.Priority)
	case s.Timeout != 0 && s.Timeout.Std() < time.Millisecond || s.Timeout.Std() > maxTimeout:
		return sdk.Invalid("timeout", "want 1ms to %s", sdk.Duration(maxTimeout))
	case s.MaxAttempts < 0 || s.MaxAttempts > maxAttempts:
		return sdk.Invalid("max_attempts", "want 1 to %d, not %d", maxAttempts, s.MaxAttempts)
	case s.Delay != 0 && s.RunAt != 0:
		return sdk.Invalid("delay", "give delay or run_at, not both")
	case s.Delay < 0 || s.Delay.Std() > maxAhead:
		return sdk.Invalid("delay", "want 0s to 10 years")
	case s.RunAt > now.Add(maxAhead):
		return sdk.Invalid("run_at", "is more than 10 years ahead")
	case s.Deadline != 0 && s.Deadline <= now:
		return sdk.Invalid("deadline", "%s is in the past", s.Deadline)
	case s.Expires != 0 && s.Expires <= now:
		return sdk.Invalid("expires", "%s is in the past", s.Expires)
	case s.Deadline != 0 && s.Deadline <= max(s.RunAt, now.Add(s.Delay.Std())):
		return sdk.Invalid("deadline", "is not after the time at which the task may start")
	case s.Expires != 0 && s.Expires <= max(s.RunAt, now.Add(s.Delay.Std())):
		return sdk.Invalid("expires", "is not after the time at which the task may start")
	case len(s.Unique) > maxKey || !cleanText(s.Unique):
		return sdk.Invalid("unique", "want at most %d bytes of UTF-8 without NUL", maxKey)
	case len(s.ConcurrencyKey) > maxKey || !cleanText(s.ConcurrencyKey) || strings.Contains(s.ConcurrencyKey, "\n"):
		return sdk.Invalid("concurrency_key", "want at most %d bytes of UTF-8 without NUL and line feed", maxKey)
	case len(s.IdempotencyKey) > maxKey || !cleanText(s.IdempotencyKey):
		return sdk.Invalid("idempotency_key", "want at most %d characters of UTF-8 without NUL", maxKey)
	case len(s.After) > maxAfter:
		return sdk.Invalid("after", "at most %d tasks, not %d", maxAfter, len(s.After))
	case len(s.Labels) > maxLabels:
		return sdk.Invalid("labels", "at most %d, not %d", maxLabels, len(s.Labels))
	}
	for _, k := range slices.Sorted(maps.Keys(s.Labels)) {
		v := s.Labels[k]
		if k == "" || len(k) > maxLabelKey || strings.Contains(k, "=") || !cleanText(k) {
			return sdk.Invalid("labels", "key %.80q: want 1 to %d characters of UTF-8 without \"=\"", k, maxLabelKey)
		}
		if len(v) > maxLabelValue || !cleanText(v) {
			return sdk.Invalid("labels."+k, "want at most %d characters of UTF-8 without NUL", maxLabelValue)
		}
	}
	return nil
}

func cleanText(s string) bool { return utf8.ValidString(s) && !strings.Contains(s, "\x00") }

// bodyHash is equal for two submissions that mean the same: the order of keys in
// the payload does not count, the idempotency key itself neither.
func bodyHash(s *sdk.Submission, payload json.RawMessage) string {
	c := *s
	c.IdempotencyKey = ""
	c.Payload = payload
	var v any
	dec := json.NewDecoder(bytes.NewReader(payload))
	dec.UseNumber()
	if dec.Decode(&v) == nil {
		if canonical, err := json.Marshal(v); err == nil {
			c.Payload = canonical
		}
	}
	b, _ := json.Marshal(c) // of plain types: cannot fail
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:16])
}

// Task returns a task by its id, or CodeNotFound.
func (r *Runtime) Task(ctx context.Context, id string) (sdk.Task, error) {
	t, err := r.store.Task(ctx, id)
	if err == nil {
		r.explain(&t)
	}
	return t, err
}

// Tasks lists tasks, newest first.
func (r *Runtime) Tasks(ctx context.Context, f TaskFilter) (TaskPage, error) {
	if f.Limit == 0 {
		f.Limit = 50
	}
	if f.Limit < 1 || f.Limit > 1000 {
		return TaskPage{}, sdk.Invalid("limit", "want 1 to 1000, not %d", f.Limit)
	}
	if err := checkFilter(&f, ""); err != nil {
		return TaskPage{}, err
	}
	page, err := r.store.Tasks(ctx, f)
	if err != nil {
		return TaskPage{}, err
	}
	for i := range page.Tasks {
		r.explain(&page.Tasks[i])
	}
	return page, nil
}

// checkFilter checks the conditions of a filter; path is where it stands in the
// request.
func checkFilter(f *TaskFilter, path string) error {
	switch { // a database takes only so many conditions
	case len(f.States) > maxFilter:
		return sdk.Invalid(path+"state", "at most %d, not %d", maxFilter, len(f.States))
	case len(f.Kinds) > maxFilter:
		return sdk.Invalid(path+"kind", "at most %d, not %d", maxFilter, len(f.Kinds))
	case len(f.Labels) > maxFilter:
		return sdk.Invalid(path+"label", "at most %d, not %d", maxFilter, len(f.Labels))
	case len(f.Query) > maxQuery:
		return sdk.Invalid(path+"q", "want at most %d bytes, not %d", maxQuery, len(f.Query))
	}
	for _, s := range f.States {
		if !slices.Contains(sdk.States, s) {
			return sdk.Invalid(path+"state", "there is no state %q", s)
		}
	}
	for _, l := range f.Labels {
		if k, _, ok := strings.Cut(l, "="); !ok || k == "" {
			return sdk.Invalid(path+"label", "want \"key=value\", not %q", l)
		}
	}
	return nil
}

// Events returns events of a task with seq > after, in order.
func (r *Runtime) Events(ctx context.Context, task string, after int64, limit int) ([]sdk.TaskEvent, error) {
	if limit == 0 {
		limit = 100
	}
	if limit < 1 || limit > 1000 {
		return nil, sdk.Invalid("limit", "want 1 to 1000, not %d", limit)
	}
	entries, err := r.store.TaskEvents(ctx, task, after, limit)
	if err != nil {
		return nil, err
	}
	if len(entries) == 0 {
		if _, err := r.store.Task(ctx, task); err != nil {
			return nil, err
		}
	}
	out := make([]sdk.TaskEvent, len(entries))
	for i := range entries {
		out[i] = *entries[i].Task
	}
	return out, nil
}

// Wait waits until the task's latest life has ended, or ctx ends: then it
// returns the task as it is, and ctx's error.
func (r *Runtime) Wait(ctx context.Context, id string) (sdk.Task, error) {
	news := make(chan struct{}, 1)
	stop := r.hub.watchTask(id, func(Change) {
		select {
		case news <- struct{}{}:
		default:
		}
	})
	defer stop()
	for {
		t, err := r.Task(context.WithoutCancel(ctx), id)
		if err != nil || t.State.Terminal() {
			return t, err
		}
		select {
		case <-news:
		case <-ctx.Done():
			return t, ctx.Err()
		}
	}
}

// sizeMessage says that something is too large and which setting says so.
func sizeMessage(size, limit int, setting string) string {
	return fmt.Sprintf("is %d bytes; %s allows %d", size, setting, limit)
}

// soon is how long to wait before trying again what the store refused.
const soon = time.Second
