package main

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/nagatha/nagatha-runtime/sdk"
)

// callResult is the result of mcp.call_tool.
type callResult struct {
	Content    json.RawMessage `json:"content"`
	Structured any             `json:"structured,omitempty"`
	IsError    bool            `json:"is_error"`
	TextBytes  int             `json:"text_bytes,omitempty"` // before it was cut; 0: it was not
}

// call is the kind mcp.call_tool.
func (p *pool) call(ctx context.Context, host sdk.Host, in struct {
	Server    string          `json:"server"`
	Tool      string          `json:"tool"`
	Arguments json.RawMessage `json:"arguments"`
	Timeout   sdk.Duration    `json:"timeout"`
	Cut       bool            `json:"cut"`
}) (any, error) {
	s, err := p.find(in.Server)
	if err != nil {
		return nil, err
	}
	if in.Timeout < 0 {
		return nil, sdk.Invalid("timeout", "must be more than 0s")
	}
	timeout := min(in.Timeout.Std(), maxCall)
	if timeout == 0 {
		timeout = s.cfg.CallTimeout.Std()
	}
	// The whole must be over in time, the wait for the server included.
	begun := time.Now()
	waiting, stop := context.WithTimeout(ctx, timeout)
	t, err := s.find(waiting, in.Tool)
	stop()
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if err != nil {
		return nil, err
	}
	if err := p.usable(ctx, host, t); err != nil {
		return nil, err
	}
	r, err := s.call(ctx, host, in.Tool, in.Arguments, max(timeout-time.Since(begun), time.Millisecond))
	if err != nil {
		return nil, err
	}
	out, err := newResult(r, in.Cut)
	if err != nil {
		return nil, s.unavailable("tool %s: its content cannot be read: %v", in.Tool, err)
	}
	return fits(s.name, "tool "+in.Tool+" returned", out)
}

func (s *server) call(ctx context.Context, host sdk.Host, tool string, arguments json.RawMessage, timeout time.Duration) (*mcp.CallToolResult, error) {
	params := &mcp.CallToolParams{Name: tool}
	if len(arguments) > 0 {
		params.Arguments = arguments
	}
	f := s.follow(host)
	defer s.progress.Delete(f.token) // what comes late is nobody's
	params.SetProgressToken(f.token)
	var r *mcp.CallToolResult
	err := s.request(ctx, "tool "+tool, timeout, timeout, func(ctx context.Context, session *mcp.ClientSession) (err error) {
		r, err = session.CallTool(ctx, params)
		return err
	})
	if err != nil {
		return nil, err
	}
	f.settle(ctx)
	return r, nil
}

// fits refuses what is larger than a result may be.
func fits(server, what string, result any) (any, error) {
	b, err := json.Marshal(result)
	if err != nil {
		return nil, err
	}
	if len(b) > maxResult {
		return nil, sdk.Permanent(sdk.Errorf(sdk.CodeLimitExceeded, "MCP server %q: %s %d bytes, at most %d fit in a result; ask it for less", server, what, len(b), maxResult))
	}
	return json.RawMessage(b), nil
}

// follower passes a call's progress on to its host.
type follower struct {
	token string
	full  chan struct{} // closed when all is done

	mu   sync.Mutex
	some bool // there was progress, but not to the end
	over bool
}

// follow makes a progress token whose notifications go to host.
func (s *server) follow(host sdk.Host) *follower {
	s.mu.Lock()
	s.tokens++
	f := &follower{token: fmt.Sprintf("%s-%d", s.name, s.tokens), full: make(chan struct{})}
	s.mu.Unlock()
	s.progress.Store(f.token, func(p *mcp.ProgressNotificationParams) {
		host.Progress(p.Progress, p.Total, p.Message)
		f.mu.Lock()
		defer f.mu.Unlock()
		f.some = p.Total > 0
		if f.some && p.Progress >= p.Total && !f.over {
			f.over = true
			close(f.full)
		}
	})
	return f
}

// lastWord is how long a result waits for the last progress, which the SDK handles
// beside the result, and some servers send after it.
const lastWord = 500 * time.Millisecond

// settle waits for the last progress, if it is missing.
func (f *follower) settle(ctx context.Context) {
	f.mu.Lock()
	wait := f.some && !f.over
	f.mu.Unlock()
	if !wait {
		return
	}
	t := time.NewTimer(lastWord)
	defer t.Stop()
	select {
	case <-f.full:
	case <-t.C:
	case <-ctx.Done():
	}
}
