package sdk

import (
	"context"
	"encoding/json"
	"time"
)

// KV is the plugin's own namespace in the runtime's store: JSON values under
// text keys, with TTL, compare-and-set, prefix listing and full-text search.
// Every write is refused once the attempt no longer counts. It is safe for
// concurrent use.
type KV struct{ host Host }

// NewKV returns the namespace of the plugin behind host.
func NewKV(host Host) KV { return KV{host} }

// Item is one stored value.
type Item struct {
	Key       string          `json:"key"`
	Value     json.RawMessage `json:"value"`
	Version   int64           `json:"version"` // from 1, grows with every set
	CreatedAt Time            `json:"created_at"`
	UpdatedAt Time            `json:"updated_at"`
	ExpiresAt Time            `json:"expires_at"` // null: never
}

// KVSet is the request of [OpKVSet].
type KVSet struct {
	Key   string          `json:"key"` // 1…512 bytes
	Value json.RawMessage `json:"value"`
	// Text is what full-text search looks at; without it the item is not found
	// by search.
	Text string `json:"text,omitempty"`
	// TTL 0 keeps the item until it is deleted.
	TTL Duration `json:"ttl,omitempty"`
	// IfVersion, where given, must be the item's version, 0 meaning that there
	// is none; otherwise the error is [CodeConflict].
	IfVersion *int64 `json:"if_version,omitempty"`
}

// KVSetReply is its reply.
type KVSetReply struct {
	Item    Item `json:"item"`
	Created bool `json:"created"`
}

// KVGet is the request of [OpKVGet].
type KVGet struct {
	Key string `json:"key"`
}

// KVGetReply is its reply; Item is null when there is none.
type KVGetReply struct {
	Item *Item `json:"item"`
}

// KVDelete is the request of [OpKVDelete].
type KVDelete struct {
	Key       string `json:"key"`
	IfVersion *int64 `json:"if_version,omitempty"`
}

// KVDeleteReply is its reply.
type KVDeleteReply struct {
	Deleted bool `json:"deleted"`
}

// KVList is the request of [OpKVList]: items in key order.
type KVList struct {
	Prefix string `json:"prefix,omitempty"`
	After  string `json:"after,omitempty"` // the last key of the page before
	Limit  int    `json:"limit,omitempty"` // default 100, at most 1,000
}

// KVListReply is its reply; Next is "" on the last page, else the After of the
// next.
type KVListReply struct {
	Items []Item `json:"items"`
	Next  string `json:"next"`
}

// KVSearch is the request of [OpKVSearch]: full text, ranked. The query is
// plain words; a match needs one of them, in any inflection.
type KVSearch struct {
	Query  string `json:"query"`
	Prefix string `json:"prefix,omitempty"` // only keys that begin so
	Limit  int    `json:"limit,omitempty"`  // default 20, at most 1,000
}

// KVSearchReply is its reply, best first.
type KVSearchReply struct {
	Hits []Hit `json:"hits"`
}

// Hit is one search result; a higher score is better.
type Hit struct {
	Item
	Score float64 `json:"score"`
}

// Get returns the item, or nil if there is none or it has expired.
func (kv KV) Get(ctx context.Context, key string) (*Item, error) {
	r, err := call[KVGetReply](ctx, kv.host, OpKVGet, KVGet{key})
	return r.Item, err
}

// Set stores value, which is marshalled, and replaces what was there.
func (kv KV) Set(ctx context.Context, key string, value any, ttl time.Duration) (Item, error) {
	b, err := json.Marshal(value)
	if err != nil {
		return Item{}, err
	}
	r, err := kv.Put(ctx, KVSet{Key: key, Value: b, TTL: Duration(ttl)})
	return r.Item, err
}

// Put stores an item with every option.
func (kv KV) Put(ctx context.Context, req KVSet) (KVSetReply, error) {
	return call[KVSetReply](ctx, kv.host, OpKVSet, req)
}

// Delete removes the item and reports whether there was one.
func (kv KV) Delete(ctx context.Context, key string) (bool, error) {
	r, err := call[KVDeleteReply](ctx, kv.host, OpKVDelete, KVDelete{Key: key})
	return r.Deleted, err
}

// List returns one page of items.
func (kv KV) List(ctx context.Context, req KVList) (KVListReply, error) {
	return call[KVListReply](ctx, kv.host, OpKVList, req)
}

// Search returns ranked hits.
func (kv KV) Search(ctx context.Context, req KVSearch) ([]Hit, error) {
	r, err := call[KVSearchReply](ctx, kv.host, OpKVSearch, req)
	return r.Hits, err
}
