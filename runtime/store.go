package runtime

import (
	"context"
	"encoding/json"
	"io"

	"github.com/nagatha/nagatha-runtime/sdk"
)

// Store is where truth lives. Its conformance suite is runtime/store/storetest.
//
// Every write is durable when it returns, and is one of a set: the store's
// writer takes all requests that wait, runs one statement per verb over them
// all and commits once, so calling it from many goroutines is how it gets fast.
// A method that takes a slice commits the slice as a whole; where it returns a
// slice of results they are in the order of the requests, and one request's
// error (an *sdk.Error) never undoes another's.
//
// A method's own error return means that nothing was written: the context
// ended first (the write may then still happen), the disk is full
// (CodeUnavailable), or the store is closed.
type Store interface {
	TaskStore
	OperationStore
	QueueStore
	ScheduleStore
	NodeStore
	LogStore
	DataStore
	io.Closer
}

// TaskStore changes tasks and their logs. Each change writes the task's row and
// its events in one transaction.
type TaskStore interface {
	// Submit inserts tasks. See [NewTask] for what makes one a duplicate.
	Submit(ctx context.Context, tasks []NewTask) ([]Submitted, error)

	// Keyed returns the task that an owner's idempotency key belongs to, and the
	// BodyHash it was submitted with; a task without an ID means that there is none.
	Keyed(ctx context.Context, owner, key string) (task sdk.Task, bodyHash string, err error)

	// Claim starts attempts of queued tasks: state running, attempt+1, a new
	// token, event task.started. It takes the highest priority first, then the
	// one that has waited longest.
	Claim(ctx context.Context, req ClaimRequest) ([]Claimed, error)

	// Offer sets whom transactions that make tasks ready ask for free slots, so that
	// what can start at once starts in the transaction that stores it. nil: nobody.
	Offer(o Offer)

	// Append adds events to running attempts. The error of an attempt that no
	// longer counts is [ErrFenced]; beyond the caps of the task it is
	// CodeLimitExceeded and nothing of that request is added.
	Append(ctx context.Context, reqs []AppendRequest) ([]error, error)

	// Finish ends attempts, appending their last events first. The error of an
	// attempt that no longer counts is [ErrFenced].
	Finish(ctx context.Context, reqs []FinishRequest) ([]error, error)

	// Cancel ends tasks that are not running at once, and marks the others; Token
	// and Node of the result say which attempt must be told. Children of the task
	// are cancelled with it. A task that has ended is returned as it is; an unknown
	// one is CodeNotFound.
	Cancel(ctx context.Context, reqs []CancelRequest) ([]Cancelled, error)

	// Retry opens a new life of failed or cancelled tasks, due at once. Any
	// other state is CodeConflict, an unknown id CodeNotFound.
	Retry(ctx context.Context, ids []string) ([]Retried, error)

	// Delete removes tasks that have ended, with all that belongs to them, and
	// returns how many; others are left alone.
	Delete(ctx context.Context, ids []string) (n int, err error)

	// Promote queues what is due at now: scheduled and retrying tasks, at most
	// limit of them, oldest first. It returns how many, and when the next one
	// is due (0: none).
	Promote(ctx context.Context, now sdk.Time, limit int) (n int, next sdk.Time, err error)

	// Recover takes running tasks away from nodes that are dead: those in
	// req.Dead, or every node but req.Self where AllOthers is set. A lost
	// attempt counts: the task is queued again, or fails with CodeNodeLost
	// after its last attempt, or is cancelled where that was asked. Attempts that
	// are parked there are evicted.
	Recover(ctx context.Context, req RecoverRequest) (n int, err error)
}

// DataStore is plugin data and published events. A write that carries a Fence
// is refused with [ErrFenced] once that attempt no longer counts.
type DataStore interface {
	// Publish appends events to the log and hands them to the bus, system.* ones
	// excepted, in one transaction. All of a call's events are published or none.
	Publish(ctx context.Context, fence Fence, events []sdk.Event) error

	KVGet(ctx context.Context, ns string, req sdk.KVGet) (sdk.KVGetReply, error)
	KVSet(ctx context.Context, ns string, fence Fence, req sdk.KVSet) (sdk.KVSetReply, error)
	KVDelete(ctx context.Context, ns string, fence Fence, req sdk.KVDelete) (sdk.KVDeleteReply, error)
	// KVApply makes all of a request's writes or none of them.
	KVApply(ctx context.Context, ns string, fence Fence, req sdk.KVApply) (sdk.KVApplyReply, error)
	// Commit makes the writes of a transaction, publishes its events and inserts its
	// tasks as children of the attempt's, or does nothing at all.
	Commit(ctx context.Context, t Transaction) (results []sdk.KVResult, children []sdk.Task, err error)
	KVList(ctx context.Context, ns string, req sdk.KVList) (sdk.KVListReply, error)
	KVSearch(ctx context.Context, ns string, req sdk.KVSearch) (sdk.KVSearchReply, error)
	BulkStore
}

// BulkStore is what concerns many items of plugin data at once.
type BulkStore interface {
	// KVCount counts what has not expired.
	KVCount(ctx context.Context, ns string, req sdk.KVCount) (sdk.KVCountReply, error)
	// KVClear deletes at most req.Limit items. What has expired is kept for it for
	// a day, and pruned after that.
	KVClear(ctx context.Context, ns string, fence Fence, req sdk.KVClear) (sdk.KVClearReply, error)
}

// ErrFenced refuses a write of an attempt that no longer counts: its task was
// cancelled, taken over or ended.
var ErrFenced = &sdk.Error{Code: sdk.CodeConflict, Message: "the attempt no longer counts"}

// Fence names an attempt. The zero Fence belongs to no attempt and always
// passes.
type Fence struct {
	Task  string `json:"t"`
	Token int64  `json:"n"`
}

// NewTask is a checked submission. Task carries everything that clients see:
// ID, State (queued or scheduled), times, and so on; Life is 1, Attempt 0.
type NewTask struct {
	Task sdk.Task

	// IdempotencyKey, with Task.Owner, names the submission: a second one with
	// the same BodyHash returns the first one's task, with another BodyHash it
	// is CodeConflict.
	IdempotencyKey string
	BodyHash       string

	// After holds the task back until these have completed; if one of them ends
	// otherwise, or has, it fails with CodeDependencyFailed. An unknown one is
	// CodeInvalid.
	After []string

	// Delivery marks the pair of a published event and a subscription, kept
	// for 7 days: a second submission with the same mark inserts nothing and
	// returns Duplicate with whatever task there still is.
	Delivery string

	// Unique keeps a second living task with the same text out: a submission then
	// returns the one that there is.
	Unique  string
	Expires sdk.Time // it fails with CodeExpired if its first attempt has not begun by then; 0: never
	// HeldKeys are the concurrency keys that its ancestors hold; see the store.
	HeldKeys string

	Hops        int
	TraceParent string
}

// Transaction is what an attempt does at once; see [sdk.Transaction]. Events and Tasks
// have been checked.
type Transaction struct {
	Fence
	Namespace string
	Writes    []sdk.KVWrite
	Events    []sdk.Event
	Tasks     []NewTask
}

// Submitted is the outcome of one [NewTask].
type Submitted struct {
	Task      sdk.Task
	Duplicate bool
	Err       *sdk.Error
}

// NewEvent is an event to append. Size counts towards the task's cap.
type NewEvent struct {
	Type string
	Time sdk.Time
	Data json.RawMessage // an object
}

// AppendRequest appends Events to the attempt's log. Progress, where not nil,
// becomes the task's.
type AppendRequest struct {
	Fence
	Events   []NewEvent
	Progress *sdk.Progress
}

// FinishRequest ends an attempt in State:
//
//	completed   with Result; event task.completed{result}
//	failed      with Error; event task.failed{error}
//	cancelled   with Reason; event task.cancelled{reason}
//	retrying    with Error and RunAt; event task.retrying{error, run_at}, and
//	            where RunAt is not after Now the task is queued in the same step,
//	            at the place in its queue that it had. What lies between the two
//	            counts from when it is written
//	queued      given back: the attempt does not count, event task.queued{reason}
//
// Where cancelling was asked for, retrying and queued become cancelled. End
// events are exempt from the caps.
type FinishRequest struct {
	AppendRequest
	Now    sdk.Time
	State  sdk.State
	Result json.RawMessage
	Error  *sdk.Error
	RunAt  sdk.Time
	Reason string
}

// CancelRequest asks for the end of a task.
type CancelRequest struct {
	ID     string
	Now    sdk.Time
	Force  bool
	Reason string
}

// Cancelled is the outcome of one [CancelRequest]. Token is not 0 where an
// attempt on Node holds the task and must be told.
type Cancelled struct {
	Task  sdk.Task
	Node  string
	Token int64
	Err   *sdk.Error
}

// Retried is the outcome of one retry by hand.
type Retried struct {
	Task sdk.Task
	Err  *sdk.Error
}

// Commit says what a transaction of the store changed, so that readers can be
// woken. It is handed to one func, set when the store is opened, after the
// transaction is durable: in commit order from the writer's goroutine, and from
// another for the commits of other runtimes. The func must not block and must not
// call the store.
type Commit struct {
	Head      int64       // the log's position after it
	Tasks     []Change    // each task whose log grew, once
	Published []string    // types of published events
	Ends      []sdk.Event // end events for a bus that cannot join the transaction
	Queues    bool        // a queue was paused or resumed
	Queued    bool        // some task became ready to start
	NextDue   sdk.Time    // the earliest run_at that it scheduled; 0: none
	Cancels   []Told      // attempts whose end was asked for
	Answered  []Fence     // parked attempts that got an answer and still wait for others

	Remote bool // another runtime committed
	All    bool // Tasks and Published do not name everything
}

// Change is a task whose log grew.
type Change struct {
	ID, Kind, Queue string
	State           sdk.State
	Seq             int64 // of its last event; 0: not known
}

// Told is a cancel on its way to the attempt that holds the task.
type Told struct {
	Task   string `json:"t"`
	Token  int64  `json:"n"`
	Force  bool   `json:"f,omitempty"`
	Reason string `json:"r,omitempty"`
}
