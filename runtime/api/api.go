// Package api is how clients reach the runtime: WebSocket (JSON-RPC 2.0) at
// /api/v1/ws, REST under /api/v1, health, metrics, and a page that says how to
// connect.
//
//	srv, err := api.New(api.Config{Runtime: rt, Plugins: host, Listen: "127.0.0.1:8765", AdminToken: token})
//	…
//	err = srv.Run(ctx) // until ctx ends, then closes every connection in good order
//
// One noun a file. A WebSocket connection is upgrade.go, conn.go (its life and
// its reader), writer.go, subscription.go and methods.go; REST is rest.go and
// its neighbours.
//
// # Why
//
// The log is the queue: a subscription is a cursor over the runtime's log and
// owns no events, so a slow client costs one batch of memory, lags, and loses
// nothing; reconnecting and joining late are the same code.
//
// A connection has one goroutine that reads and one that writes. The reader
// starts requests in their order and stops reading when too many are in flight,
// so TCP tells the client to wait; submits that pile up meanwhile reach the
// store as one set and share its commit. The writer collects frames and hands
// them to the kernel at once when nothing more is due.
//
// One table (errors.go) gives every error its JSON-RPC number and HTTP status.
// Bodies of both wires are read by the same strict reader (strictjson.go,
// fields.go), so they accept the same and complain in the same words.
package api

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/nagatha/nagatha-runtime/runtime"
	"github.com/nagatha/nagatha-runtime/sdk"
)

// Plugins is what the api shows and does about plugins. Both methods may be
// called from many goroutines at once.
type Plugins interface {
	// Plugins lists the configured plugins, by name.
	Plugins() []sdk.PluginStatus
	// Reload loads a plugin again and returns when the new version takes
	// attempts. An unknown name is CodeNotFound.
	Reload(ctx context.Context, name string) error
	// Enable loads a plugin that is disabled, Disable takes one out of service.
	Enable(ctx context.Context, name string) error
	Disable(ctx context.Context, name string) error
}

// Config is what a [Server] is made of. Runtime, Plugins and AdminToken are
// required; the zero of everything else is a sensible default.
type Config struct {
	Runtime    *runtime.Runtime
	Plugins    Plugins
	AdminToken string // see [AdminToken]
	Version    string // of the program
	DataDir    string // where copies for backups are made, and whose disk is watched; default "."
	Logger     *slog.Logger

	Listen string // host:port; default 127.0.0.1:8765
	// Listener, if not nil, is the address taken already; Run closes it.
	Listener net.Listener
	// AllowedHosts adds names, "name" or "name:port", to those that are served
	// anyway: localhost, loopback addresses, and the host of Listen.
	AllowedHosts []string
	// AllowedOrigins adds origins, "https://app.example", whose pages may use
	// the server; its own pages always may.
	AllowedOrigins []string
	MetricsPublic  bool // /metrics without a token
	SeedAPI        bool // the endpoints of the old web app; see seed.go

	Limits Limits

	Heartbeat    time.Duration // between pings; default 25s
	PongWait     time.Duration // of silence before a connection is given up; default 2·Heartbeat+10s
	HelloTimeout time.Duration // to say hello on a connection without a token; default 5s
	BodyTimeout  time.Duration // for the body of a REST request to arrive; default 30s
	WriteTimeout time.Duration // of one write to a socket; default 10s
	CloseTimeout time.Duration // for all connections to close at shutdown; default 5s
}

// Limits bound what clients may ask for. 0 means the default.
type Limits struct {
	FrameBytes        int // a WebSocket message, both ways; default 4 MiB
	BodyBytes         int // a REST request's body; default 4 MiB
	Subscriptions     int // of a connection; default 1,000
	InFlight          int // requests of a connection; default 1,000
	RequestsPerSecond int // of a token; default 5,000, negative: no limit
	Connections       int // WebSockets, and event streams over HTTP likewise; default 10,000
	Anonymous         int // WebSockets that have not said hello; default 50
}

func (c Config) withDefaults() Config {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Listen == "" {
		c.Listen = "127.0.0.1:8765"
	}
	num := func(v *int, d int) {
		if *v == 0 {
			*v = d
		}
	}
	num(&c.Limits.FrameBytes, 4<<20)
	num(&c.Limits.BodyBytes, 4<<20)
	num(&c.Limits.Subscriptions, 1000)
	num(&c.Limits.InFlight, 1000)
	num(&c.Limits.RequestsPerSecond, 5000)
	num(&c.Limits.Connections, 10_000)
	num(&c.Limits.Anonymous, 50)
	def := func(v *time.Duration, d time.Duration) {
		if *v == 0 {
			*v = d
		}
	}
	def(&c.Heartbeat, 25*time.Second)
	def(&c.PongWait, 2*c.Heartbeat+10*time.Second)
	def(&c.HelloTimeout, 5*time.Second)
	def(&c.BodyTimeout, 30*time.Second)
	def(&c.WriteTimeout, 10*time.Second)
	def(&c.CloseTimeout, 5*time.Second)
	return c
}

func (c Config) validate() error {
	switch {
	case c.Runtime == nil:
		return errors.New("api: Config.Runtime is missing")
	case c.Plugins == nil:
		return errors.New("api: Config.Plugins is missing")
	case c.AdminToken == "":
		return errors.New("api: Config.AdminToken is missing")
	}
	for _, l := range []struct {
		name string
		v    int
	}{
		{"frame_bytes", c.Limits.FrameBytes}, {"body_bytes", c.Limits.BodyBytes},
		{"subscriptions", c.Limits.Subscriptions}, {"in_flight", c.Limits.InFlight},
		{"connections", c.Limits.Connections}, {"anonymous", c.Limits.Anonymous},
	} {
		if l.v < 1 {
			return fmt.Errorf("%s%s is %d: want at least 1", settings, l.name, l.v)
		}
	}
	// A task must fit into a frame, or nobody could be told about it.
	rt := c.Runtime.Limits()
	if need := rt.Payload + rt.Result + 64<<10; c.Limits.FrameBytes < need {
		return fmt.Errorf("%sframe_bytes is %d, but one task may need %d: raise it, or lower limits.payload and limits.result",
			settings, c.Limits.FrameBytes, need)
	}
	return nil
}

// settings is where the limits stand in config.hcl.
const settings = "server.limits."
