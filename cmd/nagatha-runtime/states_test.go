package main

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/nagatha/nagatha-runtime/sdk"
)

var update = flag.Bool("update", false, "write the files that tests compare with")

// TestStatesDoc holds docs/states.md to the table of transitions.
func TestStatesDoc(t *testing.T) {
	var b strings.Builder
	b.WriteString("# The states of a task\n\nMade from `sdk.Transitions` by `go test -tags sqlite_fts5 ./cmd/nagatha-runtime -run StatesDoc -update`.\n" +
		"The store makes no other change: its test drives random operations, crashes and takeovers against the same table, on both databases.\n\n```mermaid\nstateDiagram-v2\n")
	for _, tr := range sdk.Transitions {
		from := string(tr.From)
		if from == "" {
			from = "[*]"
		}
		fmt.Fprintf(&b, "  %s --> %s: %s\n", from, tr.To, strings.ReplaceAll(tr.Why, ";", ","))
	}
	for _, s := range sdk.States {
		if s.Terminal() {
			fmt.Fprintf(&b, "  %s --> [*]\n", s)
		}
	}
	b.WriteString("```\n\n| From | To | Event | When |\n|---|---|---|---|\n")
	for _, tr := range sdk.Transitions {
		fmt.Fprintf(&b, "| %s | %s | `%s` | %s |\n", tr.From, tr.To, tr.Event, tr.Why)
	}
	const file = "../../docs/states.md"
	if *update {
		if err := os.WriteFile(file, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile(file)
	if err != nil || !bytes.Equal(have, []byte(b.String())) {
		t.Errorf("%s does not say what sdk.Transitions does (%v); run with -update", file, err)
	}
}
