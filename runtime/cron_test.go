package runtime_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/nagatha/nagatha-runtime/runtime"
	"github.com/nagatha/nagatha-runtime/sdk"
)

func moment(t *testing.T, text string) sdk.Time {
	t.Helper()
	p, err := time.Parse(time.RFC3339, text)
	if err != nil {
		t.Fatal(err)
	}
	return sdk.TimeOf(p)
}

func zone(t testing.TB, name string) *time.Location {
	t.Helper()
	loc, err := time.LoadLocation(name)
	if err != nil {
		t.Fatal(err)
	}
	return loc
}

func TestCronTicks(t *testing.T) {
	for _, c := range []struct {
		name, line, zone, after string
		want                    []string // as the zone's clock shows them, with its offset
	}{
		{"plain", "30 8 * * *", "Europe/Berlin", "2026-01-10T00:00:00+01:00", []string{"01-10 08:30:00 +01", "01-11 08:30:00 +01"}},
		{"utc by default", "30 8 * * *", "", "2026-01-10T00:00:00Z", []string{"01-10 08:30:00 +00"}},
		{"seconds", "*/20 30 8 * * *", "Asia/Kolkata", "2026-01-10T08:30:10+05:30", []string{"01-10 08:30:20 +0530", "01-10 08:30:40 +0530", "01-11 08:30:00 +0530"}},
		{"kolkata", "0 0 * * MON", "Asia/Kolkata", "2026-01-10T00:00:00Z", []string{"01-12 00:00:00 +0530", "01-19 00:00:00 +0530"}},

		{"berlin gap", "30 2 * * *", "Europe/Berlin", "2026-03-28T00:00:00Z", []string{"03-28 02:30:00 +01", "03-29 03:00:00 +02", "03-30 02:30:00 +02"}},
		{"berlin gap, many in it", "*/10 * * * *", "Europe/Berlin", "2026-03-29T00:45:00Z", []string{"03-29 01:50:00 +01", "03-29 03:00:00 +02", "03-29 03:10:00 +02"}},
		{"berlin fold", "30 2 * * *", "Europe/Berlin", "2026-10-24T10:00:00Z", []string{"10-25 02:30:00 +02", "10-26 02:30:00 +01"}},
		{"berlin fold, hourly", "0 * * * *", "Europe/Berlin", "2026-10-24T22:30:00Z", []string{"10-25 01:00:00 +02", "10-25 02:00:00 +02", "10-25 03:00:00 +01", "10-25 04:00:00 +01"}},
		{"berlin, begun in the second pass", "*/30 * * * *", "Europe/Berlin", "2026-10-25T01:10:00Z", []string{"10-25 03:00:00 +01"}},

		{"new york gap", "15 2 * * *", "America/New_York", "2026-03-07T12:00:00Z", []string{"03-08 03:00:00 -04", "03-09 02:15:00 -04"}},
		{"new york fold", "30 1 * * *", "America/New_York", "2026-10-31T12:00:00Z", []string{"11-01 01:30:00 -04", "11-02 01:30:00 -05"}},
		{"new york fold, end of it", "0 2 * * *", "America/New_York", "2026-10-31T12:00:00Z", []string{"11-01 02:00:00 -05", "11-02 02:00:00 -05"}},

		{"lord howe gap of half an hour", "15 2 * * *", "Australia/Lord_Howe", "2026-10-03T00:00:00Z", []string{"10-04 02:30:00 +11", "10-05 02:15:00 +11"}},
		{"lord howe, beside the gap", "45 2 * * *", "Australia/Lord_Howe", "2026-10-03T00:00:00Z", []string{"10-04 02:45:00 +11"}},
		{"lord howe fold", "45 1 * * *", "Australia/Lord_Howe", "2026-04-04T00:00:00Z", []string{"04-05 01:45:00 +11", "04-06 01:45:00 +1030"}},
		{"lord howe, before the fold", "15 1 * * *", "Australia/Lord_Howe", "2026-04-04T00:00:00Z", []string{"04-05 01:15:00 +11", "04-06 01:15:00 +1030"}},

		{"midnight is in the gap", "0 0 * * *", "America/Sao_Paulo", "2018-11-03T12:00:00Z", []string{"11-04 01:00:00 -02", "11-05 00:00:00 -02"}},
		{"a whole day is skipped", "0 12 * * *", "Pacific/Apia", "2011-12-29T00:00:00-10:00", []string{"12-29 12:00:00 -10", "12-31 00:00:00 +14", "12-31 12:00:00 +14"}},

		{"last day", "0 9 L * *", "", "2026-02-01T00:00:00Z", []string{"02-28 09:00:00 +00", "03-31 09:00:00 +00"}},
		{"workday", "0 9 15W * *", "", "2026-02-01T00:00:00Z", []string{"02-16 09:00:00 +00", "03-16 09:00:00 +00"}},
		{"second tuesday", "0 9 * * TUE#2", "", "2026-02-01T00:00:00Z", []string{"02-10 09:00:00 +00"}},
		{"last friday", "0 9 * * FRIL", "", "2026-02-01T00:00:00Z", []string{"02-27 09:00:00 +00"}},
		{"sunday is 7", "0 9 * * 7", "", "2026-02-02T00:00:00Z", []string{"02-08 09:00:00 +00"}},
		{"to sunday", "0 9 * * 6-7", "", "2026-02-02T00:00:00Z", []string{"02-07 09:00:00 +00", "02-08 09:00:00 +00"}},
		{"from sunday", "0 9 * * 7-1", "", "2026-02-02T00:00:00Z", []string{"02-02 09:00:00 +00", "02-08 09:00:00 +00", "02-09 09:00:00 +00"}},
		{"day or weekday", "0 0 13 * FRI", "", "2026-02-07T00:00:00Z", []string{"02-13 00:00:00 +00", "02-20 00:00:00 +00"}},
		{"from a minute on", "5/20 9 * * *", "", "2026-02-01T00:00:00Z", []string{"02-01 09:05:00 +00", "02-01 09:25:00 +00", "02-01 09:45:00 +00"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			after, err := runtime.CronTicks(c.line, c.zone)
			if err != nil {
				t.Fatal(err)
			}
			at := moment(t, c.after)
			var got []string
			for range c.want {
				next, err := after(at)
				if err != nil {
					t.Fatal(err)
				}
				if next <= at {
					t.Fatalf("%s is not after %s", next, at)
				}
				at = next
				got = append(got, strings.TrimSuffix(at.Time().In(zone(t, c.zone)).Format("01-02 15:04:05 -0700"), "00"))
			}
			for i := range got { // +0000 has lost two digits like the others
				if len(got[i]) < len("01-02 15:04:05 +00") {
					got[i] += "00"
				}
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("got  %q\nwant %q", got, c.want)
			}
		})
	}
}

func TestLeapDays(t *testing.T) {
	at := moment(t, "2026-01-01T00:00:00Z")
	after, err := runtime.CronTicks("0 12 29 2 *", "Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	var years []int
	for range 20 {
		next, err := after(at)
		if err != nil {
			t.Fatal(err)
		}
		at = next
		years = append(years, at.Time().Year())
	}
	if years[0] != 2028 || years[17] != 2096 || years[18] != 2104 {
		t.Errorf("%v", years)
	}
}

func TestBadCron(t *testing.T) {
	for line, want := range map[string]string{
		"0 0 31 2 *":              "no date matches",
		"0 0 30 2 *":              "no date matches",
		"0 0 31 4,6,9,11 *":       "no date matches",
		"":                        "want 5 fields",
		"@daily":                  "want 5 fields",
		"@every 5m":               "want 5 fields",
		"* * * *":                 "want 5 fields",
		"* * * * * * 2026":        "want 5 fields",
		"0 0 1 1 2026":            "weekday",
		"60 * * * *":              "minute \"60\": want numbers from 0 to 59",
		"-1 * * * *":              "minute",
		"* 24 * * *":              "hour",
		"* * 0 * *":               "day",
		"* * 32 * *":              "day",
		"* * * 13 *":              "month",
		"* * * 0 *":               "month",
		"* * * * 8":               "weekday",
		"* * * * MO":              "weekday",
		"* * * FOO *":             "month",
		"JAN * * * *":             "minute",
		"*/0 * * * *":             "want a step",
		"*/61 * * * *":            "want a step",
		"5-1 * * * *":             "ends before it begins",
		"1,,2 * * * *":            "minute",
		"*,5 * * * *":             "stands alone",
		"* * * * 1#6":             "want #",
		"* * 5L * *":              "day",
		"* * * * L":               "weekday",
		"? * * * *":               "minute",
		"1-2-3 * * * *":           "minute",
		"*-5 * * * *":             "minute",
		"+5 * * * *":              "minute",
		"0x5 * * * *":             "minute",
		strings.Repeat("1,", 200): "at most 256",
	} {
		if err := runtime.CheckCron(line, ""); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", line, err, want)
		}
	}
	for _, z := range []string{"Local", "Europe/Nowhere", "CEST+1", "../etc/passwd"} {
		if err := runtime.CheckCron("* * * * *", z); err == nil || !strings.Contains(err.Error(), "there is no time zone") {
			t.Errorf("zone %q: %v", z, err)
		}
	}
}

// field draws a cron field together with the values that match it; nil: all do.
func field(t *rapid.T, name string, least, most int, seldom bool) (string, map[int]bool) {
	if seldom && rapid.Bool().Draw(t, name+" any") {
		return "*", nil
	}
	set := map[int]bool{}
	var parts []string
	for range rapid.IntRange(1, 3).Draw(t, name+" parts") {
		a := rapid.IntRange(least, most).Draw(t, name)
		b := rapid.IntRange(a, most).Draw(t, name+" end")
		step := rapid.IntRange(1, most-least+1).Draw(t, name+" step")
		switch rapid.IntRange(0, 3).Draw(t, name+" form") {
		case 0:
			parts, b, step = append(parts, fmt.Sprint(a)), a, 1
		case 1:
			parts, step = append(parts, fmt.Sprintf("%d-%d", a, b)), 1
		case 2:
			parts = append(parts, fmt.Sprintf("%d-%d/%d", a, b, step))
		case 3:
			parts, b = append(parts, fmt.Sprintf("%d/%d", a, step)), most
		}
		for v := a; v <= b; v += step {
			set[v] = true
		}
	}
	return strings.Join(parts, ","), set
}

// Whatever the line, zone and moment: ticks strictly grow, each is a local time that
// matches or the end of a gap that holds one, no local time that matches is left
// out, and none runs twice.
func TestCronProperties(t *testing.T) {
	zones := []string{"Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata", "UTC", "Africa/Casablanca", "America/Sao_Paulo", "Pacific/Apia"}
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.SampledFrom(zones).Draw(t, "zone")
		loc, err := time.LoadLocation(name)
		if err != nil {
			t.Fatal(err)
		}
		minuteText, minutes := field(t, "minute", 0, 59, true)
		hourText, hours := field(t, "hour", 0, 23, true)
		dayText, days := field(t, "day", 1, 31, true)
		monthText, months := field(t, "month", 1, 12, true)
		weekdayText, weekdays := field(t, "weekday", 0, 6, true)
		line := strings.Join([]string{minuteText, hourText, dayText, monthText, weekdayText}, " ")
		after, err := runtime.CronTicks(line, name)
		if err != nil {
			t.Skip("an impossible date")
		}
		in := func(set map[int]bool, v int) bool { return set == nil || set[v] }
		matches := func(c time.Time) bool {
			day, weekday := in(days, c.Day()), in(weekdays, int(c.Weekday()))
			if days != nil && weekdays != nil {
				day, weekday = day || weekday, true
			}
			return in(minutes, c.Minute()) && in(hours, c.Hour()) && in(months, int(c.Month())) && day && weekday
		}

		// A day around some transition, or anywhere.
		at := time.Unix(rapid.Int64Range(1_200_000_000, 2_000_000_000).Draw(t, "moment"), 0).In(loc)
		if _, end := at.ZoneBounds(); !end.IsZero() && rapid.Bool().Draw(t, "at a transition") {
			at = end.Add(-time.Duration(rapid.IntRange(0, 24*60).Draw(t, "before")) * time.Minute)
		}
		begin := at.Truncate(time.Minute)
		const span = 30 * 60 // minutes

		// What should happen, minute by minute: local times in order, each once.
		var want []sdk.Time
		furthest := clockOf(begin)
		if b, _ := begin.ZoneBounds(); !b.IsZero() {
			if before := clockOf(b.Add(-time.Minute)); before.After(furthest) {
				furthest = before
			}
		}
		for i := 1; i <= span; i++ {
			now := begin.Add(time.Duration(i) * time.Minute).In(loc)
			fires := false
			for furthest.Before(clockOf(now)) {
				furthest = furthest.Add(time.Minute)
				fires = fires || matches(furthest)
			}
			if fires {
				want = append(want, sdk.TimeOf(now))
			}
		}
		var got []sdk.Time
		for last := sdk.TimeOf(begin); ; {
			next, err := after(last)
			if err != nil {
				t.Fatalf("%q in %s after %s: %v", line, name, last, err)
			}
			if next <= last {
				t.Fatalf("%q in %s: %s after %s", line, name, next, last)
			}
			if last = next; last > sdk.TimeOf(begin.Add(span*time.Minute)) {
				break
			}
			got = append(got, last)
		}
		if !slices.Equal(got, want) {
			t.Fatalf("%q in %s from %s:\n got %v\nwant %v", line, name, sdk.TimeOf(begin), got, want)
		}
	})
}

// clockOf is what a zone's clock shows.
func clockOf(t time.Time) time.Time {
	return time.Date(t.Year(), t.Month(), t.Day(), t.Hour(), t.Minute(), 0, 0, time.UTC)
}

// A line that is accepted has ticks, on and on.
func FuzzCron(f *testing.F) {
	for _, line := range []string{"30 8 * * MON-FRI", "*/20 5/7 0-3 L,15W 2 TUE#2,FRIL", "0 0 29 2 7-1/2", "0 0 31 2 *", "@daily", "? * * ? * *"} {
		f.Add(line, "Europe/Berlin", int64(1_774_746_000_000))
	}
	f.Fuzz(func(t *testing.T, line, zone string, ms int64) {
		next, err := runtime.CronTicks(line, zone)
		if err != nil || ms < 0 || ms > 4_000_000_000_000 {
			return
		}
		at := sdk.Time(ms)
		for range 3 {
			tick, err := next(at)
			if err != nil || tick <= at {
				t.Fatalf("%q in %q after %s: %s, %v", line, zone, at, tick, err)
			}
			at = tick
		}
	})
}
