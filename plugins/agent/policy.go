package main

import (
	"strings"

	"github.com/nagatha/nagatha-runtime/sdk"
)

// The policies for a tool.
const (
	policyAuto = "auto" // called when the model asks for it
	policyAsk  = "ask"  // a person decides about each call
	policyDeny = "deny" // not shown to the model, and never called
)

// policy is what the configuration says of a tool: the most exact pattern that
// matches its dotted name, and of equal ones the strictest. Where none does, a tool
// that says of itself that it destroys is asked about.
func (c *config) policy(t *tool) string {
	best, found := -1, policyAuto
	if t.destructive {
		found = policyAsk
	}
	for pattern, p := range c.Tools {
		if !sdk.MatchPattern(pattern, t.target) {
			continue
		}
		if e := exactness(pattern); e > best || e == best && strictness(p) > strictness(found) {
			best, found = e, p
		}
	}
	return found
}

// exactness orders patterns: more parts that are words, then "*" before ">".
func exactness(pattern string) (n int) {
	for part := range strings.SplitSeq(pattern, ".") {
		switch part {
		case ">":
		case "*":
			n++
		default:
			n += 100
		}
	}
	return n
}

func strictness(policy string) int {
	switch policy {
	case policyDeny:
		return 2
	case policyAsk:
		return 1
	}
	return 0
}
