package runtime

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

// What is wrong is said in the same words each time, though it is found in maps.
func TestFaultsHaveAnOrder(t *testing.T) {
	s, err := compileSchema(json.RawMessage(`{"additionalProperties":false,"required":["m"],"properties":{"a":{"type":"string"},"b":{"minLength":2},"c":{"const":1}}}`))
	if err != nil {
		t.Fatal(err)
	}
	var unknown []string
	for i := range 30 {
		unknown = append(unknown, fmt.Sprintf(`"x%02d":%d`, i, i))
	}
	doc := json.RawMessage(`{"a":1,"b":"","c":2,` + strings.Join(unknown, ",") + `}`)
	const want = "p.a: got number, want string; p.b: must have at least 2 characters, and has 0; p.c: value must be 1; p.m: is required; p.x00: is not a known property; "
	first := describe(s.check("p", doc))
	if !strings.HasPrefix(first, want) {
		t.Fatalf("%q, want %q and more", first, want)
	}
	huge := json.RawMessage(`{"a":1e2000,"b":1e2000,"c":1e2000}`)
	for range 50 {
		if got := describe(s.check("p", doc)); got != first {
			t.Fatalf("%q and %q", got, first)
		}
		if got := s.check("p", huge)[0].Field; got != "p.a" {
			t.Fatalf("the first number that is too large is %s", got)
		}
	}
}

// Of several operations that a run forgot always the same is named.
func TestForgottenIsTheFirst(t *testing.T) {
	ops := []Operation{{Name: "b", Occurrence: 1}, {Name: "a", Occurrence: 10}, {Name: "a", Occurrence: 9}, {Name: "a", Occurrence: 1}}
	o := attemptOps{known: map[OpKey]*Operation{}, asked: map[OpKey]bool{{"a", 1}: true}}
	for i := range ops {
		o.known[ops[i].Key()] = &ops[i]
	}
	for range 50 {
		if got := o.forgotten(); got.Key() != (OpKey{"a", 9}) {
			t.Fatalf("%+v", got)
		}
	}
}

// What is cut is cut between characters.
func TestCleanString(t *testing.T) {
	for _, c := range []struct {
		s    string
		n    int
		want string
	}{
		{"", 3, ""}, {"abc", 3, "abc"}, {"abcd", 3, "abc…"}, {"aéb", 2, "a…"}, {"a😀", 4, "a…"}, {"😀", 1, "…"},
		{"\x00", 3, "\uFFFD"}, {"\x80\x80\x80\x80\x80\x80", 5, "\uFFFD…"},
	} {
		if got := cleanString(c.s, c.n); got != c.want {
			t.Errorf("%q to %d: %q, want %q", c.s, c.n, got, c.want)
		}
	}
}
