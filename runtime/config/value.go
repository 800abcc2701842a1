package config

import (
	"fmt"
	"math"
	"math/big"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/agext/levenshtein"
	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"
	"github.com/zclconf/go-cty/cty/function"
)

// checker turns expressions into values and collects what is wrong with them.
type checker struct {
	dir   string
	ctx   *hcl.EvalContext
	diags hcl.Diagnostics
	seen  map[string]hcl.Range
	cron  func(line, zone string) error // may be nil
	kinds []string                      // of the runtime itself; nil: any
	url   func(string) error            // may be nil

	grantQueues []grantQueues
}

func (c *checker) bad(at hcl.Range, summary, format string, args ...any) {
	c.diags = append(c.diags, &hcl.Diagnostic{Severity: hcl.DiagError, Summary: summary, Detail: fmt.Sprintf(format, args...), Subject: &at})
}

// given reports whether an optional attribute was written.
func given(e hcl.Expression) bool {
	if e == nil {
		return false
	}
	// gohcl puts a null literal without a place where there is none.
	return e.Range().Filename != "" && e.Range().Start.Byte != e.Range().End.Byte
}

// value evaluates an expression as a type; ok is false if there is none, or it is
// wrong, which is then noted.
func (c *checker) value(e hcl.Expression, want cty.Type, form string) (v cty.Value, ok bool) {
	if !given(e) {
		return v, false
	}
	v, diags := e.Value(c.ctx)
	if diags.HasErrors() {
		c.diags = append(c.diags, diags...)
		return v, false
	}
	if v.IsNull() {
		return v, false
	}
	// HCL would turn 5 into "5" and "true" into true; here that is a mistake.
	if want.IsPrimitiveType() && v.Type() != want {
		c.bad(e.Range(), "wrong type", "Want %s.", form)
		return v, false
	}
	v, err := convert.Convert(v, want)
	if err != nil || !v.IsWhollyKnown() {
		c.bad(e.Range(), "wrong type", "Want %s.", form)
		return v, false
	}
	return v, true
}

func (c *checker) text(e hcl.Expression, otherwise string) string {
	v, ok := c.value(e, cty.String, "a text in quotes")
	if !ok {
		return otherwise
	}
	return v.AsString()
}

func (c *checker) boolean(e hcl.Expression, otherwise bool) bool {
	v, ok := c.value(e, cty.Bool, "true or false")
	if !ok {
		return otherwise
	}
	return v.True()
}

func (c *checker) list(e hcl.Expression) []string {
	v, ok := c.value(e, cty.List(cty.String), "a list of texts, such as [\"a\", \"b\"]")
	if !ok {
		return nil
	}
	var out []string
	for _, item := range v.AsValueSlice() {
		if item.IsNull() {
			c.bad(e.Range(), "wrong type", "An item of the list is null.")
			continue
		}
		out = append(out, item.AsString())
	}
	return out
}

// strings reads an object whose values may be secret. Its errors point at the
// block around it, because the lines of the object itself would be shown.
func (c *checker) strings(e hcl.Expression, block hcl.Range) map[string]string {
	before := len(c.diags)
	v, ok := c.value(e, cty.Map(cty.String), "an object of texts, such as { NAME = \"value\" }")
	out := map[string]string{}
	if ok {
		for k, item := range v.AsValueMap() {
			if item.IsNull() {
				c.bad(e.Range(), "wrong type", "%s is null.", k)
				continue
			}
			out[k] = item.AsString()
		}
	}
	for _, d := range c.diags[before:] {
		d.Detail = fmt.Sprintf("On line %d: %s", d.Subject.Start.Line, d.Detail)
		d.Subject, d.Context = &block, nil
	}
	if !ok {
		return nil
	}
	return out
}

func (c *checker) num(e hcl.Expression, otherwise, least, most int) int {
	v, ok := c.value(e, cty.Number, "a whole number")
	if !ok {
		return otherwise
	}
	n, accuracy := v.AsBigFloat().Int64()
	if accuracy != big.Exact || n < int64(least) || n > int64(most) {
		c.bad(e.Range(), "out of range", "Want a whole number from %d to %d.", least, most)
		return otherwise
	}
	return int(n)
}

func (c *checker) oneOf(e hcl.Expression, otherwise string, known ...string) string {
	s := c.text(e, otherwise)
	if !slices.Contains(known, s) {
		c.bad(e.Range(), "unknown value", "%s", suggest(s, known))
	}
	return s
}

// level is the least level of the log. Other programs spell the names otherwise, and
// LOG_LEVEL is often shared with them.
func (c *checker) level(e hcl.Expression) string {
	known := []string{"debug", "info", "warn", "error"}
	s := strings.ToLower(c.text(e, "info"))
	if other, ok := map[string]string{"warning": "warn", "critical": "error", "fatal": "error"}[s]; ok {
		s = other
	}
	if !slices.Contains(known, s) {
		c.bad(e.Range(), "unknown value", "%s", suggest(s, known))
	}
	return s
}

func (c *checker) duration(e hcl.Expression, otherwise, least, most time.Duration) time.Duration {
	v, ok := c.value(e, cty.String, "a duration in quotes, such as \"30s\" or \"1h30m\"")
	if !ok {
		return otherwise
	}
	d, err := time.ParseDuration(v.AsString())
	switch {
	case err != nil:
		c.bad(e.Range(), "not a duration", "Want a number with a unit, such as \"500ms\", \"30s\" or \"1h30m\".")
		return otherwise
	case d < least || d > most:
		c.bad(e.Range(), "out of range", "Want a duration from %s to %s.", least, most)
		return otherwise
	}
	return d
}

// size reads bytes: a number, or a text with a unit.
func (c *checker) size(e hcl.Expression, otherwise, least, most int64) int64 {
	v, ok := c.value(e, cty.DynamicPseudoType, "a size in quotes, such as \"128MiB\"")
	if !ok {
		return otherwise
	}
	text, err := convert.Convert(v, cty.String) // a bare number is bytes
	if err != nil || v.Type() == cty.Bool {
		c.bad(e.Range(), "wrong type", "Want a size in quotes, such as \"128MiB\".")
		return otherwise
	}
	n, err := parseSize(text.AsString())
	switch {
	case err != nil:
		c.bad(e.Range(), "not a size", "Want a number with a unit, such as \"64KiB\", \"128MiB\" or \"1GiB\".")
		return otherwise
	case n < least || n > most:
		c.bad(e.Range(), "out of range", "Want a size from %s to %s.", formatSize(least), formatSize(most))
		return otherwise
	}
	return n
}

var units = []struct {
	name  string
	bytes int64
}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"GB", 1e9}, {"MB", 1e6}, {"kB", 1e3}, {"B", 1}}

func parseSize(s string) (int64, error) {
	unit := int64(1)
	for _, u := range units {
		if rest, ok := strings.CutSuffix(s, u.name); ok {
			s, unit = rest, u.bytes
			break
		}
	}
	f, err := strconv.ParseFloat(strings.TrimSpace(s), 64)
	if err != nil || f < 0 || f*float64(unit) > math.MaxInt64/2 {
		return 0, fmt.Errorf("not a size")
	}
	return int64(f * float64(unit)), nil
}

func formatSize(n int64) string {
	for _, u := range units[:3] {
		if n >= u.bytes && n%u.bytes == 0 {
			return fmt.Sprintf("%d%s", n/u.bytes, u.name)
		}
	}
	return fmt.Sprintf("%dB", n)
}

// path reads a path; a relative one begins where the file stands.
func (c *checker) path(e hcl.Expression, otherwise string) string {
	s := c.text(e, otherwise)
	if given(e) && s == "" {
		c.bad(e.Range(), "empty path", "Want the path of a file or directory.")
	}
	if s == "" {
		return ""
	}
	return c.abs(s)
}

func (c *checker) abs(s string) string {
	if filepath.IsAbs(s) {
		return s
	}
	return filepath.Join(c.dir, s)
}

// listen reads the address, and refuses one that others can reach unless the
// operator says so: there is no TLS yet.
func (c *checker) listen(b *serverBlock) string {
	insecure := c.boolean(b.InsecureListen, false)
	addr := c.text(b.Listen, "127.0.0.1:8765")
	host, port, err := net.SplitHostPort(addr)
	n, perr := strconv.Atoi(port)
	if err != nil || perr != nil || n < 0 || n > 65535 {
		c.bad(b.Listen.Range(), "not an address", "Want host:port, such as \"127.0.0.1:8765\".")
		return addr
	}
	ip, err := netip.ParseAddr(host)
	loopback := host == "localhost" || err == nil && ip.Unmap().IsLoopback()
	if !loopback && !insecure {
		c.bad(b.Listen.Range(), "reachable from outside without TLS",
			"Tokens and data would cross the network in the clear. Listen on 127.0.0.1 behind a proxy with TLS, or set insecure_listen = true.")
	}
	return addr
}

// suggest names what was probably meant.
func suggest(got string, known []string) string {
	for _, k := range known {
		if levenshtein.Distance(got, k, nil) < 3 {
			return fmt.Sprintf("Did you mean %q?", k)
		}
	}
	quoted := make([]string, len(known))
	for i, k := range known {
		quoted[i] = strconv.Quote(k)
	}
	return "Want " + strings.Join(quoted, " or ") + "."
}

func validName(s string) bool {
	for i := range len(s) {
		c := s[i]
		switch {
		case c >= 'a' && c <= 'z':
		case i > 0 && (c >= '0' && c <= '9' || c == '_' || c == '-'):
		default:
			return false
		}
	}
	return s != ""
}

// functions are env and file.
func functions(dir string) *hcl.EvalContext {
	env := function.New(&function.Spec{
		Params:   []function.Parameter{{Name: "name", Type: cty.String}},
		VarParam: &function.Parameter{Name: "default", Type: cty.String},
		Type:     function.StaticReturnType(cty.String),
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
			if len(args) > 2 {
				return cty.NilVal, function.NewArgErrorf(2, "env takes a name and a default")
			}
			// A variable that is empty is as good as none where there is a default.
			if v, ok := os.LookupEnv(args[0].AsString()); ok && (v != "" || len(args) == 1) {
				return cty.StringVal(v), nil
			}
			if len(args) == 2 {
				return args[1], nil
			}
			return cty.NilVal, function.NewArgErrorf(0, "the environment variable %s is not set; set it, or give a default: env(%q, \"\")",
				args[0].AsString(), args[0].AsString())
		},
	})
	file := function.New(&function.Spec{
		Params: []function.Parameter{{Name: "path", Type: cty.String}},
		Type:   function.StaticReturnType(cty.String),
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
			path := args[0].AsString()
			if !filepath.IsAbs(path) {
				path = filepath.Join(dir, path)
			}
			b, err := os.ReadFile(path)
			if err != nil {
				return cty.NilVal, function.NewArgErrorf(0, "%v", err)
			}
			return cty.StringVal(strings.TrimRight(string(b), "\n")), nil
		},
	})
	return &hcl.EvalContext{Functions: map[string]function.Function{"env": env, "file": file}}
}
