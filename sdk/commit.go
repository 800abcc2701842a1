package sdk

import "context"

// Transaction is the request of [OpCommit]: writes of the plugin's store, events and
// tasks that happen all, in one transaction, or not at all. Where an if_version is not
// met, the error is [CodeConflict] and nothing has happened.
//
// It is how a handler moves something on exactly once, whatever dies in between: the
// record that says that it is done is written with what is done. Unlike [Submit] and
// [Step] it is no recorded operation. A handler that runs again finds the record.
type Transaction struct {
	Writes []KVWrite    `json:"writes,omitempty"` // at most MaxKVApply, of different keys
	Events []Event      `json:"events,omitempty"` // at most MaxKVApply; as for Publish
	Tasks  []Submission `json:"tasks,omitempty"`  // at most MaxKVApply; children of the task, as for Submit
}

// Committed is the reply of [OpCommit], each in the order of the request.
type Committed struct {
	Results []KVResult `json:"results"`
	Events  []string   `json:"events"` // ids
	Tasks   []string   `json:"tasks"`  // ids
}

// Check says what is wrong with the request as a whole, or nil.
func (t Transaction) Check() error {
	switch {
	case len(t.Writes)+len(t.Events)+len(t.Tasks) == 0:
		return Invalid("writes", "want at least one write, event or task")
	case len(t.Events) > MaxKVApply:
		return Invalid("events", "want at most %d, not %d", MaxKVApply, len(t.Events))
	case len(t.Tasks) > MaxKVApply:
		return Invalid("tasks", "want at most %d, not %d", MaxKVApply, len(t.Tasks))
	case len(t.Writes) == 0:
		return nil
	}
	return KVApply{t.Writes}.Check()
}

// Commit makes a transaction. The error says what part of it was refused, and nothing
// has happened then.
func Commit(ctx context.Context, host Host, t Transaction) (Committed, error) {
	if err := areJSON(t.Writes, t.Events, t.Tasks); err != nil {
		return Committed{}, err
	}
	return call[Committed](ctx, host, OpCommit, t)
}
