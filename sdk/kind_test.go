package sdk

import (
	"strings"
	"testing"
)

func TestValidKind(t *testing.T) {
	for kind, want := range map[string]bool{
		"demo.echo":                     true,
		"a.b":                           true,
		"memory.entry.created":          true,
		"x9_-.y-_9":                     true,
		"":                              false,
		"demo":                          false,
		"demo.":                         false,
		".echo":                         false,
		"demo..echo":                    false,
		"Demo.echo":                     false,
		"demo.9echo":                    false,
		"../../x":                       false,
		"a\nb.c":                        false,
		"dеmo.echo":                     false, // a Cyrillic е
		"a." + strings.Repeat("b", 126): true,
		"a." + strings.Repeat("b", 127): false,
	} {
		if got := ValidKind(kind); got != want {
			t.Errorf("ValidKind(%.20q) = %v, want %v", kind, got, want)
		}
	}
}

func TestMatchPattern(t *testing.T) {
	for _, c := range []struct {
		pattern, name string
		want          bool
	}{
		{"demo.ping", "demo.ping", true},
		{"demo.ping", "demo.pong", false},
		{"demo.ping", "demo.ping.x", false},
		{"demo.ping.x", "demo.ping", false},
		{"demo.*", "demo.ping", true},
		{"demo.*", "demo", false},
		{"demo.*", "demo.ping.x", false},
		{"*.ping", "demo.ping", true},
		{"*", "demo", true},
		{"*", "demo.ping", false},
		{"demo.>", "demo.ping", true},
		{"demo.>", "demo.ping.x", true},
		{"demo.>", "demo", false},
		{">", "demo.ping", true},
		{">", "", false},
		{"a.*.c", "a.b.c", true},
		{"a.*.c", "a.b.d", false},
		{"a.*.>", "a.b.c.d", true},
		{"a.*.>", "a.b", false},
	} {
		if got := MatchPattern(c.pattern, c.name); got != c.want {
			t.Errorf("MatchPattern(%q, %q) = %v, want %v", c.pattern, c.name, got, c.want)
		}
	}
}

func TestValidPattern(t *testing.T) {
	for p, want := range map[string]bool{
		"a": true, "a.b": true, "a.*": true, "*.b": true, "a.>": true, ">": true,
		"": false, "a.": false, ".a": false, "a.>.b": false, "a*": false, "a.b>": false, "a b": false,
	} {
		if got := ValidPattern(p); got != want {
			t.Errorf("ValidPattern(%q) = %v, want %v", p, got, want)
		}
	}
}
