package main

import (
	"encoding/json"
	"fmt"
	"math"
	"math/bits"
	"strconv"
)

// Money is counted in micro-USD (a millionth of a US dollar), in whole ones. A
// call's cost is summed exactly over its tokens and rounded once, to the nearest
// micro-USD and up from the half; everything else is sums of such costs.

// usd is an amount of micro-USD whose JSON is a number of dollars, exact to its six
// places.
type usd int64

// MarshalJSON writes dollars without needless zeros: 0.0125.
func (m usd) MarshalJSON() ([]byte, error) { return []byte(m.String()), nil }

func (m usd) String() string {
	sign, n := "", uint64(m) //nolint:gosec // negative amounts are turned round below
	if m < 0 {
		sign, n = "-", -n
	}
	s := fmt.Sprintf("%s%d.%06d", sign, n/1e6, n%1e6)
	for s[len(s)-1] == '0' {
		s = s[:len(s)-1]
	}
	if s[len(s)-1] == '.' {
		s = s[:len(s)-1]
	}
	return s
}

// UnmarshalJSON reads a number of dollars with at most six places.
func (m *usd) UnmarshalJSON(b []byte) error {
	f, err := strconv.ParseFloat(string(b), 64)
	if err != nil || math.IsNaN(f) || math.Abs(f) > 1e9 {
		return fmt.Errorf("want an amount of US dollars such as 2.50, not %.40s", b)
	}
	micro := math.Round(f * 1e6)
	if math.Abs(f*1e6-micro) > 1e-3 {
		return fmt.Errorf("want an amount of US dollars with at most six places, not %.40s", b)
	}
	*m = usd(micro)
	return nil
}

// rate is a price in billionths of a US dollar per million tokens, which is as many
// billionths of a micro-USD per token.
type rate int64

const perMicro = 1e9

func rateOf(n json.Number) (rate, error) {
	f, err := n.Float64()
	if err != nil || f < 0 || f > 1e6 {
		return 0, fmt.Errorf("want a price in US dollars for a million tokens, such as 1.25, not %.40q", n.String())
	}
	return rate(math.Round(f * perMicro)), nil
}

// sum adds up tokens times rates without losing anything.
type sum struct{ hi, lo uint64 }

func (s *sum) add(tokens int64, r rate) {
	hi, lo := bits.Mul64(uint64(tokens), uint64(r)) //nolint:gosec // neither is negative: both are checked where they come in
	var carry uint64
	s.lo, carry = bits.Add64(s.lo, lo, 0)
	s.hi, _ = bits.Add64(s.hi, hi, carry)
}

// micro rounds to whole micro-USD.
func (s sum) micro() int64 {
	lo, carry := bits.Add64(s.lo, perMicro/2, 0)
	q, _ := bits.Div64(s.hi+carry, lo, perMicro)
	return int64(q) //nolint:gosec // tokens are at most 10⁹, rates 10¹⁵: far below 2⁶³ × 10⁹
}
