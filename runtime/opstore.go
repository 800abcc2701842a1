package runtime

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/nagatha/nagatha-runtime/sdk"
)

// OperationStore keeps recorded operations, and what they wait for.
//
// A task is "waiting" from the moment at which an attempt asks for the first
// answer that is not there until the last one has come. Its attempt is then either
// parked on a node, which the row names, or was evicted, and the row names none.
// When the last answer comes, a parked attempt is given back to its node by the next
// Claim (Claimed.Live), and an evicted one is queued to begin again
// (Claimed.Replay); both go before everything else in their queue.
type OperationStore interface {
	// Operate records operations of an attempt and answers what can be answered. A
	// request whose attempt no longer counts is answered with [ErrFenced], one that
	// does not fit what is recorded with CodeReplayMismatch.
	Operate(ctx context.Context, req OperateRequest) (Operated, error)

	// Operations returns what is recorded of a task's life, with or without an
	// answer, in the order in which it was asked for.
	Operations(ctx context.Context, task string, life int) ([]Operation, error)

	// Answers returns the answers of some operations, nil where there is none yet.
	Answers(ctx context.Context, task string, life int, keys []OpKey) ([]json.RawMessage, error)

	// Evict takes parked attempts off their nodes and reports which; one that does
	// not wait any more stays.
	Evict(ctx context.Context, parked []Fence) ([]bool, error)

	// Signal hands data to a task: to the operation that waits for it, or to the
	// next that will. A task that has ended is CodeConflict, an unknown one
	// CodeNotFound.
	Signal(ctx context.Context, req SignalRequest) error

	// Decide answers an approval, once: one that was decided, has expired or whose
	// task has ended is CodeConflict, as is another digest.
	Decide(ctx context.Context, req DecideRequest) (sdk.Approval, error)

	// Approvals lists approvals, oldest first, after a given id.
	Approvals(ctx context.Context, f ApprovalFilter) ([]sdk.Approval, error)
}

// Operation is one recorded operation of a task's life: what was asked, and the
// answer. Name and Occurrence are unique in it.
type Operation struct {
	Name       string
	Occurrence int
	Op         string // step, submit, run, await, approve
	Target     string // the child's kind, or the signal; a mismatch shows in it
	Child      string // the task that it made, or waits for
	// Answer is nil while there is none: of a step its value, of submit null, of run
	// and of await for a task an sdk.Outcome, of await for a signal an
	// sdk.AwaitReply, of approve an sdk.Decision.
	Answer json.RawMessage

	// What a new operation needs.
	Task     *NewTask      // submit, run: the child; its parent is filled in
	Approval *sdk.Approval // approve
	Due      sdk.Time      // await, approve: when waiting ends without an answer; 0: never
	// Record is the answer of a step that was done.
	Record json.RawMessage
}

// OpKey names an operation within a life.
type OpKey struct {
	Name       string
	Occurrence int
}

// Key is the operation's name within its life.
func (o *Operation) Key() OpKey { return OpKey{o.Name, o.Occurrence} }

// OpStep is the Operation.Op of a step; the others are sdk's: OpSubmit, OpRun,
// OpAwait and OpApprove.
const OpStep = "step"

// Mismatch is the error of an operation that is not what was recorded under its
// name; asked is "" if it was not asked for at all.
func Mismatch(name string, occurrence int, recorded, asked string) *sdk.Error {
	now := "was not asked for"
	if asked != "" {
		now = fmt.Sprintf("is asked for as %q", strings.TrimSpace(asked))
	}
	return sdk.Errorf(sdk.CodeReplayMismatch, "operation %q (%d) was recorded as %q and now %s: a handler must ask for the same operations when it runs again",
		name, occurrence, strings.TrimSpace(recorded), now)
}

// OperateRequest is operations of one attempt, all of them or none.
type OperateRequest struct {
	Fence
	Now sdk.Time
	Ops []Operation
}

// Operated is what came of an [OperateRequest]. Ops are in its order.
type Operated struct {
	Ops     []Operation
	Parked  bool // this request made the task wait: its slots are free
	Waiting bool // the task waits
	// Errs has an error for each operation whose task was refused; nothing is
	// recorded of it. It is nil where none was.
	Errs []*sdk.Error
}

// SignalRequest is a signal for a task.
type SignalRequest struct {
	Task string
	Name string
	Data json.RawMessage
	Now  sdk.Time
}

// DecideRequest is a person's decision about an approval.
type DecideRequest struct {
	ID      string
	Approve bool
	Digest  string
	By      string
	Comment string
	Now     sdk.Time
}

// ApprovalFilter selects approvals.
type ApprovalFilter struct {
	ID    string
	State sdk.ApprovalState // "": every one that is kept
	Task  string
	After string
	Limit int
	Now   sdk.Time // what is past its time then counts as expired
}
