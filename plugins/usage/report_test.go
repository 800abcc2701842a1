package main

import (
	"fmt"
	"testing"

	"github.com/nagatha/nagatha-runtime/sdk"
)

func TestReport(t *testing.T) {
	b := setup(t, `{"zone":"Europe/Berlin","prices":{"p/*":{"input":1,"output":2}}}`)
	for i, r := range []string{
		`"time":"2026-09-01T21:59:59Z","model":"m","provider":"p","session":"s1","kind":"agent.chat"`, // 1 September in Berlin
		`"time":"2026-09-01T22:00:00Z","model":"m","provider":"p","session":"s2","kind":"agent.chat"`, // 2 September
		`"time":"2026-09-02T12:00:00Z","model":"n","provider":"p","session":"s1","kind":"agent.summarize"`,
		`"time":"2026-09-03T12:00:00Z","model":"m","provider":"q","session":"s1","kind":"=1+1"`, // unpriced
	} {
		b.run("record", fmt.Sprintf(`{"id":"r%d","input_tokens":%d,"output_tokens":1,%s}`, i, 10*(i+1), r))
	}
	d := b.run("report", `{}`)
	b.want(d, "zone", "Europe/Berlin", "group_by", "day", "total.requests", 4, "total.unpriced_requests", 1, "total.input_tokens", 100, "total.cost_usd", 0.000066,
		"rows.0.key", "2026-09-01", "rows.0.cost_usd", 0.000012, "rows.1.key", "2026-09-02", "rows.1.cost_usd", 0.000054,
		"rows.2.key", "2026-09-03", "rows.2.cost_usd", nil, "rows.2.cost_micro_usd", nil, "rows.3", nil,
		"unpriced.0.provider", "q", "unpriced.0.model", "m", "unpriced.0.requests", 1, "unpriced.1", nil)
	d = b.run("report", `{"group_by":"model"}`)
	b.want(d, "rows.0.model", "m", "rows.0.provider", "p", "rows.0.cost_usd", 0.000034, "rows.1.model", "n", "rows.2.provider", "q", "rows.2.cost_usd", nil)
	b.want(b.run("report", `{"group_by":"session"}`), "rows.0.session", "s1", "rows.0.requests", 3, "rows.0.unpriced_requests", 1, "rows.1.session", "s2")
	b.want(b.run("report", `{"group_by":"kind","limit":1}`), "rows.0.kind", "agent.chat", "rows.1", nil, "rows_left_out", 2, "total.requests", 4)
	b.want(b.run("report", `{"from":"2026-09-02","to":"2026-09-02"}`), "total.requests", 2, "from", "2026-09-02")
	b.want(b.run("report", `{"from":"2026-09-02"}`), "total.requests", 3)
	b.want(b.run("report", `{"to":"2026-09-01"}`), "total.requests", 1)
	b.want(b.run("report", `{"from":"2026-09-01T22:00:00Z","to":"2026-09-03T00:00:00+02:00"}`), "total.requests", 2, "to", "2026-09-02")
	b.want(b.run("report", `{"from":"2026-09-04"}`), "total.requests", 0, "total.cost_usd", 0, "rows.0", nil)
	b.want(b.run("report", `{"session":"s1","model":"m","kind":"agent.chat"}`), "total.requests", 1)
	b.refused(sdk.CodeInvalid, "report", `{"from":"2026-09-02T13:00:00Z"}`)
	b.refused(sdk.CodeInvalid, "report", `{"to":"yesterday"}`)
	b.refused(sdk.CodeInvalid, "report", `{"period":1}`)
	b.want(b.run("report", `{"group_by":"kind","format":"csv"}`), "csv", "kind,provider,requests,unpriced_requests,input_tokens,output_tokens,cached_tokens,cost_usd\n"+
		"agent.chat,,2,0,30,2,0,0.000034\nagent.summarize,,1,0,30,1,0,0.000032\n'=1+1,,1,1,40,1,0,\n")

	d = b.run("export", `{"limit":3}`)
	b.want(d, "records.0.id", "r0", "records.2.id", "r2", "records.3", nil, "records.0.cost_usd", 0.000012)
	d = b.run("export", fmt.Sprintf(`{"limit":3,"format":"csv","cursor":%q}`, d["next_cursor"]))
	b.want(d, "next_cursor", "", "csv", "id,time,provider,model,session,task,kind,input_tokens,output_tokens,cached_tokens,cost_usd,price_version\n"+
		"r3,2026-09-03T12:00:00.000Z,q,m,s1,,'=1+1,40,1,0,,\n")
}

func TestPricesAreShown(t *testing.T) {
	b := setup(t, `{"prices":{"local/*":{"input":0.5,"output":1}}}`)
	b.want(b.run("prices", `{"provider":"openai","model":"gpt-5"}`), "version", "genai-prices 0.1.8", "price.usd_per_million_tokens.input", 1.25,
		"price.usd_per_million_tokens.cached", 0.125, "price.source.model", "gpt-5")
	b.want(b.run("prices", `{"provider":"anthropic","model":"claude-sonnet-4-5"}`), "price.usd_per_million_tokens.input.base", 3,
		"price.usd_per_million_tokens.input.tiers.0.start", 200000, "price.usd_per_million_tokens.input.tiers.0.price", 6)
	b.want(b.run("prices", `{"provider":"local","model":"llama"}`), "price.usd_per_million_tokens.input", 0.5)
	b.want(b.run("prices", `{"model":"none"}`), "price", nil)
	b.want(b.run("prices", `{}`), "providers.0", "anthropic", "own.0", "local/*")
	b.want(b.run("prices", `{"provider":"Groq"}`), "provider", "groq")
	b.refused(sdk.CodeNotFound, "prices", `{"provider":"nobody"}`)
}

// TestReportReadsEveryPage has more cells than a page of the store.
func TestReportReadsEveryPage(t *testing.T) {
	b := setup(t, `{}`)
	for i := range 1203 {
		b.run("record", fmt.Sprintf(`{"id":"r%d","time":"2026-09-0%dT00:00:00Z","model":"gpt-5","provider":"openai","input_tokens":4,"output_tokens":0,"session":"s%d"}`, i, 1+i%3, i))
	}
	b.want(b.run("report", `{"group_by":"session","limit":500}`), "total.requests", 1203, "total.cost_usd", 0.006015, "rows_left_out", 703)
	b.want(b.run("report", `{"from":"2026-09-02","to":"2026-09-02"}`), "total.requests", 401, "rows.0.key", "2026-09-02", "rows.1", nil)
	b.want(b.run("track", `{}`), "total_requests", 1203)
}
