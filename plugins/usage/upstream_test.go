package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nagatha/nagatha-runtime/sdk"
	"github.com/nagatha/nagatha-runtime/sdk/sdktest"
)

// The defects of the old system's tracker, each of which was measured or read there:
// one test for each. TestUpstreamLostUpdates is with those of exactness.

// The shape is that of the result of the old system's track_usage_metrics. It
// read the member "cost" where "cost_usd" was written, so its total was always 0.
func TestUpstreamTotalAlwaysZero(t *testing.T) {
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

// The old reset deleted all data.
func TestUpstreamResetWipes(t *testing.T) {
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

func TestUpstreamDatedNamesCostNothing(t *testing.T) {
	b := setup(t, `{}`)
	d := b.run("cost", `{"calls":[{"model":"gpt-4o-2024-08-06","provider":"openai","input_tokens":1000000,"output_tokens":0},
		{"model":"gpt-4o","provider":"openai","input_tokens":1000000,"output_tokens":0,"cached_tokens":1000000}]}`)
	b.want(d, "costs.0", 2.5, "costs.1", 1.25, "cost_usd", 3.75)
	b.want(b.run("cost", `{"calls":[{"model":"gpt-4o","input_tokens":1,"output_tokens":0},{"model":"none","input_tokens":1,"output_tokens":0}]}`), "cost_usd", nil, "costs.1", nil)
	b.want(b.run("cost", `{"calls":[]}`), "cost_usd", 0)
}

func TestUpstreamNegativeTokens(t *testing.T) {
	b := setup(t, `{}`)
	b.refused(sdk.CodeInvalid, "record", `{"model":"gpt-5","input_tokens":-5,"output_tokens":1}`)
	b.refused(sdk.CodeInvalid, "cost", `{"calls":[{"model":"gpt-5","input_tokens":1,"output_tokens":-1}]}`)
	b.refused(sdk.CodeInvalid, "reserve", `{"id":"x","model":"gpt-5","input_tokens":1,"output_tokens":-1}`)
	b.want(b.run("report", `{}`), "total.requests", 0)
}

// The old tracker took a file that it
// could not read for an empty one, and wrote over it.
func TestUpstreamCorruptDataOverwritten(t *testing.T) {
	b := setup(t, `{}`)
	one := `{"id":"a","time":"2026-09-01T00:00:00Z","model":"gpt-5","input_tokens":1000,"output_tokens":0}`
	b.run("record", one)
	h := b.host.(*sdktest.Host)
	for key, it := range h.Items {
		if strings.HasPrefix(key, wholeKeys) {
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
		if strings.HasPrefix(key, wholeKeys) && string(it.Value) != `"rubbish"` {
			t.Errorf("%s was overwritten: %s", key, it.Value)
		}
	}
}

// An unknown model cost 0, "to be recalculated later", which nothing did.
func TestUpstreamUnknownModelsCostNothingForever(t *testing.T) {
	b := setup(t, `{}`)
	b.want(b.run("record", `{"id":"a","model":"new","provider":"acme","input_tokens":1000000,"output_tokens":0}`), "record.cost_usd", nil)
	b.want(b.run("report", `{}`), "total.cost_usd", nil, "unpriced.0.model", "new")
	if err := b.Plugin.(sdk.Configurer).Configure(t.Context(), json.RawMessage(`{"prices":{"acme/new":{"input":2,"output":1}}}`)); err != nil {
		t.Fatal(err)
	}
	b.run("recompute", `{}`)
	b.want(b.run("report", `{}`), "total.cost_usd", 2, "unpriced.0", nil)
}

func TestUpstreamNoCachedOrReasoningPrices(t *testing.T) {
	b := setup(t, `{"prices":{"acme/x":{"input":10,"cached":1,"output":100,"reasoning":50}}}`)
	b.want(b.run("cost", `{"calls":[{"model":"x","provider":"acme","input_tokens":1000000,"cached_tokens":1000000,"output_tokens":1000000,"reasoning_tokens":1000000}]}`), "cost_usd", 51)
}

func TestUpstreamNoAttribution(t *testing.T) { // to a session, a task or a kind
	b := setup(t, `{}`)
	b.run("record", `{"id":"a","model":"gpt-5","input_tokens":1,"output_tokens":1,"session":"s","task":"tsk_9","kind":"agent.chat"}`)
	b.want(b.run("report", `{"group_by":"session"}`), "rows.0.session", "s")
	b.want(b.run("report", `{"group_by":"kind"}`), "rows.0.kind", "agent.chat")
	b.want(b.run("export", `{}`), "records.0.task", "tsk_9")
}

func TestUpstreamNoBudget(t *testing.T) {
	b := setup(t, `{"budgets":{"day":0.001}}`)
	b.refused(sdk.CodeBudgetExceeded, "reserve", `{"id":"a","model":"gpt-5","input_tokens":1000,"output_tokens":0}`)
}

// The last generation never called its tracker. Ours hears of every call by an event.
func TestUpstreamNeverRecorded(t *testing.T) {
	if subs := plugin().Info().Subscriptions; len(subs) != 1 || subs[0] != (sdk.Subscription{Type: "usage.recorded", Kind: "usage.record"}) {
		t.Errorf("%+v", subs)
	}
}

func TestUpstreamLocalTime(t *testing.T) { // of whatever machine it ran on
	for zone, day := range map[string]string{"UTC": "2026-09-01", "Asia/Tokyo": "2026-09-02"} {
		b := setup(t, `{"zone":"`+zone+`"}`)
		b.want(b.run("record", `{"id":"a","time":"2026-09-01T20:00:00Z","model":"gpt-5","input_tokens":1,"output_tokens":1}`), "record.day", day)
	}
}

// The map of days grew without end, and was read and written as a whole. What is read
// for an overview does not grow with the sessions that there ever were.
func TestUpstreamReadsAllThereEverWas(t *testing.T) {
	b := setup(t, `{}`)
	for i := range 500 {
		b.run("record", fmt.Sprintf(`{"id":"r%d","time":"2026-09-01T00:00:00Z","model":"gpt-5","input_tokens":4,"output_tokens":0,"session":"s%d"}`, i, i))
	}
	b.run("track", `{}`) // the first overview of a database looks at everything once
	read := 0
	store := b.host
	b.host = watched{store, func(reply []byte) { read += len(reply) }}
	for _, c := range []string{"track {}", "report {}", `report {"group_by":"model"}`, `report {"group_by":"kind","kind":""}`, "reset {}"} {
		kind, payload, _ := strings.Cut(c, " ")
		read = 0
		if b.run(kind, payload); read > 2000 {
			t.Errorf("%s read %d bytes", c, read)
		}
	}
	b.want(b.run("report", `{"group_by":"session","period":0}`), "total.requests", 500, "rows_left_out", 400)
}

// watched is a host that shows what it answers.
type watched struct {
	sdk.Host
	f func(reply []byte)
}

func (w watched) Call(ctx context.Context, op string, request []byte) ([]byte, error) {
	reply, err := w.Host.Call(ctx, op, request)
	w.f(reply)
	return reply, err
}
