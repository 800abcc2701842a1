package main

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/nagatha/nagatha-runtime/sdk"
)

// quota remembers how much is stored, so that not every write has to count it. Near
// the limit every write does. What is written at the same moment elsewhere may pass
// the limit by as many entries as there are writers.
type quota struct {
	mu      sync.Mutex
	counted time.Time // zero: not yet
	items   int64
	bytes   int64
	writes  int
}

const (
	recount      = 10 * time.Second
	recountAfter = 500
)

// add notes a write.
func (q *quota) add(created bool, bytes int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.writes++
	q.bytes += int64(bytes)
	if created {
		q.items++
	}
}

// forget makes the next write count.
func (q *quota) forget() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.counted = time.Time{}
}

// has reports what is stored, nearly.
func (q *quota) has(ctx context.Context, kv sdk.KV, near func(items, bytes int64) bool) (items, bytes int64, err error) {
	q.mu.Lock()
	stale := q.counted.IsZero() || time.Since(q.counted) > recount || q.writes >= recountAfter || near(q.items, q.bytes)
	items, bytes = q.items, q.bytes
	q.mu.Unlock()
	if !stale {
		return items, bytes, nil
	}
	c, err := kv.Count(ctx, "")
	if err != nil {
		return 0, 0, err
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.counted, q.writes, q.items, q.bytes = time.Now(), 0, c.Items, c.Bytes
	return c.Items, c.Bytes, nil
}

// fits refuses a value that is too large, and a further one where the memory is full.
// item is what the value is to replace, if it is there.
func (m *memory) fits(ctx context.Context, host sdk.Host, item string, bytes int) error {
	if bytes > m.maxValue {
		return &sdk.Error{Code: sdk.CodeLimitExceeded,
			Message: fmt.Sprintf("the value has %d bytes, at most %d: max_value of the memory plugin's config", bytes, m.maxValue),
			Fields:  []sdk.Field{{Field: "value", Message: "is too large"}}}
	}
	err := m.fitsMany(ctx, host, 1, bytes)
	if sdk.CodeOf(err) != sdk.CodeLimitExceeded || item == "" || strings.HasPrefix(item, facts+"/") {
		return err
	}
	old, fault := sdk.NewKV(host).Get(ctx, item)
	if fault != nil || old == nil {
		return cmp.Or(fault, err)
	}
	return m.fitsMany(ctx, host, 0, bytes-len(old.Value)) // it takes the place of another
}

func (m *memory) fitsMany(ctx context.Context, host sdk.Host, n, bytes int) error {
	items, stored, err := m.quota.has(ctx, sdk.NewKV(host), func(items, stored int64) bool {
		return items+int64(n) >= m.maxEntries-2*recountAfter || stored+int64(bytes) >= m.maxBytes/10*9
	})
	if err != nil {
		return err
	}
	setting := ""
	switch {
	case n > 0 && items+int64(n) > m.maxEntries:
		setting = "max_entries"
	case bytes > 0 && stored+int64(bytes) > m.maxBytes:
		setting = "max_bytes"
	default:
		return nil
	}
	return sdk.Errorf(sdk.CodeLimitExceeded, "the memory is full: %d of %d entries, %d of %d bytes; delete some, or raise %s in the memory plugin's config",
		items, m.maxEntries, stored, m.maxBytes, setting)
}
