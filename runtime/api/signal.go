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

// Signals and approvals: what waiting tasks wait for from outside, over WebSocket
// and REST.

// signalRequest is documentation: the body is read by fields.
type signalRequest struct {
	Name string          `json:"name" doc:"What the task waits for."`
	Data json.RawMessage `json:"data,omitempty" doc:"What it gets; any JSON."`
}

func (c *conn) signalTask(req *request) {
	id, name := req.params.required("id"), req.params.required("name")
	data, _ := req.params.raw("data")
	c.aboutTask(req, id, scopeCancel, func() (any, error) {
		return struct{}{}, c.srv.rt.Signal(c.srv.ctx, id, name, data)
	})
}

func (s *Server) postSignal(ctx context.Context, in *actInput) (*taskOutput, error) {
	f, err := in.fields(false)
	if err != nil {
		return nil, err
	}
	name := f.required("name")
	data, _ := f.raw("data")
	if err := f.err(); err != nil {
		return nil, err
	}
	if err := s.forTask(ctx, sender(ctx), in.ID, scopeCancel); err != nil {
		return nil, err
	}
	if err := s.rt.Signal(context.WithoutCancel(ctx), in.ID, name, data); err != nil {
		return nil, err
	}
	task, err := s.rt.Task(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	return newTaskOutput(task), nil
}

func (c *conn) decide(req *request) {
	d := readDecision(req.params, req.params.required("id"))
	if err := req.params.err(); err != nil {
		c.reply(req, nil, err)
		return
	}
	c.spawn(req, c.calls, func() (any, error) {
		_, err := c.srv.rt.Decide(c.srv.ctx, c.who.name, d.id, d.approve, d.digest, d.comment)
		return struct{}{}, err
	})
}

// decision is what a person says to an approval.
type decision struct {
	id, digest, comment string
	approve             bool
}

func readDecision(f *fields, id string) decision {
	d := decision{id: id, comment: f.text("comment")}
	switch word := f.required("decision"); word {
	case "approve":
		d.approve = true
	case "reject", "":
	default:
		f.fail("decision", "want \"approve\" or \"reject\", not %q", clip(word))
	}
	d.digest = f.required("digest")
	return d
}

// decisionRequest is documentation: the body is read by fields.
type decisionRequest struct {
	Decision string `json:"decision" enum:"approve,reject"`
	Digest   string `json:"digest" doc:"The approval's digest: it says what was decided about."`
	Comment  string `json:"comment,omitempty"`
}

func (s *Server) routeApprovals(api huma.API) {
	tags := []string{"approvals"}
	handle(s, api, huma.Operation{OperationID: "list-approvals", Method: http.MethodGet, Path: "/approvals", Tags: tags,
		Summary: "List what waits for a person, oldest first"}, s.getApprovals)
	handle(s, api, huma.Operation{OperationID: "get-approval", Method: http.MethodGet, Path: "/approvals/{id}", Tags: tags,
		Summary: "Get an approval"}, s.getApproval)
	decide := huma.Operation{OperationID: "decide-approval", Method: http.MethodPost, Path: "/approvals/{id}/decision", Tags: tags,
		Summary: "Decide an approval, once"}
	withBody[decisionRequest](s, api, &decide, true, "application/json")
	handle(s, api, decide, s.postDecision)
}

type approvalsInput struct {
	State  string `query:"state" enum:"pending,approved,rejected,expired,withdrawn,all" default:"pending"`
	Task   string `query:"task" doc:"A task's id: its approvals."`
	Limit  int    `query:"limit" minimum:"1" maximum:"1000" default:"50"`
	Cursor string `query:"cursor" doc:"next_cursor of the page before."`
}

type approvalList struct {
	Approvals  []sdk.Approval `json:"approvals"`
	NextCursor string         `json:"next_cursor"`
}

type approvalsOutput struct {
	Link string `header:"Link" doc:"rel=next: the next page."`
	Body approvalList
}

func (s *Server) getApprovals(ctx context.Context, in *approvalsInput) (*approvalsOutput, error) {
	f := runtime.ApprovalFilter{State: sdk.ApprovalState(in.State), Task: in.Task, After: in.Cursor, Limit: in.Limit}
	if in.State == "all" {
		f.State = ""
	}
	page, next, err := s.rt.Approvals(ctx, f)
	if err != nil {
		return nil, err
	}
	params := url.Values{"state": {in.State}, "task": {in.Task}, "limit": {strconv.Itoa(in.Limit)}}
	return &approvalsOutput{nextLink("/approvals", next, params), approvalList{page, next}}, nil
}

// ApprovalID is the id in a path.
type ApprovalID struct {
	ID string `path:"id" doc:"An approval's id." example:"apr_01jd"`
}

func (s *Server) getApproval(ctx context.Context, in *ApprovalID) (*approvalOutput, error) {
	a, err := s.rt.Approval(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	return &approvalOutput{a}, nil
}

type decisionInput struct {
	ApprovalID
	body
}

type approvalOutput struct{ Body sdk.Approval }

func (s *Server) postDecision(ctx context.Context, in *decisionInput) (*approvalOutput, error) {
	f, err := in.fields(false)
	if err != nil {
		return nil, err
	}
	d := readDecision(f, in.ID)
	if err := f.err(); err != nil {
		return nil, err
	}
	a, err := s.rt.Decide(context.WithoutCancel(ctx), owner(ctx), d.id, d.approve, d.digest, d.comment)
	if err != nil {
		return nil, err
	}
	return &approvalOutput{a}, nil
}
