package api

import (
	"context"
	"errors"
	"net/http"

	"github.com/nagatha/nagatha-runtime/sdk"
)

// wire says what a code is called on the two wires.
type wire struct {
	rpc    int    // the number in a JSON-RPC error
	status int    // of an HTTP response
	title  string // of a problem
}

// wireOf is the one table from codes to wires. A code of a task that a request
// happens to end with is an internal error by number and keeps its name.
func wireOf(code sdk.Code) wire {
	switch code {
	case sdk.CodeParse:
		return wire{-32700, http.StatusBadRequest, "Not JSON"}
	case sdk.CodeInvalidRequest:
		return wire{-32600, http.StatusBadRequest, "Malformed request"}
	case sdk.CodeMethodNotFound:
		return wire{-32601, http.StatusMethodNotAllowed, "No such method"}
	case sdk.CodeInvalid:
		return wire{-32602, http.StatusUnprocessableEntity, "Invalid request"}
	case sdk.CodeUnauthorized:
		return wire{-32001, http.StatusUnauthorized, "Unauthorized"}
	case sdk.CodeForbidden:
		return wire{-32003, http.StatusForbidden, "Forbidden"}
	case sdk.CodeNotFound:
		return wire{-32004, http.StatusNotFound, "Not found"}
	case sdk.CodeConflict:
		return wire{-32009, http.StatusConflict, "Conflict"}
	case sdk.CodeBadCursor:
		return wire{-32010, http.StatusBadRequest, "Bad cursor"}
	case sdk.CodeLimitExceeded:
		return wire{-32013, http.StatusRequestEntityTooLarge, "Limit exceeded"}
	case sdk.CodeRateLimited:
		return wire{-32029, http.StatusTooManyRequests, "Rate limited"}
	case sdk.CodeUnavailable:
		return wire{-32053, http.StatusServiceUnavailable, "Unavailable"}
	}
	return wire{-32603, http.StatusInternalServerError, "Internal error"}
}

// codeOf is the way back, for errors that begin as an HTTP status.
func codeOf(status int) sdk.Code {
	switch status {
	case http.StatusUnauthorized:
		return sdk.CodeUnauthorized
	case http.StatusForbidden:
		return sdk.CodeForbidden
	case http.StatusNotFound:
		return sdk.CodeNotFound
	case http.StatusMethodNotAllowed:
		return sdk.CodeMethodNotFound
	case http.StatusConflict:
		return sdk.CodeConflict
	case http.StatusRequestEntityTooLarge:
		return sdk.CodeLimitExceeded
	case http.StatusUnprocessableEntity:
		return sdk.CodeInvalid
	case http.StatusTooManyRequests:
		return sdk.CodeRateLimited
	case http.StatusServiceUnavailable:
		return sdk.CodeUnavailable
	}
	if status >= 500 {
		return sdk.CodeInternal
	}
	return sdk.CodeInvalidRequest
}

// asError makes any error one that may be shown. What is not an *sdk.Error says
// nothing about its cause, which may be a path or a query; known is then false
// and the cause belongs in the log.
func asError(err error) (shown *sdk.Error, known bool) {
	var e *sdk.Error
	switch {
	case errors.As(err, &e):
		return e, true
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return sdk.Errorf(sdk.CodeUnavailable, "the request was given up before it was done"), true
	}
	return sdk.Errorf(sdk.CodeInternal, "something went wrong in the runtime; its log says what"), false
}

// rpcError is the error object of a JSON-RPC reply.
type rpcError struct {
	Code    int          `json:"code"`
	Message string       `json:"message"`
	Data    rpcErrorData `json:"data"`
}

type rpcErrorData struct {
	Code      sdk.Code    `json:"code"`
	Retryable bool        `json:"retryable"`
	Fields    []sdk.Field `json:"fields,omitempty"`
}

func newRPCError(e *sdk.Error) rpcError {
	return rpcError{wireOf(e.Code).rpc, e.Message, rpcErrorData{e.Code, e.Retryable, e.Fields}}
}

// problem is an error as REST shows it (RFC 9457). It is an error itself, so
// that a handler can return it.
type problem struct {
	Type      string      `json:"type" doc:"Always about:blank; code tells errors apart."`
	Title     string      `json:"title"`
	Status    int         `json:"status"`
	Detail    string      `json:"detail" doc:"What is wrong and what to do next."`
	Code      sdk.Code    `json:"code" doc:"The same as over WebSocket, such as invalid or not_found."`
	Retryable bool        `json:"retryable"`
	RequestID string      `json:"request_id" doc:"As in the X-Request-Id header and the log."`
	Fields    []sdk.Field `json:"fields,omitempty" doc:"Which fields of the request are wrong."`

	header http.Header // to send with it
}

func newProblem(e *sdk.Error) *problem {
	w := wireOf(e.Code)
	p := &problem{Type: "about:blank", Title: w.title, Status: w.status, Detail: e.Message,
		Code: e.Code, Retryable: e.Retryable, Fields: e.Fields}
	if e.Code == sdk.CodeLimitExceeded && e.Retryable { // not too large: too many at present
		p.Title, p.Status = "Too many", http.StatusTooManyRequests
		p.header = http.Header{"Retry-After": {"1"}}
	}
	switch e.Code {
	case sdk.CodeUnauthorized:
		p.header = http.Header{"Www-Authenticate": {`Bearer realm="nagatha"`}}
	case sdk.CodeRateLimited, sdk.CodeUnavailable:
		p.header = http.Header{"Retry-After": {"1"}}
	}
	return p
}

func (p *problem) Error() string           { return p.Code + ": " + p.Detail }
func (p *problem) GetStatus() int          { return p.Status }
func (p *problem) GetHeaders() http.Header { return p.header }

// ContentType makes huma send a problem as what it is.
func (p *problem) ContentType(string) string { return problemType }

const problemType = "application/problem+json"
