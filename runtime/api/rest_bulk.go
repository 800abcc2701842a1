package api

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/nagatha/nagatha-runtime/runtime"
	"github.com/nagatha/nagatha-runtime/sdk"
)

func (s *Server) routeBulk(api huma.API) {
	bulk := huma.Operation{OperationID: "bulk-tasks", Method: http.MethodPost, Path: "/tasks/bulk", Tags: []string{"tasks"},
		Summary:     "Cancel, retry or delete every task that a filter selects",
		Description: "With dry_run nothing is changed; with expected_count nothing is changed unless the filter selects that many."}
	withBody[bulkRequest](s, api, &bulk, true, "application/json")
	handle(s, api, bulk, s.postBulk)
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
