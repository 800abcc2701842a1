package sdk

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
)

// HTTPRequest is the request of [OpHTTPStart]. The runtime makes the call; the
// host must be granted, and addresses are checked again when it dials.
//
// The operation's request is this as JSON. A body may also follow the JSON after a line
// feed, as it is: encoding a long one would cost a module more than all else.
type HTTPRequest struct {
	Method string              `json:"method,omitempty"` // default GET
	URL    string              `json:"url"`
	Header map[string][]string `json:"header,omitempty"`
	Body   []byte              `json:"body,omitempty"` // base64 in JSON
	// Timeout bounds the wait for the response's header; the body may stream
	// for as long as the attempt lasts. Default 30s.
	Timeout Duration `json:"timeout,omitempty"`
}

// HTTPStartReply is the reply of [OpHTTPStart].
type HTTPStartReply struct {
	Handle int                 `json:"handle"`
	Status int                 `json:"status"`
	Header map[string][]string `json:"header"`
}

// HTTPRead is the request of [OpHTTPRead]; the reply is raw bytes, as soon as
// there are some, and none at the end of the body.
type HTTPRead struct {
	Handle int `json:"handle"`
	Max    int `json:"max,omitempty"` // default 32 KiB
}

// HTTPClose is the request of [OpHTTPClose]. Handles also close with their
// attempt.
type HTTPClose struct {
	Handle int `json:"handle"`
}

// HTTPResponse is an answer whose Body streams. Close the Body.
type HTTPResponse struct {
	Status int
	Header map[string][]string
	Body   io.ReadCloser
}

// Fetch makes an HTTP request through the runtime and returns as soon as the header of
// the answer is there, whatever its status. Close the Body; it streams, is read by one
// goroutine, and ends with ctx and with the attempt. Redirects are followed, each to
// granted hosts only. A host without a grant is [CodeCapabilityDenied], a request that is
// malformed [CodeInvalid], and what the network does, time-outs included,
// [CodeUnavailable].
func Fetch(ctx context.Context, host Host, req HTTPRequest) (*HTTPResponse, error) {
	b, err := req.encode()
	if err != nil {
		return nil, Errorf(CodeInvalid, "%s: %v", OpHTTPStart, err)
	}
	if b, err = host.Call(ctx, OpHTTPStart, b); err != nil {
		return nil, err
	}
	var r HTTPStartReply
	if err := json.Unmarshal(b, &r); err != nil {
		return nil, Errorf(CodeInternal, "%s: reply: %v", OpHTTPStart, err)
	}
	return &HTTPResponse{r.Status, r.Header, &httpBody{ctx: ctx, host: host, handle: r.Handle}}, nil
}

// encode is the request with its body behind it.
func (r HTTPRequest) encode() ([]byte, error) {
	body := r.Body
	r.Body = nil
	head, err := json.Marshal(r)
	if err != nil || len(body) == 0 {
		return head, err
	}
	b := make([]byte, 0, len(head)+1+len(body))
	return append(append(append(b, head...), '\n'), body...), nil
}

// DecodeHTTPRequest reads a request of [OpHTTPStart]. Its body may be a part of b.
func DecodeHTTPRequest(b []byte) (HTTPRequest, error) {
	var r HTTPRequest
	d := json.NewDecoder(bytes.NewReader(b))
	if err := d.Decode(&r); err != nil {
		return r, err
	}
	rest := b[d.InputOffset():]
	switch {
	case len(bytes.TrimSpace(rest)) == 0 && len(rest) < 2:
	case rest[0] != '\n':
		return r, errors.New("want a line feed between the JSON and the body")
	case r.Body != nil:
		return r, errors.New("there are two bodies")
	default:
		r.Body = rest[1:]
	}
	return r, nil
}

type httpBody struct {
	ctx    context.Context
	host   Host
	handle int
	done   bool
}

func (b *httpBody) Read(p []byte) (int, error) {
	if b.done {
		return 0, io.EOF
	}
	if len(p) == 0 {
		return 0, nil
	}
	req, _ := json.Marshal(HTTPRead{b.handle, len(p)})
	data, err := b.host.Call(b.ctx, OpHTTPRead, req)
	if err != nil {
		return 0, err
	}
	if len(data) == 0 {
		b.done = true
		return 0, io.EOF
	}
	return copy(p, data), nil
}

func (b *httpBody) Close() error {
	b.done = true
	req, _ := json.Marshal(HTTPClose{b.handle})
	_, err := b.host.Call(b.ctx, OpHTTPClose, req)
	return err
}
