package api

import (
	"context"
	"mime"
	"net/http"
	"reflect"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/nagatha/nagatha-runtime/sdk"
)

func (s *Server) routeEvents(api huma.API) {
	const path = "/tasks/{id}/events"
	handle(s, api, huma.Operation{OperationID: "task-events", Method: http.MethodGet, Path: path, Tags: []string{"events"},
		Summary: "Events of a task",
		Description: "A page as JSON, or a live stream with Accept: text/event-stream: unnamed messages are events, with the cursor as id " +
			"(Last-Event-ID resumes after it), and snapshot, live, gap and lag are named ones. The stream ends after the end event.",
		Responses: map[string]*huma.Response{"200": {Description: "A page, or the stream", Content: map[string]*huma.MediaType{
			"application/json":  {Schema: api.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[eventPage](), true, "EventPage")},
			"text/event-stream": {Schema: &huma.Schema{Type: "string"}},
		}}}},
		s.getEvents)

	publish := huma.Operation{OperationID: "publish-events", Method: http.MethodPost, Path: "/events", Tags: []string{"events"},
		DefaultStatus: http.StatusAccepted, Summary: "Publish events",
		Description: "The CloudEvents HTTP binding: structured, batch, or binary (attributes in ce- headers, the data as JSON body)."}
	withBody[eventRequest](s, api, &publish, true, structuredType, batchType, "application/json")
	handle(s, api, publish, s.postEvents)
}

type eventsInput struct {
	TaskID
	After       int64  `query:"after" minimum:"0" doc:"Events with a greater seq."`
	Limit       int    `query:"limit" minimum:"1" maximum:"1000" default:"100"`
	Accept      string `header:"Accept" doc:"text/event-stream asks for the stream."`
	LastEventID string `header:"Last-Event-ID" doc:"A cursor: where the stream goes on."`
}

type eventPage struct {
	Events    []sdk.TaskEvent `json:"events"`
	NextAfter int64           `json:"next_after" doc:"after of the next page."`
}

// eventsOutput is a page, or the stream that writes itself.
type eventsOutput struct {
	Body func(huma.Context)
}

func (s *Server) getEvents(ctx context.Context, in *eventsInput) (*eventsOutput, error) {
	if err := s.forTask(ctx, sender(ctx), in.ID, scopeRead); err != nil {
		return nil, err
	}
	if wantsStream(in.Accept) {
		return s.streamEvents(ctx, in)
	}
	events, err := s.rt.Events(ctx, in.ID, in.After, in.Limit)
	if err != nil {
		return nil, err
	}
	page := eventPage{Events: events, NextAfter: in.After}
	room := s.cfg.Limits.FrameBytes
	for i := range events {
		if room -= len(events[i].Data) + 256; room < 0 && i > 0 {
			page.Events = events[:i] // the rest is the next page's
			break
		}
		page.NextAfter = events[i].Seq
	}
	text, err := encode(page)
	if err != nil {
		return nil, err
	}
	return &eventsOutput{func(hc huma.Context) {
		hc.SetHeader("Content-Type", "application/json")
		_, _ = hc.BodyWriter().Write(append(text, '\n')) // a peer that has gone needs no answer
	}}, nil
}

// wantsStream reports whether an Accept header asks for the stream: it names it, and
// likes JSON, where it names that too, no better. What takes anything gets JSON.
func wantsStream(accept string) bool {
	var stream, page float64
	for one := range strings.SplitSeq(accept, ",") {
		mediaType, params, err := mime.ParseMediaType(one)
		if err != nil {
			continue
		}
		q := 1.0
		if v, ok := params["q"]; ok {
			if q, err = strconv.ParseFloat(v, 64); err != nil {
				continue
			}
		}
		switch mediaType {
		case "text/event-stream":
			stream = max(stream, q)
		case "application/json":
			page = max(page, q)
		}
	}
	return stream > 0 && stream >= page
}

// eventRequest is documentation: the body is read by fields.
type eventRequest struct {
	_ struct{} `additionalProperties:"true"` // attributes of the sender's own

	SpecVersion string   `json:"specversion" example:"1.0"`
	Type        string   `json:"type" example:"demo.ping" doc:"Dotted; task.* and system.* belong to the runtime."`
	ID          string   `json:"id,omitempty" doc:"Made up where it is missing."`
	Source      string   `json:"source,omitempty"`
	Subject     string   `json:"subject,omitempty"`
	Time        sdk.Time `json:"time,omitempty"`
	ContentType string   `json:"datacontenttype,omitempty" example:"application/json"`
	Data        any      `json:"data,omitempty"`
}

type publishInput struct{ body }

type publishOutput struct {
	Body struct {
		IDs []string `json:"ids"`
	}
}

func (s *Server) postEvents(ctx context.Context, in *publishInput) (*publishOutput, error) {
	if in.err != nil {
		return nil, in.err
	}
	events, err := readEvents(in.header, in.text)
	if err != nil {
		return nil, err
	}
	ids, err := s.rt.Publish(context.WithoutCancel(ctx), events)
	if err != nil {
		return nil, err
	}
	out := &publishOutput{}
	out.Body.IDs = ids
	return out, nil
}
