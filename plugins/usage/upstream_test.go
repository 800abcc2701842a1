package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nagatha/nagatha-runtime/sdk"
	"github.com/nagatha/nagatha-runtime/sdk/sdktest"
)

// TestTrackKeepsTheOldShape: the result of the old system's track_usage_metrics. It
// read the member "cost" where "cost_usd" was written, so its total was always 0.
func TestTrackKeepsTheOldShapeAndTheTotalIsNotAlwaysZero(t *testing.T) {
	b := setup(t, `{}`)
	d := b.run("track", `{}`)
	b.want(d, "success", true, "total_cost", 0, "total_requests", 0, "reset_info.reset_count", 0, "reset_info.reset_timestamp", nil)
	today := time.Now().UTC().Format(time.DateOnly)
	b.run("record", `{"id":"a","model":"gpt-4o","provider":"openai","input_tokens":1000,"output_tokens":100,"session":"s"}`)
	b.run("record", `{"id":"b","model":"gpt-4o","provider":"openai","input_tokens":1000,"output_tokens":100,"time":"2026-01-01T00:00:00Z"}`)
	b.run("record", `{"id":"c","model":"odd","provider":"x","input_tokens":5,"output_tokens":1}`)
	d = b.run("track", `{}`)
	b.want(d, "total_cost", 0.007, "total_requests", 3, "unpriced_requests", 1,
		"usage_data.gpt-4o.prompt_tokens", 2000, "usage_data.gpt-4o.completion_tokens", 200, "usage_data.gpt-4o.cost_usd", 0.007, "usage_data.gpt-4o.requests", 2,
		"usage_data.gpt-4o.daily_usage."+today+".cost_usd", 0.0035, "usage_data.gpt-4o.daily_usage.2026-01-01", nil,
		"daily_totals.gpt-4o.requests", 1, "daily_totals.gpt-4o.cost_usd", 0.0035, "usage_data.odd.cost_usd", nil, "daily_totals.odd.prompt_tokens", 5)
	if _, err := time.Parse(time.RFC3339, fmt.Sprint(d.at("usage_data.gpt-4o.last_used"))); err != nil {
		t.Error(err)
	}
}

// TestResetArchivesAndNeverWipes: the old reset deleted all data.
func TestResetArchivesAndNeverWipes(t *testing.T) {
	b := setup(t, `{}`)
	b.run("record", `{"id":"a","model":"gpt-5","provider":"openai","input_tokens":1000,"output_tokens":0}`)
	d := b.run("reset", `{}`)
	b.want(d, "period", 1, "reset_info.reset_count", 1, "archived.period", 0, "archived.total.requests", 1, "archived.total.cost_usd", 0.00125)
	b.want(b.run("reset", `{}`), "period", 1) // the same task again, after a crash
	b.want(b.run("report", `{}`), "period", 1, "total.requests", 0)
	b.want(b.run("report", `{"period":0}`), "total.requests", 1, "total.cost_usd", 0.00125)
	b.want(b.run("track", `{}`), "total_requests", 0, "reset_info.reset_count", 1)
	b.run("record", `{"id":"b","model":"gpt-5","provider":"openai","input_tokens":2000,"output_tokens":0}`)
	b.want(b.run("record", `{"id":"a","model":"gpt-5","provider":"openai","input_tokens":1000,"output_tokens":0}`), "created", false)
	b.want(b.run("report", `{}`), "total.cost_usd", 0.0025)
	b.want(b.run("export", `{}`), "records.0.period", 0, "records.1.period", 1)
	b.want(b.run("budget", `{}`), "day.spent_usd", 0.00375) // money that is spent stays spent
	b.consistent()
}

func TestDatedNamesHaveAPriceUnlikeBefore(t *testing.T) {
	b := setup(t, `{}`)
	d := b.run("cost", `{"calls":[{"model":"gpt-4o-2024-08-06","provider":"openai","input_tokens":1000000,"output_tokens":0},
		{"model":"gpt-4o","provider":"openai","input_tokens":1000000,"output_tokens":0,"cached_tokens":1000000}]}`)
	b.want(d, "costs.0", 2.5, "costs.1", 1.25, "cost_usd", 3.75)
	b.want(b.run("cost", `{"calls":[{"model":"gpt-4o","input_tokens":1,"output_tokens":0},{"model":"none","input_tokens":1,"output_tokens":0}]}`), "cost_usd", nil, "costs.1", nil)
	b.want(b.run("cost", `{"calls":[]}`), "cost_usd", 0)
}

func TestNegativeTokensAreRefusedUnlikeBefore(t *testing.T) {
	b := setup(t, `{}`)
	b.refused(sdk.CodeInvalid, "record", `{"model":"gpt-5","input_tokens":-5,"output_tokens":1}`)
	b.refused(sdk.CodeInvalid, "cost", `{"calls":[{"model":"gpt-5","input_tokens":1,"output_tokens":-1}]}`)
	b.refused(sdk.CodeInvalid, "reserve", `{"id":"x","model":"gpt-5","input_tokens":1,"output_tokens":-1}`)
	b.want(b.run("report", `{}`), "total.requests", 0)
}

// TestCorruptDataIsAnErrorAndNeverOverwritten: the old tracker took a file that it
// could not read for an empty one, and wrote over it.
func TestCorruptDataIsAnErrorAndNeverOverwritten(t *testing.T) {
	b := setup(t, `{}`)
	one := `{"id":"a","time":"2026-09-01T00:00:00Z","model":"gpt-5","input_tokens":1000,"output_tokens":0}`
	b.run("record", one)
	h := b.host.(*sdktest.Host)
	for key, it := range h.Items {
		if strings.HasPrefix(key, cellKeys) {
			it.Value = json.RawMessage(`"rubbish"`)
			h.Items[key] = it
		}
	}
	b.Plugin = setup(t, `{}`).Plugin // one that has not seen it yet
	for _, kind := range []string{"record", "report", "track"} {
		payload := `{}`
		if kind == "record" {
			payload = strings.Replace(one, `"a"`, `"b"`, 1)
		}
		if d, err := b.try(kind, payload); err == nil {
			t.Errorf("%s: %v", kind, d)
		}
	}
	for key, it := range h.Items {
		if strings.HasPrefix(key, cellKeys) && string(it.Value) != `"rubbish"` {
			t.Errorf("%s was overwritten: %s", key, it.Value)
		}
	}
}
