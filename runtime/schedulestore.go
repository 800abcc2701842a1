package runtime

import (
	"context"
	"time"

	"github.com/nagatha/nagatha-runtime/sdk"
)

// ScheduleStore keeps schedules. It knows when the next tick of each is, not how
// ticks are found.
//
// Every write of a schedule names the version that it was read at and does
// nothing where that is not the present one: so of several nodes that see the same
// tick one fires it, and a tick is never that of a definition which has just been
// changed.
type ScheduleStore interface {
	// Schedules lists schedules in the order of their ids.
	Schedules(ctx context.Context, f ScheduleFilter) ([]Schedule, error)

	// DueSchedules returns schedules whose next tick is not after now, at most limit
	// of them, longest due first, and when the first of the others is (0: never).
	DueSchedules(ctx context.Context, now sdk.Time, limit int) (due []Schedule, next sdk.Time, err error)

	// PutSchedule writes a schedule whole: a new one where Version is 0, otherwise
	// in place of that version. ok is false where somebody else was faster. A
	// second name in use is CodeConflict for a schedule of the api's, and more than
	// MaxSchedules of those are CodeLimitExceeded.
	PutSchedule(ctx context.Context, s Schedule) (ok bool, err error)

	// DeleteSchedule forgets a schedule; one that is not there is no error. Its
	// tasks stay.
	DeleteSchedule(ctx context.Context, id string) error

	// Tick moves a schedule on and submits the tasks of its tick, in one
	// transaction. What its queue has no room for is skipped; where no tick comes
	// after it, it is due again in [TickAgain] instead. By hand that is an error, and
	// nothing is done.
	Tick(ctx context.Context, req TickRequest) (Ticked, error)
}

// MaxSchedules is how many schedules clients can make.
const MaxSchedules = 10_000

// Schedule is a schedule as it is kept.
type Schedule struct {
	sdk.Schedule
	Owner   string   // of its tasks
	Since   sdk.Time // where the intervals of Every begin
	Version int64    // 0: not kept yet
}

// ScheduleFilter selects schedules. Empty fields do not filter.
type ScheduleFilter struct {
	ID     string // or a name; where two have it, the configuration's
	Source sdk.ScheduleSource
	After  string // an id
	Limit  int    // 0: all
}

// TickRequest moves the schedule ID on, which was read at Version.
type TickRequest struct {
	ID      string
	Version int64
	Now     sdk.Time
	Next    sdk.Time          // its next tick; 0: none
	Last    sdk.Time          // the tick that the tasks are of; 0: it stays as it is, they are by hand
	Overlap sdk.OverlapPolicy // what becomes of the tasks of earlier ticks
	Tasks   []NewTask
	Error   string // why there are no tasks
}

// Ticked is what came of a [TickRequest].
type Ticked struct {
	Won     bool // false: the schedule is not at that version any more; nothing was done
	Skipped bool // a task of an earlier tick has not ended
	Tasks   []sdk.Task
	Refused *sdk.Error // why tasks are missing, the last ones: there is no room for them
}

// TickAgain is when a tick that no other follows is tried again, if its queue is full.
const TickAgain = 10 * time.Second
