package sdk

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"io"
)

// HTTPRequest is the request of [OpHTTPStart]. The runtime makes the call; the
// host must be granted, and addresses are checked again when it dials.
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

// Fetch makes an HTTP request through the runtime.
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

// encode is json.Marshal, which would go over a long body three times: in a module
// that is slow.
func (r HTTPRequest) encode() ([]byte, error) {
	body := r.Body
	r.Body = nil
	head, err := json.Marshal(r)
	if err != nil || len(body) == 0 {
		return head, err
	}
	b := make([]byte, 0, len(head)+base64.StdEncoding.EncodedLen(len(body))+len(`{"body":"",`))
	b = base64.StdEncoding.AppendEncode(append(b, `{"body":"`...), body)
	b = append(b, `",`...)
	return append(b, head[1:]...), nil // there is a URL always
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
