package sdk

import "strings"

// MaxKind is the most characters a kind may have.
const MaxKind = 128

// ValidKind reports whether kind is well formed: two or more dotted parts, each
// [a-z][a-z0-9_-]*, at most [MaxKind] characters.
func ValidKind(kind string) bool {
	if len(kind) > MaxKind || !strings.Contains(kind, ".") {
		return false
	}
	for part := range strings.SplitSeq(kind, ".") {
		if !validName(part) {
			return false
		}
	}
	return true
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

// ValidPattern reports whether p is a dotted pattern: parts that are not empty,
// "*" standing alone for one part, ">" only as the last part for one or more.
func ValidPattern(p string) bool {
	parts := strings.Split(p, ".")
	for i, part := range parts {
		switch {
		case part == "", strings.ContainsAny(part, " \t\n\r\x00"):
			return false
		case part == ">":
			if i != len(parts)-1 {
				return false
			}
		case part == "*":
		case strings.ContainsAny(part, "*>"):
			return false
		}
	}
	return len(p) <= 4*MaxKind
}

// MatchPattern reports whether a dotted name matches pattern.
func MatchPattern(pattern, name string) bool {
	for {
		head, rest, more := strings.Cut(pattern, ".")
		part, tail, parts := strings.Cut(name, ".")
		switch {
		case head == ">" && !more:
			return name != ""
		case head == "*" && part != "", head == part:
		default:
			return false
		}
		if !more || !parts {
			return more == parts
		}
		pattern, name = rest, tail
	}
}
