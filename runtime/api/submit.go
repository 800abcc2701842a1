package api

import (
	"github.com/nagatha/nagatha-runtime/runtime"
	"github.com/nagatha/nagatha-runtime/sdk"
)

// submitJob is a task.submit or task.submit_many on its way to the store.
type submitJob struct {
	req  *request
	subs []sdk.Submission
	bad  []*sdk.Error // of submit_many: elements that were not understood
	many bool
	sub  *subscription // of submit with subscribe
}

func (c *conn) submit(req *request) {
	job := submitJob{req: req, subs: []sdk.Submission{req.params.submission()}}
	follow := req.params.flag("subscribe")
	err := req.params.err()
	if err == nil {
		if bad := c.srv.forSubmit(c.who, job.subs[0].Kind); bad != nil {
			err = bad
		}
	}
	if err == nil && follow {
		job.sub, err = c.reserve()
	}
	if err != nil {
		c.reply(req, nil, err)
		return
	}
	c.enqueueSubmit(job)
}

func (c *conn) submitMany(req *request) {
	job := submitJob{req: req, many: true}
	job.subs, job.bad = req.params.submissions(c.srv.cfg.Limits.FrameBytes)
	if err := req.params.err(); err != nil {
		c.reply(req, nil, err)
		return
	}
	for i := range job.subs {
		if job.bad[i] == nil {
			job.bad[i] = c.srv.forSubmit(c.who, job.subs[i].Kind)
		}
	}
	c.enqueueSubmit(job)
}

func (c *conn) enqueueSubmit(job submitJob) {
	if !c.submits.add(job) {
		return
	}
	c.requests.Go(func() {
		for jobs := c.submits.take(); len(jobs) > 0; jobs = c.submits.take() {
			for len(jobs) > 0 {
				n, total := 1, len(jobs[0].subs)
				for n < len(jobs) && total+len(jobs[n].subs) <= maxSubmissions {
					total += len(jobs[n].subs)
					n++
				}
				c.runSubmits(jobs[:n])
				jobs = jobs[n:]
			}
		}
	})
}

// runSubmits submits the tasks of several requests in one commit and answers
// each request.
func (c *conn) runSubmits(jobs []submitJob) {
	var all []sdk.Submission
	for _, job := range jobs {
		for i := range job.subs {
			if !job.isBad(i) {
				all = append(all, job.subs[i])
			}
		}
	}
	var done []runtime.Submitted
	_, err := c.guarded(jobs[0].req, func() (any, error) {
		var err error
		if len(all) > 0 {
			done, err = c.srv.submit(c.srv.ctx, c.who, all)
		}
		return nil, err
	})
	for _, job := range jobs {
		n := 0
		for i := range job.subs {
			if !job.isBad(i) {
				n++
			}
		}
		if err != nil {
			if job.sub != nil {
				c.release()
			}
			c.reply(job.req, nil, err)
			continue
		}
		mine := done[:n]
		done = done[n:]
		if job.many {
			c.reply(job.req, newManyResult(job.bad, mine, c.srv.cfg.Limits.FrameBytes), nil)
		} else {
			c.answerSubmit(job, mine[0])
		}
	}
}

func (j *submitJob) isBad(i int) bool { return j.many && j.bad[i] != nil }

type submitResult struct {
	Task         sdk.Task `json:"task"`
	Deduplicated bool     `json:"deduplicated"`
	Subscription string   `json:"subscription,omitempty"`
}

// answerSubmit answers a task.submit. With subscribe the cursor begins before
// the task's first event, so nothing can be missed.
func (c *conn) answerSubmit(job submitJob, s runtime.Submitted) {
	if s.Err != nil {
		if job.sub != nil {
			c.release()
		}
		c.reply(job.req, nil, s.Err)
		return
	}
	result := submitResult{Task: s.Task, Deduplicated: s.Duplicate}
	follow := job.sub
	if follow != nil {
		if err := c.open(follow, runtime.WatchRequest{Task: s.Task.ID}); err != nil {
			// The task exists and its id must reach the client, who can
			// subscribe by itself.
			c.log.Error("subscribe to a task just submitted", "task", s.Task.ID, "error", err)
			follow = nil
		} else {
			result.Subscription = follow.id
		}
	}
	c.reply(job.req, result, nil)
	if follow != nil {
		c.activate(follow)
	}
}

// manyResult is the reply to task.submit_many and POST /tasks/batch.
type manyResult struct {
	Results []oneResult `json:"results"`
}

// oneResult is a task or an error.
type oneResult struct {
	Task         *sdk.Task  `json:"task,omitempty"`
	Deduplicated *bool      `json:"deduplicated,omitempty"`
	Error        *sdk.Error `json:"error,omitempty"`
	Cut          bool       `json:"cut,omitempty" doc:"The whole answer would not fit into a frame: each task is without payload, result, error, progress and labels, each error without fields."`
}

// cutResult is about how many bytes a result that was cut takes at most.
const cutResult = 1 << 10

// cut leaves out whatever may be large.
func (r *oneResult) cut() {
	r.Cut = true
	if r.Task != nil {
		task := *r.Task
		task.Payload, task.Result, task.Error, task.Progress = nil, nil, nil, nil
		task.Labels, task.Reason = map[string]string{}, clip(task.Reason)
		r.Task = &task
	}
	if r.Error != nil {
		r.Error = &sdk.Error{Code: r.Error.Code, Message: clip(r.Error.Message), Retryable: r.Error.Retryable}
	}
}

// size is about how many bytes it takes, rather more than less.
func (r *oneResult) size() int {
	if r.Task != nil {
		return sizeOf(r.Task)
	}
	n := 128 + 2*len(r.Error.Message)
	for _, f := range r.Error.Fields {
		n += 64 + 2*len(f.Field) + 2*len(f.Message)
	}
	return n
}

// newManyResult joins the errors of elements that were not understood, which
// leave gaps, with the outcomes of the others. They are cut where they would not fit
// into room: the tasks exist, and their ids must reach the client.
func newManyResult(bad []*sdk.Error, done []runtime.Submitted, room int) manyResult {
	out := manyResult{Results: make([]oneResult, len(bad))}
	for i := range bad {
		if bad[i] != nil {
			out.Results[i].Error = bad[i]
			continue
		}
		d := done[0]
		done = done[1:]
		if d.Err != nil {
			out.Results[i].Error = d.Err
			continue
		}
		out.Results[i] = oneResult{Task: &d.Task, Deduplicated: &d.Duplicate}
	}
	size := 0
	for i := range out.Results {
		size += out.Results[i].size()
	}
	if size > room-maxID {
		for i := range out.Results {
			out.Results[i].cut()
		}
	}
	return out
}

// publishJob is an event.publish on its way to the store.
type publishJob struct {
	req   *request
	event sdk.Event
}

func (c *conn) publish(req *request) {
	job := publishJob{req, req.params.event()}
	if err := req.params.err(); err != nil {
		c.reply(req, nil, err)
		return
	}
	if !c.publishes.add(job) {
		return
	}
	c.requests.Go(func() {
		for jobs := c.publishes.take(); len(jobs) > 0; jobs = c.publishes.take() {
			c.runPublishes(jobs)
		}
	})
}

// runPublishes publishes several requests' events in one commit. One event that
// is refused refuses the set, so they are then tried one by one.
func (c *conn) runPublishes(jobs []publishJob) {
	for len(jobs) > maxSubmissions {
		c.runPublishes(jobs[:maxSubmissions])
		jobs = jobs[maxSubmissions:]
	}
	events := make([]sdk.Event, len(jobs))
	for i := range jobs {
		events[i] = jobs[i].event
	}
	var ids []string
	_, err := c.guarded(jobs[0].req, func() (any, error) {
		var err error
		ids, err = c.srv.rt.Publish(c.srv.ctx, events)
		return nil, err
	})
	code := sdk.CodeOf(err)
	if len(jobs) > 1 && (code == sdk.CodeInvalid || code == sdk.CodeLimitExceeded || code == sdk.CodeConflict) {
		for i := range jobs {
			c.runPublishes(jobs[i : i+1])
		}
		return
	}
	for i, job := range jobs {
		if err != nil {
			c.reply(job.req, nil, err)
			continue
		}
		c.reply(job.req, struct {
			ID string `json:"id"`
		}{ids[i]}, nil)
	}
}
