package config

import (
	"bytes"
	"slices"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
)

// open are the blocks in which no secret stands.
var open = []string{"log", "server", "metrics", "compat", "queue", "limits", "retention", "retry", "schedule"}

// hide returns the file with stars in the strings of all other blocks. It is for errors
// about the shape of the file, which show lines that nobody has understood yet.
func hide(f *hcl.File, name string) *hcl.File {
	tokens, _ := hclsyntax.LexConfig(f.Bytes, name, hcl.InitialPos) // what is wrong was found by the parser
	text, depth, block := bytes.Clone(f.Bytes), 0, ""
	for _, t := range tokens {
		switch t.Type {
		case hclsyntax.TokenOBrace:
			depth++
		case hclsyntax.TokenCBrace:
			depth--
		case hclsyntax.TokenIdent:
			if depth == 0 {
				block = string(t.Bytes)
			}
		case hclsyntax.TokenQuotedLit, hclsyntax.TokenStringLit:
			if depth > 0 && !slices.Contains(open, block) {
				stars := text[t.Range.Start.Byte:t.Range.End.Byte]
				for i, c := range stars {
					if c != '\n' {
						stars[i] = '*'
					}
				}
			}
		}
	}
	return &hcl.File{Body: f.Body, Bytes: text, Nav: f.Nav}
}

// shape is the mark of an error about the shape of the file.
type shape struct{}

// misshapen notes such errors.
func (c *checker) misshapen(diags hcl.Diagnostics) {
	for _, d := range diags {
		d.Extra = shape{}
	}
	c.diags = append(c.diags, diags...)
}
