package client

import (
	"context"
	"iter"

	"github.com/nagatha/nagatha-runtime/sdk"
)

// Follow returns everything about a task until it has ended: from its start, or
// from a cursor. An error comes last.
func (c *Conn) Follow(ctx context.Context, id, from string) iter.Seq2[Notification, error] {
	return func(yield func(Notification, error) bool) {
		s, err := c.Subscribe(ctx, SubscribeRequest{Task: id, From: from})
		if err != nil {
			yield(Notification{}, err)
			return
		}
		defer func() { _ = s.Close() }() // never fails
		for n, err := range s.All(ctx) {
			if !yield(n, err) {
				return
			}
		}
	}
}

// Wait returns a task once its latest life has ended.
func (c *Conn) Wait(ctx context.Context, id string) (sdk.Task, error) {
	s, err := c.Subscribe(ctx, SubscribeRequest{Task: id, From: "now", Types: ends})
	if err != nil {
		return sdk.Task{}, err
	}
	defer func() { _ = s.Close() }() // never fails
	for _, err := range s.All(ctx) {
		if err != nil {
			return sdk.Task{}, err
		}
	}
	return c.Get(ctx, id)
}
