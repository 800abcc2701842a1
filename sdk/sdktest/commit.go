package sdktest

import (
	"fmt"

	"github.com/nagatha/nagatha-runtime/sdk"
)

// commit does what is asked for, unless a condition is not met. Its tasks are among
// Submitted, its events among Published.
func (h *Host) commit(q sdk.Transaction) (sdk.Committed, error) {
	done := sdk.Committed{Results: []sdk.KVResult{}, Events: []string{}, Tasks: []string{}}
	if err := q.Check(); err != nil {
		return done, err
	}
	if len(q.Writes) > 0 {
		r, err := h.apply(sdk.KVApply{Writes: q.Writes})
		if err != nil {
			return done, err
		}
		done.Results = r.Results
	}
	for _, e := range q.Events {
		r, _ := h.publish(e)
		done.Events = append(done.Events, r.ID)
	}
	for _, s := range q.Tasks {
		h.Submitted = append(h.Submitted, s)
		done.Tasks = append(done.Tasks, fmt.Sprintf("tsk_%d", len(h.Submitted)))
	}
	return done, nil
}
