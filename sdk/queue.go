package sdk

// QueueStatus is the queue object that clients see. Running and Queued count over
// all nodes; Concurrency is that of the node that answers.
type QueueStatus struct {
	Name           string   `json:"name"`
	Concurrency    int      `json:"concurrency"`
	Running        int      `json:"running"`
	Queued         int      `json:"queued"`
	OldestWait     Duration `json:"oldest_wait"` // of the queued task that has waited longest
	Paused         bool     `json:"paused"`
	Rate           string   `json:"rate"`        // such as "100/s"; "": none
	DepthLimit     int      `json:"depth_limit"` // 0: none
	KeyConcurrency int      `json:"key_concurrency"`
	KeyRate        string   `json:"key_rate"`
}

// BulkResult is what a bulk action did.
type BulkResult struct {
	Matched int `json:"matched"` // tasks that the filter selected
	Changed int `json:"changed"` // tasks that the action changed; 0 in a dry run
}
