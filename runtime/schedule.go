package runtime

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/nagatha/nagatha-runtime/sdk"
)

// Schedules: a loop that submits a task at each tick. See cron.go for when those
// are, and schedules.go for what clients do with schedules.
//
// The row in the store holds the next tick. Whoever finds it due works out which
// ticks are to fire and which comes then, and has the store do both in one
// transaction, on the condition that the row is still what was read: several nodes
// may try, one succeeds, and nobody leads. The loop reads the wall clock anew each
// time and sleeps at most scheduleSweep, so a clock that jumps ahead is noticed;
// one that jumps back makes it wait until the next tick's time comes again.
const (
	scheduleSweep = 30 * time.Second
	scheduleBatch = 100
	// maxCatchUp is how many missed ticks the policy "all" makes up for.
	maxCatchUp = 100
	// onTime is how late a tick may be found and not count as missed.
	onTime = time.Minute
)

// scheduleLoop fires ticks until ctx ends. An embedded store without schedules
// costs nothing: it sleeps until one is made. A shared one may get one from
// another node.
func (r *Runtime) scheduleLoop(ctx context.Context) {
	t := time.NewTimer(0)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.rescheduled:
		case <-t.C:
		}
		next, err := r.fireDue(ctx, sdk.Now())
		switch {
		case err != nil && ctx.Err() != nil:
			return
		case err != nil:
			r.log.Error("cannot run schedules; trying again", "error", err, "after", soon)
			t.Reset(soon)
		case next != 0:
			t.Reset(min(scheduleSweep, max(0, next.Sub(sdk.Now()))))
		case r.store.Shared():
			t.Reset(scheduleSweep)
		default:
			t.Stop()
		}
	}
}

// reschedule makes the loop look again.
func (r *Runtime) reschedule() {
	select {
	case r.rescheduled <- struct{}{}:
	default:
	}
}

// fireDue fires every schedule that is due at now and returns when the next one
// is; 0: none.
func (r *Runtime) fireDue(ctx context.Context, now sdk.Time) (next sdk.Time, err error) {
	for {
		due, next, err := r.store.DueSchedules(ctx, now, scheduleBatch)
		if err != nil {
			return 0, err
		}
		for i := range due { // one that cannot be moved on does not hold up the others
			if e := r.fire(ctx, &due[i], now); e != nil {
				err = fmt.Errorf("schedule %s: %w", due[i].Name, e)
			}
		}
		if err != nil || len(due) == 0 {
			return next, err
		}
	}
}

// fire moves one schedule past now.
func (r *Runtime) fire(ctx context.Context, s *Schedule, now sdk.Time) error {
	p, err := planTicks(s, now)
	if err != nil { // the zone, or its rules, are others than when it was made
		r.log.Error("a schedule has no next tick; make it anew", "schedule", s.Name, "error", err)
		_, err = r.store.Tick(ctx, TickRequest{ID: s.ID, Version: s.Version, Now: now, Error: err.Error()})
		return err
	}
	req := TickRequest{ID: s.ID, Version: s.Version, Now: now, Next: p.next, Overlap: s.Overlap}
	if now.Sub(s.NextAt) >= onTime {
		r.log.Warn("a schedule missed ticks", "schedule", s.Name, "first", s.NextAt, "policy", s.Missed, "tasks", len(p.fire))
	}
	for _, tick := range p.fire {
		task, fault := r.tickTask(s, tick, now)
		if fault != nil {
			req.Error, req.Tasks = fault.Error(), nil
			r.log.Error("a schedule cannot submit its task", "schedule", s.Name, "error", fault)
			break
		}
		req.Tasks, req.Last = append(req.Tasks, task), tick
	}
	done, err := r.store.Tick(ctx, req)
	switch {
	case err != nil:
		return err
	case done.Skipped:
		r.log.Info("a tick was skipped: the schedule's last task has not ended", "schedule", s.Name, "task", s.LastTask)
	case done.Refused != nil && s.Error == "": // once, not at each tick while the queue is full
		r.log.Warn("a tick was skipped: there is no room for its task", "schedule", s.Name, "tick", req.Last, "error", done.Refused)
		r.Tell(factScheduleSkipped, s.ID, map[string]any{"schedule": s.ID, "name": s.Name, "tick": req.Last, "reason": done.Refused.Message})
	}
	return nil
}

// tickTask makes the task of a tick. The label tells a handler which one it is,
// since it may run late.
func (r *Runtime) tickTask(s *Schedule, tick, now sdk.Time) (NewTask, *sdk.Error) {
	sub := submissionOf(&s.Schedule)
	sub.Labels = map[string]string{"tick": tick.String()}
	if s.Jitter > 0 {
		sub.Delay = sdk.Duration(rand.Int64N(int64(s.Jitter)))
	}
	task, err := r.newTask(s.Owner, &sub, now)
	task.Task.Schedule = s.ID
	return task, err
}

func submissionOf(s *sdk.Schedule) sdk.Submission {
	return sdk.Submission{Kind: s.Kind, Payload: s.Payload, Queue: s.Queue, Priority: s.Priority, Timeout: s.Timeout, MaxAttempts: s.MaxAttempts}
}

// ticks are the moments of a schedule: strictly growing.
type ticks interface {
	// next returns the first one after t; 0: there is none.
	next(t sdk.Time) (sdk.Time, error)
}

func ticksOf(s *Schedule) (ticks, error) {
	switch {
	case s.Cron != "":
		return newCron(s.Cron, s.Zone)
	case s.Every > 0:
		return interval{s.Since, s.Every.Std().Milliseconds()}, nil
	}
	return once(s.At), nil
}

// interval ticks every ms milliseconds after since.
type interval struct {
	since sdk.Time
	ms    int64
}

func (i interval) next(t sdk.Time) (sdk.Time, error) {
	if t < i.since {
		return i.since + sdk.Time(i.ms), nil
	}
	return i.since + sdk.Time((int64(t-i.since)/i.ms+1)*i.ms), nil
}

type once sdk.Time

func (o once) next(t sdk.Time) (sdk.Time, error) {
	if sdk.Time(o) > t {
		return sdk.Time(o), nil
	}
	return 0, nil
}

// plan is what to do about a schedule that is due.
type plan struct {
	fire []sdk.Time // ticks that submit a task, in order
	next sdk.Time
}

// planTicks decides which of the ticks since s.NextAt fire at now.
func planTicks(s *Schedule, now sdk.Time) (plan, error) {
	t, err := ticksOf(s)
	if err != nil {
		return plan{}, err
	}
	most := 1
	if s.Missed == sdk.MissedAll {
		most = maxCatchUp
	}
	p := plan{}
	if p.fire, err = latest(t, s.NextAt, now, most); err != nil {
		return plan{}, err
	}
	if p.next, err = t.next(now); err != nil {
		return plan{}, err
	}
	if s.At > 0 {
		p.fire = []sdk.Time{s.At} // it may be due again, because its queue was full
	}
	if newest := p.fire[len(p.fire)-1]; s.Missed == sdk.MissedSkip && now.Sub(newest) >= onTime {
		p.fire = nil
	}
	return p, nil
}

// latest returns the newest ticks from first to now, at most n of them. It looks
// into the past in growing steps, since there may be years of ticks every second.
func latest(t ticks, first, now sdk.Time, n int) ([]sdk.Time, error) {
	for back := time.Minute; ; back *= 2 {
		from := max(first, now.Add(-back))
		var found []sdk.Time
		for at := from - 1; ; {
			next, err := t.next(at)
			if err != nil {
				return nil, err
			}
			if next == 0 || next > now {
				break
			}
			found = append(found, next)
			at = next
		}
		if len(found) >= n {
			return found[len(found)-n:], nil
		}
		if from == first {
			if len(found) == 0 { // the zone's rules have changed since
				found = []sdk.Time{first}
			}
			return found, nil
		}
	}
}
