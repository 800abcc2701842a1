package runtime

import (
	"encoding/json"
	"fmt"
	"strings"
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

// TestSchemasThatTakeYears: what a plugin writes into a schema does not keep the runtime
// busy, neither when it is loaded nor when a task is submitted.
func TestSchemasThatTakeYears(t *testing.T) {
	double := `{"$defs":{"a0":{"type":"string"}`
	for i := range 60 {
		double += fmt.Sprintf(`,"a%d":{"%s":[{"$ref":"#/$defs/a%d"},{"$ref":"#/$defs/a%d"}]}`, i+1, []string{"allOf", "anyOf"}[i%2], i, i)
	}
	deep := `{"allOf":[{"properties":{"a":{"$ref":"#"}}},{"properties":{"a":{"$ref":"#"}}}]}`
	numbers := strings.Repeat("1,", 50_000) + "1"
	for name, c := range map[string]struct{ schema, doc string }{
		"doubles":          {double + `},"$ref":"#/$defs/a60"}`, `1`},
		"doubles, not":     {double + `},"not":{"$ref":"#/$defs/a60"}}`, `1`},
		"doubles, old":     {`{"$schema":"http://json-schema.org/draft-07/schema#","definitions"` + strings.ReplaceAll(strings.TrimPrefix(double, `{"$defs"`), "$defs", "definitions") + `},"allOf":[{"$ref":"#/definitions/a60"}]}`, `1`},
		"doubles by depth": {deep, strings.Repeat(`{"a":`, 60) + `1` + strings.Repeat(`}`, 60)},
		"a long enum":      {`{"items":{"enum":[` + strings.Repeat("2,", 50_000) + `2]}}`, `[` + numbers + `]`},
	} {
		s, err := compileSchema(json.RawMessage(c.schema))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got := describe(s.check("payload", json.RawMessage(c.doc))); got != "payload: takes too long to check against the schema" {
			t.Errorf("%s: %.200q", name, got)
		}
		if got := describe(s.check("payload", json.RawMessage(`{}`))); strings.Contains(got, "too long") && name == "doubles by depth" {
			t.Errorf("%s, then a short one: %.200q", name, got)
		}
	}
	for name, c := range map[string]struct{ schema, want string }{
		"a number":    {`{"maximum":1e1000000000}`, "exponent"},
		"a pattern":   {`{"patternProperties":{` + strings.Repeat(`"(abcdefghij){1000}":{},`, 1) + `"((((ab){10}){10}){10}){5}":{},"(abcdefghijkl){1000}":{}}}`, "patterns"},
		"the size":    {`{"title":"` + strings.Repeat("x", 300<<10) + `"}`, "bytes"},
		"another way": {`{"$dynamicRef":"#a","$defs":{"a":{"$dynamicAnchor":"a"}}}`, "$dynamicRef"},
	} {
		if _, err := compileSchema(json.RawMessage(c.schema)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	plain, err := compileSchema(json.RawMessage(`{"items":{"anyOf":[{"type":"string"},{"type":"integer","maximum":5},{"enum":["a","b"]}]}}`))
	if err != nil {
		t.Fatal(err)
	}
	if got := describe(plain.check("payload", json.RawMessage(`[`+numbers+`]`))); got != "" {
		t.Errorf("a long list: %.200q", got)
	}
}
