package runtime

import (
	"context"

	"github.com/nagatha/nagatha-runtime/sdk"
)

// NodeStore is where the runtimes on one database see each other.
type NodeStore interface {
	// Shared reports whether there can be others.
	Shared() bool

	// Beat advances the node's counter; Leave forgets the node.
	Beat(ctx context.Context, node NodeBeat) error
	Leave(ctx context.Context, node string) error
	Nodes(ctx context.Context) ([]NodeBeat, error)

	// Held returns the attempts that run on a node, as the store knows them.
	Held(ctx context.Context, node string) ([]Held, error)
}

// NodeBeat is a node with its counter.
type NodeBeat struct {
	ID      string
	Beat    int64
	Started sdk.Time
	Running int // attempts
}

// Held is an attempt that a node should be running.
type Held struct {
	Fence
	Cancelled, Force bool
	Reason           string // of the cancel
}

// RecoverRequest names the nodes whose attempts are lost.
type RecoverRequest struct {
	Now       sdk.Time
	Self      string
	Dead      []string
	AllOthers bool
}
