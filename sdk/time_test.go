package sdk

import (
	"encoding/json"
	"math/rand/v2"
	"testing"
	"time"
)

func TestTimeJSON(t *testing.T) {
	moment := TimeOf(time.Date(2026, 1, 31, 8, 0, 0, 5_000_000, time.UTC))
	for _, c := range []struct {
		in   string
		want Time
		ok   bool
	}{
		{`"2026-01-31T08:00:00.005Z"`, moment, true},
		{`"2026-01-31T09:00:00.005+01:00"`, moment, true},
		{`"2026-01-31T08:00:00.0051239Z"`, moment, true},
		{`null`, 0, true},
		{`"tomorrow"`, 0, false},
		{`"1969-12-31T00:00:00Z"`, 0, false},
		{`1769846400`, 0, false},
	} {
		var got Time
		err := json.Unmarshal([]byte(c.in), &got)
		if (err == nil) != c.ok || got != c.want {
			t.Errorf("%s: got %v, %v", c.in, got, err)
		}
	}
	for in, want := range map[Time]string{0: "null", moment: `"2026-01-31T08:00:00.005Z"`} {
		if b, err := json.Marshal(in); err != nil || string(b) != want {
			t.Errorf("marshal %d: %s, %v, want %s", in, b, err, want)
		}
	}
}

func TestTimeSub(t *testing.T) {
	now, never := TimeOf(time.Date(2026, 1, 31, 8, 0, 0, 0, time.UTC)), TimeOf(time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC))
	if d := now.Add(time.Hour).Sub(now); d != time.Hour {
		t.Errorf("an hour later: %v", d)
	}
	if d := never.Sub(now); d < 290*365*24*time.Hour {
		t.Errorf("in the year 9999: %v", d)
	}
	if d := now.Sub(never); d > -290*365*24*time.Hour {
		t.Errorf("before the year 9999: %v", d)
	}
}

func TestDurationJSON(t *testing.T) {
	for in, want := range map[time.Duration]string{
		0: `"0s"`, 30 * time.Second: `"30s"`, time.Minute: `"1m"`, time.Hour: `"1h"`,
		90 * time.Second: `"1m30s"`, 100 * time.Millisecond: `"100ms"`, time.Hour + time.Second: `"1h0m1s"`,
	} {
		b, err := json.Marshal(Duration(in))
		if err != nil || string(b) != want {
			t.Errorf("marshal %v: %s, %v, want %s", in, b, err, want)
		}
		var back Duration
		if err := json.Unmarshal(b, &back); err != nil || back.Std() != in {
			t.Errorf("%s came back as %v, %v", b, back, err)
		}
	}
	var d Duration
	if err := json.Unmarshal([]byte(`"soon"`), &d); err == nil {
		t.Error(`"soon" is no duration`)
	}
}

func TestTimeIsWrittenAsTheLayoutSays(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for _, ms := range []int64{1, -1, 999, 1000, 951782399999, 951782400000, 253402300799999, 253402300800000, -62135596800000, -62167219200001} {
		checkTime(t, Time(ms))
	}
	for range 10_000 {
		checkTime(t, Time(r.Int64N(600_000_000_000_000)-100_000_000_000_000))
	}
}

func checkTime(t *testing.T, at Time) {
	t.Helper()
	if want := at.Time().Format("2006-01-02T15:04:05.000Z"); at.String() != want {
		t.Errorf("%d is %s, want %s", int64(at), at, want)
	}
}
