package sdk

import (
	"context"
	"encoding/json"
	"fmt"
	"time"
)

// Recorded operations. The runtime records each by its name, and how often the
// name was used before ("occurrence", in program order). When an attempt runs
// again, because its plugin or the whole runtime died, or because it waited for so
// long that it was put away, its handler starts from the top, and operations that
// have an answer return it at once: nothing with a recorded answer is done twice.
//
// A handler must therefore ask for the same operations in the same order again.
// What may differ from run to run (the time, randomness, what the network says)
// belongs inside a [Step]. Operations that run concurrently need names of their
// own, or their occurrences would be counted in the order in which they happen to
// arrive.
//
// Run, RunAll, Await, AwaitTask and Approve wait: the task is then "waiting", holds
// no slot of its queue or kind, and its timeout does not run.
const (
	OpStepGet = "step.get" // free
	OpStepPut = "step.put" // free
	OpSubmit  = "submit"   // grant submit = ["kind.*"]
	OpRun     = "run"      // grant submit
	OpAwait   = "await"    // grant await
	OpApprove = "approve"  // grant approve
)

// MaxOperationName is the most bytes of an operation's name.
const MaxOperationName = 200

// StepGet is the request of [OpStepGet].
type StepGet struct {
	Name string `json:"name"`
}

// StepGetReply is its reply. Occurrence names the step to [OpStepPut].
type StepGetReply struct {
	Occurrence int             `json:"occurrence"`
	Done       bool            `json:"done"`
	Value      json.RawMessage `json:"value,omitempty"`
}

// StepPut is the request of [OpStepPut]; the reply is empty.
type StepPut struct {
	Name       string          `json:"name"`
	Occurrence int             `json:"occurrence"`
	Value      json.RawMessage `json:"value"`
}

// Step does f once and records what it returned; a later run of the attempt gets
// the recorded value. An error is not recorded: f runs again. If the attempt dies
// between f's return and the record, f runs again too, so what f does should bear
// a repetition.
//
// The record is JSON, at most 256 KiB ([CodeLimitExceeded]): T must come back from JSON
// as it went in, which an any with an int in it, or an unexported field, does not. f
// should not ask for recorded operations itself: once it is recorded they are not asked
// for again, which is [CodeReplayMismatch].
func Step[T any](ctx context.Context, host Host, name string, f func(ctx context.Context) (T, error)) (T, error) {
	var value T
	got, err := call[StepGetReply](ctx, host, OpStepGet, StepGet{name})
	if err != nil {
		return value, err
	}
	if got.Done {
		if err := json.Unmarshal(got.Value, &value); err != nil {
			return value, Errorf(CodeReplayMismatch, "step %q: the recorded value does not fit: %v", name, err)
		}
		return value, nil
	}
	if value, err = f(ctx); err != nil {
		return value, err
	}
	b, err := json.Marshal(value)
	if err != nil {
		return value, Errorf(CodeInvalid, "step %q: %v", name, err)
	}
	_, err = call[struct{}](ctx, host, OpStepPut, StepPut{name, got.Occurrence, b})
	return value, err
}

// Tasks is the request of [OpSubmit] and [OpRun]: at most 1,000 submissions. They
// become children of the task. Name defaults to the op and the first kind.
type Tasks struct {
	Name  string       `json:"name,omitempty"`
	Tasks []Submission `json:"tasks"`
}

// SubmitReply is the reply of [OpSubmit]: ids in the order of the submissions.
type SubmitReply struct {
	IDs []string `json:"ids"`
}

// Outcome is how a task ended.
type Outcome struct {
	ID     string          `json:"id"`
	State  State           `json:"state"`
	Result json.RawMessage `json:"result,omitempty"` // of a completed one
	Error  *Error          `json:"error,omitempty"`  // of any other
}

// Err returns nil for a task that completed, and otherwise what happened to it.
// It is not retryable: asking again would get the same recorded answer.
func (o Outcome) Err() error {
	if o.State == StateCompleted {
		return nil
	}
	e := Error{Code: CodeInternal, Message: string(o.State)}
	if o.Error != nil {
		e = *o.Error
	}
	return &Error{Code: e.Code, Message: fmt.Sprintf("task %s: %s", o.ID, e.Message)}
}

// RunReply is the reply of [OpRun].
type RunReply struct {
	Outcomes []Outcome `json:"outcomes"`
}

// Submit makes a child task and returns its id; it does not wait for it. A submission
// that does not fit is [CodeInvalid], with Fields that say where. Cancelling a task
// cancels its children that have not ended; its end does not.
func Submit(ctx context.Context, host Host, sub Submission) (string, error) {
	r, err := call[SubmitReply](ctx, host, OpSubmit, Tasks{Tasks: []Submission{sub}})
	if err != nil {
		return "", err
	}
	if len(r.IDs) != 1 {
		return "", Errorf(CodeInternal, "submit: %d ids for one task", len(r.IDs))
	}
	return r.IDs[0], nil
}

// Run makes a child task, waits until it has ended, and returns its result, or
// the error with which it ended, which is not retryable: see [Outcome.Err].
func Run(ctx context.Context, host Host, sub Submission) (json.RawMessage, error) {
	out, err := RunAll(ctx, host, "", []Submission{sub})
	if err != nil {
		return nil, err
	}
	return out[0].Result, out[0].Err()
}

// RunAll makes child tasks, waits until all of them have ended, and returns how,
// in order: at most 1,000. A child that failed is no error of RunAll: see [Outcome.Err].
// name tells it from other runs of the handler that are under way at the same time; it
// may be empty where there are none. No submissions: nil at once.
func RunAll(ctx context.Context, host Host, name string, subs []Submission) ([]Outcome, error) {
	if len(subs) == 0 {
		return nil, nil
	}
	r, err := call[RunReply](ctx, host, OpRun, Tasks{name, subs})
	if err != nil {
		return nil, err
	}
	if len(r.Outcomes) != len(subs) {
		return nil, Errorf(CodeInternal, "run: %d outcomes for %d tasks", len(r.Outcomes), len(subs))
	}
	return r.Outcomes, nil
}

// AwaitRequest is the request of [OpAwait]: either Signal or Task. Timeout 0 waits
// for as long as the task may live.
type AwaitRequest struct {
	Name    string   `json:"name,omitempty"`
	Signal  string   `json:"signal,omitempty"`
	Task    string   `json:"task,omitempty"`
	Timeout Duration `json:"timeout,omitempty"`
}

// AwaitReply is its reply.
type AwaitReply struct {
	Data     json.RawMessage `json:"data,omitempty"`    // of a signal
	Outcome  *Outcome        `json:"outcome,omitempty"` // of a task
	TimedOut bool            `json:"timed_out,omitempty"`
}

// Await waits for a signal of that name and returns its data. Signals that came
// before are kept, and each is received once; one without data gives null. After
// timeout, where that is not 0, it returns an error with [CodeTimeout], which is not
// retryable; it counts from the first run of the handler that came here, over crashes.
func Await(ctx context.Context, host Host, signal string, timeout time.Duration) (json.RawMessage, error) {
	r, err := call[AwaitReply](ctx, host, OpAwait, AwaitRequest{Signal: signal, Timeout: Duration(timeout)})
	if err != nil {
		return nil, err
	}
	if r.TimedOut {
		return nil, &Error{Code: CodeTimeout, Message: fmt.Sprintf("no signal %q within %s", signal, timeout)}
	}
	return r.Data, nil
}

// AwaitTask waits until a task has ended, such as one that [Submit] made; any task will
// do, and one that has ended answers at once. An unknown one is [CodeNotFound]. That the
// task failed is no error of AwaitTask: see [Outcome.Err].
func AwaitTask(ctx context.Context, host Host, id string) (Outcome, error) {
	r, err := call[AwaitReply](ctx, host, OpAwait, AwaitRequest{Task: id})
	if err != nil {
		return Outcome{}, err
	}
	if r.Outcome == nil {
		return Outcome{}, Errorf(CodeInternal, "await: no outcome of task %s", id)
	}
	return *r.Outcome, nil
}

// ApproveRequest is the request of [OpApprove]. Detail is what the person decides
// about, exactly; it goes into the digest that the decision must name.
type ApproveRequest struct {
	Name     string          `json:"name,omitempty"`
	Question string          `json:"question"`
	Detail   json.RawMessage `json:"detail,omitempty"`
	Timeout  Duration        `json:"timeout,omitempty"` // default 24h; then it is a rejection
}

// Decision is the reply of [OpApprove].
type Decision struct {
	Approved bool   `json:"approved"`
	Expired  bool   `json:"expired,omitempty"` // nobody decided in time
	By       string `json:"by,omitempty"`
	Comment  string `json:"comment,omitempty"`
}

// Approve waits until a person has decided. A rejection, also by expiry, is no error:
// look at Approved. Name is needed where questions of a handler are out at the same time.
func Approve(ctx context.Context, host Host, req ApproveRequest) (Decision, error) {
	return call[Decision](ctx, host, OpApprove, req)
}

// Approval is what waits for a person, as clients see it.
type Approval struct {
	ID          string          `json:"id"`
	Task        string          `json:"task"`
	Question    string          `json:"question"`
	Detail      json.RawMessage `json:"detail"`
	Digest      string          `json:"digest"` // of exactly this question; a decision names it
	RequestedAt Time            `json:"requested_at"`
	ExpiresAt   Time            `json:"expires_at"`
	State       ApprovalState   `json:"state"`
	DecidedBy   string          `json:"decided_by,omitempty"`
	Comment     string          `json:"comment,omitempty"`
}

// ApprovalState is where an approval is.
type ApprovalState string

// The states of an approval.
const (
	ApprovalPending  ApprovalState = "pending"
	ApprovalApproved ApprovalState = "approved"
	ApprovalRejected ApprovalState = "rejected"
	ApprovalExpired  ApprovalState = "expired"
	// ApprovalWithdrawn is one whose task ended before anybody had decided.
	ApprovalWithdrawn ApprovalState = "withdrawn"
)
