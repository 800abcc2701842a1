package sdk

import (
	"context"
	"encoding/json"
)

// OpKindsList asks which kinds the plugin may submit; grant submit. The request is
// empty, the reply a [KindsReply].
const OpKindsList = "kinds.list"

// KindsReply is the reply of [OpKindsList].
type KindsReply struct {
	Kinds []KindInfo `json:"kinds"`
	// Loading says that the runtime has started just now and still loads plugins: more
	// kinds may become known, and more of them available, within seconds.
	Loading bool `json:"loading,omitempty"`
}

// KindInfo describes a kind of any plugin to one that may submit it.
type KindInfo struct {
	Kind          string          `json:"kind"`
	Plugin        string          `json:"plugin"`
	Description   string          `json:"description"`
	PayloadSchema json.RawMessage `json:"payload_schema"` // null: anything goes
	Example       json.RawMessage `json:"example"`        // null: none
	Tool          bool            `json:"tool"`
	ReadOnly      bool            `json:"read_only"`
	Idempotent    bool            `json:"idempotent"`
	// Available says that the kind's plugin is loaded. A task of another kind is
	// kept, and waits until it is.
	Available bool `json:"available"`
}

// Kinds returns the kinds that the plugin may submit, in the order of their names.
// What is available changes while plugins come and go, so a handler that submits
// and waits looks here first; one with recorded operations does so inside a [Step].
func Kinds(ctx context.Context, host Host) ([]KindInfo, error) {
	r, err := call[KindsReply](ctx, host, OpKindsList, struct{}{})
	return r.Kinds, err
}
