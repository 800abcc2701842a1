package client

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/gorilla/websocket"

	"github.com/nagatha/nagatha-runtime/sdk"
)

// ErrClosed is returned by everything that a closed [Conn] or [Subscription] is
// still asked for.
var ErrClosed = errors.New("client is closed")

// ErrNoReply is in the chain of an error when the line broke after a request
// was sent that must not be repeated blindly: it may have been done or not.
var ErrNoReply = errors.New("the connection broke before the reply; the request may have been done")

// LostError says that there is no connection, and that none will come.
type LostError struct {
	Server string
	Never  bool          // the very first attempt failed
	GaveUp time.Duration // > 0: this long was spent on reconnecting in vain
	Err    error         // the last thing that went wrong

	refused *sdk.Error
}

func (e *LostError) Error() string {
	switch {
	case e.GaveUp > 0:
		return fmt.Sprintf("lost the connection to %s and got none back within %s: %v", e.Server, sdk.Duration(e.GaveUp), e.Err)
	case e.Never:
		return fmt.Sprintf("cannot connect to %s: %v", e.Server, e.Err)
	}
	return fmt.Sprintf("%s ended the connection: %v", e.Server, e.Err)
}

// Unwrap gives the cause and its code: what the server said when it refused,
// else unavailable.
func (e *LostError) Unwrap() []error {
	coded := e.refused
	if coded == nil {
		coded = &sdk.Error{Code: sdk.CodeUnavailable, Message: fmt.Sprint(e.Err), Retryable: true}
	}
	if e.Err == nil {
		return []error{coded}
	}
	return []error{coded, e.Err}
}

// handshakeError is an upgrade that was answered, but not with an upgrade.
type handshakeError struct {
	said   *sdk.Error
	status int
	after  time.Duration
}

func (e *handshakeError) Error() string { return e.said.Message }
func (e *handshakeError) Unwrap() error { return e.said }

// final reports whether trying again is of no use.
func (e *handshakeError) final() bool {
	switch e.status {
	case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests:
		return false
	}
	return e.status < 500
}

// refusal says what a broken link means for the next one: a non-nil answer is
// what ends the Conn.
func refusal(err error) *sdk.Error {
	var h *handshakeError
	if errors.As(err, &h) && h.final() {
		return h.said
	}
	var closed *websocket.CloseError
	if !errors.As(err, &closed) {
		return nil
	}
	text := fmt.Sprintf("%s (close code %d)", orElse(closed.Text, "no reason given"), closed.Code)
	switch {
	case closed.Code == 4500:
		return &sdk.Error{Code: sdk.CodeUnauthorized, Message: text}
	case closed.Code == 4504:
		return &sdk.Error{Code: sdk.CodeLimitExceeded, Message: text}
	case closed.Code >= 4500 && closed.Code <= 4999:
		return &sdk.Error{Code: sdk.CodeInvalidRequest, Message: text}
	}
	switch closed.Code {
	case websocket.CloseProtocolError, websocket.CloseUnsupportedData,
		websocket.CloseInvalidFramePayloadData, websocket.ClosePolicyViolation:
		// It says that this client speaks wrongly; it would do so again.
		return &sdk.Error{Code: sdk.CodeInvalidRequest, Message: text}
	}
	return nil
}

func orElse(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

// problem reads an HTTP error: problem+json, or whatever a proxy made of it.
func problem(res *http.Response, body []byte) *handshakeError {
	e := &handshakeError{status: res.StatusCode, after: retryAfter(res.Header)}
	var p struct {
		Code      sdk.Code    `json:"code"`
		Title     string      `json:"title"`
		Detail    string      `json:"detail"`
		Retryable bool        `json:"retryable"`
		Fields    []sdk.Field `json:"fields"`
	}
	if json.Unmarshal(body, &p) == nil && p.Code != "" {
		e.said = &sdk.Error{Code: p.Code, Message: orElse(p.Detail, p.Title), Retryable: p.Retryable, Fields: p.Fields}
		return e
	}
	e.said = sdk.Errorf(codeOf(res.StatusCode), "the server answered %d %s", res.StatusCode, http.StatusText(res.StatusCode))
	if to := res.Header.Get("Location"); to != "" && res.StatusCode/100 == 3 {
		e.said.Message += " and points to " + to + ": is that the server?"
	} else if e.said.Code == sdk.CodeNotFound || res.StatusCode < 400 {
		e.said.Message += "; is a Nagatha Runtime listening there?"
	}
	return e
}

func codeOf(status int) sdk.Code {
	switch status {
	case http.StatusUnauthorized:
		return sdk.CodeUnauthorized
	case http.StatusForbidden, http.StatusMisdirectedRequest:
		return sdk.CodeForbidden
	case http.StatusNotFound:
		return sdk.CodeNotFound
	case http.StatusConflict:
		return sdk.CodeConflict
	case http.StatusRequestEntityTooLarge:
		return sdk.CodeLimitExceeded
	case http.StatusTooManyRequests:
		return sdk.CodeRateLimited
	}
	if status >= 500 {
		return sdk.CodeUnavailable
	}
	return sdk.CodeInvalidRequest
}

func retryAfter(h http.Header) time.Duration {
	s, err := strconv.Atoi(h.Get("Retry-After"))
	if err != nil || s < 0 || s > 3600 {
		return 0
	}
	return time.Duration(s) * time.Second
}
