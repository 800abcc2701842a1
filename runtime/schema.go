package runtime

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/santhosh-tekuri/jsonschema/v6"
	jskind "github.com/santhosh-tekuri/jsonschema/v6/kind"
	"golang.org/x/text/language"
	"golang.org/x/text/message"

	"github.com/nagatha/nagatha-runtime/sdk"
)

// schema is a compiled JSON Schema; nil accepts everything.
type schema struct {
	*jsonschema.Schema

	mu   sync.Mutex // held by a check, because of:
	left int        // steps that it may still take
}

// compileSchema compiles a schema document that refers to nothing outside
// itself; one that accepts everything is nil.
func compileSchema(doc json.RawMessage) (*schema, error) {
	if len(doc) == 0 {
		return nil, nil
	}
	if len(doc) > maxSchema {
		return nil, fmt.Errorf("has %d bytes, at most %d can be had", len(doc), maxSchema)
	}
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(doc))
	if err != nil {
		return nil, fmt.Errorf("not JSON: %w", err)
	}
	if path, found := hugeNumber(v); found {
		return nil, fmt.Errorf("%s: the exponent of the number is beyond %d", strings.TrimPrefix(path, "."), maxExponent)
	}
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft2020)
	c.UseLoader(noLoader{})
	c.UseRegexpEngine(patterns())
	const url = "schema:///schema.json"
	if err := c.AddResource(url, v); err != nil {
		return nil, err
	}
	compiled, err := c.Compile(url)
	if err != nil {
		return nil, err
	}
	if acceptsAll(v) {
		return nil, nil // checking would still decode each document
	}
	s := &schema{Schema: compiled}
	return s, s.bound(compiled)
}

// acceptsAll reports whether a schema says nothing about what it accepts: true, or an
// object of annotations alone (JSON Schema 2020-12, Validation § 9).
func acceptsAll(schema any) bool {
	switch v := schema.(type) {
	case bool:
		return v
	case map[string]any:
		for k := range v {
			switch k {
			case "$schema", "$id", "$comment", "title", "description", "default", "examples", "deprecated", "readOnly", "writeOnly":
			default:
				return false
			}
		}
		return true
	}
	return false
}

// noLoader refuses references out of a schema: a manifest must not make the
// runtime read files or the network.
type noLoader struct{}

func (noLoader) Load(url string) (any, error) {
	return nil, fmt.Errorf("refers to %s: a schema must stand alone", url)
}

var printer = message.NewPrinter(language.English)

// check returns what does not fit, each with its dotted path below root; none
// means that doc fits.
func (s *schema) check(root string, doc json.RawMessage) []sdk.Field {
	if s == nil {
		return nil
	}
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(doc))
	if err != nil {
		return []sdk.Field{{Field: root, Message: "not JSON: " + err.Error()}}
	}
	if path, found := hugeNumber(v); found {
		return []sdk.Field{{Field: root + path, Message: fmt.Sprintf("the exponent of the number is beyond %d", maxExponent)}}
	}
	err = s.validate(v)
	if err == nil {
		return nil
	}
	var ve *jsonschema.ValidationError
	if !errors.As(err, &ve) {
		return []sdk.Field{{Field: root, Message: err.Error()}}
	}
	var fields []sdk.Field
	leaves(ve, func(e *jsonschema.ValidationError) {
		path := root
		if len(e.InstanceLocation) > 0 {
			path += "." + strings.Join(e.InstanceLocation, ".")
		}
		// Properties that are missing or unknown are faults of their own paths.
		switch k := e.ErrorKind.(type) {
		case *jskind.Required:
			for _, p := range k.Missing {
				fields = append(fields, sdk.Field{Field: path + "." + p, Message: "is required"})
			}
		case *jskind.AdditionalProperties:
			for _, p := range k.Properties {
				fields = append(fields, sdk.Field{Field: path + "." + p, Message: "is not a known property"})
			}
		default:
			fields = append(fields, sdk.Field{Field: path, Message: fault(e.ErrorKind)})
		}
	})
	// The validator walks maps: what it finds comes in another order each time.
	slices.SortStableFunc(fields, func(a, b sdk.Field) int {
		return cmp.Or(strings.Compare(a.Field, b.Field), strings.Compare(a.Message, b.Message))
	})
	return fields[:min(len(fields), 20)]
}

func (s *schema) validate(v any) (err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.left = maxSteps
	defer func() {
		p := recover()
		if fault, ok := p.(error); ok && errors.Is(fault, errSteps) {
			err = errSteps
		} else if p != nil {
			panic(p)
		}
	}()
	return s.Validate(v)
}

// fault says what to mend, in words that need no knowledge of JSON Schema.
func fault(k jsonschema.ErrorKind) string {
	switch k := k.(type) {
	case *jskind.MinLength:
		return atLeast(k.Got, k.Want, "characters")
	case *jskind.MaxLength:
		return fmt.Sprintf("must have at most %d characters, and has %d", k.Want, k.Got)
	case *jskind.MinItems:
		return atLeast(k.Got, k.Want, "items")
	case *jskind.MaxItems:
		return fmt.Sprintf("must have at most %d items, and has %d", k.Want, k.Got)
	case *jskind.Minimum:
		return "must be at least " + decimal(k.Want) + ", and is " + decimal(k.Got)
	case *jskind.Maximum:
		return "must be at most " + decimal(k.Want) + ", and is " + decimal(k.Got)
	}
	return k.LocalizedString(printer)
}

func atLeast(got, want int, what string) string {
	if want == 1 {
		return "must not be empty"
	}
	return fmt.Sprintf("must have at least %d %s, and has %d", want, what, got)
}

func decimal(r *big.Rat) string {
	f, _ := r.Float64()
	return strconv.FormatFloat(f, 'f', -1, 64)
}

// maxExponent bounds the power of ten of a number that is checked: the check counts
// exactly, so 1e1000000 would cost it a million digits.
const maxExponent = 1000

// hugeNumber finds a number below v whose exponent is beyond maxExponent: path is where,
// such as ".calls.3".
func hugeNumber(v any) (path string, found bool) {
	switch v := v.(type) {
	case json.Number:
		i := strings.IndexAny(string(v), "eE")
		if i < 0 {
			return "", false
		}
		exp, err := strconv.Atoi(string(v[i+1:]))
		return "", err != nil || exp > maxExponent || exp < -maxExponent
	case []any:
		for i, e := range v {
			if path, found := hugeNumber(e); found {
				return "." + strconv.Itoa(i) + path, true
			}
		}
	case map[string]any:
		for _, k := range slices.Sorted(maps.Keys(v)) {
			if path, found := hugeNumber(v[k]); found {
				return "." + k + path, true
			}
		}
	}
	return "", false
}

func leaves(e *jsonschema.ValidationError, f func(*jsonschema.ValidationError)) {
	if len(e.Causes) == 0 {
		f(e)
		return
	}
	for _, c := range e.Causes {
		leaves(c, f)
	}
}

// describe makes one line of fields.
func describe(fields []sdk.Field) string {
	parts := make([]string, len(fields))
	for i, f := range fields {
		parts[i] = f.Field + ": " + f.Message
	}
	return strings.Join(parts, "; ")
}
