package client

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"

	"github.com/nagatha/nagatha-runtime/sdk"
)

// Schedules lists schedules. next is "" on the last page.
func (c *Client) Schedules(ctx context.Context, cursor string) (list []sdk.Schedule, next string, err error) {
	q := url.Values{"limit": {"1000"}}
	if cursor != "" {
		q.Set("cursor", cursor)
	}
	var r struct {
		Schedules []sdk.Schedule `json:"schedules"`
		Next      string         `json:"next_cursor"`
	}
	err = c.get(ctx, "/schedules?"+q.Encode(), &r)
	return r.Schedules, r.Next, err
}

// Schedule returns the schedule with this id or name.
func (c *Client) Schedule(ctx context.Context, id string) (sdk.Schedule, error) {
	var s sdk.Schedule
	err := c.get(ctx, schedulePath(id, ""), &s)
	return s, err
}

// CreateSchedule makes a schedule; what a client cannot set is passed over. It is
// not sent again when the line breaks: its name is taken if it was made.
func (c *Client) CreateSchedule(ctx context.Context, s sdk.Schedule) (sdk.Schedule, error) {
	if len(s.Payload) > 0 && !json.Valid(s.Payload) {
		return s, sdk.Invalid("payload", "is not JSON")
	}
	var made sdk.Schedule
	err := c.do(ctx, http.MethodPost, "/schedules", s, &made)
	return made, err
}

// ReplaceSchedule gives the schedule with this id or name another definition.
func (c *Client) ReplaceSchedule(ctx context.Context, id string, s sdk.Schedule) (sdk.Schedule, error) {
	if len(s.Payload) > 0 && !json.Valid(s.Payload) {
		return s, sdk.Invalid("payload", "is not JSON")
	}
	var changed sdk.Schedule
	err := c.do(ctx, http.MethodPut, schedulePath(id, ""), s, &changed)
	return changed, err
}

// DeleteSchedule deletes a schedule; its tasks stay.
func (c *Client) DeleteSchedule(ctx context.Context, id string) error {
	return c.do(ctx, http.MethodDelete, schedulePath(id, ""), nil, nil)
}

// PauseSchedule stops a schedule until it is resumed.
func (c *Client) PauseSchedule(ctx context.Context, id string) (sdk.Schedule, error) {
	return c.actOnSchedule(ctx, id, "/pause")
}

// ResumeSchedule lets a paused schedule go on.
func (c *Client) ResumeSchedule(ctx context.Context, id string) (sdk.Schedule, error) {
	return c.actOnSchedule(ctx, id, "/resume")
}

// TriggerSchedule submits a task of the schedule now: LastTask of what it returns.
func (c *Client) TriggerSchedule(ctx context.Context, id string) (sdk.Schedule, error) {
	return c.actOnSchedule(ctx, id, "/trigger")
}

func (c *Client) actOnSchedule(ctx context.Context, id, verb string) (sdk.Schedule, error) {
	var s sdk.Schedule
	err := c.do(ctx, http.MethodPost, schedulePath(id, verb), nil, &s)
	return s, err
}

func schedulePath(id, verb string) string { return "/schedules/" + url.PathEscape(id) + verb }
