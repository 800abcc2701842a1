package runtime

import (
	"encoding/json"
	"testing"
)

// TestSchemaThatAcceptsAll: only a schema that says nothing is left out.
func TestSchemaThatAcceptsAll(t *testing.T) {
	for doc, all := range map[string]bool{
		``: true, `{}`: true, `true`: true,
		`{"$schema":"https://json-schema.org/draft/2020-12/schema","title":"anything","description":"d","examples":[1]}`: true,
		`false`: false, `{"type":"object"}`: false, `{"not":{}}`: false, `{"title":"t","const":1}`: false, `{"$ref":"#"}`: false,
	} {
		s, err := compileSchema(json.RawMessage(doc))
		if err != nil && doc != `{"$ref":"#"}` {
			t.Errorf("%s: %v", doc, err)
		}
		if err == nil && (s == nil) != all {
			t.Errorf("%s: left out is %t", doc, s == nil)
		}
	}
	s, err := compileSchema(json.RawMessage(`false`))
	if err != nil || len(s.check("payload", json.RawMessage(`1`))) == 0 {
		t.Errorf("false accepts 1: %v", err)
	}
	if s, err := compileSchema(json.RawMessage(`{"title":1}`)); err == nil {
		t.Errorf("a malformed annotation compiles: %v", s)
	}
}

// The check counts exactly: a short text must not cost it a million digits.
func TestNumbersThatAreHuge(t *testing.T) {
	s, err := compileSchema(json.RawMessage(`{"type":"array","items":{"type":"object","properties":{"n":{"type":"number","maximum":5}}}}`))
	if err != nil {
		t.Fatal(err)
	}
	for doc, want := range map[string]string{
		`[{"n":1},{"n":1e1000000}]`:             "payload.1.n: the exponent of the number is beyond 1000",
		`[{"n":-1E-1001}]`:                      "payload.0.n: the exponent of the number is beyond 1000",
		`[{"n":1e+99999999999999999999999999}]`: "payload.0.n: the exponent of the number is beyond 1000",
		`[{"n":1e-1000}]`:                       "",
		`[{"n":5.0}]`:                           "",
		`[{"n":6e0}]`:                           "payload.0.n: must be at most 5, and is 6",
	} {
		if got := describe(s.check("payload", json.RawMessage(doc))); got != want {
			t.Errorf("%s: %q, want %q", doc, got, want)
		}
	}
}

// What does not fit is said in words that need no knowledge of JSON Schema.
func TestFaultsArePlain(t *testing.T) {
	s, err := compileSchema(json.RawMessage(`{"type":"object","additionalProperties":false,"required":["a"],"properties":{
		"a":{"type":"string","minLength":1},"b":{"type":"string","minLength":3,"maxLength":4},"n":{"type":"number","minimum":0.5,"maximum":1000},
		"l":{"type":"array","minItems":1,"maxItems":2},"e":{"enum":["x","y"]}}}`))
	if err != nil {
		t.Fatal(err)
	}
	for doc, want := range map[string]string{
		`{}`:                      "payload.a: is required",
		`{"a":"x","z":1}`:         "payload.z: is not a known property",
		`{"a":1}`:                 "payload.a: got number, want string",
		`{"a":""}`:                "payload.a: must not be empty",
		`{"a":"x","b":"é"}`:       "payload.b: must have at least 3 characters, and has 1",
		`{"a":"x","b":"12345"}`:   "payload.b: must have at most 4 characters, and has 5",
		`{"a":"x","n":0}`:         "payload.n: must be at least 0.5, and is 0",
		`{"a":"x","n":2000}`:      "payload.n: must be at most 1000, and is 2000",
		`{"a":"x","l":[]}`:        "payload.l: must not be empty",
		`{"a":"x","l":[1,2,3]}`:   "payload.l: must have at most 2 items, and has 3",
		`{"a":"x","e":"z"}`:       "payload.e: value must be one of 'x', 'y'",
		`{"a":"x","n":1,"l":[1]}`: "",
	} {
		if got := describe(s.check("payload", json.RawMessage(doc))); got != want {
			t.Errorf("%s: %q, want %q", doc, got, want)
		}
	}
}
