package runtime

import (
	"context"

	"github.com/nagatha/nagatha-runtime/sdk"
)

// LogStore reads tasks and the log of events, and keeps them bounded.
type LogStore interface {
	Task(ctx context.Context, id string) (sdk.Task, error) // CodeNotFound
	Tasks(ctx context.Context, f TaskFilter) (TaskPage, error)

	// TaskIDs is the ids alone of what Tasks would return, at most f.Limit. The last
	// one is the next page's cursor.
	TaskIDs(ctx context.Context, f TaskFilter) ([]string, error)

	// TaskEvents returns events of one task with Seq > after, in order.
	TaskEvents(ctx context.Context, task string, after int64, limit int) ([]LogEntry, error)

	// Log returns entries with Pos > after, in order.
	Log(ctx context.Context, after int64, limit int) ([]LogEntry, error)
	// Published is Log without events of tasks, however many stand in between.
	Published(ctx context.Context, after int64, limit int) ([]LogEntry, error)

	// Head says where the log stands.
	Head(ctx context.Context) (Head, error)

	// Counts counts tasks by state.
	Counts(ctx context.Context) (map[sdk.State]int64, error)

	// Prune deletes at most req.Limit ended tasks with their events, published
	// events, delivery marks and expired data, and returns how many rows went.
	Prune(ctx context.Context, req PruneRequest) (int, error)

	// Backup writes a consistent copy of the database, with an epoch of its
	// own, to a new file.
	Backup(ctx context.Context, path string) error
}

// TaskFilter selects tasks, newest first. Empty fields do not filter.
type TaskFilter struct {
	States   []sdk.State
	Kinds    []string // exact, or a prefix such as "mcp.*"
	Queue    string
	Labels   []string // "k=v", all must match
	Parent   string
	Schedule string
	Query    string // a substring of id, kind, error or label value
	Limit    int    // 1…1,000
	Cursor   string // from TaskPage.Next; text that is none: CodeBadCursor
}

// TaskPage is one page; Next is "" on the last.
type TaskPage struct {
	Tasks []sdk.Task
	Next  string
}

// LogEntry is one row of the log: a task's event with its kind and queue, or a
// published event.
type LogEntry struct {
	Pos   int64
	Task  *sdk.TaskEvent
	Kind  string
	Queue string
	Event *sdk.Event
}

// Head is where the log stands. Positions grow in the order of commits and
// never repeat within an epoch; Pruned is the highest position that was ever
// deleted.
type Head struct {
	Epoch  string
	Pos    int64
	Pruned int64
}

// PruneRequest says what is old: rows that ended, were published or were
// delivered before the given times.
type PruneRequest struct {
	Now             sdk.Time
	CompletedBefore sdk.Time // completed and cancelled
	FailedBefore    sdk.Time
	EventsBefore    sdk.Time // published events and delivery marks
	Limit           int
}
