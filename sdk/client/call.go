package client

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/nagatha/nagatha-runtime/sdk"
)

// call is a request that has no reply yet.
type call struct {
	id     uint64
	method string
	frame  []byte

	// bound calls belong to one link and die silently with it; whoever made
	// one makes another when the next link is up.
	bound bool
	again bool // may be sent a second time
	sent  int  // how often it was handed to a socket
	gone  bool // nobody waits for it any more

	// done is called once, with Conn.mu held.
	done func(result json.RawMessage, err error)
}

// maxSends is how many connections may break under one request before it is
// suspected of breaking them.
const maxSends = 32

// inFlight bounds the requests of a Conn, so that a burst waits here and not in
// memory; the server's own bound is 1,000 by default.
const inFlight = 512

type request struct {
	Version string `json:"jsonrpc"`
	ID      uint64 `json:"id"`
	Method  string `json:"method"`
	Params  any    `json:"params"`
}

type message struct {
	ID     json.RawMessage `json:"id"`
	Method string          `json:"method"`
	Params json.RawMessage `json:"params"`
	Result json.RawMessage `json:"result"`
	Error  *rpcError       `json:"error"`
}

type rpcError struct {
	Code    int    `json:"code"`
	Message string `json:"message"`
	Data    struct {
		Code      sdk.Code    `json:"code"`
		Retryable bool        `json:"retryable"`
		Fields    []sdk.Field `json:"fields"`
	} `json:"data"`
}

func (e *rpcError) coded() *sdk.Error {
	code := e.Data.Code
	if code == "" {
		code = sdk.CodeInternal
	}
	return &sdk.Error{Code: code, Message: e.Message, Retryable: e.Data.Retryable, Fields: e.Data.Fields}
}

// call sends a request and waits for its reply, over as many links as it takes.
// again says that doing it twice does no harm.
func (c *Conn) call(ctx context.Context, method string, params any, again bool, result any) error {
	if err := ctx.Err(); err != nil {
		return err // and nothing was asked for
	}
	select {
	case c.slots <- struct{}{}:
		defer func() { <-c.slots }()
	case <-ctx.Done():
		return ctx.Err()
	}
	type reply struct {
		result json.RawMessage
		err    error
	}
	got := make(chan reply, 1)
	k := &call{method: method, again: again, done: func(r json.RawMessage, err error) { got <- reply{r, err} }}

	c.mu.Lock()
	err := c.enqueue(k, params)
	c.mu.Unlock()
	if err != nil {
		return err
	}
	select {
	case r := <-got:
		if r.err != nil {
			return r.err
		}
		if err := json.Unmarshal(r.result, result); err != nil {
			return sdk.Errorf(sdk.CodeInternal, "reply to %s: %v", method, err)
		}
		return nil
	case <-ctx.Done():
		c.mu.Lock()
		k.gone = true
		delete(c.pending, k.id)
		c.mu.Unlock()
		return ctx.Err()
	}
}

// enqueue gives k an id and hands it to the link, if there is one; otherwise the
// next link takes it. Conn.mu is held.
func (c *Conn) enqueue(k *call, params any) error {
	if c.err != nil {
		return c.err
	}
	c.lastID++
	k.id = c.lastID
	frame, err := json.Marshal(request{"2.0", k.id, k.method, params})
	if err != nil {
		return sdk.Errorf(sdk.CodeInvalid, "%s: %v", k.method, err)
	}
	k.frame = frame
	c.pending[k.id] = k
	if c.link != nil {
		c.link.send(k)
	}
	return nil
}

// bound sends a request that concerns only the present link. Conn.mu is held and
// there is a link.
func (c *Conn) bound(method string, params any, done func(result json.RawMessage, err error)) {
	k := &call{method: method, bound: true, done: done}
	// Its params are our own structs; they marshal.
	if err := c.enqueue(k, params); err != nil {
		c.cfg.Logger.Debug("request not sent", "method", method, "error", err)
	}
}

// broken settles the calls that a link took with it. Conn.mu is held.
func (c *Conn) broken(cause error) {
	for id, k := range c.pending {
		switch {
		case k.bound:
			delete(c.pending, id)
		case k.sent > 0 && !k.again, k.sent >= maxSends:
			delete(c.pending, id)
			k.done(nil, fmt.Errorf("%s: %w", k.method, &noReply{cause}))
		}
	}
}

type noReply struct{ cause error }

func (e *noReply) Error() string { return fmt.Sprintf("%v (%v)", ErrNoReply, e.cause) }

func (e *noReply) Unwrap() []error {
	return []error{ErrNoReply, &sdk.Error{Code: sdk.CodeUnavailable, Message: ErrNoReply.Error(), Retryable: false}}
}

// tooLarge settles the largest request in flight: the server has refused a frame
// for its size, and would refuse it again.
func (c *Conn) tooLarge(text string) {
	var largest *call
	for _, k := range c.pending {
		if k.sent > 0 && (largest == nil || len(k.frame) > len(largest.frame)) {
			largest = k
		}
	}
	if largest == nil {
		return
	}
	delete(c.pending, largest.id)
	largest.done(nil, sdk.Errorf(sdk.CodeLimitExceeded, "%s: the request has %d bytes, which the server refuses: %s",
		largest.method, len(largest.frame), text))
}
