package runtime

import "github.com/nagatha/nagatha-runtime/sdk"

// Offer is free slots that are not asked for yet. Its methods are called by the store's
// writer, one after the other, and must be quick.
type Offer interface {
	// Free says which slots are free for what n says, counting those of attempts that
	// end. After true, Take is called once.
	Free(n News) (ClaimRequest, bool)

	// Take hands over what was claimed, once it is durable; it may be nothing.
	Take(claimed []Claimed)
}

// News is what a transaction is about to commit that may let tasks start.
type News struct {
	Ending   []Fence         // attempts that end
	Ready    map[string]bool // queues in which a task has become ready
	Anywhere bool            // such a task may be in any queue
}

// ClaimRequest asks for tasks to run on Node.
type ClaimRequest struct {
	Node  string
	Lanes []Lane

	// Again, if it is set, says the request anew, counting the slots of attempts that end
	// in the transaction which claims. It is called as those of [Offer] are.
	Again func(ending []Fence) ClaimRequest

	// Plugins is how many tasks each plugin can take, over the request as a
	// whole; a plugin that is not named has no limit of its own.
	Plugins map[string]int
}

// Lane is free slots: at most Limit tasks of Queue, and of each kind at most
// its own number. A kind that is not named is not claimed. One kind may stand in
// several lanes; Kinds' numbers then hold for the request as a whole.
type Lane struct {
	Queue string
	Limit int
	Kinds []KindSlots
}

// KindSlots is how many tasks of a kind may start, and what runs them.
type KindSlots struct {
	Kind          string
	Limit         int
	Plugin        string
	PluginVersion string
}

// Claimed is a task with the token of its new attempt.
type Claimed struct {
	Task        sdk.Task
	Token       int64
	Hops        int
	TraceParent string
	Live        bool // the attempt is parked here and goes on, under its old token
	Replay      bool // it is the last attempt, which begins again
}
