package sdktest

import (
	"encoding/json"
	"fmt"

	"github.com/nagatha/nagatha-runtime/sdk"
)

// Recorded operations of the in-memory host. A second run of a handler on the same
// host, after [Host.Rerun], finds the steps of the first.

// Rerun makes the next run of a handler one that goes on after a crash: it counts
// occurrences anew and finds what is recorded.
func (h *Host) Rerun() {
	h.mu.Lock()
	defer h.mu.Unlock()
	clear(h.counts)
}

func stepKey(name string, occurrence int) string { return fmt.Sprintf("%s#%d", name, occurrence) }

func (h *Host) stepGet(q sdk.StepGet) (sdk.StepGetReply, error) {
	if q.Name == "" || len(q.Name) > sdk.MaxOperationName {
		return sdk.StepGetReply{}, sdk.Invalid("name", "want 1 to %d bytes", sdk.MaxOperationName)
	}
	h.counts[q.Name]++
	n := h.counts[q.Name]
	value, done := h.Steps[stepKey(q.Name, n)]
	return sdk.StepGetReply{Occurrence: n, Done: done, Value: value}, nil
}

func (h *Host) stepPut(q sdk.StepPut) (struct{}, error) {
	h.Steps[stepKey(q.Name, q.Occurrence)] = q.Value
	return struct{}{}, nil
}

func (h *Host) operation(op string, request []byte) ([]byte, error) {
	var tasks sdk.Tasks
	if op == sdk.OpSubmit || op == sdk.OpRun {
		if err := json.Unmarshal(request, &tasks); err != nil {
			return nil, sdk.Errorf(sdk.CodeInvalid, "request: %v", err)
		}
	}
	h.mu.Lock()
	var ids sdk.SubmitReply
	var outcomes sdk.RunReply
	for _, t := range tasks.Tasks {
		h.Submitted = append(h.Submitted, t)
		id := fmt.Sprintf("tsk_%d", len(h.Submitted))
		ids.IDs = append(ids.IDs, id)
		outcomes.Outcomes = append(outcomes.Outcomes, sdk.Outcome{ID: id, State: sdk.StateCompleted, Result: t.Payload})
	}
	reply := h.Answer
	h.mu.Unlock()
	switch {
	case op == sdk.OpSubmit:
		return json.Marshal(ids)
	case reply != nil:
		v, err := reply(op, request)
		if err != nil {
			return nil, err
		}
		return json.Marshal(v)
	case op == sdk.OpRun:
		return json.Marshal(outcomes)
	case op == sdk.OpApprove:
		return json.Marshal(sdk.Decision{Approved: true, By: "sdktest"})
	}
	return json.Marshal(sdk.AwaitReply{Data: request})
}
