package sdk

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"time"
)

// Time is a moment in milliseconds since 1970 UTC; zero means none. Its JSON is
// RFC 3339 in UTC with milliseconds, or null.
type Time int64

// Now is the present moment.
func Now() Time { return Time(wall().UnixMilli()) }

// TimeOf converts t, dropping what is below a millisecond.
func TimeOf(t time.Time) Time {
	if t.IsZero() {
		return 0
	}
	return Time(t.UnixMilli())
}

// Time returns t as the standard library's type; none is its zero value.
func (t Time) Time() time.Time {
	if t == 0 {
		return time.Time{}
	}
	return time.UnixMilli(int64(t)).UTC()
}

// Add returns t+d.
func (t Time) Add(d time.Duration) Time { return t + Time(d.Milliseconds()) }

// Sub returns t−u, or the longest duration where it is longer, as for a deadline in the
// year 9999.
func (t Time) Sub(u Time) time.Duration {
	const most = Time(math.MaxInt64 / time.Millisecond)
	return time.Duration(min(max(t-u, -most), most)) * time.Millisecond
}

const timeLayout = "2006-01-02T15:04:05.000Z"

// String is the JSON form without quotes; none is "".
func (t Time) String() string {
	if t == 0 {
		return ""
	}
	return string(t.append(make([]byte, 0, len(timeLayout))))
}

// append is AppendFormat with timeLayout, which takes its time to read that in a wasm
// guest.
func (t Time) append(b []byte) []byte {
	u := t.Time()
	year, month, day := u.Date()
	if year < 0 || year > 9999 {
		return u.AppendFormat(b, timeLayout)
	}
	hour, minute, second := u.Clock()
	number := func(n, digits int, after byte) {
		for unit := digits; unit > 1; unit /= 10 {
			b = append(b, '0'+byte(n/(unit/10)%10)) //nolint:gosec // one digit
		}
		b = append(b, after)
	}
	number(year, 1e4, '-')
	number(int(month), 100, '-')
	number(day, 100, 'T')
	number(hour, 100, ':')
	number(minute, 100, ':')
	number(second, 100, '.')
	number(u.Nanosecond()/1e6, 1000, 'Z')
	return b
}

// MarshalJSON writes RFC 3339 in UTC with milliseconds, or null for none.
func (t Time) MarshalJSON() ([]byte, error) {
	if t == 0 {
		return []byte("null"), nil
	}
	b := make([]byte, 0, len(timeLayout)+2)
	b = append(b, '"')
	return append(t.append(b), '"'), nil
}

// UnmarshalJSON reads RFC 3339 in any zone and precision, or null.
func (t *Time) UnmarshalJSON(b []byte) error {
	if string(b) == "null" {
		*t = 0
		return nil
	}
	s, err := unquote(b)
	if err != nil {
		return fmt.Errorf("want a time such as \"2026-01-31T08:00:00Z\", not %s", clip(b))
	}
	p, err := time.Parse(time.RFC3339Nano, s)
	if err != nil || p.Year() < 1970 || p.Year() > 9999 {
		return fmt.Errorf("want a time such as \"2026-01-31T08:00:00Z\", not %q", s)
	}
	*t = TimeOf(p)
	return nil
}

// Duration is a time.Duration whose JSON is Go's text form, such as "1m30s".
type Duration time.Duration

// Std returns d as the standard library's type.
func (d Duration) Std() time.Duration { return time.Duration(d) }

// String is Go's text form without empty units: "1m", not "1m0s".
func (d Duration) String() string {
	s := time.Duration(d).String()
	if strings.HasSuffix(s, "m0s") {
		s = s[:len(s)-2]
	}
	if strings.HasSuffix(s, "h0m") {
		s = s[:len(s)-2]
	}
	return s
}

// MarshalJSON writes Go's text form.
func (d Duration) MarshalJSON() ([]byte, error) { return json.Marshal(d.String()) }

// UnmarshalJSON reads Go's text form; null is zero.
func (d *Duration) UnmarshalJSON(b []byte) error {
	if string(b) == "null" {
		*d = 0
		return nil
	}
	s, err := unquote(b)
	if err != nil {
		return fmt.Errorf("want a duration such as \"30s\", not %s", clip(b))
	}
	p, err := time.ParseDuration(s)
	if err != nil {
		return fmt.Errorf("want a duration such as \"30s\", not %q", s)
	}
	*d = Duration(p)
	return nil
}

// unquote reads a JSON string. Those of times have nothing in them to be read.
func unquote(b []byte) (s string, err error) {
	if n := len(b); n >= 2 && b[0] == '"' && bytes.IndexByte(b[1:], '"') == n-2 && bytes.IndexByte(b, '\\') < 0 {
		return string(b[1 : n-1]), nil
	}
	err = json.Unmarshal(b, &s)
	return s, err
}

func clip(b []byte) string {
	if len(b) > 40 {
		return string(b[:40]) + "…"
	}
	return string(b)
}
