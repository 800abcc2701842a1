package main

import (
	"strconv"
	"strings"
	"time"

	"github.com/nagatha/nagatha-runtime/sdk"
)

// timeGrammar is the whole of what a time may be written as. docs/reminders.md has
// it with examples.
const timeGrammar = `a time is RFC 3339 ("2026-01-31T08:00:00Z"), "in SPAN" ("in 10 minutes", "in 1 hour and 30 minutes"), ` +
	`"DAY at CLOCK" (today, tomorrow, monday, next monday, 2026-01-31) or "at CLOCK"; a CLOCK is 08:00, 08:00:30, 9am, 9:30pm, noon or midnight`

const spanGrammar = `a span is a number and a unit (second, minute, hour, day, week, month, year), such as "10 minutes", "1 hour and 30 minutes" or "1h30m"`

// parseTime reads the whole text as a time, after now, in a zone.
func parseTime(field, text string, now time.Time, zone *time.Location) (time.Time, error) {
	at, rest, ok := scanTime(strings.Fields(text), now, zone)
	if !ok || len(rest) > 0 {
		return at, sdk.Invalid(field, "%.80q is no time: %s", text, timeGrammar)
	}
	return at, ahead(field, at, now)
}

// parseSaid reads a text that begins with a time; the rest of it is what is said.
func parseSaid(text string, now time.Time, zone *time.Location) (time.Time, string, error) {
	at, rest, ok := scanTime(strings.Fields(text), now, zone)
	switch {
	case !ok:
		return at, "", sdk.Invalid("say", "%.80q does not begin with a time: %s", text, timeGrammar)
	case len(rest) == 0:
		return at, "", sdk.Invalid("say", "%.80q says when, but not what: put the text behind the time", text)
	}
	return at, strings.Join(rest, " "), ahead("say", at, now)
}

// parseSpan reads the whole text as a span and returns the time so far from now.
func parseSpan(field, text string, now time.Time, zone *time.Location) (time.Time, error) {
	at, rest, ok := scanSpan(strings.Fields(text), now, zone, 1)
	if !ok || len(rest) > 0 {
		return at, sdk.Invalid(field, "%.80q is no span: %s", text, spanGrammar)
	}
	return at, ahead(field, at, now)
}

// maxAhead is how far ahead a reminder may be; the engine's own limit is ten years.
const maxAhead = 9 * 366 * 24 * time.Hour

func ahead(field string, at, now time.Time) error {
	switch {
	case !at.After(now):
		return sdk.Invalid(field, "%s is in the past; now is %s", at.UTC().Format(time.RFC3339), now.UTC().Format(time.RFC3339))
	case at.Sub(now) > maxAhead:
		return sdk.Invalid(field, "is more than 9 years ahead")
	}
	return nil
}

// scanTime reads a time off the front of some words.
func scanTime(words []string, now time.Time, zone *time.Location) (at time.Time, rest []string, ok bool) {
	if len(words) == 0 {
		return at, nil, false
	}
	first := strings.ToLower(words[0])
	if t, err := time.Parse(time.RFC3339Nano, strings.ToUpper(first)); err == nil {
		return t, words[1:], true
	}
	if first == "in" {
		return scanSpan(words[1:], now, zone, 1)
	}
	today := reading(now, zone)
	if first == "at" {
		clock, rest, ok := scanClock(words[1:])
		if !ok {
			return at, nil, false
		}
		if at = moment(onDay(today, clock), zone); !at.After(now) {
			at = moment(onDay(today.AddDate(0, 0, 1), clock), zone)
		}
		return at, rest, true
	}
	if t, err := time.Parse("2006-01-02T15:04", strings.ToUpper(first)); err == nil {
		return moment(t, zone), words[1:], true
	}
	day, rest, ok := scanDay(words, today)
	if !ok {
		return at, nil, false
	}
	if len(rest) > 0 && strings.EqualFold(rest[0], "at") {
		rest = rest[1:]
	}
	clock, rest, ok := scanClock(rest)
	return moment(onDay(day, clock), zone), rest, ok
}

func scanDay(words []string, today time.Time) (day time.Time, rest []string, ok bool) {
	next := strings.EqualFold(words[0], "next")
	if next {
		words = words[1:]
	}
	if len(words) == 0 {
		return day, nil, false
	}
	word := strings.ToLower(words[0])
	for d := range 7 {
		name := strings.ToLower(time.Weekday(d).String())
		if word == name || word == name[:3] {
			ahead := (d-int(today.Weekday())+6)%7 + 1
			return today.AddDate(0, 0, ahead), words[1:], true
		}
	}
	switch {
	case next:
	case word == "today":
		return today, words[1:], true
	case word == "tomorrow":
		return today.AddDate(0, 0, 1), words[1:], true
	default:
		date, err := time.Parse(time.DateOnly, word)
		return date, words[1:], err == nil
	}
	return day, nil, false
}

// scanClock reads a time of day; only the clock of the result counts.
func scanClock(words []string) (clock time.Time, rest []string, ok bool) {
	if len(words) == 0 {
		return clock, nil, false
	}
	word, rest := strings.ToLower(words[0]), words[1:]
	switch word {
	case "noon":
		return clock.Add(12 * time.Hour), rest, true
	case "midnight":
		return clock, rest, true
	}
	if len(rest) > 0 {
		if half := strings.ToLower(rest[0]); half == "am" || half == "pm" {
			word, rest = word+half, rest[1:]
		}
	}
	for _, layout := range []string{"15:04", "15:04:05", "3pm", "3:04pm"} {
		if t, err := time.Parse(layout, word); err == nil && digits(word) {
			return t, rest, true
		}
	}
	return clock, nil, false
}

// digits refuses what time.Parse takes beyond the grammar: 09am, and fractions of a
// second.
func digits(word string) bool {
	hour, _, _ := strings.Cut(word, ":")
	return !strings.ContainsAny(word, ".,") && (!strings.HasSuffix(word, "m") || hour[0] != '0')
}

// scanSpan reads numbers with units off the front of some words, and adds them to
// now, or with sign -1 takes them off: days and longer on the calendar, which keeps
// the clock time, then the rest.
func scanSpan(words []string, now time.Time, zone *time.Location, sign int) (at time.Time, rest []string, ok bool) {
	var months, days, seconds int
	add := func(n int, unit string) bool {
		switch unit {
		case "s", "sec", "secs", "second", "seconds":
			seconds += n
		case "m", "min", "mins", "minute", "minutes":
			seconds += 60 * n
		case "h", "hour", "hours":
			seconds += 3600 * n
		case "d", "day", "days":
			days += n
		case "w", "week", "weeks":
			days += 7 * n
		case "month", "months":
			months += n
		case "year", "years":
			months += 12 * n
		default:
			return false
		}
		// However many parts there are, no sum overflows: it is too far ahead anyway.
		months, days, seconds = min(months, 1e5), min(days, 1e6), min(seconds, 1e9)
		return true
	}
	for rest = words; ; ok = true {
		next := rest
		if ok && len(next) > 0 && strings.EqualFold(next[0], "and") {
			next = next[1:]
		}
		if next = scanPart(next, add); next == nil {
			break
		}
		rest = next
	}
	if at = now; months != 0 || days != 0 {
		at = moment(addMonths(reading(now, zone), sign*months).AddDate(0, 0, sign*days), zone)
	}
	return at.Add(time.Duration(sign) * time.Duration(seconds) * time.Second), rest, ok
}

// scanPart reads one "10 minutes", "an hour" or "1h30m"; nil: there is none.
func scanPart(words []string, add func(n int, unit string) bool) []string {
	if len(words) == 0 {
		return nil
	}
	word := strings.ToLower(words[0])
	if n, ok := scanNumber(word); ok || word == "a" || word == "an" {
		if !ok {
			n = 1
		}
		if len(words) > 1 && add(n, strings.ToLower(words[1])) {
			return words[2:]
		}
		return nil
	}
	type pair struct {
		n    int
		unit string
	}
	var pairs []pair
	for word != "" {
		i := strings.IndexAny(word, "smhdw")
		if i < 0 {
			return nil
		}
		n, ok := scanNumber(word[:i])
		if !ok {
			return nil
		}
		pairs, word = append(pairs, pair{n, word[i : i+1]}), word[i+1:]
	}
	for _, p := range pairs {
		add(p.n, p.unit)
	}
	if len(pairs) == 0 {
		return nil
	}
	return words[1:]
}

// scanNumber takes up to six digits, so that no sum can overflow.
func scanNumber(s string) (int, bool) {
	n, err := strconv.Atoi(s)
	return n, err == nil && s[0] >= '0' && s[0] <= '9' && len(s) <= 6
}
