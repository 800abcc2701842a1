package sdk

import (
	"encoding/json"
	"math"
	"strconv"
)

// exact is beyond which a float64 no longer holds every integer.
const exact = 1 << 53

// wholeNumbers writes the numbers of a JSON text that have a point or an exponent but
// are integers, such as 3.0 and 1e2, as encoding/json reads integers. It returns nil
// if there are none.
func wholeNumbers(raw json.RawMessage) json.RawMessage {
	var out json.RawMessage
	done := 0 // how much of raw is in out
	for i := 0; i < len(raw); i++ {
		switch c := raw[i]; {
		case c == '"':
			for i++; i < len(raw) && raw[i] != '"'; i++ {
				if raw[i] == '\\' {
					i++
				}
			}
		case c == '-' || c >= '0' && c <= '9':
			start, plain := i, true
			for ; i < len(raw) && numeric(raw[i]); i++ {
				plain = plain && (raw[i] == '-' || raw[i] >= '0' && raw[i] <= '9')
			}
			f, err := strconv.ParseFloat(string(raw[start:i]), 64)
			if !plain && err == nil && f == math.Trunc(f) && math.Abs(f) <= exact {
				out = strconv.AppendInt(append(out, raw[done:start]...), int64(f), 10)
				done = i
			}
			i--
		}
	}
	if done == 0 {
		return nil
	}
	return append(out, raw[done:]...)
}

func numeric(c byte) bool {
	return c >= '0' && c <= '9' || c == '-' || c == '+' || c == '.' || c == 'e' || c == 'E'
}
