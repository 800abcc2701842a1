package main

import (
	"encoding/json"
	"slices"
	"strings"
)

// maxResult leaves room below the runtime's cap on results, so that an error can
// say what to do.
const maxResult = 250 << 10

// maxItem is the most that one thing in a list may have; what has more is left out, so
// that a server that says too much does not hide the others.
const maxItem = maxResult - 1024

// page returns the items behind cursor that fit in a result, in the order of their
// keys, and the cursor of the next page, "" at the end.
func page[T any](items []T, cursor string, key func(T) string) ([]T, string) {
	slices.SortStableFunc(items, func(a, b T) int { return strings.Compare(key(a), key(b)) })
	out, size := []T{}, 0
	for _, item := range items {
		if cursor != "" && key(item) <= cursor {
			continue
		}
		b, err := json.Marshal(item)
		if err != nil || len(b) > maxItem {
			continue // no error: of values that came as JSON
		}
		if size += len(b) + 1; size > maxItem && len(out) > 0 {
			return out, key(out[len(out)-1])
		}
		out = append(out, item)
	}
	return out, ""
}
