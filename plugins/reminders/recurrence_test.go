package main

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/adhocore/gronx"
)

func at(t *testing.T, text string) time.Time {
	t.Helper()
	p, err := time.Parse(time.RFC3339, text)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func zoneNamed(t testing.TB, name string) *time.Location {
	t.Helper()
	z, err := loadZone(name)
	if err != nil {
		t.Fatal(err)
	}
	return z
}

// series is the first n occurrences of a rule, in its zone.
func series(t *testing.T, rule, zone, start string, n int) string {
	t.Helper()
	r, err := parseRecurrence(rule, zoneNamed(t, zone))
	if err != nil {
		t.Fatal(err)
	}
	begin := r.first(at(t, start))
	var out []string
	for when := begin; len(out) < n && !when.IsZero(); when = r.next(begin, when) {
		out = append(out, when.In(r.zone).Format("2006-01-02T15:04:05Z07:00"))
	}
	return strings.Join(out, " ")
}

func TestSeries(t *testing.T) {
	for _, c := range []struct{ name, rule, zone, start, want string }{
		{"month ends", "monthly", "Europe/Berlin", "2026-01-31T09:00:00+01:00",
			"2026-01-31T09:00:00+01:00 2026-02-28T09:00:00+01:00 2026-03-31T09:00:00+02:00 2026-04-30T09:00:00+02:00 2026-05-31T09:00:00+02:00"},
		{"leap day", "yearly", "UTC", "2024-02-29T12:00:00Z",
			"2024-02-29T12:00:00Z 2025-02-28T12:00:00Z 2026-02-28T12:00:00Z 2027-02-28T12:00:00Z 2028-02-29T12:00:00Z"},
		{"weekdays from a Saturday", "weekdays", "Asia/Kolkata", "2026-01-31T07:30:00+05:30",
			"2026-02-02T07:30:00+05:30 2026-02-03T07:30:00+05:30 2026-02-04T07:30:00+05:30 2026-02-05T07:30:00+05:30 2026-02-06T07:30:00+05:30 2026-02-09T07:30:00+05:30"},
		{"weekly over the change", "weekly", "America/New_York", "2026-03-01T08:00:00-05:00",
			"2026-03-01T08:00:00-05:00 2026-03-08T08:00:00-04:00 2026-03-15T08:00:00-04:00"},
		// Berlin: 2026-03-29 has no 02:30; 2026-10-25 has it twice.
		{"a skipped time in Berlin", "daily", "Europe/Berlin", "2026-03-28T02:30:00+01:00",
			"2026-03-28T02:30:00+01:00 2026-03-29T03:00:00+02:00 2026-03-30T02:30:00+02:00"},
		{"a repeated time in Berlin", "daily", "Europe/Berlin", "2026-10-24T02:30:00+02:00",
			"2026-10-24T02:30:00+02:00 2026-10-25T02:30:00+02:00 2026-10-26T02:30:00+01:00"},
		{"a repeated time, begun in its second pass", "daily", "Europe/Berlin", "2026-10-25T02:30:00+01:00",
			"2026-10-25T02:30:00+01:00 2026-10-26T02:30:00+01:00"},
		{"New York, cron at a skipped time", "30 2 * * *", "America/New_York", "2026-03-07T00:00:00-05:00",
			"2026-03-07T02:30:00-05:00 2026-03-08T03:00:00-04:00 2026-03-09T02:30:00-04:00"},
		{"New York, cron at a repeated time", "30 1 * * *", "America/New_York", "2026-10-31T00:00:00-04:00",
			"2026-10-31T01:30:00-04:00 2026-11-01T01:30:00-04:00 2026-11-02T01:30:00-05:00"},
		{"New York, every half hour while the clock jumps", "*/30 * * * *", "America/New_York", "2026-03-08T01:00:00-05:00",
			"2026-03-08T01:00:00-05:00 2026-03-08T01:30:00-05:00 2026-03-08T03:00:00-04:00 2026-03-08T03:30:00-04:00"},
		{"New York, every half hour while the clock repeats", "*/30 * * * *", "America/New_York", "2026-11-01T00:30:00-04:00",
			"2026-11-01T00:30:00-04:00 2026-11-01T01:00:00-04:00 2026-11-01T01:30:00-04:00 2026-11-01T02:00:00-05:00"},
		// Lord Howe moves by half an hour: 2026-10-04 has no 02:15, 2026-04-05 has 01:45 twice.
		{"a skipped time on Lord Howe", "daily", "Australia/Lord_Howe", "2026-10-03T02:15:00+10:30",
			"2026-10-03T02:15:00+10:30 2026-10-04T02:30:00+11:00 2026-10-05T02:15:00+11:00"},
		{"a repeated time on Lord Howe", "daily", "Australia/Lord_Howe", "2026-04-04T01:45:00+11:00",
			"2026-04-04T01:45:00+11:00 2026-04-05T01:45:00+11:00 2026-04-06T01:45:00+10:30"},
		{"Kolkata has no change", "daily", "Asia/Kolkata", "2026-03-28T02:30:00+05:30",
			"2026-03-28T02:30:00+05:30 2026-03-29T02:30:00+05:30 2026-03-30T02:30:00+05:30"},
		{"a day that Samoa left out", "daily", "Pacific/Apia", "2011-12-29T12:00:00-10:00",
			"2011-12-29T12:00:00-10:00 2011-12-31T00:00:00+14:00 2011-12-31T12:00:00+14:00"},
		{"the 30th in February", "0 8 30 * *", "UTC", "2026-01-30T08:00:00Z", "2026-01-30T08:00:00Z 2026-03-30T08:00:00Z 2026-04-30T08:00:00Z"},
		{"either day", "0 8 13 * fri", "UTC", "2026-02-01T00:00:00Z", "2026-02-06T08:00:00Z 2026-02-13T08:00:00Z 2026-02-20T08:00:00Z 2026-02-27T08:00:00Z 2026-03-06T08:00:00Z"},
		{"lists and ranges", "0,30 9-10 * * 1-5", "UTC", "2026-01-30T10:00:00Z", "2026-01-30T10:00:00Z 2026-01-30T10:30:00Z 2026-02-02T09:00:00Z"},
		{"once", "", "UTC", "2026-01-30T10:00:00Z", "2026-01-30T10:00:00Z"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := series(t, c.rule, c.zone, c.start, len(strings.Fields(c.want))+map[bool]int{true: 1}[c.rule == ""]); got != c.want {
				t.Errorf("\ngot  %s\nwant %s", got, c.want)
			}
		})
	}
}

// Occurrences grow, keep their clock time except in a gap, and none is left out,
// whatever the zone and the moment from which the next one is looked for.
func TestSeriesProperties(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for _, name := range []string{"Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata", "America/St_Johns", "Africa/Casablanca", "Pacific/Apia", "UTC"} {
		zone := zoneNamed(t, name)
		for _, rule := range []string{"daily", "weekly", "weekdays", "monthly", "yearly", "17 */3 * * *", "*/20 1-3 * mar,apr,oct,nov *", "5 4 31 * *"} {
			r, err := parseRecurrence(rule, zone)
			if err != nil {
				t.Fatal(err)
			}
			start := r.first(time.Date(2010, 1, 1, 0, 0, 0, 0, zone).Add(time.Duration(rng.Int64N(int64(20 * 366 * 24 * time.Hour)))).Truncate(time.Minute))
			last := start
			for range 400 {
				next := r.next(start, last)
				if !next.After(last) {
					t.Fatalf("%s %s from %s: %s comes after %s", name, rule, start, next, last)
				}
				between := last.Add(time.Duration(rng.Int64N(int64(next.Sub(last)))))
				if again := r.next(start, between); !again.Equal(next) {
					t.Fatalf("%s %s from %s: after %s comes %s, after %s %s", name, rule, start, last, next, between, again)
				}
				clock := reading(next, zone)
				if m := moment(clock, zone); !m.Equal(next) {
					t.Fatalf("%s %s: %s is the second moment of its reading", name, rule, next)
				}
				last = next
			}
		}
	}
}

// The matcher agrees with gronx, which the runtime uses, on a clock without gaps.
func TestCronAgainstGronx(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	pick := func(list ...string) string { return list[rng.IntN(len(list))] }
	for range 300 {
		line := strings.Join([]string{
			pick("*", "0", "30", "*/15", "5-50/10", "0,7,59", "59"), pick("*", "0", "8", "9-17", "*/5", "1,23", "22-23"),
			pick("*", "*", "1", "31", "10-20", "1,15,28", "29"), pick("*", "*", "2", "jan", "mar-may", "1,6,12"),
			pick("*", "*", "mon", "1-5", "0", "sat,sun", "2,4"),
		}, " ")
		c, err := parseCron(line)
		theirs := func(after time.Time) (time.Time, error) { return gronx.NextTickAfter(line, after, false) }
		when := time.Date(2020+rng.IntN(10), time.Month(1+rng.IntN(12)), 1+rng.IntN(28), rng.IntN(24), rng.IntN(60), 0, 0, time.UTC)
		if err != nil {
			if next, bad := theirs(when); bad == nil && next.After(when) {
				t.Errorf("%s: %v, but gronx knows %s", line, err, next)
			}
			continue
		}
		for range 20 {
			got, ok := c.next(when)
			want, err := theirs(when)
			if !ok || err != nil || !got.Equal(want) {
				t.Fatalf("%s after %s: %s, gronx %s, %v", line, when, got, want, err)
			}
			when = got
		}
	}
}

func TestBadRecurrences(t *testing.T) {
	for _, text := range []string{"hourly", "Daily", "every day", "* * * *", "* * * * * *", "60 * * * *", "* 24 * * *", "* * 0 * *", "* * 32 * *", "* * * 13 *",
		"* * * * 8", "5-1 * * * *", "*/0 * * * *", "*/60 * * * *", "a * * * *", "1,,2 * * * *", "0 0 31 2 *", "0 0 30 feb *", "-1 * * * *", "1- * * * *", "+1 * * * *",
		"0 0 L * *", strings.Repeat("1,", 200) + "1 * * * *"} {
		if _, err := parseRecurrence(text, time.UTC); err == nil {
			t.Errorf("%q passed", text)
		} else if !strings.Contains(err.Error(), "cron line") && !strings.Contains(err.Error(), "daily") {
			t.Errorf("%q: %v does not say what to write", text, err)
		}
	}
}

func TestMissed(t *testing.T) {
	r, _ := parseRecurrence("* * * * *", zoneNamed(t, "Europe/Berlin"))
	start := at(t, "2026-06-01T08:00:00Z")
	for d, want := range map[time.Duration]int{0: 0, 59 * time.Second: 0, time.Minute: 1, time.Hour: 60, 31 * 24 * time.Hour: 31 * 24 * 60} {
		if got := r.missed(start, start, start.Add(d)); got != want {
			t.Errorf("after %s: %d, want %d", d, got, want)
		}
	}
}

func Example_parseTime() {
	now := time.Date(2026, 1, 28, 10, 0, 0, 0, time.UTC) // a Wednesday
	for _, text := range []string{"in 10 minutes", "tomorrow at 9am", "next monday 08:00", "2026-01-31T08:00:00Z"} {
		when, err := parseTime("at", text, now, time.UTC)
		fmt.Println(when.Format("Mon 2006-01-02 15:04"), err)
	}
	// Output:
	// Wed 2026-01-28 10:10 <nil>
	// Thu 2026-01-29 09:00 <nil>
	// Mon 2026-02-02 08:00 <nil>
	// Sat 2026-01-31 08:00 <nil>
}
