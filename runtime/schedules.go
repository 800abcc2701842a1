package runtime

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/nagatha/nagatha-runtime/sdk"
)

// What a schedule may be.
const (
	minEvery        = time.Second
	maxJitter       = day
	maxScheduleName = 100
	schedulePrefix  = "sch_"
	configOwner     = "config" // of the tasks of schedules in config.hcl
)

// CreateSchedule makes a schedule of the api's. Everything about it is checked as
// a submit is. owner is whose tasks it submits.
func (r *Runtime) CreateSchedule(ctx context.Context, owner string, in sdk.Schedule) (sdk.Schedule, error) {
	now := sdk.Now()
	s := Schedule{Schedule: in, Owner: owner, Since: now}
	s.ID, s.Source = newID(schedulePrefix), sdk.SourceAPI
	if err := r.checkSchedule(&s.Schedule, now); err != nil {
		return sdk.Schedule{}, err
	}
	if err := s.begin(now); err != nil {
		return sdk.Schedule{}, err
	}
	ok, err := r.store.PutSchedule(ctx, s)
	if err == nil && !ok {
		err = sdk.Errorf(sdk.CodeConflict, "there is a schedule %q already; choose another name", s.Name)
	}
	if err != nil {
		return sdk.Schedule{}, err
	}
	r.reschedule()
	return s.Schedule, nil
}

// ReplaceSchedule changes what a schedule of the api's is. A tick that passed
// before stays past, and intervals go on from the last one.
func (r *Runtime) ReplaceSchedule(ctx context.Context, id string, in sdk.Schedule) (sdk.Schedule, error) {
	return r.changeSchedule(ctx, id, func(s *Schedule, now sdk.Time) error {
		if err := r.checkSchedule(&in, now); err != nil {
			return err
		}
		return s.replace(in, now)
	})
}

// PauseSchedule stops a schedule of the api's, or lets it go on: ticks in between
// are not missed, there are none.
func (r *Runtime) PauseSchedule(ctx context.Context, id string, pause bool) (sdk.Schedule, error) {
	return r.changeSchedule(ctx, id, func(s *Schedule, now sdk.Time) error {
		if s.Paused == pause {
			return nil
		}
		s.Paused = pause
		return s.begin(now)
	})
}

// DeleteSchedule forgets a schedule of the api's. Its tasks stay.
func (r *Runtime) DeleteSchedule(ctx context.Context, id string) error {
	s, err := r.schedule(ctx, id)
	if err == nil {
		err = writable(&s)
	}
	if err != nil {
		return err
	}
	return r.store.DeleteSchedule(ctx, s.ID)
}

// TriggerSchedule submits a task of a schedule now, whatever its ticks, its other
// tasks and whether it is paused. The task is the LastTask of what it returns.
func (r *Runtime) TriggerSchedule(ctx context.Context, id string) (sdk.Schedule, error) {
	select {
	case <-r.draining:
		return sdk.Schedule{}, sdk.Errorf(sdk.CodeUnavailable, "the runtime is shutting down; trigger it again when it is back")
	default:
	}
	for range maxContest {
		s, err := r.schedule(ctx, id)
		if err != nil {
			return sdk.Schedule{}, err
		}
		now := sdk.Now()
		sub := submissionOf(&s.Schedule)
		task, fault := r.newTask(s.Owner, &sub, now)
		if fault != nil {
			return sdk.Schedule{}, fault
		}
		task.Task.Schedule = s.ID
		done, err := r.store.Tick(ctx, TickRequest{ID: s.ID, Version: s.Version, Now: now, Next: s.NextAt, Overlap: sdk.OverlapAllow, Tasks: []NewTask{task}})
		if err != nil {
			return sdk.Schedule{}, err
		}
		if done.Won {
			s.LastTask, s.Error = task.Task.ID, ""
			return s.Schedule, nil
		}
	}
	return sdk.Schedule{}, contested(id)
}

// Schedules lists schedules in the order of their ids. Next is the cursor of the
// next page, or "".
func (r *Runtime) Schedules(ctx context.Context, f ScheduleFilter) (page []sdk.Schedule, next string, err error) {
	if f.Limit == 0 {
		f.Limit = 50
	}
	if f.Limit < 1 || f.Limit > 1000 {
		return nil, "", sdk.Invalid("limit", "want 1 to 1000, not %d", f.Limit)
	}
	if f.After != "" && !strings.HasPrefix(f.After, schedulePrefix) {
		return nil, "", sdk.Errorf(sdk.CodeBadCursor, "%.80q is no cursor: send the next_cursor of the page before", f.After)
	}
	f.Limit++
	list, err := r.store.Schedules(ctx, f)
	if err != nil {
		return nil, "", err
	}
	if len(list) == f.Limit {
		list = list[:f.Limit-1]
		next = list[len(list)-1].ID
	}
	page = make([]sdk.Schedule, len(list))
	for i := range list {
		page[i] = list[i].Schedule
	}
	return page, next, nil
}

// Schedule returns the schedule with this id or name, or CodeNotFound.
func (r *Runtime) Schedule(ctx context.Context, id string) (sdk.Schedule, error) {
	s, err := r.schedule(ctx, id)
	return s.Schedule, err
}

func (r *Runtime) schedule(ctx context.Context, id string) (Schedule, error) {
	if id == "" || !cleanText(id) {
		return Schedule{}, noSchedule(id)
	}
	list, err := r.store.Schedules(ctx, ScheduleFilter{ID: id, Limit: 1})
	if err == nil && len(list) == 0 {
		err = noSchedule(id)
	}
	if err != nil {
		return Schedule{}, err
	}
	return list[0], nil
}

func noSchedule(id string) *sdk.Error {
	return sdk.Errorf(sdk.CodeNotFound, "there is no schedule %.80q", id)
}

// maxContest is how often a change begins anew because the schedule was changed,
// or ticked, since it was read.
const maxContest = 10

func contested(id string) *sdk.Error {
	return &sdk.Error{Code: sdk.CodeUnavailable, Message: fmt.Sprintf("schedule %.80q is being changed by others; try again", id), Retryable: true}
}

func (r *Runtime) changeSchedule(ctx context.Context, id string, change func(*Schedule, sdk.Time) error) (sdk.Schedule, error) {
	for range maxContest {
		s, err := r.schedule(ctx, id)
		if err == nil {
			err = writable(&s)
		}
		if err == nil {
			err = change(&s, sdk.Now())
		}
		if err != nil {
			return sdk.Schedule{}, err
		}
		ok, err := r.store.PutSchedule(ctx, s)
		if err != nil {
			return sdk.Schedule{}, err
		}
		if ok {
			r.reschedule()
			return s.Schedule, nil
		}
	}
	return sdk.Schedule{}, contested(id)
}

func writable(s *Schedule) error {
	if s.Source == sdk.SourceConfig {
		return sdk.Errorf(sdk.CodeConflict, "schedule %q is defined in config.hcl and can only be changed there", s.Name)
	}
	return nil
}

// begin works out the next tick of a new, changed or resumed schedule.
func (s *Schedule) begin(now sdk.Time) error {
	s.NextAt = 0
	if s.Paused {
		return nil
	}
	t, err := ticksOf(s)
	if err == nil {
		s.NextAt, err = t.next(max(now, s.LastAt))
	}
	if err != nil {
		return sdk.Invalid("cron", "%v", err)
	}
	return nil
}

// replace gives a schedule another definition. Where its ticks stay the same, the
// next one does too.
func (s *Schedule) replace(in sdk.Schedule, now sdk.Time) error {
	same := s.Cron == in.Cron && s.Zone == in.Zone && s.Every == in.Every && s.At == in.At && s.Paused == in.Paused
	if in.Every != s.Every {
		s.Since = now
		if s.LastAt > 0 {
			s.Since = s.LastAt
		}
	}
	in.ID, in.Source, in.NextAt, in.LastAt, in.LastTask, in.Error = s.ID, s.Source, s.NextAt, s.LastAt, s.LastTask, ""
	s.Schedule = in
	if same {
		return nil
	}
	return s.begin(now)
}

// checkSchedule checks a definition and fills in what it leaves open.
func (r *Runtime) checkSchedule(s *sdk.Schedule, now sdk.Time) error {
	if !sdk.ValidKind(s.Name+".x") || len(s.Name) > maxScheduleName || strings.HasPrefix(s.Name, schedulePrefix) || strings.Contains(s.Name, ".") {
		return sdk.Invalid("name", "%.110q: want a lower-case name of at most %d letters, digits, - and _, such as \"nightly-report\"", s.Name, maxScheduleName)
	}
	if err := checkTicks(s, now); err != nil {
		return err
	}
	if s.Missed == "" {
		s.Missed = sdk.MissedOnce
	}
	switch {
	case s.Overlap == "" && s.Missed == sdk.MissedAll:
		s.Overlap = sdk.OverlapAllow
	case s.Overlap == "":
		s.Overlap = sdk.OverlapSkip
	}
	switch {
	case s.Missed != sdk.MissedOnce && s.Missed != sdk.MissedSkip && s.Missed != sdk.MissedAll:
		return sdk.Invalid("missed", "want \"once\", \"skip\" or \"all\", not %.40q", s.Missed)
	case s.Overlap != sdk.OverlapSkip && s.Overlap != sdk.OverlapAllow && s.Overlap != sdk.OverlapCancel:
		return sdk.Invalid("overlap", "want \"skip\", \"allow\" or \"cancel_previous\", not %.40q", s.Overlap)
	case s.Missed == sdk.MissedAll && s.Overlap != sdk.OverlapAllow:
		return sdk.Invalid("overlap", "with missed \"all\" want \"allow\": the tasks of missed ticks come at once")
	case s.Jitter < 0 || s.Jitter.Std() > maxJitter:
		return sdk.Invalid("jitter", "want 0s to %s", sdk.Duration(maxJitter))
	}
	sub := submissionOf(s)
	task, err := r.newTask("", &sub, now)
	if err != nil {
		return err
	}
	s.Payload = task.Task.Payload
	return nil
}

func checkTicks(s *sdk.Schedule, now sdk.Time) error {
	given := 0
	for _, is := range []bool{s.Cron != "", s.Every != 0, s.At != 0} {
		if is {
			given++
		}
	}
	switch {
	case given != 1:
		return sdk.Invalid("cron", "give one of cron, every and at")
	case s.Zone != "" && s.Cron == "":
		return sdk.Invalid("zone", "goes with cron; at says its own offset, and every needs none")
	case s.Every != 0 && (s.Every.Std() < minEvery || s.Every.Std() > maxAhead || s.Every.Std()%time.Millisecond != 0):
		return sdk.Invalid("every", "want %s to 10 years in whole milliseconds, not %s", sdk.Duration(minEvery), s.Every)
	case s.At != 0 && s.At > now.Add(maxAhead):
		return sdk.Invalid("at", "is more than 10 years ahead")
	case s.At != 0 && s.At <= now && s.Source != sdk.SourceConfig:
		return sdk.Invalid("at", "%s is past", s.At)
	}
	if s.Cron == "" {
		return nil
	}
	if _, err := loadZone(s.Zone); err != nil {
		return sdk.Invalid("zone", "%v", err)
	}
	if err := CheckCron(s.Cron, s.Zone); err != nil {
		return sdk.Invalid("cron", "%v", err)
	}
	return nil
}

// syncSchedules makes the store's schedules of the configuration those of this
// configuration. One that did not change is not touched, so nodes with the same
// file leave each other's alone.
func (r *Runtime) syncSchedules(ctx context.Context) error {
	if r.cfg.Schedules == nil {
		return nil
	}
	for range maxContest {
		list, err := r.store.Schedules(ctx, ScheduleFilter{Source: sdk.SourceConfig})
		if err != nil {
			return err
		}
		kept := make(map[string]Schedule, len(list))
		for _, s := range list {
			kept[s.ID] = s
		}
		lost := false
		for _, in := range r.cfg.Schedules {
			s, changed, err := r.configured(kept, in)
			if err != nil {
				return fmt.Errorf("schedule %q of the configuration: %w", in.Name, err)
			}
			delete(kept, s.ID)
			if changed {
				ok, err := r.store.PutSchedule(ctx, s)
				if err != nil {
					return fmt.Errorf("keep schedule %q: %w", in.Name, err)
				}
				lost = lost || !ok
			}
		}
		for id, s := range kept {
			r.log.Info("a schedule is not in the configuration any more", "schedule", s.Name)
			if err := r.store.DeleteSchedule(ctx, id); err != nil {
				return fmt.Errorf("forget schedule %q: %w", s.Name, err)
			}
		}
		if !lost {
			return nil
		}
	}
	return contested("of the configuration")
}

// configured is a schedule of the configuration as it is to be kept.
func (r *Runtime) configured(kept map[string]Schedule, in sdk.Schedule) (s Schedule, changed bool, err error) {
	now := sdk.Now()
	in.Source = sdk.SourceConfig
	if err := r.checkSchedule(&in, now); err != nil {
		// A schema may have changed since the file was good; a tick will say so.
		r.log.Warn("a schedule of the configuration is not good; its ticks will fail", "schedule", in.Name, "error", err)
	}
	if len(in.Payload) == 0 {
		in.Payload = json.RawMessage(`{}`)
	}
	in.ID = schedulePrefix + in.Name
	s, known := kept[in.ID]
	if !known {
		s = Schedule{Schedule: in, Owner: configOwner, Since: now}
		err := s.begin(now)
		return s, true, err
	}
	if sameDefinition(&s.Schedule, &in) {
		return s, false, nil
	}
	err = s.replace(in, now)
	return s, true, err
}

func sameDefinition(a, b *sdk.Schedule) bool {
	return a.Cron == b.Cron && a.Zone == b.Zone && a.Every == b.Every && a.At == b.At && a.Kind == b.Kind && bytes.Equal(a.Payload, b.Payload) &&
		a.Queue == b.Queue && a.Priority == b.Priority && a.Timeout == b.Timeout && a.MaxAttempts == b.MaxAttempts && a.Missed == b.Missed &&
		a.Overlap == b.Overlap && a.Jitter == b.Jitter && a.Paused == b.Paused
}
