package main

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/nagatha/nagatha-runtime/sdk"
)

// request asks the server for something: it waits at most wait for a session, and
// at most timeout for f, which is called again only if the server did not know the
// session any more, and so did nothing.
func (s *server) request(outer context.Context, what string, wait, timeout time.Duration, f func(context.Context, *mcp.ClientSession) error) error {
	s.begin()
	defer s.done()
	for again := true; ; again = false {
		var refused atomic.Bool
		waiting, stop := context.WithTimeout(outer, wait)
		l, err := s.live(waiting)
		stop()
		if outer.Err() != nil {
			return context.Cause(outer)
		}
		if err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(context.WithValue(outer, refusal{}, &refused), timeout)
		err = l.do(ctx, f)
		late := errors.Is(ctx.Err(), context.DeadlineExceeded)
		cancel()
		switch {
		case outer.Err() != nil:
			return context.Cause(outer) // cancelled: the SDK has told the server
		case err == nil:
			return nil
		case late:
			return sdk.Errorf(sdk.CodeTimeout, "MCP server %q: %s: no answer within %s", s.name, what, sdk.Duration(timeout.Round(10*time.Millisecond)))
		case again && refused.Load():
			s.lost(l, l.explain(what, err))
			continue
		}
		return s.fault(l, what, err)
	}
}

// refusal is the key of an [atomic.Bool] in a request's context, which its carrier
// sets when the request has reached nobody who would have done something.
type refusal struct{}

// fault tells a server that refuses from one that is gone and one that is in
// trouble. "the connection broke" in its text means that it is not known whether the
// server has done what it was asked for; the agent looks for these words.
func (s *server) fault(l *link, what string, err error) error {
	var refused *jsonrpc.Error
	answered := errors.As(err, &refused) && !slices.Contains(sdkErrors, refused.Message)
	if garbled(err) {
		return sdk.Permanent(sdk.Errorf(sdk.CodeHandlerError, "MCP server %q: %s: its answer cannot be read: %v", s.name, what, plain(err)))
	}
	wait := 500 * time.Millisecond // the end of the stream shows a moment later
	if answered {
		wait = 0
	}
	switch {
	case l.dead(wait):
		// What its process says of itself comes with its end.
		l.end()
		err = l.explain(what+": the connection broke", err)
		s.lost(l, err)
		return s.unavailable("%v", err)
	case answered:
		return sdk.Permanent(sdk.Errorf(sdk.CodeHandlerError, "MCP server %q: %s: %s (%d)", s.name, what, refused.Message, refused.Code))
	}
	return s.unavailable("%s: the connection broke before there was an answer: %v", what, err)
}

// sdkErrors are errors of the SDK itself that look like answers of a server.
var sdkErrors = []string{"client is closing", "server is closing", "rejected by transport"}

// garbled reports whether err is about an answer that came, but is not what it
// should be.
func garbled(err error) bool {
	var kind *json.UnmarshalTypeError
	var syntax *json.SyntaxError
	return errors.As(err, &kind) || errors.As(err, &syntax) || strings.Contains(err.Error(), "content type") || strings.Contains(err.Error(), "nil content")
}

func (s *server) begin() {
	s.mu.Lock()
	s.busy++
	s.mu.Unlock()
}

func (s *server) done() {
	s.mu.Lock()
	s.busy--
	if s.busy == 0 {
		s.signal()
	}
	s.mu.Unlock()
}

// ask is a request with the deadlines of a list.
func (s *server) ask(ctx context.Context, what string, f func(context.Context, *mcp.ClientSession) error) error {
	return s.request(ctx, what, s.cfg.ConnectTimeout.Std()+s.cfg.ListTimeout.Std(), s.cfg.ListTimeout.Std(), f)
}

// isMissing reports whether a server answered that it has no such method.
func isMissing(err error) bool {
	var refused *jsonrpc.Error
	return errors.As(err, &refused) && refused.Code == jsonrpc.CodeMethodNotFound
}
