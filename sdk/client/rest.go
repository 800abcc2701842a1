package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/nagatha/nagatha-runtime/sdk"
)

// System says how the runtime is.
func (c *Client) System(ctx context.Context) (sdk.SystemStatus, error) {
	var s sdk.SystemStatus
	err := c.get(ctx, "/system", &s)
	return s, err
}

// Plugins lists the configured plugins.
func (c *Client) Plugins(ctx context.Context) ([]sdk.PluginStatus, error) {
	var r struct {
		Plugins []sdk.PluginStatus `json:"plugins"`
	}
	err := c.get(ctx, "/plugins", &r)
	return r.Plugins, err
}

// Plugin returns one plugin, with the schemas and an example of each of its kinds.
func (c *Client) Plugin(ctx context.Context, name string) (sdk.PluginStatus, error) {
	var p sdk.PluginStatus
	err := c.get(ctx, "/plugins/"+url.PathEscape(name), &p)
	return p, err
}

// Approvals lists what waits for a person, oldest first; state "" is those that
// can be decided, "all" every one that is kept. next is "" on the last page.
func (c *Client) Approvals(ctx context.Context, state, cursor string) (list []sdk.Approval, next string, err error) {
	q := url.Values{"limit": {"1000"}}
	if state != "" {
		q.Set("state", state)
	}
	if cursor != "" {
		q.Set("cursor", cursor)
	}
	var r struct {
		Approvals []sdk.Approval `json:"approvals"`
		Next      string         `json:"next_cursor"`
	}
	err = c.get(ctx, "/approvals?"+q.Encode(), &r)
	return r.Approvals, r.Next, err
}

// Approval returns one approval.
func (c *Client) Approval(ctx context.Context, id string) (sdk.Approval, error) {
	var a sdk.Approval
	err := c.get(ctx, "/approvals/"+url.PathEscape(id), &a)
	return a, err
}

// restBytes is the most that a REST answer may have.
const restBytes = 64 << 20

func (c *Client) get(ctx context.Context, path string, into any) error {
	return c.do(ctx, http.MethodGet, path, nil, into)
}

// patient is the client without a bound on how long an answer may take.
func (c *Client) patient() *Client {
	p, hc := *c, *c.cfg.HTTPClient
	hc.Timeout = 0
	p.cfg.HTTPClient = &hc
	return &p
}

// do sends body, which may be nil, as JSON and reads the answer into into, which
// is nil where none is expected.
func (c *Client) do(ctx context.Context, method, path string, body, into any) error {
	req, err := c.request(ctx, method, path, body)
	if err != nil {
		return err
	}
	res, err := c.cfg.HTTPClient.Do(req)
	if err != nil {
		return c.lost(ctx, err)
	}
	answer, err := io.ReadAll(io.LimitReader(res.Body, restBytes))
	err = errors.Join(err, res.Body.Close())
	if err != nil {
		return c.lost(ctx, fmt.Errorf("read %s: %w", path, err))
	}
	switch {
	case res.StatusCode < 200 || res.StatusCode > 299:
		return problem(res, answer).said
	case into == nil:
		return nil
	}
	if err := json.Unmarshal(answer, into); err != nil {
		return sdk.Errorf(sdk.CodeInternal, "%s is not what was asked for; is a Nagatha Runtime listening at %s? %v", path, c.Server(), err)
	}
	return nil
}

func (c *Client) lost(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return &LostError{Server: c.Server(), Never: true, Err: unwrapURL(err)}
}

func (c *Client) request(ctx context.Context, method, path string, body any) (*http.Request, error) {
	u := *c.base
	path, u.RawQuery, _ = strings.Cut(path, "?")
	plain, err := url.PathUnescape(path)
	if err != nil {
		return nil, err
	}
	u.Path, u.RawPath = u.Path+"/api/v1"+plain, u.EscapedPath()+"/api/v1"+path // an id may contain anything
	var content io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		content = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, u.String(), content)
	if err != nil {
		return nil, err
	}
	req.Header = c.header()
	req.Header.Set("Accept", "application/json")
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	return req, nil
}
