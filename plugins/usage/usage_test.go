package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nagatha/nagatha-runtime/sdk"
	"github.com/nagatha/nagatha-runtime/sdk/sdktest"
)

// bench is a plugin in this process, with its store.
type bench struct {
	*testing.T
	sdk.Plugin
	host sdk.Host
}

func setup(t *testing.T, config string) *bench {
	t.Helper()
	b := &bench{T: t, Plugin: plugin(), host: sdktest.NewHost()}
	if err := b.Plugin.(sdk.Configurer).Configure(t.Context(), json.RawMessage(config)); err != nil {
		t.Fatal(err)
	}
	return b
}

// doc is a result as JSON.
type doc map[string]any

// at digs a value out: "total.cost_usd", "rows.0.key".
func (d doc) at(path string) any {
	var v any = map[string]any(d)
	for part := range strings.SplitSeq(path, ".") {
		switch x := v.(type) {
		case map[string]any:
			v = x[part]
		case []any:
			i := 0
			if _, err := fmt.Sscan(part, &i); err != nil || i >= len(x) {
				return nil
			}
			v = x[i]
		default:
			return nil
		}
	}
	return v
}

func (b *bench) try(kind, payload string) (doc, error) {
	return handle(b.Context(), b.Plugin, b.host, kind, payload)
}

func handle(ctx context.Context, p sdk.Plugin, host sdk.Host, kind, payload string) (doc, error) {
	task := sdktest.Task("usage."+kind, payload)
	got, err := p.Handle(ctx, task, host)
	if err != nil {
		return nil, err
	}
	var d doc
	return d, json.Unmarshal(got, &d)
}

func (b *bench) run(kind, payload string) doc {
	b.Helper()
	d, err := b.try(kind, payload)
	if err != nil {
		b.Fatalf("%s %s: %v", kind, payload, err)
	}
	return d
}

// want compares values of a result: path, value, path, value…
func (b *bench) want(d doc, pairs ...any) {
	b.Helper()
	for i := 0; i < len(pairs); i += 2 {
		want := pairs[i+1]
		if n, ok := want.(int); ok {
			want = float64(n)
		}
		if got := d.at(pairs[i].(string)); got != want {
			b.Errorf("%s is %v, want %v", pairs[i], got, want)
		}
	}
}

func (b *bench) refused(code sdk.Code, kind, payload string) {
	b.Helper()
	if d, err := b.try(kind, payload); sdk.CodeOf(err) != code {
		b.Errorf("%s %s: %v, %v, want %s", kind, payload, d, err, code)
	}
}

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

func TestBudgets(t *testing.T) {
	b := setup(t, `{"budgets":{"session":0.01},"prices":{"p/*":{"input":1,"output":1}}}`)
	reserve := func(id, session string, input int) string {
		return fmt.Sprintf(`{"id":%q,"model":"m","provider":"p","session":%q,"input_tokens":%d,"output_tokens":0}`, id, session, input)
	}
	b.want(b.run("reserve", reserve("a", "s", 6000)), "reserved_usd", 0.006)
	b.want(b.run("reserve", reserve("a", "s", 6000)), "reserved_usd", 0.006) // the same one
	b.want(b.run("budget", `{"session":"s"}`), "session.reserved_usd", 0.006, "session.left_usd", 0.004, "day.reserved_usd", 0.006, "day.budget_usd", nil, "every_session_usd", 0.01)
	b.refused(sdk.CodeBudgetExceeded, "reserve", reserve("b", "s", 4001))
	b.want(b.run("reserve", reserve("b", "s", 4000)), "reserved_usd", 0.004) // exactly
	b.want(b.run("reserve", reserve("c", "other", 10000)), "reserved_usd", 0.01)
	b.want(b.run("release", `{"id":"b"}`), "released", true)
	b.want(b.run("release", `{"id":"b"}`), "released", false)
	// Settled: what it really cost counts, and the reservation is gone.
	b.run("record", `{"id":"r1","model":"m","provider":"p","session":"s","input_tokens":7000,"output_tokens":0,"reservation":"a"}`)
	b.want(b.run("budget", `{"session":"s"}`), "session.spent_usd", 0.007, "session.reserved_usd", 0, "session.left_usd", 0.003, "day.spent_usd", 0.007, "day.reserved_usd", 0.01)
	b.refused(sdk.CodeBudgetExceeded, "reserve", reserve("d", "s", 3001))
	// What is set by hand comes before config.hcl, the one session before all.
	b.want(b.run("set_budget", `{"scope":"session","usd":0.008}`), "session", nil, "every_session_usd", 0.008)
	b.refused(sdk.CodeBudgetExceeded, "reserve", reserve("d", "s", 1001))
	b.want(b.run("set_budget", `{"scope":"session","session":"s","usd":5}`), "session.budget_usd", 5)
	b.run("reserve", reserve("d", "s", 100000))
	b.want(b.run("set_budget", `{"scope":"session","session":"s","usd":null}`), "session.budget_usd", 0.008, "session.left_usd", 0)
	b.want(b.run("set_budget", `{"scope":"day","usd":0.12}`), "day.budget_usd", 0.12, "day.spent_usd", 0.007, "day.reserved_usd", 0.11)
	_, err := b.try("reserve", reserve("e", "third", 4000))
	if e := sdk.AsError(err); e.Code != sdk.CodeBudgetExceeded || e.Retryable || !strings.Contains(e.Message, "$0.12") || !strings.Contains(e.Message, "usage.set_budget") {
		t.Errorf("over the day's budget: %+v", e)
	}
	b.run("reserve", reserve("e", "third", 3000))
	// A model without a price cannot be reserved for, and is not refused for its price.
	b.want(b.run("reserve", `{"id":"f","model":"unknown","provider":"local","input_tokens":1,"output_tokens":1}`), "reserved_usd", nil)
	b.run("set_budget", `{"scope":"day","usd":0.001}`)
	b.refused(sdk.CodeBudgetExceeded, "reserve", `{"id":"g","model":"unknown","provider":"local","input_tokens":1,"output_tokens":1}`)
	b.refused(sdk.CodeInvalid, "set_budget", `{"scope":"day","session":"s","usd":1}`)
	b.consistent()
}

func TestReservationsExpire(t *testing.T) {
	b := setup(t, `{"budgets":{"day":0.01},"prices":{"p/*":{"input":1,"output":1}}}`)
	one := `{"id":"a","model":"m","provider":"p","session":"s","input_tokens":10000,"output_tokens":0,"ttl":"1s"}`
	b.run("reserve", one)
	b.refused(sdk.CodeBudgetExceeded, "reserve", strings.Replace(one, `"a"`, `"b"`, 1))
	// A second later, by the stored times.
	h := b.host.(*sdktest.Host)
	for key, it := range h.Items {
		var s spent
		if strings.HasPrefix(key, spentKeys) && json.Unmarshal(it.Value, &s) == nil {
			for id := range s.Holds {
				s.Holds[id] = reserved{s.Holds[id].Cost, sdk.Now()}
			}
			it.Value, _ = json.Marshal(s)
			h.Items[key] = it
		}
	}
	b.want(b.run("budget", `{"session":"s"}`), "day.reserved_usd", 0, "session.reserved_usd", 0)
	b.want(b.run("reserve", strings.Replace(one, `"a"`, `"b"`, 1)), "reserved_usd", 0.01)
}

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

// consistent checks that every total is the sum of the records.
func (b *bench) consistent() {
	b.Helper()
	consistent(b.T, b.host)
}

func consistent(t *testing.T, host sdk.Host) (records int) {
	t.Helper()
	want, got := map[string]totals{}, map[string]totals{}
	money := map[string]int64{}
	u := newUsage()
	err := each(t.Context(), host, recordKeys, "", func(_ string, value json.RawMessage) error {
		var r record
		if err := json.Unmarshal(value, &r); err != nil {
			return err
		}
		records++
		sum := want[r.cell()]
		sum.add(r)
		want[r.cell()] = sum
		if r.Cost != nil {
			for _, s := range u.scopes(r.Day, r.Session) {
				money[s.key()] += *r.Cost
			}
		}
		return nil
	})
	err = errors.Join(err, each(t.Context(), host, cellKeys, "", func(key string, value json.RawMessage) error {
		var a cell
		err := json.Unmarshal(value, &a)
		got[key] = a.totals
		return err
	}), each(t.Context(), host, spentKeys, "", func(key string, value json.RawMessage) error {
		var s spent
		if err := json.Unmarshal(value, &s); err != nil {
			return err
		}
		if s.Cost != money[key] {
			t.Errorf("%s has spent %d, its records %d", key, s.Cost, money[key])
		}
		return nil
	}))
	if err != nil {
		t.Fatal(err)
	}
	for key := range want {
		if want[key] != got[key] {
			t.Errorf("%s is %+v, its records %+v", key, got[key], want[key])
		}
	}
	if len(want) != len(got) {
		t.Errorf("%d cells, the records have %d", len(got), len(want))
	}
	return records
}

// faulty is a host whose operations now and then fail: before they are done, or after,
// when the caller cannot know.
type faulty struct {
	sdk.Host
	mu   sync.Mutex
	rng  *rand.Rand
	rate int // one in so many
}

var errFault = sdk.Errorf(sdk.CodeUnavailable, "injected")

func (f *faulty) Call(ctx context.Context, op string, request []byte) ([]byte, error) {
	f.mu.Lock()
	dice := f.rng.IntN(2 * f.rate)
	f.mu.Unlock()
	if dice == 0 {
		return nil, errFault
	}
	reply, err := f.Host.Call(ctx, op, request)
	if dice == 1 {
		return nil, errFault
	}
	return reply, err
}

// TestTotalsAreTheSumsOfTheRecords has several instances record at once, the same
// calls more than once, reserving, resetting and pricing meanwhile, on a store that fails.
func TestTotalsAreTheSumsOfTheRecords(t *testing.T) {
	for seed := range uint64(4) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			const instances, callers, calls = 3, 6, 25
			store := sdktest.NewHost()
			host := &faulty{Host: store, rng: rand.New(rand.NewPCG(seed, 1)), rate: 40}
			var wg sync.WaitGroup
			for i := range instances {
				p := plugin()
				config := `{"prices":{"local/*":{"input":0.3,"output":0.7}}}`
				if i == 0 { // knows prices that the others do not, and can add them later
					config = `{"prices":{"local/*":{"input":0.3,"output":0.7},"*/unknown":{"input":0.1,"output":0.9}}}`
				}
				if err := p.(sdk.Configurer).Configure(t.Context(), json.RawMessage(config)); err != nil {
					t.Fatal(err)
				}
				for c := range callers {
					wg.Go(func() {
						rng := rand.New(rand.NewPCG(seed, uint64(100+i*callers+c)))
						again := func(kind, payload string) {
							for range 1000 { // as the runtime does
								if _, err := handle(t.Context(), p, host, kind, payload); err == nil {
									return
								} else if !sdk.AsError(err).Retryable {
									t.Errorf("%s %s: %v", kind, payload, err)
									return
								}
							}
							t.Errorf("%s %s: never", kind, payload)
						}
						for n := range calls {
							id := fmt.Sprintf("call-%d-%d", c, n) // each instance records the same ones
							shared := rand.New(rand.NewPCG(seed, uint64(c*1000+n)))
							body := fmt.Sprintf(`"model":%q,"provider":%q,"session":%q,"input_tokens":%d,"output_tokens":%d`,
								[]string{"gpt-5", "m", "unknown"}[shared.IntN(3)], []string{"openai", "local", "none"}[shared.IntN(3)],
								[]string{"", "s1", "s2"}[shared.IntN(3)], shared.IntN(5000), shared.IntN(500))
							reserved := rng.IntN(2) == 0
							if reserved {
								again("reserve", `{"id":"`+id+`",`+body+`}`)
							}
							if rng.IntN(4) == 0 {
								again("release", `{"id":"`+id+`"}`)
							}
							again("record", fmt.Sprintf(`{"id":%q,"time":"2026-09-0%dT12:00:00Z","kind":"agent.chat","reservation":%q,%s}`, id, 1+n%3, id, body))
							if rng.IntN(30) == 0 { // once, as far as it comes
								_, err := handle(t.Context(), p, host, "recompute", `{}`)
								if err != nil && !errors.Is(err, errFault) {
									t.Error(err)
								}
							}
							if rng.IntN(60) == 0 {
								again("reset", `{}`)
							}
						}
					})
				}
			}
			wg.Wait()
			if n := consistent(t, store); n != callers*calls {
				t.Errorf("%d records, want %d", n, callers*calls)
			}
		})
	}
}

// TestThousandAtOnce: nothing is lost where the old tracker, which read, changed and
// wrote a whole file, lost updates; and no attempt fails because of the others.
func TestThousandAtOnceLoseNoUpdateUnlikeBefore(t *testing.T) {
	store := sdktest.NewHost()
	instances := []sdk.Plugin{plugin(), plugin(), plugin(), plugin()}
	var wg sync.WaitGroup
	for i := range 1000 {
		wg.Go(func() {
			payload := fmt.Sprintf(`{"id":"r%d","time":"2026-09-01T12:00:00Z","model":"gpt-5","provider":"openai","session":"s","input_tokens":%d,"output_tokens":1}`, i, i)
			if _, err := handle(t.Context(), instances[i%4], store, "record", payload); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	b := &bench{T: t, Plugin: instances[0], host: store}
	want := int64(0) // each costs i·1.25 + 10, rounded up from the half
	for i := range int64(1000) {
		want += (i*125 + 1000 + 50) / 100
	}
	b.want(b.run("report", `{}`), "total.requests", 1000, "total.cost_micro_usd", int(want), "total.input_tokens", 499500)
	if n := consistent(t, store); n != 1000 {
		t.Errorf("%d records", n)
	}
}

// TestReservationOfYesterday: a call that is recorded after midnight ends the
// reservation of the day before, and costs its own day.
func TestReservationOfYesterday(t *testing.T) {
	b := setup(t, `{"prices":{"p/*":{"input":1,"output":1}}}`)
	b.run("reserve", `{"id":"a","model":"m","provider":"p","session":"s","input_tokens":1000,"output_tokens":0}`)
	today := time.Now().UTC().Format(time.DateOnly)
	b.run("record", `{"id":"a","time":"2026-01-02T00:00:01Z","model":"m","provider":"p","session":"s","input_tokens":900,"output_tokens":0,"reservation":"a"}`)
	b.want(b.run("budget", `{"session":"s"}`), "date", today, "day.reserved_usd", 0, "day.spent_usd", 0, "session.spent_usd", 0.0009, "session.reserved_usd", 0)
	b.want(b.run("release", `{"id":"a"}`), "released", false)
	b.consistent()
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
