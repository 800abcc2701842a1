package main

import (
	"sync"
	"time"

	// A module has no zone files of its own.
	_ "time/tzdata"

	"github.com/nagatha/nagatha-runtime/sdk"
)

// A reading is what a clock shows, without saying where: a time.Time in UTC whose
// fields are those of the local clock. Calendar arithmetic is done on readings, and
// a zone turns the outcome into a moment.

// loadZone finds an IANA zone; "" is UTC.
func loadZone(name string) (*time.Location, error) {
	if name == "Local" || len(name) > 64 { // "Local" is another one on each machine
		return nil, sdk.Invalid("zone", "there is no time zone %.70q: want an IANA name such as \"Europe/Berlin\"", name)
	}
	if zone, ok := zones.Load(name); ok {
		return zone.(*time.Location), nil
	}
	zone, err := time.LoadLocation(name)
	if err != nil {
		return nil, sdk.Invalid("zone", "there is no time zone %q: want an IANA name such as \"Europe/Berlin\"", name)
	}
	zones.Store(name, zone)
	return zone, nil
}

// zones are those that were asked for, by name: a module takes longer to load one than
// to make a reminder.
var zones sync.Map

// reading is what the zone's clock shows at t.
func reading(t time.Time, zone *time.Location) time.Time {
	t = t.In(zone)
	return time.Date(t.Year(), t.Month(), t.Day(), t.Hour(), t.Minute(), t.Second(), t.Nanosecond(), time.UTC)
}

// moment is when the zone's clock shows a reading: the first time if it does so
// twice, and the moment of the jump if the clock jumps over it.
func moment(clock time.Time, zone *time.Location) time.Time {
	// No zone is more than a day away from UTC, so these two offsets are the ones
	// before and after a change that may lie near the reading.
	var found time.Time
	var early time.Time
	for i, near := range []time.Duration{-26 * time.Hour, 26 * time.Hour} {
		_, offset := clock.Add(near).In(zone).Zone()
		at := clock.Add(-time.Duration(offset) * time.Second)
		if i == 0 {
			early = at
		}
		if reading(at, zone).Equal(clock) && (found.IsZero() || at.Before(found)) {
			found = at
		}
	}
	if !found.IsZero() {
		return found
	}
	// By the clock from before the jump it is already after it.
	jump, _ := early.In(zone).ZoneBounds()
	return jump.UTC()
}

// addMonths moves a reading by months; a day that the month does not have becomes
// its last one.
func addMonths(clock time.Time, months int) time.Time {
	first := time.Date(clock.Year(), clock.Month()+time.Month(months), 1, 0, 0, 0, 0, time.UTC)
	last := first.AddDate(0, 1, -1).Day()
	return time.Date(first.Year(), first.Month(), min(clock.Day(), last),
		clock.Hour(), clock.Minute(), clock.Second(), clock.Nanosecond(), time.UTC)
}

// onDay is the reading with the date of day and the clock time of clock.
func onDay(day, clock time.Time) time.Time {
	return time.Date(day.Year(), day.Month(), day.Day(), clock.Hour(), clock.Minute(), clock.Second(), clock.Nanosecond(), time.UTC)
}
