package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/nagatha/nagatha-runtime/sdk"
)

// modelClient makes calls in one wire format over the host's HTTP service.
type modelClient struct {
	config    modelConfig
	format    wireFormat
	url, host string

	wait   func(context.Context, time.Duration) error // between tries
	random func() float64                             // jitter, in [0, 1)
}

// wireFormat is what differs between the two.
type wireFormat interface {
	// add appends a message to those that were said before it. An empty one may be left
	// out.
	add(s *said, m *Message) error
	// request encodes a request. The key may be empty.
	request(req Request, key string) (header map[string][]string, body []byte, err error)
	// parser makes the parser of one answer, which adds what it finds to b.
	parser(b *replyBuilder) replyParser
	// adapt changes what later requests look like after the server refused something
	// that not every server knows, and reports whether asking again may help.
	adapt(e serverError) bool
}

// replyParser takes an answer apart.
type replyParser interface {
	// event takes the data of an event, and reports whether it was the last.
	event(data []byte) (last bool, err error)
	// whole takes an answer that was not streamed.
	whole(data []byte) error
}

const (
	// maxTries bounds the requests of a call in a task's first attempt. In a later one
	// a call is made once: the task's own retries, which people see and which hold
	// nothing, go on from there. So a dead server gets 3 + 4 requests with the default
	// max_attempts of 5.
	maxTries   = 3
	maxForms   = 2                      // other forms of a request that are tried
	firstDelay = 500 * time.Millisecond // doubles with each try
	// longestWait is the most time between two tries here. A server that wants more
	// is left to the task's own retries, which hold nothing while they wait.
	longestWait   = 5 * time.Second
	maxErrorBody  = 64 << 10
	headerSlack   = time.Second // by which the host's own limit is longer than ours
	capabilityFix = `add "%s" to http in the grant of plugin "agent" in config.hcl`
)

var (
	// errIdle is the cause with which a call ends that hears nothing.
	errIdle = errors.New("nothing came from the model server")
	// errOtherForm: the same request may be taken in another form.
	errOtherForm = errors.New("the server wants another form")
)

// Stream implements Model.
func (c *modelClient) Stream(ctx context.Context, host sdk.Host, req Request, on func(Delta)) (Reply, error) {
	if req.Model == "" {
		req.Model = c.config.Model
	}
	if req.Model == "" {
		return Reply{}, sdk.Invalid("model", "none is configured; set it in the config of plugin \"agent\"")
	}
	if req.MaxTokens == 0 {
		req.MaxTokens = c.config.MaxTokens
	}
	key, err := c.key(ctx, host)
	if err != nil {
		return Reply{}, err
	}
	forms := 0
	for try := 1; ; try++ {
		b := &replyBuilder{on: on, reply: Reply{Model: req.Model, Message: Message{Role: "assistant"}}}
		err := c.try(ctx, host, req, key, b)
		if err == nil {
			return b.finish(req.messages()), nil
		}
		b.reply.Stop = ""
		if ctx.Err() != nil {
			return b.finish(req.messages()), fmt.Errorf("model call: %w", context.Cause(ctx))
		}
		if errors.Is(err, errOtherForm) && forms < maxForms {
			forms++
			try-- // the server refused the form, not the request
			continue
		}
		d, again := c.again(ctx, err, try)
		if b.started || !again {
			return b.finish(req.messages()), err
		}
		if err := c.wait(ctx, d); err != nil {
			return b.finish(req.messages()), fmt.Errorf("model call: %w, %w", err, errBetween)
		}
	}
}

// key is the granted secret, or "" where there is none: local servers want none.
func (c *modelClient) key(ctx context.Context, host sdk.Host) (string, error) {
	if c.config.KeySecret == "" {
		return "", nil
	}
	key, err := sdk.Secret(ctx, host, c.config.KeySecret)
	if code := sdk.CodeOf(err); code == sdk.CodeCapabilityDenied || code == sdk.CodeNotFound {
		return "", nil
	}
	return strings.TrimSpace(key), err
}

// again says whether a try that failed before the first token is followed by
// another, and after how long.
func (c *modelClient) again(ctx context.Context, err error, try int) (time.Duration, bool) {
	e := sdk.AsError(err)
	tries := maxTries
	if task := sdk.TaskFrom(ctx); task != nil && task.Attempt > 1 {
		tries = 1
	}
	if !e.Retryable || try >= tries || errors.Is(err, errIdle) {
		return 0, false
	}
	// Between half and all of it, so that clients that failed together do not come
	// back together.
	d := firstDelay << (try - 1)
	d = d/2 + time.Duration(c.random()*float64(d/2))
	if e.After > 0 {
		d = e.After + time.Duration(c.random()*float64(min(e.After/4, time.Second)))
	}
	if end, ok := ctx.Deadline(); ok && time.Until(end) <= d {
		return 0, false
	}
	return d, d <= longestWait
}

// try makes one HTTP request and takes its answer.
func (c *modelClient) try(ctx context.Context, host sdk.Host, req Request, key string, b *replyBuilder) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	idle := time.AfterFunc(c.config.IdleTimeout, func() { cancel(errIdle) })
	defer idle.Stop()

	header, body, err := c.format.request(req, key)
	if err != nil {
		return err
	}
	header["Content-Type"] = []string{"application/json"}
	header["Accept"] = []string{"text/event-stream"}
	resp, err := sdk.Fetch(ctx, host, sdk.HTTPRequest{Method: "POST", URL: c.url, Header: header, Body: body,
		Timeout: sdk.Duration(c.config.IdleTimeout + headerSlack)})
	if err != nil {
		return c.unreachable(ctx, err)
	}
	defer func() { _ = resp.Body.Close() }() // or else the host does, with the attempt

	source := &watchedBody{resp.Body, func() { idle.Reset(c.config.IdleTimeout) }}
	if resp.Status < 200 || resp.Status > 299 {
		text, _ := io.ReadAll(io.LimitReader(source, maxErrorBody))
		e := parseServerError(text, key)
		err := c.refused(resp.Status, e, retryAfter(resp.Header, time.Now()))
		if (resp.Status == 400 || resp.Status == 422) && !errors.Is(err, errContextLength) && c.format.adapt(e) {
			err = because(sdk.AsError(err), errOtherForm)
		}
		return err
	}
	p := c.format.parser(b)
	switch media := mediaType(resp.Header); media {
	case "text/event-stream", "":
		err = c.events(newSSEReader(source), p, key)
	case "application/json":
		err = c.document(source, p, key)
	default:
		return sdk.Errorf(sdk.CodeInvalid, "the server at %s answered with %s and not with an event stream: check base_url, which usually ends in /v1", c.host, media)
	}
	switch {
	case err == nil, b.reply.Stop != "" && !errors.Is(err, errReplyTooLong):
		return nil // what is lost after the reason to stop is at most the usage
	case ctx.Err() != nil:
		err = c.unreachable(ctx, err)
	}
	return err
}

// events reads a stream to its end.
func (c *modelClient) events(r *sseReader, p replyParser, key string) error {
	for {
		data, err := r.next()
		switch {
		case errors.Is(err, errEventTooLong):
			return because(sdk.Errorf(sdk.CodeLimitExceeded, "the server at %s: %v", c.host, err), errTruncated)
		case errors.Is(err, io.EOF):
			return c.cut("it ended before the reply did")
		case err != nil:
			return c.cut(sdk.AsError(err).Message)
		}
		if r.failed {
			return c.parseFailed(&streamError{data}, key)
		}
		last, err := p.event(data)
		if err != nil && r.ended && !errors.As(err, new(*streamError)) {
			return c.cut("it ended within an event")
		}
		if err != nil {
			return c.parseFailed(err, key)
		}
		if last {
			return nil
		}
	}
}

// document reads an answer that came in one piece, though a stream was asked for:
// some servers do that with tools.
func (c *modelClient) document(body io.Reader, p replyParser, key string) error {
	data, err := io.ReadAll(io.LimitReader(body, maxEvent+1))
	switch {
	case err != nil:
		return c.cut(sdk.AsError(err).Message)
	case len(data) > maxEvent:
		return sdk.Errorf(sdk.CodeLimitExceeded, "the server at %s answered with more than 8 MiB", c.host)
	}
	return c.parseFailed(p.whole(data), key)
}

// watchedBody tells of each byte that arrives.
type watchedBody struct {
	io.Reader
	heard func()
}

func (w *watchedBody) Read(p []byte) (int, error) {
	n, err := w.Reader.Read(p)
	if n > 0 {
		w.heard()
	}
	return n, err
}

// mediaType is the content type without parameters, in lower case.
func mediaType(header map[string][]string) string {
	media, _, _ := strings.Cut(headerValue(header, "Content-Type"), ";")
	return strings.ToLower(strings.TrimSpace(media))
}

// headerValue is the first value of a field, whatever its case.
func headerValue(header map[string][]string, name string) string {
	for k, vs := range header {
		if strings.EqualFold(k, name) && len(vs) > 0 {
			return vs[0]
		}
	}
	return ""
}

// pause waits, or returns why not to.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
