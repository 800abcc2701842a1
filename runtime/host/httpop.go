package host

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"syscall"
	"time"

	"github.com/nagatha/nagatha-runtime/sdk"
)

// httpClient makes a plugin's requests. What it may reach is checked three
// times: the URL asked for, each redirect, and the address when it dials.
type httpClient struct {
	grant Grant
	http  *http.Client
}

// What a response may cost at most.
const (
	maxHandles      = 16 // open responses of one attempt
	maxHeaderBytes  = 256 << 10
	maxRead         = 1 << 20
	defaultRead     = 32 << 10
	defaultWait     = 30 * time.Second
	maxWait         = time.Hour
	maxRedirects    = 5
	dialTimeout     = 10 * time.Second
	idleConnTimeout = 30 * time.Second
)

// errDenied is in the chain of errors for what the grant does not cover.
var errDenied = errors.New("not granted")

func newHTTPClient(grant Grant) *httpClient {
	c := &httpClient{grant: grant}
	c.http = &http.Client{
		Transport: &http.Transport{
			Proxy:                  nil, // an environment variable must not reroute a plugin
			DialContext:            c.dial,
			TLSHandshakeTimeout:    dialTimeout,
			MaxResponseHeaderBytes: maxHeaderBytes,
			MaxIdleConnsPerHost:    4,
			IdleConnTimeout:        idleConnTimeout,
			ForceAttemptHTTP2:      true,
		},
		CheckRedirect: func(req *http.Request, via []*http.Request) error {
			if len(via) > maxRedirects {
				return fmt.Errorf("more than %d redirects", maxRedirects)
			}
			return c.allowed(req.URL)
		},
	}
	return c
}

// allowed checks a URL against the grant.
func (c *httpClient) allowed(u *url.URL) error {
	if u.Scheme != "http" && u.Scheme != "https" {
		return fmt.Errorf("%q: only http and https", u.Scheme)
	}
	if u.User != nil {
		return errors.New("a URL must not carry a user or password")
	}
	if ok, _ := c.grant.reaches(u.Hostname(), portOf(u)); !ok {
		return fmt.Errorf("%s: %w", u.Host, errDenied)
	}
	return nil
}

func portOf(u *url.URL) string {
	if p := u.Port(); p != "" {
		return p
	}
	if u.Scheme == "https" {
		return "443"
	}
	return "80"
}

// dial refuses addresses that are not public, after the name was resolved, so
// that no name can lead inside; the grant must name such a host with its port.
func (c *httpClient) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	_, literal := c.grant.reaches(host, port)
	d := net.Dialer{Timeout: dialTimeout, Control: func(_, address string, _ syscall.RawConn) error {
		ap, err := netip.ParseAddrPort(address)
		if err != nil {
			return err
		}
		if !literal && !publicAddress(ap.Addr()) {
			return fmt.Errorf("%s is %s, which is not a public address; grant \"%s\" literally to allow it: %w",
				host, ap.Addr(), addr, errDenied)
		}
		return nil
	}}
	return d.DialContext(ctx, network, addr)
}

// httpHandle is an open response of an attempt.
type httpHandle struct {
	body   io.ReadCloser
	cancel context.CancelFunc
}

func httpTarget(grant Grant, request []byte) (string, bool) {
	q, err := sdk.DecodeHTTPRequest(request)
	if err != nil {
		return "", true // let the operation say what is wrong
	}
	u, err := url.Parse(q.URL)
	if err != nil || u.Hostname() == "" {
		return "", true
	}
	ok, _ := grant.reaches(u.Hostname(), portOf(u))
	return u.Host, ok
}

func httpStart(g *guard, ctx context.Context, request []byte) ([]byte, error) {
	q, err := sdk.DecodeHTTPRequest(request)
	if err != nil {
		return nil, sdk.Errorf(sdk.CodeInvalid, "%s: request: %v", sdk.OpHTTPStart, err)
	}
	wait := q.Timeout.Std()
	if wait <= 0 {
		wait = defaultWait
	}
	wait = min(wait, maxWait)

	g.mu.Lock()
	over := g.closed
	g.mu.Unlock()
	if over {
		return nil, errAttemptOver
	}
	// The response outlives this call, but not the attempt: g.close cancels it.
	life, cancel := context.WithCancel(context.WithoutCancel(ctx))
	req, err := newRequest(life, g.version.client, q)
	if err != nil {
		cancel()
		return nil, err
	}
	late := time.AfterFunc(wait, cancel)
	stop := context.AfterFunc(ctx, cancel)
	resp, err := g.version.client.http.Do(req)
	inTime := late.Stop()
	stop()
	if err != nil {
		cancel()
		switch {
		case ctx.Err() != nil:
			return nil, sdk.Errorf(sdk.CodeCancelled, "http: %v", context.Cause(ctx))
		case errors.Is(err, errDenied):
			return nil, sdk.Errorf(sdk.CodeCapabilityDenied, "http: %v", err)
		case !inTime:
			return nil, sdk.Errorf(sdk.CodeUnavailable, "http: no answer from %s within %s", req.URL.Host, wait)
		}
		return nil, sdk.Errorf(sdk.CodeUnavailable, "http: %v", err)
	}
	handle, err := g.hold(&httpHandle{resp.Body, cancel})
	if err != nil {
		cancel()
		_ = resp.Body.Close()
		return nil, err
	}
	return json.Marshal(sdk.HTTPStartReply{Handle: handle, Status: resp.StatusCode, Header: resp.Header})
}

func newRequest(ctx context.Context, c *httpClient, q sdk.HTTPRequest) (*http.Request, error) {
	if q.Method == "" {
		q.Method = http.MethodGet
	}
	req, err := http.NewRequestWithContext(ctx, q.Method, q.URL, bytes.NewReader(q.Body))
	if err != nil {
		return nil, sdk.Errorf(sdk.CodeInvalid, "http: %v", err)
	}
	if req.URL.Host == "" {
		return nil, sdk.Errorf(sdk.CodeInvalid, "http: url: want one such as \"https://example.com/\", not %.80q", q.URL)
	}
	if err := c.allowed(req.URL); err != nil {
		return nil, sdk.Errorf(sdk.CodeInvalid, "http: %v", err)
	}
	for k, vs := range q.Header {
		// Another Host than the URL's would get round the grant (CVE-2024-32980).
		if strings.EqualFold(k, "Host") {
			return nil, sdk.Errorf(sdk.CodeInvalid, "http: header Host must not be set")
		}
		for _, v := range vs {
			req.Header.Add(k, v)
		}
	}
	return req, nil
}

func (g *guard) hold(h *httpHandle) (int, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case g.closed:
		return 0, errAttemptOver
	case len(g.handles) >= maxHandles:
		return 0, sdk.Errorf(sdk.CodeLimitExceeded, "http: more than %d open responses; close some", maxHandles)
	case g.handles == nil:
		g.handles = map[int]*httpHandle{}
	}
	g.next++
	g.handles[g.next] = h
	return g.next, nil
}

func (g *guard) handle(op string, id int) (*httpHandle, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	h := g.handles[id]
	if h == nil {
		return nil, sdk.Errorf(sdk.CodeInvalid, "%s: there is no open response %d", op, id)
	}
	return h, nil
}

func httpRead(g *guard, ctx context.Context, request []byte) ([]byte, error) {
	q, err := decode[sdk.HTTPRead](sdk.OpHTTPRead, request)
	if err != nil {
		return nil, err
	}
	h, err := g.handle(sdk.OpHTTPRead, q.Handle)
	if err != nil {
		return nil, err
	}
	if q.Max <= 0 {
		q.Max = defaultRead
	}
	stop := context.AfterFunc(ctx, h.cancel)
	defer stop()
	buf := make([]byte, min(q.Max, maxRead))
	for {
		n, err := h.body.Read(buf)
		switch {
		case n > 0:
			return buf[:n], nil
		case err == io.EOF:
			return nil, nil
		case err != nil:
			return nil, sdk.Errorf(sdk.CodeUnavailable, "http: read: %v", err)
		}
	}
}

func httpClose(g *guard, _ context.Context, request []byte) ([]byte, error) {
	q, err := decode[sdk.HTTPClose](sdk.OpHTTPClose, request)
	if err != nil {
		return nil, err
	}
	g.mu.Lock()
	h := g.handles[q.Handle]
	delete(g.handles, q.Handle)
	g.mu.Unlock()
	if h != nil {
		h.cancel()
		_ = h.body.Close()
	}
	return []byte("{}"), nil
}

// close ends what the attempt left open.
func (g *guard) close() {
	g.mu.Lock()
	handles := g.handles
	g.handles, g.closed = nil, true
	g.mu.Unlock()
	for _, h := range handles {
		h.cancel()
		_ = h.body.Close()
	}
}
