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
