package runtime

// maxNesting is how deep JSON may be that is shown to clients. Many libraries read no
// more, and one such task would break every list that it is in.
const maxNesting = 100

// tooDeep reports whether a JSON document is nested deeper than that.
func tooDeep(doc []byte) bool {
	depth, quoted := 0, false
	for i := 0; i < len(doc); i++ {
		switch c := doc[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{' || c == '[':
			if depth++; depth > maxNesting {
				return true
			}
		case c == '}' || c == ']':
			depth--
		}
	}
	return false
}
