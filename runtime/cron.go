package runtime

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/adhocore/gronx"

	"github.com/nagatha/nagatha-runtime/sdk"
)

// cron is a checked cron line in a time zone.
//
// gronx finds the next match on a clock without gaps, which is UTC; what a zone
// does to its clock is decided here. Each local time that matches is one tick: at
// its first occurrence, or at the first moment after the gap that swallowed it.
// That keeps ticks in the order of their local times, so the next tick is that of
// the next local time.
type cron struct {
	line string // seven fields, as gronx wants them
	zone *time.Location
}

// cronFields are the fields of a line with the range and names of each.
var cronFields = []struct {
	name        string
	least, most int
	words       string
}{
	{"second", 0, 59, ""},
	{"minute", 0, 59, ""},
	{"hour", 0, 23, ""},
	{"day", 1, 31, ""},
	{"month", 1, 12, "JAN FEB MAR APR MAY JUN JUL AUG SEP OCT NOV DEC"},
	{"weekday", 0, 7, "SUN MON TUE WED THU FRI SAT"},
}

// maxCron is the most bytes of a cron line.
const maxCron = 256

// newCron checks a line of 5 or 6 fields. gronx takes much that it then reads in
// a way of its own, so what it is given is checked first.
func newCron(line, zone string) (*cron, error) {
	loc, err := loadZone(zone)
	if err != nil {
		return nil, err
	}
	if len(line) > maxCron {
		return nil, fmt.Errorf("want at most %d bytes", maxCron)
	}
	fields := strings.Fields(strings.ToUpper(line))
	switch len(fields) {
	case 5:
		fields = append([]string{"0"}, fields...)
	case 6:
	default:
		return nil, fmt.Errorf("want 5 fields (minute hour day month weekday) or 6 (second first), not %d", len(fields))
	}
	for i, f := range fields {
		if fields[i], err = checkCronField(i, f); err != nil {
			return nil, fmt.Errorf("%s %q: %w", cronFields[i].name, strings.ToLower(f), err)
		}
	}
	c := &cron{strings.Join(fields, " ") + " *", loc}
	if _, err := c.match(time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC)); err != nil {
		return nil, errors.New("no date matches it, such as for 31 February")
	}
	return c, nil
}

// CheckCron says what is wrong with a cron line, or with a time zone.
func CheckCron(line, zone string) error {
	_, err := newCron(line, zone)
	return err
}

func loadZone(zone string) (*time.Location, error) {
	if zone == "Local" { // another one on each machine
		return nil, errors.New(`there is no time zone "Local": want an IANA name such as "Europe/Berlin"`)
	}
	loc, err := time.LoadLocation(zone) // "" is UTC
	if err != nil {
		return nil, fmt.Errorf("there is no time zone %.60q: want an IANA name such as \"Europe/Berlin\"", zone)
	}
	return loc, nil
}

// checkCronField checks a comma list of *, n, n-m, each with an optional /step; L,
// nW for the day; nL, n#k for the weekday. It returns it with numbers for names.
func checkCronField(i int, text string) (string, error) {
	f := cronFields[i]
	number := func(s string) (int, error) {
		if n := strings.Index(" "+f.words+" ", " "+s+" "); f.words != "" && len(s) == 3 && n >= 0 {
			return n/4 + min(f.least, 1), nil
		}
		n, err := strconv.Atoi(s)
		if err != nil || s != strconv.Itoa(n) && s != fmt.Sprintf("%02d", n) || n < f.least || n > f.most {
			return 0, fmt.Errorf("want numbers from %d to %d", f.least, f.most)
		}
		return n, nil
	}
	parts := strings.Split(text, ",")
	for p, part := range parts {
		if part == "?" && (f.name == "day" || f.name == "weekday") {
			part = "*"
		}
		if part == "*" && len(parts) > 1 {
			return "", errors.New("* stands alone")
		}
		var err error
		if parts[p], err = checkCronPart(i, part, number); err != nil {
			return "", err
		}
	}
	return strings.Join(parts, ","), nil
}

func checkCronPart(i int, part string, number func(string) (int, error)) (string, error) {
	field, most := cronFields[i].name, cronFields[i].most
	if field == "weekday" {
		most = 6
	}
	span := most - cronFields[i].least
	special := func(text string, n int, err error) (string, error) {
		if err != nil {
			return "", err
		}
		return strconv.Itoa(n) + text, nil
	}
	switch {
	case field == "day" && part == "L":
		return part, nil
	case field == "day" && strings.HasSuffix(part, "W"):
		n, err := number(strings.TrimSuffix(part, "W"))
		return special("W", n, err)
	case field == "weekday" && strings.HasSuffix(part, "L"):
		n, err := number(strings.TrimSuffix(part, "L"))
		return special("L", n%7, err)
	case field == "weekday" && strings.Contains(part, "#"):
		day, nth, _ := strings.Cut(part, "#")
		if len(nth) != 1 || nth < "1" || nth > "5" {
			return "", errors.New("want # and a number from 1 to 5")
		}
		n, err := number(day)
		return special("#"+nth, n%7, err)
	}
	from, step, stepped := strings.Cut(part, "/")
	if stepped {
		n, err := strconv.Atoi(step)
		if err != nil || n < 1 || n > span+1 || step != strconv.Itoa(n) {
			return "", fmt.Errorf("want a step from 1 to %d", span+1)
		}
	}
	if from == "*" {
		return part, nil
	}
	first, last, ranged := strings.Cut(from, "-")
	a, err := number(first)
	if err != nil {
		return "", err
	}
	b := a
	switch {
	case ranged:
		if b, err = number(last); err != nil {
			return "", err
		}
	case stepped: // from there on; gronx reads 0/n otherwise than 1/n
		b = max(a, most)
	}
	if a > most { // Sunday is 0
		a, b = 0, b%7
	}
	switch {
	case b < a:
		return "", errors.New("the range ends before it begins")
	case b == a:
		return strconv.Itoa(a), nil
	case stepped:
		return fmt.Sprintf("%d-%d/%s", a, b, step), nil
	}
	return fmt.Sprintf("%d-%d", a, b), nil
}

// next returns the first tick after t.
func (c *cron) next(t sdk.Time) (sdk.Time, error) {
	at := t.Time().In(c.zone)
	clock := reading(at)
	// In the second pass of a repeated hour the clock has been further than it
	// reads: what it reads again up to there has run.
	if begin, _ := at.ZoneBounds(); !begin.IsZero() {
		_, before := begin.Add(-time.Nanosecond).Zone()
		if most := begin.UTC().Add(time.Duration(before) * time.Second); clock.Before(most) {
			clock = most.Add(-time.Second)
		}
	}
	// A gap holds several local times that share one moment.
	for range maxGap {
		var err error
		if clock, err = c.match(clock); err != nil {
			return 0, err
		}
		if tick := sdk.TimeOf(instant(clock, c.zone)); tick > t {
			return tick, nil
		}
	}
	return 0, fmt.Errorf("no tick was found after %s", t)
}

// maxGap is how many local times a gap can swallow: a day of seconds.
const maxGap = 100_000

// match returns the first matching reading of a clock after another.
func (c *cron) match(after time.Time) (time.Time, error) {
	next, err := gronx.NextTickAfter(c.line, after, false)
	if err == nil && !next.After(after) {
		err = errors.New("the cron line leads nowhere")
	}
	return next, err
}

// reading is what a clock shows at t, as a time of UTC, in whole seconds.
func reading(t time.Time) time.Time {
	return time.Date(t.Year(), t.Month(), t.Day(), t.Hour(), t.Minute(), t.Second(), 0, time.UTC)
}

// instant is the first moment at which the zone's clock shows the reading, or, if
// it never does, the moment at which it jumps over it.
func instant(clock time.Time, zone *time.Location) time.Time {
	guess := time.Date(clock.Year(), clock.Month(), clock.Day(), clock.Hour(), clock.Minute(), clock.Second(), 0, zone)
	begin, end := guess.ZoneBounds()
	var best time.Time
	for _, near := range []time.Time{guess, begin.Add(-time.Nanosecond), end} {
		_, offset := near.In(zone).Zone()
		at := clock.Add(-time.Duration(offset) * time.Second).In(zone)
		if reading(at).Equal(clock) && (best.IsZero() || at.Before(best)) {
			best = at
		}
	}
	if !best.IsZero() {
		return best
	}
	for _, jump := range []time.Time{begin, end} {
		if !jump.IsZero() && clock.Before(reading(jump)) && !clock.Before(reading(jump.Add(-time.Second)).Add(time.Second)) {
			return jump
		}
	}
	return guess
}
