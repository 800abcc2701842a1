package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// cron is a line of five fields: minute, hour, day of the month, month and weekday.
// A field is a comma list of *, n, n-m, each with an optional /step; months and
// weekdays have names; 7 is Sunday too. As in cron, a day matches either field where
// both of day and weekday are restricted (do not begin with *).
type cron struct {
	minute, hour, day, month, weekday uint64 // bit n: n matches
	either                            bool
}

var cronFields = [5]struct {
	name        string
	least, most int
	words       []string
}{
	{"minute", 0, 59, nil},
	{"hour", 0, 23, nil},
	{"day", 1, 31, nil},
	{"month", 1, 12, []string{"jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"}},
	{"weekday", 0, 7, []string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"}},
}

// parseCron reads a line; its error says which field is wrong.
func parseCron(line string) (*cron, error) {
	fields := strings.Fields(strings.ToLower(line))
	if len(fields) != len(cronFields) || len(line) > 256 {
		return nil, fmt.Errorf("a cron line has 5 fields (minute hour day month weekday), not %d", len(fields))
	}
	var set [5]uint64
	for i, text := range fields {
		for part := range strings.SplitSeq(text, ",") {
			bits, err := cronPart(i, part)
			if err != nil {
				return nil, fmt.Errorf("%s %q: %w", cronFields[i].name, text, err)
			}
			set[i] |= bits
		}
	}
	c := &cron{set[0], set[1], set[2], set[3], set[4], fields[2][0] != '*' && fields[4][0] != '*'}
	if c.weekday&(1<<7) != 0 {
		c.weekday |= 1
	}
	if _, ok := c.next(time.Date(2023, 12, 31, 23, 59, 0, 0, time.UTC)); !ok {
		return nil, fmt.Errorf("no date matches %q, such as for 31 February", line)
	}
	return c, nil
}

// cronPart is the set of one element of a field's list.
func cronPart(field int, part string) (uint64, error) {
	f := cronFields[field]
	span, step, stepped := strings.Cut(part, "/")
	from, to := f.least, f.most
	if field == 4 {
		to = 6
	}
	if span != "*" {
		first, last, ranged := strings.Cut(span, "-")
		var err error
		if from, err = cronNumber(field, first); err != nil {
			return 0, err
		}
		switch {
		case ranged:
			if to, err = cronNumber(field, last); err != nil {
				return 0, err
			}
		case !stepped:
			to = from
		}
		if to < from {
			return 0, fmt.Errorf("the range %q ends before it begins", span)
		}
	}
	every := 1
	if stepped {
		n, err := strconv.Atoi(step)
		if err != nil || n < 1 || n > f.most || step != strconv.Itoa(n) {
			return 0, fmt.Errorf("want a step from 1 to %d, not %q", f.most, step)
		}
		every = n
	}
	var bits uint64
	for n := from; n <= to; n += every {
		bits |= 1 << n
	}
	return bits, nil
}

func cronNumber(field int, s string) (int, error) {
	f := cronFields[field]
	for i, word := range f.words {
		if s == word {
			return i + f.least, nil
		}
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < f.least || n > f.most || s != strconv.Itoa(n) && s != fmt.Sprintf("%02d", n) {
		return 0, fmt.Errorf("want numbers from %d to %d, not %q", f.least, f.most, s)
	}
	return n, nil
}

// cronYears is how far a match is looked for: 29 February on one weekday comes every
// 40 years at the most.
const cronYears = 41

// next is the first reading after another that matches.
func (c *cron) next(after time.Time) (time.Time, bool) {
	day := time.Date(after.Year(), after.Month(), after.Day(), 0, 0, 0, 0, time.UTC)
	for end := day.AddDate(cronYears, 0, 0); day.Before(end); {
		if c.month&(1<<day.Month()) == 0 {
			day = time.Date(day.Year(), day.Month()+1, 1, 0, 0, 0, 0, time.UTC)
			continue
		}
		if c.onDay(day) {
			if at, ok := c.within(day, after); ok {
				return at, true
			}
		}
		day = day.AddDate(0, 0, 1)
	}
	return time.Time{}, false
}

func (c *cron) onDay(day time.Time) bool {
	date, weekday := c.day&(1<<day.Day()) != 0, c.weekday&(1<<day.Weekday()) != 0
	if c.either {
		return date || weekday
	}
	return date && weekday
}

// within is the first match of a day that is after a reading.
func (c *cron) within(day, after time.Time) (time.Time, bool) {
	for h := range 24 {
		if c.hour&(1<<h) == 0 || !after.Before(day.Add(time.Duration(h+1)*time.Hour)) {
			continue
		}
		for m := range 60 {
			at := day.Add(time.Duration(h)*time.Hour + time.Duration(m)*time.Minute)
			if c.minute&(1<<m) != 0 && at.After(after) {
				return at, true
			}
		}
	}
	return time.Time{}, false
}
