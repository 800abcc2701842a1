package api

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"net/http"
	"net/url"
	"runtime/debug"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/nagatha/nagatha-runtime/sdk"
)

type contextKey int

const (
	keyRequestID contextKey = iota
	keyIdentity
)

func requestID(ctx context.Context) string {
	id, _ := ctx.Value(keyRequestID).(string)
	return id
}

// owner is who sends the request; authentication has put it there.
func owner(ctx context.Context) string { return sender(ctx).name }

// sender is the same with all that is known of it.
func sender(ctx context.Context) *identity {
	if who, ok := ctx.Value(keyIdentity).(*identity); ok {
		return who
	}
	return &identity{} // may do nothing
}

// front is what every request passes, in this order: its id, headers that every
// answer carries, Host and Origin, where tokens must not be, who it is, how
// often. Then the route.
func (s *Server) front(mux *http.ServeMux) http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		w := &recorder{ResponseWriter: rw, timeout: s.cfg.WriteTimeout}
		if r.ContentLength != 0 {
			// Also of a body that nobody reads: net/http waits for it before it answers.
			_ = http.NewResponseController(rw).SetReadDeadline(time.Now().Add(s.cfg.BodyTimeout)) // a recorder in a test has none
		}
		id := r.Header.Get("X-Request-Id")
		if !validRequestID(id) {
			id = newRequestID()
		}
		r = r.WithContext(context.WithValue(r.Context(), keyRequestID, id))
		h := w.Header()
		h.Set("X-Request-Id", id)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Frame-Options", "DENY")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
		h.Set("Cache-Control", "no-store")

		began := time.Now()
		_, route := mux.Handler(r)
		defer func() {
			if p := recover(); p != nil {
				if err, ok := p.(error); ok && errors.Is(err, http.ErrAbortHandler) {
					panic(p) // how a handler cuts a response on purpose
				}
				s.log.Error("a request panicked", "request_id", id, "panic", p, "stack", string(debug.Stack()))
				if w.status == 0 {
					s.fail(w, r, sdk.Errorf(sdk.CodeInternal, "the request failed in the runtime; its log says where"))
				}
			}
			_ = w.patience() // for what net/http still has to write
			s.log.Debug("request", "request_id", id, "method", r.Method, "path", r.URL.Path, "status", w.status, "took", time.Since(began))
			if !w.stream {
				s.metrics.http.WithLabelValues(route, strconv.Itoa(w.status)).Observe(time.Since(began).Seconds())
			}
		}()
		if err := s.pass(w, &r); err != nil {
			s.metrics.failed(err.Code)
			s.fail(w, r, err)
			return
		}
		if r.Method == http.MethodOptions && s.preflight(w, r) {
			return
		}
		if route == "" {
			s.noRoute(w, r, mux)
			return
		}
		mux.ServeHTTP(w, r)
	})
}

// pass decides whether the request may come in; it puts who sends it into its
// context.
func (s *Server) pass(w http.ResponseWriter, rp **http.Request) *sdk.Error {
	r := *rp
	if err := s.doors.check(r); err != nil {
		return err
	}
	if origin, ok := s.doors.foreign(r); ok {
		h := w.Header()
		h.Set("Access-Control-Allow-Origin", origin)
		h.Set("Access-Control-Expose-Headers", "Location, ETag, Link, Retry-After, X-Request-Id, Idempotency-Replayed")
		h.Set("Cross-Origin-Resource-Policy", "cross-origin")
		h.Add("Vary", "Origin")
	}
	if err := cleanURL(r.URL); err != nil {
		return err
	}
	if err := queryToken(r); err != nil {
		return err
	}
	if r.Method == http.MethodOptions || s.public(r.URL.Path) {
		return nil
	}
	who, err := s.guard.authorize(r)
	if err != nil {
		return err
	}
	if !who.limit.allow() {
		return sdk.Errorf(sdk.CodeRateLimited, "more than %d requests a second for this token (%srequests_per_second)",
			s.cfg.Limits.RequestsPerSecond, settings)
	}
	*rp = r.WithContext(context.WithValue(r.Context(), keyIdentity, who))
	return nil
}

// cleanURL refuses what is no text, which the database would not take.
func cleanURL(u *url.URL) *sdk.Error {
	query, err := url.QueryUnescape(u.RawQuery)
	if text := u.Path + query; err != nil || !utf8.ValidString(text) || strings.Contains(text, "\x00") {
		return sdk.Errorf(sdk.CodeInvalidRequest, "the path and the query must be percent-encoded UTF-8 without NUL")
	}
	return nil
}

// public paths need no token; the WebSocket asks for it in its own ways.
func (s *Server) public(path string) bool {
	switch path {
	case "/", "/healthz", "/readyz", openAPIPath + ".json", wsPath:
		return true
	case "/metrics":
		return s.cfg.MetricsPublic
	}
	return false
}

// preflight answers what a browser asks before it lets a page of an allowed
// foreign origin send a token.
func (s *Server) preflight(w http.ResponseWriter, r *http.Request) bool {
	if _, ok := s.doors.foreign(r); !ok || r.Header.Get("Access-Control-Request-Method") == "" {
		return false
	}
	h := w.Header()
	h.Set("Access-Control-Allow-Methods", "GET, POST, PUT, DELETE")
	allowed := []string{"Authorization", "Content-Type", "Idempotency-Key", "If-None-Match", "Last-Event-ID", "X-Request-Id"}
	for asked := range strings.SplitSeq(r.Header.Get("Access-Control-Request-Headers"), ",") {
		if name := strings.TrimSpace(asked); strings.HasPrefix(strings.ToLower(name), "ce-") { // any attribute of an event
			allowed = append(allowed, name)
		}
	}
	h.Set("Access-Control-Allow-Headers", strings.Join(allowed, ", "))
	h.Set("Access-Control-Max-Age", "600")
	w.WriteHeader(http.StatusNoContent)
	return true
}

// noRoute answers what no route matches: 405 where another method would.
func (s *Server) noRoute(w http.ResponseWriter, r *http.Request, mux *http.ServeMux) {
	var allowed []string
	for _, method := range []string{"GET", "HEAD", "POST", "PUT", "DELETE"} {
		other := r.Clone(r.Context())
		other.Method = method
		if _, route := mux.Handler(other); route != "" {
			allowed = append(allowed, method)
		}
	}
	if len(allowed) == 0 {
		s.fail(w, r, sdk.Errorf(sdk.CodeNotFound, "there is nothing at this path; %s.json lists the routes", openAPIPath))
		return
	}
	w.Header().Set("Allow", strings.Join(allowed, ", "))
	s.fail(w, r, sdk.Errorf(sdk.CodeMethodNotFound, "%s is not possible here; use %s", clip(r.Method), strings.Join(allowed, ", ")))
}

// fail answers with an error.
func (s *Server) fail(w http.ResponseWriter, r *http.Request, err error) {
	var p *problem
	if errors.As(err, &p) { // it knows its own status
		s.failAs(w, r, p)
		return
	}
	shown, known := asError(err)
	if !known {
		s.log.Error("a request failed", "request_id", requestID(r.Context()), "path", r.URL.Path, "error", err)
	}
	s.failAs(w, r, newProblem(shown))
}

func (s *Server) failAs(w http.ResponseWriter, r *http.Request, p *problem) {
	p.RequestID = requestID(r.Context())
	body, err := encode(p)
	if err != nil {
		body = []byte(`{"title":"Internal error","status":500,"code":"internal"}`)
	}
	for name, values := range p.header {
		w.Header()[name] = values
	}
	w.Header().Set("Content-Type", problemType)
	w.WriteHeader(p.Status)
	_, _ = w.Write(append(body, '\n')) // a peer that has gone needs no answer
}

func validRequestID(id string) bool {
	for _, c := range []byte(id) {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '_' && c != '.' {
			return false
		}
	}
	return id != "" && len(id) <= 64
}

func newRequestID() string {
	var b [10]byte
	_, _ = rand.Read(b[:]) // never fails
	return "req_" + hex.EncodeToString(b[:])
}

// recorder remembers the status for the log and the metrics, and gives up a client that
// does not read.
type recorder struct {
	http.ResponseWriter
	timeout time.Duration // of one write
	status  int
	stream  bool // it lasts as long as somebody listens
}

func (r *recorder) WriteHeader(status int) {
	if r.status == 0 {
		r.status = status
	}
	r.ResponseWriter.WriteHeader(status)
}

// Write writes p a chunk at a time, each with its own deadline, so that a slow line may
// carry a large answer.
func (r *recorder) Write(p []byte) (n int, err error) {
	if r.status == 0 {
		r.status = http.StatusOK
	}
	for {
		if err := r.patience(); err != nil {
			return n, err
		}
		k, err := r.ResponseWriter.Write(p[n:min(n+chunk, len(p))])
		if n += k; err != nil || n >= len(p) {
			return n, err
		}
	}
}

// patience lets the next write take as long as one may.
func (r *recorder) patience() error {
	err := http.NewResponseController(r.ResponseWriter).SetWriteDeadline(time.Now().Add(r.timeout))
	if errors.Is(err, http.ErrNotSupported) { // a recorder in a test has none
		return nil
	}
	return err
}

// Unwrap lets http.ResponseController reach what is underneath.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }
