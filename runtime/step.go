package runtime

import (
	"context"
	"encoding/json"

	"github.com/nagatha/nagatha-runtime/sdk"
)

func (a *attempt) stepGet(ctx context.Context, q sdk.StepGet) (sdk.StepGetReply, error) {
	op := Operation{Op: OpStep}
	if err := a.ops.name(&op, q.Name); err != nil {
		return sdk.StepGetReply{}, err
	}
	if err := a.recall(ctx); err != nil {
		return sdk.StepGetReply{}, err
	}
	done, mismatch := a.ops.recorded(&op)
	if mismatch != nil {
		a.stop(mismatch, graceTimeout)
		return sdk.StepGetReply{}, mismatch
	}
	return sdk.StepGetReply{Occurrence: op.Occurrence, Done: done, Value: op.Answer}, nil
}

func (a *attempt) stepPut(ctx context.Context, q sdk.StepPut) (struct{}, error) {
	if size, limit := len(q.Value), a.r.cfg.Limits.Result; size > limit {
		return struct{}{}, sdk.Errorf(sdk.CodeLimitExceeded, "the value of step %q %s", q.Name, sizeMessage(size, limit, "limits.result"))
	}
	if len(q.Value) == 0 {
		q.Value = json.RawMessage("null")
	}
	if !cleanText(string(q.Value)) || !json.Valid(q.Value) {
		return struct{}{}, sdk.Invalid("value", "is not JSON in UTF-8")
	}
	_, err := a.operate(ctx, []Operation{{Name: q.Name, Occurrence: q.Occurrence, Op: OpStep, Record: q.Value}}, false)
	return struct{}{}, err
}
