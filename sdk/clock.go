//go:build !nagatha_clock

package sdk

import "time"

// wall is the wall clock. A binary built with the tag nagatha_clock has one that a
// test can set: see clock_set.go.
func wall() time.Time { return time.Now() }
