package sdk

// QueueStatus is the queue object that clients see. Running, Queued and Scheduled count
// over all nodes; Concurrency is that of the node that answers.
type QueueStatus struct {
	Name           string   `json:"name"`
	Concurrency    int      `json:"concurrency"`
	Running        int      `json:"running"`
	Queued         int      `json:"queued"`
	Scheduled      int      `json:"scheduled"`   // for later, after other tasks, or to be tried again
	OldestWait     Duration `json:"oldest_wait"` // of the queued task that has waited longest
	Paused         bool     `json:"paused"`
	Rate           string   `json:"rate"`        // such as "100/s"; "": none
	DepthLimit     int      `json:"depth_limit"` // of Queued and Scheduled together; 0: none
	KeyConcurrency int      `json:"key_concurrency"`
	KeyRate        string   `json:"key_rate"`
}

// BulkResult is what a bulk action did.
type BulkResult struct {
	Matched int `json:"matched"` // tasks that the filter selected
	Changed int `json:"changed"` // tasks that the action changed; 0 in a dry run
}
