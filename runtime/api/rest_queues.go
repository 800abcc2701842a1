package api

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/nagatha/nagatha-runtime/runtime"
	"github.com/nagatha/nagatha-runtime/sdk"
)

func (s *Server) routeQueues(api huma.API) {
	tags := []string{"queues"}
	handle(s, api, huma.Operation{OperationID: "list-queues", Method: http.MethodGet, Path: "/queues", Tags: tags,
		Summary: "List queues with what is in them"}, s.getQueues)
	handle(s, api, huma.Operation{OperationID: "get-queue", Method: http.MethodGet, Path: "/queues/{name}", Tags: tags,
		Summary: "Get a queue"}, s.getQueue)
	pause := huma.Operation{OperationID: "pause-queue", Method: http.MethodPost, Path: "/queues/{name}/pause", Tags: tags,
		Summary: "Start no more tasks of a queue, on every node", Description: "Running tasks go on. It stays paused over restarts."}
	withBody[struct{}](s, api, &pause, false, "application/json")
	handle(s, api, pause, func(ctx context.Context, in *queueInput) (*queueOutput, error) { return s.pause(ctx, in, true) })
	resume := huma.Operation{OperationID: "resume-queue", Method: http.MethodPost, Path: "/queues/{name}/resume", Tags: tags,
		Summary: "Let a paused queue go on"}
	withBody[struct{}](s, api, &resume, false, "application/json")
	handle(s, api, resume, func(ctx context.Context, in *queueInput) (*queueOutput, error) { return s.pause(ctx, in, false) })

	bulk := huma.Operation{OperationID: "bulk-tasks", Method: http.MethodPost, Path: "/tasks/bulk", Tags: []string{"tasks"},
		Summary:     "Cancel, retry or delete every task that a filter selects",
		Description: "With dry_run nothing is changed; with expected_count nothing is changed unless the filter selects that many."}
	withBody[bulkRequest](s, api, &bulk, true, "application/json")
	handle(s, api, bulk, s.postBulk)
}

type queueList struct {
	Queues     []sdk.QueueStatus `json:"queues"`
	NextCursor string            `json:"next_cursor" doc:"Always empty: there is one page."`
}

type queuesOutput struct{ Body queueList }

func (s *Server) getQueues(ctx context.Context, _ *struct{}) (*queuesOutput, error) {
	list, err := s.rt.QueueStatus(ctx)
	if err != nil {
		return nil, err
	}
	return &queuesOutput{queueList{Queues: list}}, nil
}

// QueueName is the name in a path.
type QueueName struct {
	Name string `path:"name" example:"default"`
}

type queueOutput struct{ Body sdk.QueueStatus }

func (s *Server) getQueue(ctx context.Context, in *QueueName) (*queueOutput, error) {
	q, err := s.rt.Queue(ctx, in.Name)
	if err != nil {
		return nil, err
	}
	return &queueOutput{q}, nil
}

type queueInput struct {
	QueueName
	body
}

func (s *Server) pause(ctx context.Context, in *queueInput, paused bool) (*queueOutput, error) {
	f, err := in.fields(true)
	if err == nil {
		err = f.err()
	}
	if err != nil {
		return nil, err
	}
	q, err := s.rt.Pause(context.WithoutCancel(ctx), in.Name, paused)
	if err != nil {
		return nil, err
	}
	return &queueOutput{q}, nil
}

// bulkRequest is documentation: the body is read by fields.
type bulkRequest struct {
	Action        string     `json:"action" enum:"cancel,retry,delete"`
	Filter        bulkFilter `json:"filter"`
	DryRun        bool       `json:"dry_run,omitempty" doc:"Only count."`
	ExpectedCount int        `json:"expected_count,omitempty" doc:"Do nothing if the filter selects another number."`
	Mode          string     `json:"mode,omitempty" enum:"graceful,force" doc:"Of a cancel."`
	Reason        string     `json:"reason,omitempty" doc:"Of a cancel."`
}

type bulkFilter struct {
	State    []string `json:"state,omitempty"`
	Kind     []string `json:"kind,omitempty" example:"mcp.*"`
	Queue    string   `json:"queue,omitempty"`
	Label    []string `json:"label,omitempty" example:"team=ops"`
	Parent   string   `json:"parent,omitempty"`
	Schedule string   `json:"schedule,omitempty"`
	Q        string   `json:"q,omitempty"`
}

type bulkInput struct{ body }

type bulkOutput struct{ Body sdk.BulkResult }

func (s *Server) postBulk(ctx context.Context, in *bulkInput) (*bulkOutput, error) {
	f, err := in.fields(false)
	if err != nil {
		return nil, err
	}
	q := runtime.BulkRequest{Action: f.required("action"), DryRun: f.flag("dry_run"), Force: cancelMode(f), Reason: f.text("reason")}
	if _, ok := f.raw("expected_count"); ok {
		n := f.number("expected_count")
		q.Expected = &n
	}
	if p := f.object("filter"); p != nil {
		q.Filter = taskFilter(p)
		p.unknown()
	} else {
		f.fail("filter", "is required")
	}
	if err := f.err(); err != nil {
		return nil, err
	}
	result, err := s.rt.Bulk(context.WithoutCancel(ctx), q)
	if err != nil {
		return nil, err
	}
	return &bulkOutput{result}, nil
}

// taskFilter takes the filters that task.list and bulk have in common.
func taskFilter(p *fields) runtime.TaskFilter {
	f := runtime.TaskFilter{
		Kinds: p.texts("kind", true), Queue: p.text("queue"), Labels: p.texts("label", true),
		Parent: p.text("parent"), Schedule: p.text("schedule"), Query: p.text("q"),
	}
	for _, s := range p.texts("state", true) {
		f.States = append(f.States, sdk.State(s))
	}
	return f
}
