package main

import (
	"context"
	"encoding/json"
	"errors"

	"github.com/nagatha/nagatha-runtime/sdk"
)

// between is a plugin whose host calls f before each operation. errCut cuts the
// attempt there; errAfter lets the operation happen, and cuts it then.
type between struct {
	sdk.Plugin
	f func(op string) error
}

var errAfter = errors.New("cut after it")

func (b between) Handle(ctx context.Context, task *sdk.Task, host sdk.Host) (json.RawMessage, error) {
	return b.Plugin.Handle(ctx, task, cutHost{host, b.f})
}

type cutHost struct {
	sdk.Host
	f func(op string) error
}

func (h cutHost) Call(ctx context.Context, op string, request []byte) ([]byte, error) {
	switch err := h.f(op); {
	case errors.Is(err, errAfter):
		_, _ = h.Host.Call(ctx, op, request)
		return nil, err
	case err != nil:
		return nil, err
	}
	return h.Host.Call(ctx, op, request)
}
