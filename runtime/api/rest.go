package api

import (
	"cmp"
	"context"
	"errors"
	"io"
	"net/http"
	"reflect"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/nagatha/nagatha-runtime/sdk"
)

const (
	apiPath     = "/api/v1"
	wsPath      = apiPath + "/ws"
	openAPIPath = "/api/openapi"
)

// routes registers everything. huma reads parameters and writes OpenAPI; bodies
// are read by fields, as over WebSocket.
func (s *Server) routes() (http.Handler, error) {
	mux := http.NewServeMux()
	cfg := huma.DefaultConfig("Nagatha Runtime", cmp.Or(s.cfg.Version, "dev"))
	cfg.Info.Description = "Tasks, their events, and the plugins that run them. Live streams come over the WebSocket at " + wsPath + "."
	cfg.Info.License = &huma.License{Name: "Apache License 2.0", Identifier: "Apache-2.0"}
	cfg.Servers = []*huma.Server{{URL: "/"}}
	cfg.OpenAPIPath = openAPIPath
	cfg.DocsPath, cfg.SchemasPath = "", "" // the page would load scripts from elsewhere
	cfg.CreateHooks = nil
	cfg.RejectUnknownQueryParameters = true
	cfg.Transformers = []huma.Transformer{s.transform}
	cfg.Security = []map[string][]string{{"token": {}}}
	cfg.Components.SecuritySchemes = map[string]*huma.SecurityScheme{"token": {Type: "http", Scheme: "bearer"}}
	types := cfg.Components.Schemas
	types.RegisterTypeAlias(reflect.TypeFor[sdk.Time](), reflect.TypeFor[timeDoc]())
	types.RegisterTypeAlias(reflect.TypeFor[sdk.Duration](), reflect.TypeFor[durationDoc]())
	types.RegisterTypeAlias(reflect.TypeFor[huma.ErrorModel](), reflect.TypeFor[problem]())

	api := humago.New(mux, cfg)
	s.routeTasks(api)
	s.routeEvents(api)
	s.routeApprovals(api)
	s.routeQueues(api)
	s.routeBulk(api)
	s.routeSchedules(api)
	s.routeTokens(api)
	s.routeBackup(api)
	if s.cfg.SeedAPI {
		s.routeSeed(mux)
	}
	s.routeSystem(api, mux)
	refine(api.OpenAPI())

	page, err := newPage()
	if err != nil {
		return nil, err
	}
	mux.Handle("GET /{$}", page)
	mux.HandleFunc("GET "+wsPath, func(w http.ResponseWriter, r *http.Request) {
		if rec, ok := w.(*recorder); ok {
			rec.stream = true
		}
		s.serveWS(w, r)
	})
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, r *http.Request) {
		if err := permit(sender(r.Context()), "metrics"); err != nil && !s.cfg.MetricsPublic {
			s.fail(w, r, err)
			return
		}
		s.metrics.handler().ServeHTTP(w, r)
	})
	return s.front(mux), nil
}

// timeDoc and durationDoc stand in for their sdk types in the schemas.
type timeDoc string

// Schema describes sdk.Time.
func (timeDoc) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Type: "string", Format: "date-time", Nullable: true, Description: "RFC 3339; UTC with milliseconds in answers; null: none."}
}

type durationDoc string

// Schema describes sdk.Duration.
func (durationDoc) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Type: "string", Description: "A Go duration.", Examples: []any{"1m30s"}}
}

// transform gives every error the one shape: huma's own become problems, without
// the offending values that they echo.
func (s *Server) transform(ctx huma.Context, _ string, v any) (any, error) {
	id := requestID(ctx.Context())
	switch e := v.(type) {
	case *problem:
		p := *e
		p.RequestID = id
		return &p, nil
	case *huma.ErrorModel:
		fault := &sdk.Error{Code: codeOf(e.Status), Message: e.Detail}
		for _, d := range e.Errors {
			_, name, ok := strings.Cut(d.Location, ".")
			if !ok {
				name = d.Location
			}
			if name != "" {
				fault.Fields = append(fault.Fields, sdk.Field{Field: name, Message: d.Message})
				fault.Message += "; " + name + ": " + d.Message
			}
		}
		fault.Message = strings.TrimPrefix(fault.Message, "validation failed; ")
		p := newProblem(fault)
		p.Status, p.RequestID = e.Status, id
		return p, nil
	}
	return v, nil
}

// problemOf makes an error one that huma sends as a problem.
func (s *Server) problemOf(ctx context.Context, err error) error {
	shown, known := asError(err)
	if !known {
		s.log.Error("a request failed", "request_id", requestID(ctx), "error", err)
	}
	s.metrics.failed(shown.Code)
	return newProblem(shown)
}

// handle registers an operation whose errors may be of any kind.
func handle[I, O any](s *Server, api huma.API, op huma.Operation, run func(ctx context.Context, in *I) (*O, error)) {
	op.Path = apiPath + op.Path
	if needs[op.OperationID] == nil {
		panic("api: nobody has said who may " + op.OperationID)
	}
	huma.Register(api, op, func(ctx context.Context, in *I) (*O, error) {
		var out *O
		err := permit(sender(ctx), op.OperationID)
		if err == nil {
			out, err = run(ctx, in)
		}
		if err != nil {
			var ready *problem
			if errors.As(err, &ready) {
				return nil, ready
			}
			return nil, s.problemOf(ctx, err)
		}
		return out, nil
	})
}

// body is the part of an input that is the request's body. huma finds Resolve
// and calls it; the error waits until the handler asks for the fields.
type body struct {
	text   []byte
	header http.Header
	err    error
	done   bool
}

// Resolve reads the body, within its limit and in bounded time.
func (b *body) Resolve(ctx huma.Context) []error {
	if b.done {
		return nil // huma meets an embedded struct twice
	}
	b.done = true
	r, _ := humago.Unwrap(ctx)
	b.header = r.Header
	limit, _ := ctx.Operation().Metadata["body_bytes"].(int)
	timeout, _ := ctx.Operation().Metadata["body_timeout"].(time.Duration)
	b.text, b.err = readBody(ctx.SetReadDeadline, r.Body, limit, timeout)
	return nil
}

// readBody reads a body, within its limit and in bounded time. One that did not arrive
// keeps its deadline: net/http would wait for the rest of it before it answers.
func readBody(deadline func(time.Time) error, r io.Reader, limit int, timeout time.Duration) ([]byte, error) {
	_ = deadline(time.Now().Add(timeout)) // a recorder in a test has none
	text, err := readLimited(r, limit)
	if err == nil {
		_ = deadline(time.Time{})
	}
	return text, err
}

// readLimited reads a body. One that is too large is read on a while and
// dropped, or the client, still sending, would meet a reset connection instead
// of the error.
func readLimited(r io.Reader, limit int) ([]byte, error) {
	text, err := io.ReadAll(io.LimitReader(r, int64(limit)+1))
	if err != nil {
		return nil, sdk.Errorf(sdk.CodeInvalidRequest, "the body did not arrive: %v", err)
	}
	if len(text) > limit {
		_, _ = io.Copy(io.Discard, io.LimitReader(r, 64<<20))
		return nil, sdk.Errorf(sdk.CodeLimitExceeded, "the body is larger than %sbody_bytes, %d", settings, limit)
	}
	if !utf8.Valid(text) {
		return nil, sdk.Errorf(sdk.CodeParse, "the body is not UTF-8")
	}
	return text, nil
}

// fields begins to read the body as a JSON object; an empty body is an empty
// one where optional.
func (b *body) fields(optional bool) (*fields, error) {
	switch t := b.header.Get("Content-Type"); {
	case b.err != nil:
		return nil, b.err
	case len(b.text) > 0 && t != "" && !isJSON(t):
		return nil, wrongType("application/json")
	case len(b.text) == 0 && optional:
		return newFields(nil), nil
	case len(b.text) == 0:
		return nil, sdk.Errorf(sdk.CodeInvalid, "the request has no body; want a JSON object")
	}
	return readFields(b.text)
}

// wrongType refuses a body for its media type.
func wrongType(want string, args ...any) error {
	p := newProblem(sdk.Errorf(sdk.CodeInvalidRequest, "want the header Content-Type: "+want, args...))
	p.Title, p.Status = "Unsupported media type", http.StatusUnsupportedMediaType
	return p
}

// withBody adds to an operation that it has a body of type T.
func withBody[T any](s *Server, api huma.API, op *huma.Operation, required bool, contentTypes ...string) {
	op.Metadata = map[string]any{"body_bytes": s.cfg.Limits.BodyBytes, "body_timeout": s.cfg.BodyTimeout}
	schema := api.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[T](), true, "Request")
	content := map[string]*huma.MediaType{}
	for _, t := range contentTypes {
		content[t] = &huma.MediaType{Schema: schema}
	}
	// huma would read and check the body by itself if it knew of it before the
	// operation is registered.
	path, method := apiPath+op.Path, op.Method
	api.OpenAPI().OnAddOperation = append(api.OpenAPI().OnAddOperation, func(_ *huma.OpenAPI, added *huma.Operation) {
		if added.Path == path && added.Method == method {
			added.RequestBody = &huma.RequestBody{Required: required, Content: content}
		}
	})
}

// WaitParam is ?wait=30s. It and its kin are exported because huma looks into no
// other embedded structs.
type WaitParam struct {
	Wait string `query:"wait" doc:"Answer when the task has ended, at the latest after this long, such as 30s." example:"30s"`
}

// maxWait bounds how long one request is held.
const maxWait = 5 * time.Minute

func (p WaitParam) duration() (time.Duration, error) {
	if p.Wait == "" {
		return 0, nil
	}
	d, err := time.ParseDuration(p.Wait)
	if err != nil || d < 0 || d > maxWait {
		return 0, sdk.Invalid("wait", "want a duration such as \"30s\", at most %s", sdk.Duration(maxWait))
	}
	return d, nil
}

// awaitEnd waits for the task's end, for as long as the client and the server
// care. The task is returned as it then is.
func (s *Server) awaitEnd(ctx context.Context, id string, wait time.Duration) (sdk.Task, error) {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	defer context.AfterFunc(s.serving, cancel)()
	task, err := s.rt.Wait(ctx, id)
	if err != nil && task.ID != "" && ctx.Err() != nil {
		return task, nil
	}
	return task, err
}

func etag(t *sdk.Task) string { return `"` + strconv.FormatInt(t.Version, 10) + `"` }

// names reports whether If-None-Match, a list or "*", names a tag.
func names(list, tag string) bool {
	for one := range strings.SplitSeq(list, ",") {
		if one = strings.TrimSpace(one); one == "*" || strings.TrimPrefix(one, "W/") == tag {
			return true
		}
	}
	return false
}

// OnePage ends the body of a list that always fits in one page. It is exported for huma,
// too.
type OnePage struct {
	NextCursor string `json:"next_cursor" doc:"Always empty: there is one page."`
}
