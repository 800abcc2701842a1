package api

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

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
}

type queueList struct {
	Queues []sdk.QueueStatus `json:"queues"`
	OnePage
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
