package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"

	"github.com/nagatha/nagatha-runtime/sdk"
)

// ReloadPlugin loads a plugin's file again and returns when the new version takes
// attempts, which may take its limits.start_timeout: only ctx ends it. If it does not
// load, the old one stays and the error says why.
func (c *Client) ReloadPlugin(ctx context.Context, name string) (sdk.PluginStatus, error) {
	return c.tellPlugin(ctx, name, "reload")
}

// EnablePlugin loads a plugin that is disabled.
func (c *Client) EnablePlugin(ctx context.Context, name string) (sdk.PluginStatus, error) {
	return c.tellPlugin(ctx, name, "enable")
}

// DisablePlugin takes a plugin out of service until it is enabled or the runtime
// starts again.
func (c *Client) DisablePlugin(ctx context.Context, name string) (sdk.PluginStatus, error) {
	return c.tellPlugin(ctx, name, "disable")
}

func (c *Client) tellPlugin(ctx context.Context, name, verb string) (sdk.PluginStatus, error) {
	var p sdk.PluginStatus
	err := c.patient().do(ctx, http.MethodPost, "/plugins/"+url.PathEscape(name)+"/"+verb, nil, &p)
	return p, err
}

// Tokens lists tokens, without what must stay secret.
func (c *Client) Tokens(ctx context.Context) ([]sdk.AccessToken, error) {
	var r struct {
		Tokens []sdk.AccessToken `json:"tokens"`
	}
	err := c.get(ctx, "/tokens", &r)
	return r.Tokens, err
}

// CreateToken makes a token from its Name, Scopes and ExpiresAt, and is the only one
// to see it: Token of what it returns.
func (c *Client) CreateToken(ctx context.Context, t sdk.AccessToken) (sdk.AccessToken, error) {
	body := map[string]any{"name": t.Name, "scopes": t.Scopes}
	if t.ExpiresAt != 0 {
		body["expires_at"] = t.ExpiresAt
	}
	var made sdk.AccessToken
	err := c.do(ctx, http.MethodPost, "/tokens", body, &made)
	return made, err
}

// RevokeToken ends a token and every connection that it opened.
func (c *Client) RevokeToken(ctx context.Context, id string) error {
	return c.do(ctx, http.MethodDelete, "/tokens/"+url.PathEscape(id), nil, nil)
}

// Backup writes a consistent copy of the server's database to w and returns its
// size. It takes as long as it takes: only ctx ends it.
func (c *Client) Backup(ctx context.Context, w io.Writer) (int64, error) {
	req, err := c.request(ctx, http.MethodPost, "/backup", nil)
	if err != nil {
		return 0, err
	}
	req.Header.Set("Accept", "*/*")
	res, err := c.patient().cfg.HTTPClient.Do(req)
	if err != nil {
		return 0, c.lost(ctx, err)
	}
	defer func() { _ = res.Body.Close() }() // what matters was read
	if res.StatusCode != http.StatusOK {
		text, err := io.ReadAll(io.LimitReader(res.Body, 64<<10))
		return 0, errors.Join(problem(res, text).said, err)
	}
	n, err := io.Copy(w, res.Body)
	if err == nil && res.ContentLength >= 0 && n != res.ContentLength {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return n, fmt.Errorf("the copy did not arrive whole: %w", err)
	}
	return n, nil
}
