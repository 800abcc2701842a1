package sdktest

import (
	"github.com/nagatha/nagatha-runtime/sdk"
)

// commit does what is asked for, all or nothing. Its tasks are among Submitted, its
// events among Published. It needs the grants of all that it does.
func (h *Host) commit(q sdk.Transaction) (sdk.Committed, error) {
	done := sdk.Committed{Results: []sdk.KVResult{}, Events: []string{}, Tasks: []string{}}
	for op, n := range map[string]int{sdk.OpKVApply: len(q.Writes), sdk.OpPublish: len(q.Events), sdk.OpSubmit: len(q.Tasks)} {
		if n > 0 && h.Denied[op] {
			return done, sdk.Errorf(sdk.CodeCapabilityDenied, "%s: %s is not granted", sdk.OpCommit, op)
		}
	}
	if err := q.Check(); err != nil {
		return done, err
	}
	for _, e := range q.Events {
		if err := checkEvent(e); err != nil {
			return done, err
		}
	}
	for _, t := range q.Tasks {
		if err := checkTask(t, h.Now()); err != nil {
			return done, err
		}
	}
	if len(q.Writes) > 0 {
		r, err := h.apply(sdk.KVApply{Writes: q.Writes})
		if err != nil {
			return done, err
		}
		done.Results = r.Results
	}
	for _, e := range q.Events {
		done.Events = append(done.Events, h.keep(e))
	}
	for _, t := range q.Tasks {
		done.Tasks = append(done.Tasks, h.submit(t))
	}
	return done, nil
}
