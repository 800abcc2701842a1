package main

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/nagatha/nagatha-runtime/sdk"
)

func TestRecord(t *testing.T) {
	b := setup(t, `{}`)
	one := `{"id":"a","time":"2026-09-01T23:30:00Z","model":"gpt-5","provider":"openai","input_tokens":1000,"output_tokens":100,"cached_tokens":800,"session":"s1","task":"tsk_1","kind":"agent.chat"}`
	d := b.run("record", one)
	b.want(d, "created", true, "record.cost_usd", 0.00135, "record.cost_micro_usd", 1350, "record.day", "2026-09-01",
		"record.price.version", "genai-prices 0.1.8", "record.price.provider", "openai", "record.price.model", "gpt-5")
	b.want(b.run("record", one), "created", false, "record.cost_usd", 0.00135)
	b.want(b.run("report", `{}`), "total.requests", 1, "total.cost_usd", 0.00135, "rows.0.day", "2026-09-01", "rows.0.cached_tokens", 800)
	b.refused(sdk.CodeConflict, "record", strings.Replace(one, "1000", "1001", 1))

	// Without an id it is the task's, so another attempt counts nothing twice.
	for _, created := range []bool{true, false} {
		b.want(b.run("record", `{"model":"gpt-5","input_tokens":1,"output_tokens":1}`), "created", created, "record.id", "tsk_test")
	}
	for _, bad := range []string{`{"model":"m","input_tokens":-1,"output_tokens":0}`, `{"model":"m","input_tokens":1,"output_tokens":0,"cached_tokens":2}`} {
		b.refused(sdk.CodeInvalid, "record", bad)
	}
}

func TestRecordOfEvent(t *testing.T) {
	b := setup(t, `{}`)
	event := `{"event":{"id":"tsk_9/1/1","source":"plugin/agent","type":"usage.recorded","subject":"","time":"2026-09-01T12:00:00Z",
		"data":{"model":"gpt-5","provider":"openai","input_tokens":1000,"output_tokens":100,"cached_tokens":null,"session":"s1","task":"tsk_9","kind":"agent.chat","news":1}}}`
	b.want(b.run("record", event), "created", true, "record.id", "tsk_9/1/1", "record.day", "2026-09-01", "record.cost_usd", 0.00225, "record.session", "s1")
	b.want(b.run("record", event), "created", false)
	named := strings.Replace(event, `"data":{`, `"data":{"id":"mine",`, 1)
	b.want(b.run("record", named), "created", true, "record.id", "mine")
	for _, bad := range []string{`{"event":{"id":"x"}}`, `{"event":{"id":"x","data":null}}`, `{"event":{"id":"x","data":[]}}`,
		`{"event":{"id":"x","data":{"model":"m","input_tokens":1}}}`, `{"event":{"id":"x","data":{"model":"m","input_tokens":"1","output_tokens":1}}}`} {
		b.refused(sdk.CodeInvalidPayload, "record", bad)
	}
	b.refused(sdk.CodeInvalid, "record", `{"event":{"id":"x","data":{"model":"m","input_tokens":-1,"output_tokens":1}}}`)
}

func TestUnknownModelCostsNullAndCanBeRecomputed(t *testing.T) {
	b := setup(t, `{"budgets":{"day":1}}`)
	b.want(b.run("record", `{"id":"a","model":"new","provider":"acme","input_tokens":1000,"output_tokens":10,"session":"s"}`), "record.cost_usd", nil, "record.price", nil)
	b.run("record", `{"id":"b","model":"newer","provider":"acme","input_tokens":1000,"output_tokens":10}`)
	b.run("record", `{"id":"c","model":"gpt-5","provider":"openai","input_tokens":1000,"output_tokens":0}`)
	b.want(b.run("report", `{}`), "total.cost_usd", 0.00125, "total.unpriced_requests", 2)
	b.want(b.run("recompute", `{}`), "recomputed", 0, "still_unpriced", 2)
	if err := b.Plugin.(sdk.Configurer).Configure(t.Context(), json.RawMessage(`{"prices":{"acme/new*":{"input":1,"output":1}}}`)); err != nil {
		t.Fatal(err)
	}
	b.want(b.run("report", `{}`), "total.cost_usd", 0.00125, "total.unpriced_requests", 2) // only when asked for
	b.want(b.run("recompute", `{"model":"new"}`), "recomputed", 1, "still_unpriced", 0, "cost_usd", 0.00101)
	b.want(b.run("report", `{}`), "total.cost_usd", 0.00226, "total.unpriced_requests", 1, "total.requests", 3)
	b.want(b.run("recompute", `{}`), "recomputed", 1, "still_unpriced", 0)
	b.want(b.run("recompute", `{}`), "recomputed", 0, "still_unpriced", 0)
	b.want(b.run("report", `{}`), "total.cost_usd", 0.00327, "total.unpriced_requests", 0, "unpriced.0", nil)
	b.want(b.run("budget", `{"session":"s"}`), "day.spent_usd", 0.00327, "session.spent_usd", 0.00101)
	b.consistent()
}
