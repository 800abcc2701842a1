package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/nagatha/nagatha-runtime/sdk/client"
)

// client finds the server and the token.
func (a *app) client() (*client.Client, error) {
	server := a.server
	if server == "" {
		server = a.env["NAGATHA_SERVER"]
	}
	if server == "" {
		server = client.DefaultServer
	}
	token, err := a.token(server)
	if err != nil {
		return nil, err
	}
	lost := false
	c, err := client.New(client.Config{Server: server, Token: token, GiveUp: a.reconnect,
		OnLink: func(up bool, err error) {
			switch {
			case !up && !lost:
				a.say("connection lost (%v); reconnecting…", err)
			case up && lost:
				a.say("connected again")
			}
			lost = !up
		}})
	if err != nil {
		return nil, &usageError{err.Error()}
	}
	return c, nil
}

// connect opens a connection, which the caller closes.
func (a *app) connect(ctx context.Context) (*client.Conn, error) {
	c, err := a.client()
	if err != nil {
		return nil, err
	}
	return c.Connect(ctx)
}

// token looks where a token may be, in order. None is fine here: the server says
// whether it needs one.
func (a *app) token(server string) (string, error) {
	if t := strings.TrimSpace(a.env["NAGATHA_TOKEN"]); t != "" {
		a.tokenFrom = "NAGATHA_TOKEN"
		return t, nil
	}
	if path := a.env["NAGATHA_TOKEN_FILE"]; path != "" {
		a.tokenFrom = "NAGATHA_TOKEN_FILE, " + path
		b, err := os.ReadFile(path)
		if err != nil {
			return "", &hintError{fmt.Errorf("read the token of NAGATHA_TOKEN_FILE: %w", err),
				"correct NAGATHA_TOKEN_FILE, or set NAGATHA_TOKEN"}
		}
		return strings.TrimSpace(string(b)), nil
	}
	dir := a.dataDir
	if dir == "" {
		// The token of a runtime here is nobody's business elsewhere.
		if !local(server) {
			return "", nil
		}
		dir = "data"
	}
	path := filepath.Join(dir, "admin.token")
	b, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist) && a.dataDir == "":
		return "", nil
	case err != nil:
		return "", &hintError{fmt.Errorf("read the runtime's token: %w", err),
			"run as the user who runs nagatha-runtime, correct --data-dir, or set NAGATHA_TOKEN"}
	}
	a.tokenFrom = path
	return strings.TrimSpace(string(b)), nil
}

// local reports whether a server's URL names this machine.
func local(server string) bool {
	u, err := url.Parse(server)
	if err != nil {
		return false
	}
	ip := net.ParseIP(u.Hostname())
	return u.Hostname() == "localhost" || ip != nil && ip.IsLoopback()
}

// say tells a person something that is no data.
func (a *app) say(format string, args ...any) {
	fmt.Fprintln(a.stderr, clean(fmt.Sprintf(format, args...)))
}
