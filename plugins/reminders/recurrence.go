package main

import (
	"strings"
	"time"

	"github.com/nagatha/nagatha-runtime/sdk"
)

// recurrence is a rule on the calendar of a zone. "": once.
type recurrence struct {
	name string // "", daily, weekly, weekdays, monthly, yearly or cron
	cron *cron
	zone *time.Location
}

const recurrences = `daily, weekly, weekdays, monthly, yearly or a cron line such as "30 8 * * mon-fri"`

func parseRecurrence(text string, zone *time.Location) (recurrence, error) {
	r := recurrence{name: text, zone: zone}
	switch text {
	case "", "daily", "weekly", "weekdays", "monthly", "yearly":
		return r, nil
	}
	if !strings.ContainsRune(text, ' ') {
		return r, sdk.Invalid("recurrence", "want %s, not %.80q", recurrences, text)
	}
	c, err := parseCron(text)
	if err != nil {
		return r, sdk.Invalid("recurrence", "%v; want %s", err, recurrences)
	}
	r.name, r.cron = "cron", c
	return r, nil
}

// first is the first occurrence that is not before start, or zero if there is none.
// A start that the rule itself contains is taken as it is, also where the clock
// shows its time twice.
func (r recurrence) first(start time.Time) time.Time {
	switch r.name {
	case "cron":
		return r.after(start, start.Add(-time.Millisecond))
	case "weekdays":
		if !workday(reading(start, r.zone)) {
			return r.after(start, start)
		}
	}
	return start
}

// next is the first occurrence after a moment in the series that began at start, or
// zero if there is none. Each one is reckoned from the start, so that a series on the
// 31st comes back to it after a shorter month.
func (r recurrence) next(start, after time.Time) time.Time {
	if after.Before(start) {
		return r.first(start)
	}
	return r.after(start, after)
}

// after need not look at readings up to the present one: the first moment of each is
// not after this one, whatever the clock has jumped over or shown twice.
func (r recurrence) after(start, after time.Time) time.Time {
	begin, now := reading(start, r.zone), reading(after, r.zone)
	days := int(onDay(now, time.Time{}).Sub(onDay(begin, time.Time{})) / (24 * time.Hour))
	months := 12*(now.Year()-begin.Year()) + int(now.Month()-begin.Month())
	var occurrence func(k int) time.Time
	switch r.name {
	case "daily", "weekdays":
		occurrence = func(k int) time.Time { return begin.AddDate(0, 0, days+k) }
	case "weekly":
		occurrence = func(k int) time.Time { return begin.AddDate(0, 0, 7*(days/7+k)) }
	case "monthly":
		occurrence = func(k int) time.Time { return addMonths(begin, months+k) }
	case "yearly":
		occurrence = func(k int) time.Time { return addMonths(begin, 12*(months/12+k)) }
	case "cron":
		clock := now
		occurrence = func(int) time.Time { clock, _ = r.cron.next(clock); return clock }
	default:
		return time.Time{}
	}
	for k := range maxSkipped {
		clock := occurrence(k)
		if clock.IsZero() {
			break
		}
		if r.name == "weekdays" && !workday(clock) {
			continue
		}
		if at := moment(clock, r.zone); at.After(after) {
			return at
		}
	}
	return time.Time{}
}

// maxSkipped is how many readings may share the moments up to the present one: those
// of every minute of a day that a zone left out.
const maxSkipped = 2 * 24 * 60

func workday(clock time.Time) bool {
	return clock.Weekday() != time.Saturday && clock.Weekday() != time.Sunday
}

// maxMissed bounds the count of what passed during a downtime: a cron line of every
// minute for two months.
const maxMissed = 100_000

// missed is how many occurrences lie after due and not after now.
func (r recurrence) missed(start, due, now time.Time) int {
	n := 0
	for at := r.next(start, due); !at.IsZero() && !at.After(now) && n < maxMissed; at = r.next(start, at) {
		n++
	}
	return n
}
