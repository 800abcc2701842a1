package sdk

import (
	"context"
	"encoding/json"
	"fmt"
	"time"
)

// KV is the plugin's own namespace in the runtime's store: JSON values under
// text keys, with TTL, compare-and-set, prefix listing and full-text search.
// Every write is refused once the attempt no longer counts. It is safe for
// concurrent use. What no schema of the store can bear (a key that is empty or longer
// than 512 bytes, a limit beyond 1,000) is [CodeInvalid]; a value that with its text has
// more than 256 KiB, or a store that is full, is [CodeLimitExceeded].
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
	// As, where given, stores the item as it was elsewhere, with this version and
	// these times instead of new ones and instead of TTL: for imports.
	As *KVStamp `json:"as,omitempty"`
}

// KVStamp is what an item has besides its value.
type KVStamp struct {
	Version   int64 `json:"version"` // at least 1
	CreatedAt Time  `json:"created_at"`
	UpdatedAt Time  `json:"updated_at"`
	ExpiresAt Time  `json:"expires_at"`
}

// KVSetReply is its reply.
type KVSetReply struct {
	Item    Item `json:"item"`
	Created bool `json:"created"`
	Expired bool `json:"expired,omitempty"` // it is in place of one that had expired
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

// MaxKVApply is the most writes of one [KVApply].
const MaxKVApply = 100

// KVApply is the request of [OpKVApply]: 1 to [MaxKVApply] sets and deletes of
// different keys, which happen all, in one transaction, or not at all. If one
// if_version is not met, the error is [CodeConflict] and names the key.
type KVApply struct {
	Writes []KVWrite `json:"writes"`
}

// KVWrite is a set or a delete: exactly one of them is given.
type KVWrite struct {
	Set    *KVSet    `json:"set,omitempty"`
	Delete *KVDelete `json:"delete,omitempty"`
}

// Key is the key that is written, and IfVersion its condition.
func (w KVWrite) Key() (key string, ifVersion *int64) {
	switch {
	case w.Set != nil:
		return w.Set.Key, w.Set.IfVersion
	case w.Delete != nil:
		return w.Delete.Key, w.Delete.IfVersion
	}
	return "", nil
}

// Check says what is wrong with the request as a whole, or nil.
func (r KVApply) Check() error {
	if len(r.Writes) < 1 || len(r.Writes) > MaxKVApply {
		return Invalid("writes", "want 1 to %d, not %d", MaxKVApply, len(r.Writes))
	}
	seen := make(map[string]bool, len(r.Writes))
	for i, w := range r.Writes {
		if (w.Set == nil) == (w.Delete == nil) {
			return Invalid(fmt.Sprintf("writes.%d", i), "want either set or delete")
		}
		key, _ := w.Key()
		if seen[key] {
			return Invalid(fmt.Sprintf("writes.%d", i), "key %q is written twice", key)
		}
		seen[key] = true
	}
	return nil
}

// KVApplyReply is its reply, in the order of the writes.
type KVApplyReply struct {
	Results []KVResult `json:"results"`
}

// KVResult is what one write did.
type KVResult struct {
	Key     string `json:"key"`
	Version int64  `json:"version"` // of what is stored now; 0 after a delete
	Created bool   `json:"created"` // by a set: there was none
	Deleted bool   `json:"deleted"` // by a delete: there was one
	// Expired says that the write is in place of an item that had expired and was
	// not cleared yet.
	Expired bool `json:"expired,omitempty"`
}

// KVList is the request of [OpKVList]: items in key order.
type KVList struct {
	Prefix string `json:"prefix,omitempty"`
	After  string `json:"after,omitempty"` // the last key of the page before
	Limit  int    `json:"limit,omitempty"` // default 100, at most 1,000
	// Newest lists by the time of creation instead, latest first. After is then the
	// Next of the page before.
	Newest bool `json:"newest,omitempty"`
}

// MaxKVPage is how many bytes of values make a page full, whatever its limit: it
// ends with the item that reaches them.
const MaxKVPage = 1 << 20

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
	// Prefixes, where given, are further ones: at most 100, of which one is enough.
	Prefixes []string `json:"prefixes,omitempty"`
	Limit    int      `json:"limit,omitempty"` // default 20, at most 1,000
}

// KVSearchReply is its reply, best first; [MaxKVPage] holds for it too.
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

// Set stores value, which is marshalled, and replaces what was there. A ttl of 0 keeps
// it until it is deleted; a negative one is [CodeInvalid].
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

// Apply makes 1 to [MaxKVApply] writes of different keys, all or none; a condition that
// is not met is [CodeConflict], a value that is not JSON [CodeInvalid].
func (kv KV) Apply(ctx context.Context, writes ...KVWrite) ([]KVResult, error) {
	if err := areJSON(writes, nil, nil); err != nil {
		return nil, err
	}
	r, err := call[KVApplyReply](ctx, kv.host, OpKVApply, KVApply{writes})
	return r.Results, err
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
