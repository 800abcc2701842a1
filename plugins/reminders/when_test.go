package main

import (
	"os"
	"strings"
	"testing"
	"time"
)

// wednesday is 28 January 2026, 10:00 in Berlin.
var wednesday = time.Date(2026, 1, 28, 9, 0, 0, 0, time.UTC)

func TestTimes(t *testing.T) {
	berlin := zoneNamed(t, "Europe/Berlin")
	for text, want := range map[string]string{
		"2026-01-31T08:00:00Z":        "2026-01-31T09:00:00+01:00",
		"2026-01-31t08:00:00.5+05:30": "2026-01-31T03:30:00+01:00",
		"2026-01-31T08:00":            "2026-01-31T08:00:00+01:00",
		"2026-01-31 08:00":            "2026-01-31T08:00:00+01:00",
		"2026-07-31 at 8:00:30":       "2026-07-31T08:00:30+02:00",
		"in 5 minutes":                "2026-01-28T10:05:00+01:00",
		"IN  5 Minutes":               "2026-01-28T10:05:00+01:00",
		"in 1 second":                 "2026-01-28T10:00:01+01:00",
		"in an hour and 30 minutes":   "2026-01-28T11:30:00+01:00",
		"in 1 hour 30 min":            "2026-01-28T11:30:00+01:00",
		"in 90m":                      "2026-01-28T11:30:00+01:00",
		"in 1h30m":                    "2026-01-28T11:30:00+01:00",
		"in 2 days":                   "2026-01-30T10:00:00+01:00",
		"in a week":                   "2026-02-04T10:00:00+01:00",
		"in 3 days and 1 hour":        "2026-01-31T11:00:00+01:00",
		"in 1 month":                  "2026-02-28T10:00:00+01:00",
		"in 2 months":                 "2026-03-28T10:00:00+01:00",
		"in 3 months":                 "2026-04-28T10:00:00+02:00", // the same clock time
		"in 1 year":                   "2027-01-28T10:00:00+01:00",
		"today at 17:00":              "2026-01-28T17:00:00+01:00",
		"today 5pm":                   "2026-01-28T17:00:00+01:00",
		"tomorrow at 9am":             "2026-01-29T09:00:00+01:00",
		"tomorrow 9:30 PM":            "2026-01-29T21:30:00+01:00",
		"tomorrow at noon":            "2026-01-29T12:00:00+01:00",
		"tomorrow midnight":           "2026-01-29T00:00:00+01:00",
		"tomorrow at 12am":            "2026-01-29T00:00:00+01:00",
		"next monday 08:00":           "2026-02-02T08:00:00+01:00",
		"next monday at 8am":          "2026-02-02T08:00:00+01:00",
		"monday at 8am":               "2026-02-02T08:00:00+01:00",
		"wed 08:00":                   "2026-02-04T08:00:00+01:00", // never today
		"next Wednesday 20:00":        "2026-02-04T20:00:00+01:00",
		"thursday 20:00":              "2026-01-29T20:00:00+01:00",
		"at 11:00":                    "2026-01-28T11:00:00+01:00",
		"at 9am":                      "2026-01-29T09:00:00+01:00",
		"2026-03-29 02:30":            "2026-03-29T03:00:00+02:00", // the clock jumps over it
		"2026-10-25 02:30":            "2026-10-25T02:30:00+02:00", // twice: the first time
	} {
		got, err := parseTime("at", text, wednesday, berlin)
		if err != nil || got.In(berlin).Truncate(time.Second).Format(time.RFC3339) != want {
			t.Errorf("%q: %s, %v, want %s", text, got.In(berlin).Format(time.RFC3339), err, want)
		}
	}
}

func TestBadTimes(t *testing.T) {
	for _, text := range []string{"", "now", "asdfgh qwerty", "tomorrow", "next monday", "next", "monday", "at", "at 9", "tomorrow at 9", "in", "in minutes", "in 5", "in five minutes",
		"in 5 fortnights", "in -5 minutes", "in 1.5 hours", "in 5 minutes stretch", "tomorrow at 25:00", "tomorrow at 9:5", "tomorrow at 13pm", "tomorrow at 09am", "tomorrow at 0pm",
		"tomorrow at 08:00:00.5", "yesterday at 9am", "next tomorrow 9am", "next 2026-01-31 9am", "2026-02-30 08:00", "2026-1-31 08:00", "31.01.2026 08:00", "2026-01-31", "5 minutes",
		"in 5 minutes and", "in 1000000 minutes", "next next monday 08:00", "every day at 2pm", "on monday at 8am", "in 10 minutes in 10 minutes", "2026-01-31T25:00:00Z"} {
		if got, err := parseTime("at", text, wednesday, time.UTC); err == nil {
			t.Errorf("%q passed as %s", text, got)
		} else if !strings.Contains(err.Error(), timeGrammar) {
			t.Errorf("%q: %v does not have the grammar", text, err)
		}
	}
	for _, text := range []string{"2026-01-28T09:00:00Z", "2020-01-01 08:00", "today at 8am", "in 0 minutes", "1969-01-01T00:00:00Z"} {
		if _, err := parseTime("at", text, wednesday, time.UTC); err == nil || !strings.Contains(err.Error(), "in the past") {
			t.Errorf("%q: %v", text, err)
		}
	}
	for _, text := range []string{"in 10 years", "2040-01-01 08:00", "in 999999 years 999999 years 999999 hours 999999 hours 999999 hours", "in " + strings.Repeat("999999 hours ", 1000)} {
		if _, err := parseTime("at", text, wednesday, time.UTC); err == nil || !strings.Contains(err.Error(), "9 years") {
			t.Errorf("%.40q: %v", text, err)
		}
	}
}

func TestSaid(t *testing.T) {
	for text, want := range map[string]string{
		"in 5 seconds stretch":                  "2026-01-28T09:00:05Z stretch",
		"in 5 minutes 3 eggs":                   "2026-01-28T09:05:00Z 3 eggs",
		"in 5 minutes and 3 eggs":               "2026-01-28T09:05:00Z and 3 eggs",
		"In 1 hour and 5 minutes  call   Ann":   "2026-01-28T10:05:00Z call Ann",
		"tomorrow at 9 am amuse the cat":        "2026-01-29T09:00:00Z amuse the cat",
		"next monday 08:00 stand-up":            "2026-02-02T08:00:00Z stand-up",
		"2026-01-31T08:00:00Z pay rent at once": "2026-01-31T08:00:00Z pay rent at once",
		"at 17:30 go home":                      "2026-01-28T17:30:00Z go home",
	} {
		when, rest, err := parseSaid(text, wednesday, time.UTC)
		if got := when.Format(time.RFC3339) + " " + rest; err != nil || got != want {
			t.Errorf("%q: %q, %v, want %q", text, got, err, want)
		}
	}
	for text, want := range map[string]string{"stretch in 5 seconds": "does not begin with a time", "in 5 seconds": "not what", "": "does not begin", "today at 8am wake up": "in the past"} {
		if _, _, err := parseSaid(text, wednesday, time.UTC); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// The page of the documentation holds the whole grammar, word by word.
func TestGrammarIsDocumented(t *testing.T) {
	page, err := os.ReadFile("../../docs/reminders.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, word := range []string{"today", "tomorrow", "monday", "next", "noon", "midnight", "am", "pm", "and", "second", "seconds", "sec", "secs", "s", "minute", "min", "mins", "m", "hour", "h",
		"day", "d", "week", "w", "month", "year", "a", "an", "at", "in"} {
		if !strings.Contains(string(page), `"`+word+`"`) {
			t.Errorf("docs/reminders.md lacks %q", word)
		}
	}
}

func FuzzTime(f *testing.F) {
	for _, s := range []string{"in 5 minutes", "tomorrow at 9am", "next monday 08:00", "2026-01-31T08:00:00Z", "at noon x", "in 1h30m", "2026-01-31 9:30 pm", "in 999999 years", "in 5s5", "next", "3pm"} {
		f.Add(s)
	}
	zone := zoneNamed(f, "Australia/Lord_Howe")
	f.Fuzz(func(t *testing.T, text string) {
		when, err := parseTime("at", text, wednesday, zone)
		if err == nil && (!when.After(wednesday) || when.Sub(wednesday) > maxAhead) {
			t.Errorf("%q: %s", text, when)
		}
		said, rest, fault := parseSaid(text+" rest", wednesday, zone)
		if err == nil && (fault != nil || !said.Equal(when) || rest != "rest") && !strings.HasSuffix(strings.ToLower(text), "and") {
			t.Errorf("%q with a rest: %s %q, %v", text, said, rest, fault)
		}
		_, _ = parseSpan("in", text, wednesday, zone)
	})
}

func FuzzCron(f *testing.F) {
	for _, s := range []string{"* * * * *", "*/5 1-3 1,2 jan mon-fri", "0 0 29 2 1", "59 23 31 12 7", "5/10 * * * *"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, line string) {
		c, err := parseCron(line)
		if err != nil {
			return
		}
		when := wednesday
		for range 3 {
			next, ok := c.next(when)
			if !ok || !next.After(when) || next.Second() != 0 {
				t.Fatalf("%q after %s: %s, %v", line, when, next, ok)
			}
			when = next
		}
	})
}
