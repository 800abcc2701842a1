package runtime

import (
	"errors"
	"fmt"
	"regexp"
	"regexp/syntax"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// A schema comes from a plugin, and may be written so that a check takes years: two
// references to a schema that has two references, forty times. So checks count what
// they do, and schemas have sizes.
const (
	maxSchema   = 256 << 10 // bytes of one
	maxPatterns = 20_000    // instructions of all the patterns of one
	maxSteps    = 5_000_000 // of a check; a second or two, and as much memory as that can fill
	enumStep    = 32        // values of an enum that are compared in a step
)

// errSteps is what a check that takes too many steps panics with: the package that does
// it has no other way out.
var errSteps = errors.New("takes too long to check against the schema")

// patterns compiles the patterns of one schema.
func patterns() jsonschema.RegexpEngine {
	left := maxPatterns
	return func(text string) (jsonschema.Regexp, error) {
		tree, err := syntax.Parse(text, syntax.Perl)
		if err != nil {
			return nil, err
		}
		code, err := syntax.Compile(tree.Simplify())
		if err != nil {
			return nil, err
		}
		if left -= len(code.Inst); left < 0 {
			return nil, fmt.Errorf("the patterns of the schema are too large")
		}
		return regexp.Compile(text)
	}
}

// bound makes every evaluation below at count. A format is what a schema looks at before
// the schemas below it.
func (s *schema) bound(at *jsonschema.Schema) error {
	var all []*jsonschema.Schema
	seen := map[*jsonschema.Schema]bool{at: true}
	enum := 0
	for queue := []*jsonschema.Schema{at}; len(queue) > 0; queue = queue[1:] {
		at := queue[0]
		if at.DynamicRef != nil || at.RecursiveRef != nil {
			return errors.New("$dynamicRef and $recursiveRef are not supported; use $ref")
		}
		if at.Enum != nil {
			enum = max(enum, len(at.Enum.Values))
		}
		all = append(all, at)
		same, below := parts(at)
		for _, p := range append(same, below...) {
			if p != nil && !seen[p] {
				seen[p] = true
				queue = append(queue, p)
			}
		}
	}
	weight := 1 + enum/enumStep
	for _, at := range all {
		same, _ := parts(at)
		each := 2 + len(at.PatternProperties) // for a property or item
		format := at.Format
		counting := &jsonschema.Format{Name: "counted"}
		if format != nil {
			counting.Name = format.Name
		}
		counting.Validate = func(v any) error {
			n := 0
			switch v := v.(type) {
			case []any:
				n = len(v)
			case map[string]any:
				n = len(v)
			}
			s.step(weight * (1 + len(same) + n*each))
			if format != nil {
				return format.Validate(v)
			}
			return nil
		}
		at.Format = counting
	}
	return nil
}

func (s *schema) step(n int) {
	if s.left -= n; s.left < 0 {
		panic(errSteps)
	}
}

// parts are the schemas that a schema applies to the same value, and those that it
// applies to what is in it.
func parts(s *jsonschema.Schema) (same, below []*jsonschema.Schema) {
	same = append(same, s.Ref, s.Not, s.If, s.Then, s.Else)
	same = append(append(append(same, s.AllOf...), s.AnyOf...), s.OneOf...)
	for _, d := range s.Dependencies {
		if d, ok := d.(*jsonschema.Schema); ok {
			same = append(same, d)
		}
	}
	for _, d := range s.DependentSchemas {
		same = append(same, d)
	}
	below = append(below, s.PropertyNames, s.UnevaluatedProperties, s.Contains, s.Items2020, s.UnevaluatedItems, s.ContentSchema)
	below = append(below, s.PrefixItems...)
	for _, p := range s.Properties {
		below = append(below, p)
	}
	for _, p := range s.PatternProperties {
		below = append(below, p)
	}
	for _, v := range []any{s.AdditionalProperties, s.Items, s.AdditionalItems} {
		switch v := v.(type) {
		case *jsonschema.Schema:
			below = append(below, v)
		case []*jsonschema.Schema:
			below = append(below, v...)
		}
	}
	return same, below
}
