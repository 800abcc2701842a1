package main

import (
	"encoding/json"
	"strings"
	"unicode/utf8"

	"github.com/nagatha/nagatha-runtime/sdk"
)

// scanner takes apart JSON that the runtime wrote.
//
// # Why
//
// A long conversation is read from the store and sent to the model at every turn. In a
// module each step of a loop is dear: encoding/json, which looks at each byte several
// times, took 300 ms for 200 KB. A scanner looks for the quotes alone, which costs a
// few, and what lies between them is sent as it is. It takes the JSON for good; where
// it is not, it fails or finds nothing, and never reads beyond the end.
type scanner struct {
	s   string
	i   int
	bad bool
}

var errScan = sdk.Errorf(sdk.CodeInternal, "the store's reply cannot be read")

// peek skips white space and returns the byte after it, or 0 at the end.
func (p *scanner) peek() byte {
	for p.i < len(p.s) {
		switch c := p.s[p.i]; c {
		case ' ', '\t', '\n', '\r':
			p.i++
		default:
			return c
		}
	}
	return 0
}

// take moves past a byte, if it is next.
func (p *scanner) take(c byte) bool {
	if p.peek() != c {
		return false
	}
	p.i++
	return true
}

// list calls f at each part of what open and end enclose; f must read it.
func (p *scanner) list(open, end byte, f func()) {
	if !p.take(open) {
		p.raw() // null, or something else that has no parts
		return
	}
	for !p.bad && !p.take(end) {
		f()
		if !p.take(',') && p.peek() != end {
			p.bad = true
		}
	}
}

// array calls f for each value; f must read it.
func (p *scanner) array(f func()) { p.list('[', ']', f) }

// object calls f for each key; f must read the value.
func (p *scanner) object(f func(key string)) {
	p.list('{', '}', func() {
		key := p.quoted()
		if !p.take(':') {
			p.bad = true
		}
		f(unquote(key))
	})
}

// quoted reads a string, and returns it with its quotes.
func (p *scanner) quoted() string {
	if p.peek() != '"' {
		p.bad = true
		return ""
	}
	from := p.i
	for i := p.i + 1; ; i++ {
		n := strings.IndexByte(p.s[i:], '"')
		if n < 0 {
			p.bad, p.i = true, len(p.s)
			return ""
		}
		i += n
		back := i
		for p.s[back-1] == '\\' {
			back--
		}
		if (i-back)%2 == 0 {
			p.i = i + 1
			return p.s[from:p.i]
		}
	}
}

// text reads a string.
func (p *scanner) text() string { return unquote(p.quoted()) }

// raw reads any value, and returns it as it is.
func (p *scanner) raw() string {
	switch p.peek() {
	case '"':
		return p.quoted()
	case '{':
		from := p.i
		p.object(func(string) { p.raw() })
		return p.s[from:p.i]
	case '[':
		from := p.i
		p.array(func() { p.raw() })
		return p.s[from:p.i]
	}
	from := p.i
	for p.i < len(p.s) { // it is short: a number, true, false or null
		switch p.s[p.i] {
		case ',', ']', '}', ' ', '\t', '\r', '\n':
			p.bad = p.bad || p.i == from
			return p.s[from:p.i]
		}
		p.i++
	}
	p.bad = p.bad || p.i == from
	return p.s[from:]
}

// unquote is the text of a JSON string.
func unquote(quoted string) string {
	if len(quoted) >= 2 && strings.IndexByte(quoted, '\\') < 0 {
		return quoted[1 : len(quoted)-1]
	}
	var s string
	_ = json.Unmarshal([]byte(quoted), &s) // of what is no string nothing is left
	return s
}

// appendQuoted appends a text as a JSON string.
func appendQuoted(b []byte, s string) []byte {
	if !utf8.ValidString(s) {
		valid, _ := json.Marshal(s) // which mends it
		return append(b, valid...)
	}
	b = append(b, '"')
	for from, i := 0, 0; ; i++ {
		if i == len(s) {
			return append(append(b, s[from:]...), '"')
		}
		c := s[i]
		if c >= ' ' && c != '"' && c != '\\' {
			continue
		}
		b = append(b, s[from:i]...)
		switch from = i + 1; c {
		case '"', '\\':
			b = append(b, '\\', c)
		case '\n':
			b = append(b, `\n`...)
		default:
			const hex = "0123456789abcdef"
			b = append(b, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		}
	}
}
