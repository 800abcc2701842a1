package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nagatha/nagatha-runtime/sdk"
)

// reasonedError is an error with reasons that are tested for.
type reasonedError struct {
	err     *sdk.Error
	reasons []error
}

func because(err *sdk.Error, reasons ...error) error { return &reasonedError{err, reasons} }

func (e *reasonedError) Error() string   { return e.err.Error() }
func (e *reasonedError) Unwrap() []error { return append([]error{e.err}, e.reasons...) }

// serverError is what a server says is wrong, as far as it can be understood.
type serverError struct {
	Type, Code, Param, Message string
}

const minKey = 8

// parseServerError reads the body of a failure, or an error object in a stream.
// Servers write {"error":{…}}, {"error":"…"}, {"message":…}, {"detail":…}, a list of
// these, or no JSON at all. The key is taken out of what they say, unless it is too
// short to be one: servers that want none are given words such as "x" or "ollama".
func parseServerError(body []byte, key string) serverError {
	var e serverError
	body = bytes.TrimSpace(body)
	var list []json.RawMessage
	if json.Unmarshal(body, &list) == nil && len(list) > 0 {
		body = list[0]
	}
	var m map[string]json.RawMessage
	var text string
	switch {
	case json.Unmarshal(body, &m) == nil:
		if inner, ok := m["error"]; ok && string(inner) != "null" {
			if json.Unmarshal(inner, &text) == nil {
				m = map[string]json.RawMessage{"message": inner}
			} else if in := map[string]json.RawMessage(nil); json.Unmarshal(inner, &in) == nil {
				m = in
			}
		}
		e = serverError{plain(m["type"]), plain(m["code"]), plain(m["param"]), plain(m["message"])}
		if e.Message == "" {
			e.Message = plain(m["detail"])
		}
	case json.Unmarshal(body, &text) == nil:
		e.Message = text
	case !bytes.HasPrefix(body, []byte("<")): // not a web page
		e.Message = string(body)
	}
	if len(key) >= minKey {
		e.Message = strings.ReplaceAll(e.Message, key, "…")
	}
	if e.Message = strings.ToValidUTF8(e.Message, "…"); len(e.Message) > 500 {
		e.Message = strings.ToValidUTF8(e.Message[:500], "") + "…"
	}
	return e
}

// plain is a JSON string, number or other value as text.
func plain(raw json.RawMessage) string {
	var s string
	if json.Unmarshal(raw, &s) == nil || len(raw) == 0 {
		return s
	}
	return string(raw)
}

// status guesses the HTTP status of an error in a stream.
func (e serverError) status() int {
	if n, err := strconv.Atoi(e.Code); err == nil && n >= 400 && n <= 599 {
		return n
	}
	for _, s := range []string{e.Type, e.Code} {
		switch s {
		case "rate_limit_error", "rate_limit_exceeded", "insufficient_quota":
			return 429
		case "invalid_request_error", "exceed_context_size_error", "context_length_exceeded", "BadRequestError":
			return 400
		case "authentication_error":
			return 401
		case "permission_error":
			return 403
		case "not_found_error":
			return 404
		case "overloaded_error":
			return 529
		}
	}
	return 500
}

// What servers say when a request does not fit the context window.
var contextPhrases = []string{"context_length_exceeded", "exceed_context_size", "context length", "context window",
	"context size", "context limit", "context overflow", "prompt is too long", "input is too long", "maximum number of tokens",
	"reduce the length of the messages"}

func (e serverError) tooLong(status int) bool {
	if status == 413 {
		return true
	}
	if status == 429 || status == 401 || status == 403 {
		return false
	}
	text := strings.ToLower(e.Code + " " + e.Type + " " + e.Message)
	for _, p := range contextPhrases {
		if strings.Contains(text, p) {
			return true
		}
	}
	return false
}

// refused makes the error of an HTTP status that is not a success, or of an error in
// a stream.
func (c *modelClient) refused(status int, e serverError, after time.Duration) error {
	said := ""
	if e.Message != "" {
		said = ": " + e.Message
	}
	secret := c.config.KeySecret
	if secret == "" {
		secret = "a secret, and key_secret in its config,"
	}
	switch {
	case e.tooLong(status):
		return because(sdk.Errorf(sdk.CodeLimitExceeded, "the conversation is longer than the model's context window: set context_window of plugin \"agent\" to what the model takes, or begin a new session%s", said), errContextLength)
	case status == 401 || status == 403:
		return sdk.Errorf(sdk.CodeUnauthorized, "the model server at %s refuses the key (%d): check %s in the secrets of plugin \"agent\" in config.hcl%s", c.host, status, secret, said)
	case status == 402, e.Code == "insufficient_quota", e.Type == "insufficient_quota":
		return &sdk.Error{Code: sdk.CodeUnavailable, Message: fmt.Sprintf("the account at %s has no credit left%s", c.host, said)}
	case status == 404:
		return sdk.Errorf(sdk.CodeNotFound, "the server at %s has no such model or address (404): check model, and base_url, which usually ends in /v1%s", c.host, said)
	case status == 429:
		err := sdk.Errorf(sdk.CodeRateLimited, "the model server at %s limits the rate (429); try later, or lower the concurrency of queue \"agent\"%s", c.host, said)
		err.After = after
		return err
	case status >= 500 || status == 408 || status == 409 || status == 425:
		err := sdk.Errorf(sdk.CodeUnavailable, "the model server at %s fails (%d)%s", c.host, status, said)
		err.After = after
		return err
	}
	return sdk.Errorf(sdk.CodeInvalid, "the model server at %s refuses the request (%d)%s", c.host, status, said)
}

// unreachable makes the error of a request that got no answer.
func (c *modelClient) unreachable(ctx context.Context, err error) error {
	if errors.Is(context.Cause(ctx), errIdle) {
		return because(sdk.Errorf(sdk.CodeUnavailable, "nothing came from the model server at %s for %s: raise idle_timeout if it is that slow",
			c.host, c.config.IdleTimeout), errIdle, errTruncated)
	}
	switch sdk.CodeOf(err) {
	case sdk.CodeCapabilityDenied:
		return sdk.Errorf(sdk.CodeCapabilityDenied, "the model server at %s may not be reached: "+capabilityFix+" (%s)", c.host, c.host, sdk.AsError(err).Message)
	case sdk.CodeUnavailable:
		return sdk.Errorf(sdk.CodeUnavailable, "the model server at %s cannot be reached: is it running, and is base_url right? (%s)", c.host, sdk.AsError(err).Message)
	}
	return err
}

// cut makes the error of a stream that broke off.
func (c *modelClient) cut(how string) error {
	return because(sdk.Errorf(sdk.CodeUnavailable, "the stream of the model server at %s was cut off: %s", c.host, how), errTruncated)
}

// streamError is an error object in a stream.
type streamError struct{ raw json.RawMessage }

func (*streamError) Error() string { return "the model server reports an error in the stream" }

// parseFailed makes the error of what a parser could not take.
func (c *modelClient) parseFailed(err error, key string) error {
	var in *streamError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &in):
		e := parseServerError(in.raw, key)
		return c.refused(e.status(), e, 0)
	case errors.Is(err, errReplyTooLong):
		return because(sdk.Errorf(sdk.CodeLimitExceeded, "%v: lower max_output_tokens", err), errReplyTooLong)
	}
	return because(sdk.Errorf(sdk.CodeUnavailable, "the server at %s sent what is no answer of a model (check provider and base_url): %v", c.host, err), errTruncated)
}

// retryAfter is how long a server asks to wait; 0: it does not say.
func retryAfter(header map[string][]string, now time.Time) time.Duration {
	if ms, err := strconv.ParseFloat(headerValue(header, "Retry-After-Ms"), 64); err == nil && ms > 0 && ms < 1e10 {
		return time.Duration(ms * float64(time.Millisecond))
	}
	if d := moment(headerValue(header, "Retry-After"), now); d > 0 {
		return d
	}
	// The limits that are used up, or else the nearest that is renewed.
	var used, nearest time.Duration
	for _, what := range []string{"", "-Requests", "-Tokens"} {
		d := moment(headerValue(header, "X-RateLimit-Reset"+what), now)
		if d <= 0 {
			continue
		}
		if headerValue(header, "X-RateLimit-Remaining"+what) == "0" {
			used = max(used, d)
		}
		if nearest == 0 || d < nearest {
			nearest = d
		}
	}
	if used > 0 {
		return used
	}
	return nearest
}

// moment reads a time to come: seconds, a Go duration, a Unix time in seconds or
// milliseconds, an HTTP date, or RFC 3339. What is not one, or has passed, is 0.
func moment(s string, now time.Time) time.Duration {
	if n, err := strconv.ParseFloat(s, 64); err == nil {
		switch {
		case !(n > 0 && n < 1e13):
			return 0
		case n > 1e11:
			return max(0, time.UnixMilli(int64(n)).Sub(now))
		case n > 1e9:
			return max(0, time.Unix(int64(n), 0).Sub(now))
		case n > 1e8: // years
			return 0
		}
		return time.Duration(n * float64(time.Second))
	}
	if d, err := time.ParseDuration(s); err == nil {
		return max(0, d)
	}
	for _, layout := range []string{"Mon, 02 Jan 2006 15:04:05 GMT", time.RFC3339} {
		if t, err := time.Parse(layout, s); err == nil {
			return max(0, t.Sub(now))
		}
	}
	return 0
}
