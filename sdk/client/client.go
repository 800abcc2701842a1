// Package client talks to a Nagatha Runtime: requests and live events over one
// WebSocket that comes back by itself, and the few things that are REST only.
//
//	c, err := client.New(client.Config{Token: token})
//	conn, err := c.Connect(ctx)
//	defer conn.Close()
//
//	done, err := conn.Submit(ctx, sdk.Submission{Kind: "demo.echo"})
//	for n, err := range conn.Follow(ctx, done.Task.ID, "") {
//		// each event of the task, once, in order, until it has ended
//	}
//
// A [Conn] and a [Client] may be used from many goroutines at once; a
// [Subscription] is read by one.
//
// # Errors
//
// What the server refuses is an *[sdk.Error]. What the network does is a
// *[LostError], which has an *sdk.Error in its chain too, so that [sdk.CodeOf]
// works for both.
//
// # Why
//
// A server that restarts, or a line that breaks, should cost a program nothing
// but time. So a request that can be repeated safely waits for the next
// connection and is sent again (a submit carries an idempotency key for that),
// and a subscription is opened again at the last event that reached its queue.
//
// A consumer that is slower than the server must not hold up the others, the
// replies or the heartbeat, and must not be able to deadlock by asking something
// between two events. So the connection is never left unread: a subscription
// whose queue is full is closed at the server and opened again at its cursor
// once there is room. The log at the server is the rest of the queue.
package client

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/gorilla/websocket"
)

// DefaultServer is where a runtime listens unless told otherwise.
const DefaultServer = "http://127.0.0.1:8765"

// Config is what a [Client] is made of. The zero value is a client of
// [DefaultServer] without a token, to which a server says nothing: the first request
// then fails with CodeUnauthorized.
type Config struct {
	Server string // http:// or https:// URL, perhaps with a path; default [DefaultServer]
	Token  string // bearer token

	Dialer     *websocket.Dialer // default: proxy from the environment, 10 s for the handshake
	HTTPClient *http.Client      // for REST; default: 30 s a request
	Logger     *slog.Logger      // default: discard

	// GiveUp is how long a Conn tries to get a working connection back before
	// it fails for good; default 60 s.
	GiveUp time.Duration

	// The pause before the n-th attempt to reconnect is random, up to
	// min(MaxBackoff, Backoff·2^n); defaults 100 ms and 5 s.
	Backoff, MaxBackoff time.Duration

	// Heartbeat is the time between pings; after two of them and 5 s of silence
	// the line is taken for dead. Default 20 s.
	Heartbeat time.Duration

	// Buffer is how many notifications a subscription queues; default 1,024.
	Buffer int

	// OnLink, where set, is told when the line breaks (up false, with the
	// reason) and when it is back. It is called from the Conn's own goroutine
	// and must not block or call the Conn.
	OnLink func(up bool, err error)
}

func (c Config) withDefaults() Config {
	if c.Server == "" {
		c.Server = DefaultServer
	}
	if c.Dialer == nil {
		c.Dialer = &websocket.Dialer{Proxy: http.ProxyFromEnvironment, HandshakeTimeout: 10 * time.Second}
	}
	if c.HTTPClient == nil {
		c.HTTPClient = &http.Client{Timeout: 30 * time.Second}
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	def := func(v *time.Duration, d time.Duration) {
		if *v <= 0 {
			*v = d
		}
	}
	def(&c.GiveUp, 60*time.Second)
	def(&c.Backoff, 100*time.Millisecond)
	def(&c.MaxBackoff, 5*time.Second)
	def(&c.Heartbeat, 20*time.Second)
	if c.Buffer <= 0 {
		c.Buffer = 1024
	}
	return c
}

// Client knows a server. It holds no connection of its own: see
// [Client.Connect].
type Client struct {
	cfg  Config
	base *url.URL // without a trailing slash
}

// New checks cfg. It does not touch the network.
func New(cfg Config) (*Client, error) {
	cfg = cfg.withDefaults()
	u, err := url.Parse(cfg.Server)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || u.RawQuery != "" || u.User != nil {
		return nil, fmt.Errorf("server %q: want a URL such as %s", cfg.Server, DefaultServer)
	}
	if strings.ContainsAny(cfg.Token, " \t\r\n") {
		return nil, fmt.Errorf("token: must not contain white space")
	}
	if cfg.HTTPClient.CheckRedirect == nil {
		own := *cfg.HTTPClient
		own.CheckRedirect = redirect
		cfg.HTTPClient = &own
	}
	u.Path = strings.TrimRight(u.Path, "/")
	return &Client{cfg: cfg, base: u}, nil
}

// redirect keeps net/http from making a GET of what is to be a POST: the answer to
// another question would be taken for a success.
func redirect(req *http.Request, via []*http.Request) error {
	if req.Method != via[0].Method {
		return http.ErrUseLastResponse
	}
	if len(via) >= 10 {
		return errors.New("stopped after 10 redirects")
	}
	return nil
}

// Server is the server's URL.
func (c *Client) Server() string { return c.base.String() }

func (c *Client) header() http.Header {
	h := http.Header{"User-Agent": {"nagatha-go"}}
	if c.cfg.Token != "" {
		h.Set("Authorization", "Bearer "+c.cfg.Token)
	}
	return h
}
