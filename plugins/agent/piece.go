package main

import (
	"encoding/json"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// piece is a text in a stream. Servers that cut texts by UTF-16 units, as JavaScript
// does, send the two halves of one character in two pieces, each as an escape; read one
// by one neither is a character.
type piece struct {
	text string
	low  rune // the half that it begins with; 0: none
	high rune // the half that it ends with
}

// escape is how long one is.
const escape = len(`\uD83C`)

// UnmarshalJSON reads a string, or null.
func (p *piece) UnmarshalJSON(b []byte) error {
	*p = piece{}
	if r := half(b, 1); r >= 0xDC00 {
		p.low, b = r, append([]byte(`"`), b[1+escape:]...)
	}
	if at := len(b) - 1 - escape; at > 0 {
		if r := half(b, at); r > 0 && r < 0xDC00 && !escaped(b, at) {
			p.high, b = r, append(b[:at:at], '"')
		}
	}
	return json.Unmarshal(b, &p.text)
}

// half is the surrogate whose escape begins at a place; 0: none does.
func half(b []byte, at int) rune {
	if len(b) < at+escape || b[at] != '\\' || b[at+1] != 'u' {
		return 0
	}
	n, err := strconv.ParseUint(string(b[at+2:at+escape]), 16, 16)
	if err != nil || !utf16.IsSurrogate(rune(n)) {
		return 0
	}
	return rune(n)
}

// escaped reports whether the backslash at a place is itself escaped.
func escaped(b []byte, at int) bool {
	n := 0
	for n < at && b[at-1-n] == '\\' {
		n++
	}
	return n%2 == 1
}

// seam joins the pieces of one text.
type seam struct{ high rune }

// next is what can be said after a piece: half a character waits for the other.
func (s *seam) next(p piece) string {
	if p == (piece{}) {
		return ""
	}
	text := p.text
	switch {
	case s.high != 0 && p.low != 0:
		text = string(utf16.DecodeRune(s.high, p.low)) + text
	case s.high != 0 || p.low != 0:
		text = string(utf8.RuneError) + text
	}
	s.high = p.high
	return text
}
