package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// remote carries one session with a streamable HTTP server. It is the round
// tripper of the SDK's transport: it adds the configured headers, and notices what
// the SDK does not tell: a server that has gone, and one that was started again and
// does not know the session any more.
type remote struct {
	url        *url.URL
	headers    map[string]string
	base       *http.Transport
	ctx        context.Context // ends with the carrier
	streamWait time.Duration
	stop       context.CancelFunc

	once   sync.Once
	broken chan struct{}
	why    error // set before broken is closed
}

const (
	// maxRetries is how often the SDK opens a broken stream again. With its
	// default of 5 a call to a dead server takes more than 20 s to fail.
	maxRetries = 1
	// streamWait is how long a server may think about offering a stream of
	// notifications, and byeWait about the end of a session.
	// (Never more than half of the connect timeout.)
	streamWait = 3 * time.Second
	byeWait    = 2 * time.Second
)

func startRemote(sc serverConfig) (*remote, error) {
	u, err := url.Parse(sc.URL)
	if err != nil {
		return nil, err
	}
	r := &remote{url: u, headers: sc.Headers, base: http.DefaultTransport.(*http.Transport).Clone(), broken: make(chan struct{}),
		streamWait: min(streamWait, sc.ConnectTimeout.Std()/2)}
	r.ctx, r.stop = context.WithCancel(context.Background())
	return r, nil
}

func (r *remote) transport() mcp.Transport {
	client := &http.Client{Transport: r, CheckRedirect: func(req *http.Request, via []*http.Request) error {
		if !r.same(req.URL) || len(via) > 3 {
			return fmt.Errorf("it redirects to %s://%s; configure that url if it is right", req.URL.Scheme, req.URL.Host)
		}
		return nil
	}}
	return &mcp.StreamableClientTransport{Endpoint: r.url.String(), HTTPClient: client, MaxRetries: maxRetries, MaxEventSize: maxLine}
}

// same reports whether u is on the server that the headers are for.
func (r *remote) same(u *url.URL) bool { return u.Scheme == r.url.Scheme && u.Host == r.url.Host }

// RoundTrip implements http.RoundTripper.
func (r *remote) RoundTrip(req *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithCancel(req.Context())
	release := cancel
	limit := time.Duration(0)
	switch req.Method {
	case http.MethodDelete: // the last word, when everything else was stopped
		limit = byeWait
	case http.MethodGet:
		limit = r.streamWait
		fallthrough
	default:
		detach := context.AfterFunc(r.ctx, cancel)
		release = func() { detach(); cancel() }
	}
	timely := func() bool { return true }
	if limit > 0 {
		timely = time.AfterFunc(limit, cancel).Stop
	}
	out := req.Clone(ctx)
	for k, v := range r.headers {
		if strings.EqualFold(k, "Host") {
			out.Host = v
		}
		out.Header.Set(k, v)
	}
	resp, err := r.base.RoundTrip(out)
	late := !timely()
	if err != nil {
		release()
		if late && req.Method == http.MethodGet {
			// It answers, but not this: it offers no stream. Not a reason to
			// do without the server.
			return &http.Response{StatusCode: http.StatusMethodNotAllowed, Header: http.Header{}, Body: http.NoBody, Request: req}, nil
		}
		var dial *net.OpError
		if errors.As(err, &dial) && dial.Op == "dial" {
			err = fmt.Errorf("%w; does it run, and is the url right?", err)
			undone(req)
		}
		if req.Context().Err() == nil && r.ctx.Err() == nil {
			r.broke(err)
		}
		return nil, err
	}
	if s := resp.StatusCode; req.Header.Get("Mcp-Session-Id") != "" && req.Method == http.MethodPost && (s == http.StatusNotFound || s == http.StatusBadRequest) && !refuses(resp) {
		// Servers say 400 as well as 404 of a session that they do not know.
		undone(req)
		r.broke(fmt.Errorf("it does not know the session any more (%s)", resp.Status))
	}
	resp.Body = &body{ReadCloser: resp.Body, r: r, req: req, left: maxLine, release: release,
		bounded: !strings.HasPrefix(resp.Header.Get("Content-Type"), "text/event-stream")}
	return resp, nil
}

// undone notes that nobody has done what a request asks for.
func undone(req *http.Request) {
	if refused, ok := req.Context().Value(refusal{}).(*atomic.Bool); ok && req.Method == http.MethodPost {
		refused.Store(true)
	}
}

// refuses reports whether an answer is about the request, and not the session: it
// knows no such method, or not these parameters.
func refuses(resp *http.Response) bool {
	b, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	resp.Body = struct {
		io.Reader
		io.Closer
	}{io.MultiReader(bytes.NewReader(b), resp.Body), resp.Body}
	var m struct {
		Error struct{ Code int64 }
	}
	return err == nil && json.Unmarshal(b, &m) == nil && (m.Error.Code == jsonrpc.CodeMethodNotFound || m.Error.Code == jsonrpc.CodeInvalidParams)
}

// broke notes why the carrier is of no use any more.
func (r *remote) broke(err error) {
	r.once.Do(func() {
		r.why = err
		close(r.broken)
	})
}

func (r *remote) gone() <-chan struct{} { return r.broken }

// end cuts every request but the one that ends the session.
func (r *remote) end() { r.stop() }

// obituary is what broke it; "" if that is in the error that it follows.
func (r *remote) obituary() string {
	select {
	case <-r.broken:
		return r.why.Error()
	default:
		return ""
	}
}

// body is an answer's body: bounded, unless it is a stream, whose events the SDK
// bounds.
type body struct {
	io.ReadCloser
	r       *remote
	req     *http.Request
	left    int64
	bounded bool
	release func()
}

func (b *body) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if b.left -= int64(n); b.bounded && b.left < 0 {
		return 0, fmt.Errorf("an answer of more than %d bytes", maxLine)
	}
	if err != nil && !errors.Is(err, io.EOF) && b.req.Method == http.MethodPost && b.req.Context().Err() == nil && b.r.ctx.Err() == nil {
		b.r.broke(err)
	}
	return n, err
}

func (b *body) Close() error {
	defer b.release()
	return b.ReadCloser.Close()
}
