package api

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"

	"github.com/danielgtaylor/huma/v2"

	"github.com/nagatha/nagatha-runtime/runtime"
	"github.com/nagatha/nagatha-runtime/sdk"
)

// scheduleRequest is documentation: the body is read by fields.
type scheduleRequest struct {
	Name        string            `json:"name" doc:"A lower-case name of its own." example:"nightly-report"`
	Cron        string            `json:"cron,omitempty" doc:"5 fields, or 6 with seconds first. Give one of cron, every and at." example:"30 8 * * MON-FRI"`
	Zone        string            `json:"zone,omitempty" doc:"The IANA time zone of cron; default UTC." example:"Europe/Berlin"`
	Every       sdk.Duration      `json:"every,omitempty" doc:"At least 1s."`
	At          sdk.Time          `json:"at,omitempty" doc:"One moment, in the future."`
	Kind        string            `json:"kind"`
	Payload     json.RawMessage   `json:"payload,omitempty"`
	Queue       string            `json:"queue,omitempty"`
	Priority    int               `json:"priority,omitempty" minimum:"-100" maximum:"100"`
	Timeout     sdk.Duration      `json:"timeout,omitempty"`
	MaxAttempts int               `json:"max_attempts,omitempty"`
	Missed      sdk.MissedPolicy  `json:"missed,omitempty" enum:"once,skip,all" default:"once" doc:"What becomes of ticks that passed while nothing ran; all: at most 100."`
	Overlap     sdk.OverlapPolicy `json:"overlap,omitempty" enum:"skip,allow,cancel_previous" doc:"What a tick does while a task of an earlier one has not ended; default skip, or allow with missed all."`
	Jitter      sdk.Duration      `json:"jitter,omitempty" doc:"Each task starts up to this much later, at random."`
	Paused      bool              `json:"paused,omitempty"`
}

// schedule takes the definition of a schedule. What was read may be written back,
// so what a client cannot set is passed over.
func (f *fields) schedule() sdk.Schedule {
	s := sdk.Schedule{
		Name: f.required("name"), Cron: f.text("cron"), Zone: f.text("zone"), Every: f.duration("every"), At: f.time("at"),
		Kind: f.required("kind"), Queue: f.text("queue"), Priority: f.number("priority"), Timeout: f.timeout("timeout"),
		MaxAttempts: f.atLeastOne("max_attempts"), Missed: sdk.MissedPolicy(f.text("missed")), Overlap: sdk.OverlapPolicy(f.text("overlap")),
		Jitter: f.duration("jitter"), Paused: f.flag("paused"),
	}
	if payload, ok := f.raw("payload"); ok {
		s.Payload = payload
	}
	for _, name := range []string{"id", "next_at", "last_at", "last_task", "error", "source"} {
		f.raw(name)
	}
	return s
}

func (s *Server) routeSchedules(api huma.API) {
	tags := []string{"schedules"}
	handle(s, api, huma.Operation{OperationID: "list-schedules", Method: http.MethodGet, Path: "/schedules", Tags: tags,
		Summary: "List schedules"}, s.getSchedules)

	create := huma.Operation{OperationID: "create-schedule", Method: http.MethodPost, Path: "/schedules", Tags: tags,
		DefaultStatus: http.StatusCreated, Summary: "Make a schedule", Description: "Kind, queue and payload are checked as for a task."}
	withBody[scheduleRequest](s, api, &create, true, "application/json")
	handle(s, api, create, s.postSchedule)

	handle(s, api, huma.Operation{OperationID: "get-schedule", Method: http.MethodGet, Path: "/schedules/{id}", Tags: tags,
		Summary: "Get a schedule"}, s.getSchedule)

	replace := huma.Operation{OperationID: "replace-schedule", Method: http.MethodPut, Path: "/schedules/{id}", Tags: tags,
		Summary: "Give a schedule another definition", Description: "What the body leaves out gets its default. Schedules of config.hcl are read-only."}
	withBody[scheduleRequest](s, api, &replace, true, "application/json")
	handle(s, api, replace, s.putSchedule)

	handle(s, api, huma.Operation{OperationID: "delete-schedule", Method: http.MethodDelete, Path: "/schedules/{id}", Tags: tags,
		DefaultStatus: http.StatusNoContent, Summary: "Delete a schedule", Description: "Its tasks stay. Schedules of config.hcl are read-only."}, s.deleteSchedule)

	for _, act := range []struct {
		verb, summary, text string
		do                  func(ctx context.Context, id string) (sdk.Schedule, error)
	}{
		{"pause", "Pause a schedule", "Ticks until it is resumed do not count as missed. Schedules of config.hcl are read-only.",
			func(ctx context.Context, id string) (sdk.Schedule, error) { return s.rt.PauseSchedule(ctx, id, true) }},
		{"resume", "Resume a schedule", "Schedules of config.hcl are read-only.",
			func(ctx context.Context, id string) (sdk.Schedule, error) { return s.rt.PauseSchedule(ctx, id, false) }},
		{"trigger", "Submit a task of a schedule now", "Also of a paused one and of those in config.hcl. The task is last_task of the answer; the next tick stays.",
			s.rt.TriggerSchedule},
	} {
		op := huma.Operation{OperationID: act.verb + "-schedule", Method: http.MethodPost, Path: "/schedules/{id}/" + act.verb, Tags: tags,
			Summary: act.summary, Description: act.text}
		withBody[struct{}](s, api, &op, false, "application/json")
		handle(s, api, op, func(ctx context.Context, in *scheduleInput) (*scheduleOutput, error) {
			f, err := in.fields(true)
			if err == nil {
				err = f.err()
			}
			if err != nil {
				return nil, err
			}
			return scheduleAnswer(act.do(context.WithoutCancel(ctx), in.ID))
		})
	}
}

// ScheduleID is the id in a path.
type ScheduleID struct {
	ID string `path:"id" doc:"A schedule's id or name." example:"sch_01jd"`
}

type scheduleInput struct {
	ScheduleID
	body
}

type scheduleOutput struct {
	Location string `header:"Location" doc:"Where a new schedule is."`
	Body     sdk.Schedule
}

func scheduleAnswer(one sdk.Schedule, err error) (*scheduleOutput, error) {
	if err != nil {
		return nil, err
	}
	return &scheduleOutput{Body: one}, nil
}

type schedulesInput struct {
	Source string `query:"source" enum:"config,api" doc:"Those of config.hcl, or the others."`
	Limit  int    `query:"limit" minimum:"1" maximum:"1000" default:"50"`
	Cursor string `query:"cursor" doc:"next_cursor of the page before."`
}

type scheduleList struct {
	Schedules  []sdk.Schedule `json:"schedules"`
	NextCursor string         `json:"next_cursor"`
}

type schedulesOutput struct {
	Link string `header:"Link" doc:"rel=next: the next page."`
	Body scheduleList
}

func (s *Server) getSchedules(ctx context.Context, in *schedulesInput) (*schedulesOutput, error) {
	page, next, err := s.rt.Schedules(ctx, runtime.ScheduleFilter{Source: sdk.ScheduleSource(in.Source), After: in.Cursor, Limit: in.Limit})
	if err != nil {
		return nil, err
	}
	return &schedulesOutput{nextLink("/schedules", next, url.Values{"source": {in.Source}, "limit": {strconv.Itoa(in.Limit)}}), scheduleList{page, next}}, nil
}

func (s *Server) getSchedule(ctx context.Context, in *ScheduleID) (*scheduleOutput, error) {
	return scheduleAnswer(s.rt.Schedule(ctx, in.ID))
}

type createInput struct{ body }

func (s *Server) postSchedule(ctx context.Context, in *createInput) (*scheduleOutput, error) {
	f, err := in.fields(false)
	if err != nil {
		return nil, err
	}
	def := f.schedule()
	if err := f.err(); err != nil {
		return nil, err
	}
	out, err := scheduleAnswer(s.rt.CreateSchedule(context.WithoutCancel(ctx), owner(ctx), def))
	if err == nil {
		out.Location = apiPath + "/schedules/" + out.Body.ID
	}
	return out, err
}

func (s *Server) putSchedule(ctx context.Context, in *scheduleInput) (*scheduleOutput, error) {
	f, err := in.fields(false)
	if err != nil {
		return nil, err
	}
	def := f.schedule()
	if err := f.err(); err != nil {
		return nil, err
	}
	return scheduleAnswer(s.rt.ReplaceSchedule(context.WithoutCancel(ctx), in.ID, def))
}

func (s *Server) deleteSchedule(ctx context.Context, in *ScheduleID) (*struct{}, error) {
	if err := s.rt.DeleteSchedule(context.WithoutCancel(ctx), in.ID); err != nil {
		return nil, err
	}
	return nil, nil
}
