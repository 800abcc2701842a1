package sdk

import "context"

// KVCount is the request of [OpKVCount]: how much is stored under a prefix.
type KVCount struct {
	Prefix string `json:"prefix,omitempty"`
}

// KVCountReply is its reply. What has expired does not count.
type KVCountReply struct {
	Items    int64 `json:"items"`
	Bytes    int64 `json:"bytes"`    // of their values
	Expiring int64 `json:"expiring"` // those that have a TTL
}

// KVClear is the request of [OpKVClear]: it deletes many items in one transaction,
// at most Limit. Ask again while as many as that went.
type KVClear struct {
	Prefix string `json:"prefix,omitempty"`
	// Expired deletes the items whose TTL is over, which no other operation shows
	// any more, in place of the others. The runtime itself deletes them a
	// day later: until then a plugin can learn what has expired.
	Expired bool `json:"expired,omitempty"`
	Limit   int  `json:"limit,omitempty"` // default 100, at most 1,000
}

// KVClearReply is its reply: the keys that are gone.
type KVClearReply struct {
	Keys []string `json:"keys"`
}

// Count says how much is stored under a prefix.
func (kv KV) Count(ctx context.Context, prefix string) (KVCountReply, error) {
	return call[KVCountReply](ctx, kv.host, OpKVCount, KVCount{prefix})
}

// Clear deletes many items, and returns their keys.
func (kv KV) Clear(ctx context.Context, req KVClear) ([]string, error) {
	r, err := call[KVClearReply](ctx, kv.host, OpKVClear, req)
	return r.Keys, err
}
