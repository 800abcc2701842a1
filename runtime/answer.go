package runtime

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"time"

	"github.com/nagatha/nagatha-runtime/sdk"
)

func (a *attempt) awaitAnswer(ctx context.Context, q sdk.AwaitRequest) (sdk.AwaitReply, error) {
	var reply sdk.AwaitReply
	op := Operation{Op: sdk.OpAwait, Target: q.Signal, Child: q.Task}
	switch {
	case (q.Signal == "") == (q.Task == ""):
		return reply, sdk.Invalid("signal", "give either signal or task")
	case q.Signal != "" && !validSignal(q.Signal):
		return reply, badSignal(q.Signal)
	case q.Timeout < 0 || q.Timeout.Std() > maxAhead:
		return reply, sdk.Invalid("timeout", "want 0s to 10 years")
	}
	if q.Task != "" {
		op.Target = "task " + q.Task
	}
	if q.Timeout > 0 {
		op.Due = sdk.Now().Add(q.Timeout.Std())
	}
	if q.Name == "" {
		q.Name = sdk.OpAwait + " " + cmp.Or(q.Signal, q.Task)
	}
	if err := a.ops.name(&op, q.Name); err != nil {
		return reply, err
	}
	ops := []Operation{op}
	errs, err := a.operate(ctx, ops, true)
	if err == nil {
		err = firstError(errs)
	}
	if err != nil {
		return reply, err
	}
	if q.Task != "" && !isTimeout(ops[0].Answer) {
		reply.Outcome = &sdk.Outcome{}
		return reply, json.Unmarshal(ops[0].Answer, reply.Outcome)
	}
	err = json.Unmarshal(ops[0].Answer, &reply)
	return reply, err
}

func isTimeout(answer json.RawMessage) bool {
	var r sdk.AwaitReply
	return json.Unmarshal(answer, &r) == nil && r.TimedOut
}

const defaultApproval = 24 * time.Hour

func (a *attempt) approve(ctx context.Context, q sdk.ApproveRequest) (sdk.Decision, error) {
	var d sdk.Decision
	if q.Timeout == 0 {
		q.Timeout = sdk.Duration(defaultApproval)
	}
	if len(q.Detail) == 0 {
		q.Detail = json.RawMessage("null")
	}
	switch {
	case q.Question == "" || !cleanText(q.Question):
		return d, sdk.Invalid("question", "want a text in UTF-8 without NUL")
	case len(q.Question)+len(q.Detail) > a.r.cfg.Limits.Payload:
		return d, sdk.Errorf(sdk.CodeLimitExceeded, "question and detail %s", sizeMessage(len(q.Question)+len(q.Detail), a.r.cfg.Limits.Payload, "limits.payload"))
	case !json.Valid(q.Detail) || !cleanText(string(q.Detail)):
		return d, sdk.Invalid("detail", "is not JSON in UTF-8")
	case tooDeep(q.Detail):
		return d, sdk.Invalid("detail", "is nested more than %d deep", maxNesting)
	case q.Timeout < 0 || q.Timeout.Std() > maxAhead:
		return d, sdk.Invalid("timeout", "want more than 0s and at most 10 years")
	}
	op := Operation{Op: sdk.OpApprove}
	if err := a.ops.name(&op, cmp.Or(q.Name, sdk.OpApprove)); err != nil {
		return d, err
	}
	now := sdk.Now()
	op.Due = now.Add(q.Timeout.Std())
	op.Approval = &sdk.Approval{
		ID: newID("apr_"), Task: a.task.ID, Question: q.Question, Detail: q.Detail,
		Digest: a.digest(&op, q), RequestedAt: now, ExpiresAt: op.Due, State: sdk.ApprovalPending,
	}
	ops := []Operation{op}
	errs, err := a.operate(ctx, ops, true)
	if err == nil {
		err = firstError(errs)
	}
	if err != nil {
		return d, err
	}
	err = json.Unmarshal(ops[0].Answer, &d)
	return d, err
}

// digest stands for exactly this question of this attempt's task.
func (a *attempt) digest(op *Operation, q sdk.ApproveRequest) string {
	b, _ := json.Marshal([]any{a.task.ID, a.task.Life, op.Name, op.Occurrence, q.Question, q.Detail}) // cannot fail
	sum := sha256.Sum256(b)
	return "sha256:" + hex.EncodeToString(sum[:])
}
