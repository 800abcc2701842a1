package api

import (
	"runtime/debug"

	"github.com/nagatha/nagatha-runtime/runtime"
	"github.com/nagatha/nagatha-runtime/sdk"
)

// methods are the JSON-RPC methods. Each is called by the connection's reader,
// reads its params, and sees to it that the request is answered: at once, or
// from another goroutine.
type methods map[string]func(c *conn, req *request)

func newMethods() methods {
	return methods{
		"hello":            (*conn).hello,
		"ping":             (*conn).ping,
		"task.submit":      (*conn).submit,
		"task.submit_many": (*conn).submitMany,
		"task.get":         (*conn).getTask,
		"task.list":        (*conn).listTasks,
		"task.cancel":      (*conn).cancelTask,
		"task.retry":       (*conn).retryTask,
		"task.signal":      (*conn).signalTask,
		"approval.decide":  (*conn).decide,
		"event.publish":    (*conn).publish,
		"subscribe":        (*conn).subscribe,
		"unsubscribe":      (*conn).unsubscribe,
	}
}

func (m methods) call(c *conn, req *request) {
	run, ok := m[req.method]
	if !ok {
		c.reply(req, nil, sdk.Errorf(sdk.CodeMethodNotFound, "there is no method %q", clip(req.method)))
		return
	}
	c.srv.metrics.requests.WithLabelValues(req.method).Inc()
	if c.who != nil { // or it is hello
		if err := permit(c.who, req.method); err != nil {
			c.reply(req, nil, err)
			return
		}
	}
	run(c, req)
}

// spawn runs a request in a goroutine of its own, a bounded number at once. A
// place is kept until the answer has found room in the queue, so that a client
// which asks and does not read fills no memory with answers.
func (c *conn) spawn(req *request, places chan struct{}, run func() (any, error)) {
	c.requests.Go(func() {
		places <- struct{}{}
		defer func() { <-places }()
		result, err := c.guarded(req, run)
		c.reply(req, result, err)
	})
}

// aboutTask runs a request about one task, once its params are read, for who has a scope
// or owns the task.
func (c *conn) aboutTask(req *request, id, scope string, run func() (any, error)) {
	if err := req.params.err(); err != nil {
		c.reply(req, nil, err)
		return
	}
	c.spawn(req, c.calls, func() (any, error) {
		if err := c.srv.forTask(c.ctx, c.who, id, scope); err != nil {
			return nil, err
		}
		return run()
	})
}

// guarded turns a panic into an error, so that a request cannot end the runtime.
func (c *conn) guarded(req *request, run func() (any, error)) (result any, err error) {
	defer func() {
		if p := recover(); p != nil {
			c.log.Error("a request panicked", "method", req.method, "panic", p, "stack", string(debug.Stack()))
			err = sdk.Errorf(sdk.CodeInternal, "the request failed in the runtime; its log says where")
		}
	}()
	return run()
}

// helloResult is the reply to hello.
type helloResult struct {
	Server    string      `json:"server"`
	Version   string      `json:"version"`
	Protocol  string      `json:"protocol"`
	Epoch     string      `json:"epoch"`
	Scopes    []string    `json:"scopes"`
	Heartbeat int         `json:"heartbeat_s"`
	Limits    helloLimits `json:"limits"`
}

type helloLimits struct {
	FrameBytes    int `json:"frame_bytes"`
	PayloadBytes  int `json:"payload_bytes"`
	ResultBytes   int `json:"result_bytes"`
	Subscriptions int `json:"subscriptions"`
	InFlight      int `json:"in_flight"`
	RequestsPerS  int `json:"requests_per_s"`
	Connections   int `json:"connections"`
}

func (c *conn) hello(req *request) {
	_, sent := req.params.raw("token")
	token := req.params.text("token")
	client := req.params.object("client")
	name := ""
	if client != nil {
		name = client.text("name") + " " + client.text("version")
		client.unknown()
	}
	if err := req.params.err(); err != nil {
		c.reply(req, nil, err)
		if c.who == nil {
			c.close(closeProtocol, "hello was not understood")
		}
		return
	}
	if sent || c.who == nil {
		who, bad := c.srv.guard.who(c.ctx, token)
		if bad != nil {
			c.log.Warn("refused a hello with a bad token", "code", bad.Code)
			c.reply(req, nil, bad)
			if bad.Code == sdk.CodeUnauthorized {
				c.close(closeBadToken, "bad credentials")
			} else {
				c.close(closeShutdown, "the tokens cannot be read at present")
			}
			return
		}
		if c.who != nil && who != c.who {
			c.reply(req, nil, sdk.Errorf(sdk.CodeConflict, "this connection belongs to another token; open another one"))
			return
		}
		if c.who == nil && !c.srv.greet() {
			c.reply(req, nil, sdk.Errorf(sdk.CodeLimitExceeded, "the server has as many connections as %sconnections allows", settings))
			c.close(closeTooMany, "too many connections")
			return
		}
		if c.who == nil {
			c.who = who
			c.detach = who.attach(c.close)
		}
		c.greeted.Store(true)
	}
	epoch, err := c.srv.rt.Epoch(c.ctx)
	if err != nil {
		c.reply(req, nil, err)
		return
	}
	c.log.Debug("hello", "client", clip(name))
	rt, own := c.srv.rt.Limits(), c.srv.cfg.Limits
	c.reply(req, helloResult{
		Server: "nagatha-runtime", Version: c.srv.cfg.Version, Protocol: subprotocol, Epoch: epoch,
		Scopes: c.who.scopes, Heartbeat: int(c.srv.cfg.Heartbeat.Seconds()),
		Limits: helloLimits{own.FrameBytes, rt.Payload, rt.Result, own.Subscriptions, own.InFlight,
			max(0, own.RequestsPerSecond), own.Connections},
	}, nil)
}

func (c *conn) ping(req *request) { c.reply(req, struct{}{}, req.params.err()) }

func (c *conn) getTask(req *request) {
	id := req.params.required("id")
	c.aboutTask(req, id, scopeRead, func() (any, error) {
		task, err := c.srv.rt.Task(c.ctx, id)
		return taskResult{task}, err
	})
}

type taskResult struct {
	Task sdk.Task `json:"task"`
}

func (c *conn) listTasks(req *request) {
	p := req.params
	f := taskFilter(p)
	f.Limit, f.Cursor = p.atLeastOne("limit"), p.text("cursor")
	if err := p.err(); err != nil {
		c.reply(req, nil, err)
		return
	}
	c.spawn(req, c.lists, func() (any, error) { return c.srv.list(c.ctx, f) })
}

func (c *conn) cancelTask(req *request) {
	id, reason := req.params.required("id"), req.params.text("reason")
	force := cancelMode(req.params)
	c.aboutTask(req, id, scopeCancel, func() (any, error) {
		task, err := c.srv.rt.Cancel(c.srv.ctx, id, force, reason)
		return taskResult{task}, err
	})
}

// cancelMode takes how to cancel.
func cancelMode(f *fields) (force bool) {
	switch mode := f.text("mode"); mode {
	case "", "graceful":
	case "force":
		return true
	default:
		f.fail("mode", "want \"graceful\" or \"force\", not %q", clip(mode))
	}
	return false
}

func (c *conn) retryTask(req *request) {
	id := req.params.required("id")
	c.aboutTask(req, id, scopeCancel, func() (any, error) {
		task, err := c.srv.rt.Retry(c.srv.ctx, id)
		return taskResult{task}, err
	})
}

// subscribe runs in the reader, so that what follows it in the socket happens
// after the place in the log where it begins.
func (c *conn) subscribe(req *request) {
	p := req.params
	watch := runtime.WatchRequest{
		Task: p.text("task"), Topics: p.texts("topics", false), From: p.text("from"),
		Last: p.atLeastOne("last"), Types: p.texts("types", false), Coalesce: p.flag("coalesce"),
	}
	if len(watch.Topics) > maxTopics {
		p.fail("topics", "at most %d in one subscription", maxTopics)
	}
	if len(watch.Types) > maxTopics {
		p.fail("types", "at most %d in one subscription", maxTopics)
	}
	if (watch.Task == "") == (len(watch.Topics) == 0) {
		p.fail("task", "give either task or topics")
	}
	if err := p.err(); err != nil {
		c.reply(req, nil, err)
		return
	}
	var err error
	if watch.Task != "" {
		err = c.srv.forTask(c.ctx, c.who, watch.Task, scopeRead)
	} else if !c.who.may(scopeRead) {
		err = forbidden(c.who, scopeRead)
	}
	var sub *subscription
	if err == nil {
		sub, err = c.reserve()
	}
	if err == nil {
		err = c.open(sub, watch)
	}
	if err != nil {
		c.reply(req, nil, err)
		return
	}
	c.reply(req, subscribed{sub.id, sub.watch.Recovered()}, nil)
	c.activate(sub)
}

type subscribed struct {
	Subscription string `json:"subscription"`
	Recovered    bool   `json:"recovered"`
}

// maxTopics bounds what every event of the log is compared with: topics, and types.
const maxTopics = 100

func (c *conn) unsubscribe(req *request) {
	id := req.params.required("subscription")
	err := req.params.err()
	if err == nil && !c.retire(id) {
		err = sdk.Errorf(sdk.CodeNotFound, "this connection has no subscription %q; it may have ended with its task", clip(id))
	}
	c.reply(req, struct{}{}, err)
}
