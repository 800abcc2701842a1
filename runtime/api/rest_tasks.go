package api

import (
	"context"
	"net/http"
	"net/url"
	"reflect"
	"strconv"

	"github.com/danielgtaylor/huma/v2"

	"github.com/nagatha/nagatha-runtime/runtime"
	"github.com/nagatha/nagatha-runtime/sdk"
)

// taskOutput is a task with the headers that go with it.
type taskOutput struct {
	Status int
	ETag   string `header:"ETag" doc:"Changes whenever the task does."`
	Body   sdk.Task
}

// submitOutput is a task with those of a submit.
type submitOutput struct {
	Status   int
	Location string `header:"Location" doc:"Where the task is."`
	ETag     string `header:"ETag" doc:"Changes whenever the task does."`
	Replayed string `header:"Idempotency-Replayed" doc:"true where the idempotency key had been used and the task is that one."`
	Body     sdk.Task
}

func newTaskOutput(t sdk.Task) *taskOutput {
	return &taskOutput{Status: http.StatusOK, ETag: etag(&t), Body: t}
}

// TaskID is the id in a path.
type TaskID struct {
	ID string `path:"id" doc:"A task's id." example:"tsk_01jd"`
}

func (s *Server) routeTasks(api huma.API) {
	tags := []string{"tasks"}

	submit := huma.Operation{OperationID: "submit-task", Method: http.MethodPost, Path: "/tasks", Tags: tags,
		DefaultStatus: http.StatusAccepted, Summary: "Submit a task",
		Description: "202 with the task, which is durable from then on; with wait, 200 once it has ended."}
	task := api.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[sdk.Task](), true, "Task")
	submit.Responses = map[string]*huma.Response{"200": {Description: "The task has ended (with wait)",
		Content: map[string]*huma.MediaType{"application/json": {Schema: task}}}}
	withBody[sdk.Submission](s, api, &submit, true, "application/json")
	handle(s, api, submit, s.postTask)

	batch := huma.Operation{OperationID: "submit-tasks", Method: http.MethodPost, Path: "/tasks/batch", Tags: tags,
		Summary: "Submit up to 1,000 tasks in one commit", Description: "The results are in order; one task's error leaves the others."}
	withBody[batchRequest](s, api, &batch, true, "application/json")
	handle(s, api, batch, s.postBatch)

	handle(s, api, huma.Operation{OperationID: "list-tasks", Method: http.MethodGet, Path: "/tasks", Tags: tags,
		Summary: "List tasks, newest first"}, s.getTasks)
	handle(s, api, huma.Operation{OperationID: "get-task", Method: http.MethodGet, Path: "/tasks/{id}", Tags: tags,
		Summary: "Get a task", Responses: map[string]*huma.Response{"304": {Description: "The task is as If-None-Match knows it"}}}, s.getTask)

	cancel := huma.Operation{OperationID: "cancel-task", Method: http.MethodPost, Path: "/tasks/{id}/cancel", Tags: tags,
		Summary: "Cancel a task", Description: "Answers at once, perhaps while it is still running. A task that has ended stays as it is."}
	withBody[cancelRequest](s, api, &cancel, false, "application/json")
	handle(s, api, cancel, s.postCancel)

	retry := huma.Operation{OperationID: "retry-task", Method: http.MethodPost, Path: "/tasks/{id}/retry", Tags: tags,
		Summary: "Open a new life of a failed or cancelled task"}
	withBody[struct{}](s, api, &retry, false, "application/json")
	handle(s, api, retry, s.postRetry)

	signal := huma.Operation{OperationID: "signal-task", Method: http.MethodPost, Path: "/tasks/{id}/signal", Tags: tags,
		Summary: "Send a signal to a task", Description: "A task that waits for it goes on; otherwise it is kept until the task asks for it."}
	withBody[signalRequest](s, api, &signal, true, "application/json")
	handle(s, api, signal, s.postSignal)
}

type submitInput struct {
	WaitParam
	Key string `header:"Idempotency-Key" doc:"A submit with the same key and body returns the same task."`
	body
}

func (s *Server) postTask(ctx context.Context, in *submitInput) (*submitOutput, error) {
	wait, err := in.duration()
	if err != nil {
		return nil, err
	}
	f, err := in.fields(false)
	if err != nil {
		return nil, err
	}
	sub := f.submission()
	if in.Key != "" {
		if sub.IdempotencyKey != "" && sub.IdempotencyKey != in.Key {
			f.fail("idempotency_key", "differs from the Idempotency-Key header; send one of them")
		}
		sub.IdempotencyKey = in.Key
	}
	if err := f.err(); err != nil {
		return nil, err
	}
	if bad := s.forSubmit(sender(ctx), sub.Kind); bad != nil {
		return nil, bad
	}
	// Submitting goes on when the client goes away: it may not see the
	// answer, but asks again under its key.
	done, err := s.submit(context.WithoutCancel(ctx), sender(ctx), []sdk.Submission{sub})
	if err != nil {
		return nil, err
	}
	if bad := done[0].Err; bad != nil {
		p := newProblem(bad)
		if bad.Code == sdk.CodeConflict {
			p.Status = http.StatusUnprocessableEntity // the key was used with another body
		}
		s.metrics.failed(bad.Code)
		return nil, p
	}
	task := done[0].Task
	if wait > 0 && !task.State.Terminal() {
		if task, err = s.awaitEnd(ctx, task.ID, wait); err != nil {
			return nil, err
		}
	}
	out := &submitOutput{Status: http.StatusOK, Location: apiPath + "/tasks/" + url.PathEscape(task.ID), ETag: etag(&task), Body: task}
	if wait == 0 || !task.State.Terminal() {
		out.Status = http.StatusAccepted
	}
	if done[0].Duplicate && sub.IdempotencyKey != "" {
		out.Replayed = "true"
	}
	return out, nil
}

// batchRequest is documentation: the body is read by fields.
type batchRequest struct {
	Tasks []sdk.Submission `json:"tasks" maxItems:"1000"`
}

type batchInput struct{ body }

type batchOutput struct{ Body manyResult }

func (s *Server) postBatch(ctx context.Context, in *batchInput) (*batchOutput, error) {
	f, err := in.fields(false)
	if err != nil {
		return nil, err
	}
	subs, bad := f.submissions(s.cfg.Limits.FrameBytes)
	if err := f.err(); err != nil {
		return nil, err
	}
	var good []sdk.Submission
	for i := range subs {
		if bad[i] == nil {
			bad[i] = s.forSubmit(sender(ctx), subs[i].Kind)
		}
		if bad[i] == nil {
			good = append(good, subs[i])
		}
	}
	var done []runtime.Submitted
	if len(good) > 0 {
		if done, err = s.submit(context.WithoutCancel(ctx), sender(ctx), good); err != nil {
			return nil, err
		}
	}
	return &batchOutput{newManyResult(bad, done, s.cfg.Limits.FrameBytes)}, nil
}

type listInput struct {
	State    []string `query:"state,explode" doc:"Any of these states." example:"queued"`
	Kind     []string `query:"kind,explode" doc:"Any of these kinds; mcp.* is all of a plugin." example:"mcp.*"`
	Queue    string   `query:"queue"`
	Label    []string `query:"label,explode" doc:"key=value; all must match." example:"team=ops"`
	Parent   string   `query:"parent" doc:"A task's id: its children."`
	Schedule string   `query:"schedule" doc:"A schedule's id: its tasks."`
	Q        string   `query:"q" doc:"A part of the id, kind, error or a label's value."`
	Limit    int      `query:"limit" minimum:"1" maximum:"1000" default:"50"`
	Cursor   string   `query:"cursor" doc:"next_cursor of the page before."`
}

type listOutput struct {
	Link string `header:"Link" doc:"rel=next: the next page."`
	Body taskList
}

func (s *Server) getTasks(ctx context.Context, in *listInput) (*listOutput, error) {
	f := runtime.TaskFilter{Kinds: in.Kind, Queue: in.Queue, Labels: in.Label, Parent: in.Parent,
		Schedule: in.Schedule, Query: in.Q, Limit: in.Limit, Cursor: in.Cursor}
	for _, state := range in.State {
		f.States = append(f.States, sdk.State(state))
	}
	page, err := s.list(ctx, f)
	if err != nil {
		return nil, err
	}
	params := url.Values{"state": in.State, "kind": in.Kind, "label": in.Label, "queue": {in.Queue}, "parent": {in.Parent},
		"schedule": {in.Schedule}, "q": {in.Q}, "limit": {strconv.Itoa(in.Limit)}}
	return &listOutput{nextLink("/tasks", page.NextCursor, params), page}, nil
}

type getInput struct {
	TaskID
	WaitParam
	IfNoneMatch string `header:"If-None-Match" doc:"An ETag; 304 while the task has not changed."`
}

func (s *Server) getTask(ctx context.Context, in *getInput) (*taskOutput, error) {
	wait, err := in.duration()
	if err != nil {
		return nil, err
	}
	if err := s.forTask(ctx, sender(ctx), in.ID, scopeRead); err != nil {
		return nil, err
	}
	task, err := s.rt.Task(ctx, in.ID)
	if err == nil && wait > 0 && !task.State.Terminal() {
		task, err = s.awaitEnd(ctx, in.ID, wait)
	}
	if err != nil {
		return nil, err
	}
	out := newTaskOutput(task)
	if names(in.IfNoneMatch, out.ETag) {
		out.Status = http.StatusNotModified
	}
	return out, nil
}

// cancelRequest is documentation: the body is read by fields.
type cancelRequest struct {
	Mode   string `json:"mode,omitempty" enum:"graceful,force" doc:"force ends the attempt without a grace."`
	Reason string `json:"reason,omitempty"`
}

type actInput struct {
	TaskID
	body
}

func (s *Server) postCancel(ctx context.Context, in *actInput) (*taskOutput, error) {
	f, err := in.fields(true)
	if err != nil {
		return nil, err
	}
	force, reason := cancelMode(f), f.text("reason")
	if err := f.err(); err != nil {
		return nil, err
	}
	if err := s.forTask(ctx, sender(ctx), in.ID, scopeCancel); err != nil {
		return nil, err
	}
	task, err := s.rt.Cancel(context.WithoutCancel(ctx), in.ID, force, reason)
	if err != nil {
		return nil, err
	}
	return newTaskOutput(task), nil
}

func (s *Server) postRetry(ctx context.Context, in *actInput) (*taskOutput, error) {
	f, err := in.fields(true)
	if err == nil {
		err = f.err()
	}
	if err != nil {
		return nil, err
	}
	if err := s.forTask(ctx, sender(ctx), in.ID, scopeCancel); err != nil {
		return nil, err
	}
	task, err := s.rt.Retry(context.WithoutCancel(ctx), in.ID)
	if err != nil {
		return nil, err
	}
	return newTaskOutput(task), nil
}
