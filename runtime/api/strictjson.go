package api

import (
	"bytes"
	"encoding/json"
	"fmt"
	"unicode/utf8"
)

// maxDepth is how deep a request may be nested.
const maxDepth = 64

// member is one name and value of an object, in the order of the text.
type member struct {
	name  string
	value json.RawMessage // a slice of the scanned text
}

// document is what scanJSON found out about one JSON text.
type document struct {
	kind    byte // the first byte: '{', '[', '"', a digit…
	members []member
	// fault says what is wrong with a text that is JSON but is refused: a name
	// that stands twice in an object, or nesting beyond maxDepth.
	fault string
}

// scanJSON reads one JSON text, which must be UTF-8. The error means that it is
// none.
//
// encoding/json takes the last of two equal names and matches names whatever
// their case, so a proxy or an audit could read another value than we do. This
// scan refuses that, and is the only reader of names: nothing after it matches
// names by another rule.
func scanJSON(text []byte) (document, error) {
	s := scanner{text: text}
	err := s.run()
	return s.doc, err
}

type scanner struct {
	text  []byte
	pos   int
	open  []byte // '{' and '[', outermost first
	names []nameSet
	doc   document

	topName  string // of the outermost object's current member
	topStart int
}

func (s *scanner) run() error {
	s.space()
	if s.pos == len(s.text) {
		return s.bad("it is empty")
	}
	s.doc.kind = s.text[s.pos]
	for {
		opened, err := s.value()
		if err != nil {
			return err
		}
		if opened {
			continue
		}
		done, err := s.afterValue()
		if err != nil || done {
			return err
		}
	}
}

// value reads a scalar, an empty container, or the opening of a container up to
// where its first value begins; opened says which.
func (s *scanner) value() (opened bool, err error) {
	s.space()
	if s.pos == len(s.text) {
		return false, s.bad("it ends where a value should be")
	}
	switch c := s.text[s.pos]; {
	case c == '{':
		s.push(c)
		if s.peek() == '}' {
			s.pop()
			return false, nil
		}
		return true, s.name()
	case c == '[':
		s.push(c)
		if s.peek() == ']' {
			s.pop()
			return false, nil
		}
		return true, nil
	case c == '"':
		_, _, err = s.str()
		return false, err
	case c == '-' || c >= '0' && c <= '9':
		return false, s.number()
	}
	for _, word := range []string{"true", "false", "null"} {
		if bytes.HasPrefix(s.text[s.pos:], []byte(word)) {
			s.pos += len(word)
			return false, nil
		}
	}
	return false, s.bad("%s is no value", s.here())
}

// afterValue goes on after a value: to the next one, out of containers, or to
// the end of the text.
func (s *scanner) afterValue() (done bool, err error) {
	for {
		if len(s.open) == 1 && s.open[0] == '{' {
			s.doc.members = append(s.doc.members, member{s.topName, s.text[s.topStart:s.pos:s.pos]})
		}
		s.space()
		if len(s.open) == 0 {
			if s.pos < len(s.text) {
				return false, s.bad("%s follows the value", s.here())
			}
			return true, nil
		}
		in := s.open[len(s.open)-1]
		switch c := s.peek(); {
		case c == ',':
			s.pos++
			if in == '{' {
				return false, s.name()
			}
			return false, nil
		case c == '}' && in == '{', c == ']' && in == '[':
			s.pop()
		case c == 0:
			return false, s.bad("it ends inside %s", container(in))
		default:
			return false, s.bad("%s does not belong in %s", s.here(), container(in))
		}
	}
}

func container(open byte) string {
	if open == '{' {
		return "an object"
	}
	return "a list"
}

// name reads a member's name and its colon.
func (s *scanner) name() error {
	if s.peek() != '"' {
		return s.bad("%s where a name should be", s.here())
	}
	raw, escaped, err := s.str()
	if err != nil {
		return err
	}
	name := raw
	if escaped {
		var text string
		if err := json.Unmarshal(s.text[s.pos-len(raw)-2:s.pos], &text); err != nil {
			return s.bad("a name cannot be read")
		}
		name = []byte(text)
	}
	if depth := len(s.open); depth <= maxDepth {
		if !s.names[depth-1].add(name) && s.doc.fault == "" {
			s.doc.fault = fmt.Sprintf("the name %.80q stands twice in an object", name)
		}
		if depth == 1 {
			s.topName = string(name)
		}
	}
	if s.peek() != ':' {
		return s.bad("%s where a colon should be", s.here())
	}
	s.pos++
	s.space()
	if len(s.open) == 1 {
		s.topStart = s.pos
	}
	return nil
}

func (s *scanner) push(c byte) {
	s.pos++
	s.open = append(s.open, c)
	depth := len(s.open)
	if depth > maxDepth {
		if s.doc.fault == "" {
			s.doc.fault = fmt.Sprintf("it is nested more than %d deep", maxDepth)
		}
		return
	}
	if depth > len(s.names) {
		s.names = append(s.names, nameSet{})
	}
	s.names[depth-1].reset()
}

func (s *scanner) pop() {
	s.pos++
	s.open = s.open[:len(s.open)-1]
}

// str reads a string and returns what stands between its quotes.
func (s *scanner) str() (raw []byte, escaped bool, err error) {
	start := s.pos + 1
	for i := start; i < len(s.text); i++ {
		switch c := s.text[i]; {
		case c == '"':
			s.pos = i + 1
			return s.text[start:i], escaped, nil
		case c == '\\':
			escaped = true
			i++
			if i == len(s.text) {
				break
			}
			switch s.text[i] {
			case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
			case 'u':
				if i+4 >= len(s.text) || !hex4(s.text[i+1:i+5]) {
					s.pos = i
					return nil, false, s.bad("\\u wants four hexadecimal digits")
				}
				i += 4
			default:
				s.pos = i
				return nil, false, s.bad("\\%s is no escape", s.here())
			}
		case c < 0x20:
			s.pos = i
			return nil, false, s.bad("a control character stands in a string")
		}
	}
	s.pos = len(s.text)
	return nil, false, s.bad("a string does not end")
}

func hex4(b []byte) bool {
	for _, c := range b {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') && (c < 'A' || c > 'F') {
			return false
		}
	}
	return true
}

func (s *scanner) number() error {
	if s.text[s.pos] == '-' {
		s.pos++
	}
	if s.at('0') {
		s.pos++
	} else if !s.digits() {
		return s.bad("a number has no digits")
	}
	if s.at('.') {
		s.pos++
		if !s.digits() {
			return s.bad("a number has no digits after its point")
		}
	}
	if s.at('e') || s.at('E') {
		s.pos++
		if s.at('+') || s.at('-') {
			s.pos++
		}
		if !s.digits() {
			return s.bad("a number has no digits in its exponent")
		}
	}
	return nil
}

func (s *scanner) at(c byte) bool { return s.pos < len(s.text) && s.text[s.pos] == c }

func (s *scanner) digits() bool {
	start := s.pos
	for s.pos < len(s.text) && s.text[s.pos] >= '0' && s.text[s.pos] <= '9' {
		s.pos++
	}
	return s.pos > start
}

func (s *scanner) space() {
	for s.pos < len(s.text) {
		switch s.text[s.pos] {
		case ' ', '\t', '\n', '\r':
			s.pos++
		default:
			return
		}
	}
}

// peek skips white space and returns the next byte, or 0 at the end.
func (s *scanner) peek() byte {
	s.space()
	if s.pos == len(s.text) {
		return 0
	}
	return s.text[s.pos]
}

// here quotes the character at the present place.
func (s *scanner) here() string {
	if s.pos >= len(s.text) {
		return "the end"
	}
	r, _ := utf8.DecodeRune(s.text[s.pos:])
	return fmt.Sprintf("%q", r)
}

func (s *scanner) bad(format string, args ...any) error {
	return fmt.Errorf("at byte %d: %s", s.pos, fmt.Sprintf(format, args...))
}

// nameSet holds the names of one open object: a list while they are few, since
// most objects are small, then a map.
type nameSet struct {
	few  [][]byte
	many map[string]struct{}
}

const fewNames = 16

func (n *nameSet) reset() { n.few, n.many = n.few[:0], nil }

// add reports whether name was not there yet.
func (n *nameSet) add(name []byte) bool {
	if n.many != nil {
		if _, ok := n.many[string(name)]; ok {
			return false
		}
		n.many[string(name)] = struct{}{}
		return true
	}
	for _, other := range n.few {
		if bytes.Equal(other, name) {
			return false
		}
	}
	n.few = append(n.few, name)
	if len(n.few) > fewNames {
		n.many = make(map[string]struct{}, 2*len(n.few))
		for _, other := range n.few {
			n.many[string(other)] = struct{}{}
		}
	}
	return true
}
