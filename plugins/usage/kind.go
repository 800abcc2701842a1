package main

import (
	"encoding/json"
	"time"

	"github.com/nagatha/nagatha-runtime/sdk"
)

// The parts that the schemas share.
const (
	nameSchema  = `{"type":"string","maxLength":200}`
	idSchema    = `{"type":"string","minLength":1,"maxLength":200}`
	countSchema = `{"type":"integer","minimum":0,"maximum":1000000000}`
	moneySchema = `{"type":["number","null"]}`
	daySchema   = `{"type":"string","description":"a day, such as 2026-01-31"}`
	useSchema   = `"model":{"type":"string","minLength":1,"maxLength":200},
		"provider":{"type":"string","maxLength":200,"description":"such as openai, or its base URL; left out: the one whose model it evidently is"},
		"input_tokens":` + countSchema + `,"output_tokens":` + countSchema + `,
		"cached_tokens":{"type":"integer","minimum":0,"description":"the part of input_tokens that was read from a cache"},
		"cache_write_tokens":{"type":"integer","minimum":0,"description":"the part of input_tokens that was written to a cache"},
		"cache_write_1h_tokens":{"type":"integer","minimum":0,"description":"the part of cache_write_tokens that is kept for an hour"},
		"reasoning_tokens":{"type":"integer","minimum":0,"description":"the part of output_tokens that was reasoning"}`
	totalSchema = `"requests":{"type":"integer"},"unpriced_requests":{"type":"integer"},"input_tokens":{"type":"integer"},
		"output_tokens":{"type":"integer"},"cached_tokens":{"type":"integer"},"cost_usd":` + moneySchema + `,"cost_micro_usd":{"type":["integer","null"]}`
	standingSchema = `{"type":["object","null"],"properties":{"budget_usd":` + moneySchema + `,"spent_usd":{"type":"number"},"reserved_usd":{"type":"number"},"left_usd":` + moneySchema + `}}`
	budgetSchema   = `{"type":"object","required":["date","zone","day","session"],"properties":{"date":{"type":"string"},"zone":{"type":"string"},
		"day":` + standingSchema + `,"session":` + standingSchema + `,"every_session_usd":` + moneySchema + `}}`
	resetSchema  = `{"type":"object","required":["reset_timestamp","reset_count"],"properties":{"reset_timestamp":{"type":["string","null"]},"reset_count":{"type":"integer"}}}`
	formatSchema = `{"enum":["json","csv"],"default":"json"}`
)

func (u *usage) kinds() []sdk.Registration {
	return []sdk.Registration{
		sdk.Func(kind("record", "Records one call of a model: its tokens and what they cost. The same id counts once.",
			`"anyOf":[{"required":["event"]},{"required":["model","input_tokens","output_tokens"]}],"properties":{
				"id":`+idSchema+`,"time":{"type":"string"},`+useSchema+`,
				"session":`+nameSchema+`,"task":`+nameSchema+`,"kind":`+nameSchema+`,
				"reservation":{"type":"string","maxLength":200,"description":"the id of the reservation that this settles"},
				"event":{"type":"object","description":"a usage.recorded event, whose data has these members"}}`,
			`{"type":"object","required":["record","created"],"properties":{"created":{"type":"boolean"},"record":{"type":"object",
				"required":["id","day","model","provider","cost_usd","cost_micro_usd","price"]}}}`,
			`{"id":"example-1","model":"gpt-5","provider":"openai","input_tokens":1200,"output_tokens":300,"cached_tokens":1000,"session":"ses_example"}`,
			recorder), u.record),
		sdk.Func(kind("report", "Adds up requests, tokens and cost by day, model, session or kind.",
			`"properties":{"from":`+daySchema+`,"to":{"type":"string","description":"the last day"},
				"group_by":{"enum":["day","model","session","kind"],"default":"day"},
				"session":`+nameSchema+`,"model":`+nameSchema+`,"kind":`+nameSchema+`,
				"period":{"type":"integer","minimum":0,"description":"one before a reset: from 0; left out: the present one"},
				"limit":{"type":"integer","minimum":1,"maximum":500,"default":100},"format":`+formatSchema+`}`,
			`{"type":"object","required":["group_by","total","rows_left_out","period","zone"],"properties":{"total":{"type":"object","properties":{`+totalSchema+`}},
				"rows":{"type":"array","items":{"type":"object","required":["key"],"properties":{"key":{"type":"string"},`+totalSchema+`}}},
				"unpriced":{"type":"array"},"csv":{"type":"string"}}}`,
			`{"group_by":"model"}`, readOnly), u.report),
		sdk.Func(kind("track", "Sums up all usage since the last reset by model, with the last seven days of each.", `"properties":{}`,
			`{"type":"object","required":["success","usage_data","daily_totals","total_cost","total_requests","reset_info","timestamp"],"properties":{
				"success":{"const":true},"usage_data":{"type":"object"},"daily_totals":{"type":"object"},"total_cost":{"type":"number"},
				"total_requests":{"type":"integer"},"unpriced_requests":{"type":"integer"},"reset_info":`+resetSchema+`,"timestamp":{"type":"string"}}}`,
			`{}`, reading), u.track),
		sdk.Func(kind("reset", "Begins counting anew. What was counted is archived: usage.report still shows it under the old period.", `"properties":{}`,
			`{"type":"object","required":["period","reset_info","archived"],"properties":{"period":{"type":"integer"},"reset_info":`+resetSchema+`,"archived":{"type":"object"}}}`,
			`{}`), u.reset),
		sdk.Func(kind("prices", "Shows the price of a model, or the models of a provider, or all providers.",
			`"properties":{"provider":`+nameSchema+`,"model":`+nameSchema+`,"time":{"type":"string","description":"default now"}}`,
			`{"type":"object","required":["version"],"properties":{"version":{"type":"string"},"price":{"type":["object","null"]},
				"models":{"type":"array"},"providers":{"type":"array"},"own":{"type":"array"}}}`,
			`{"provider":"openai","model":"gpt-5"}`, readOnly), u.prices),
		sdk.Func(kind("cost", "Says what calls of models would cost, without recording them.",
			`"required":["calls"],"properties":{"calls":{"type":"array","maxItems":1000,"items":{"type":"object","additionalProperties":false,
				"required":["model","input_tokens","output_tokens"],"properties":{"time":{"type":"string"},`+useSchema+`}}}}`,
			`{"type":"object","required":["cost_usd","costs"],"properties":{"cost_usd":`+moneySchema+`,"costs":{"type":"array","items":`+moneySchema+`}}}`,
			`{"calls":[{"model":"gpt-5","provider":"openai","input_tokens":1000,"output_tokens":500}]}`, readOnly), u.cost),
		sdk.Func(kind("set_budget", "Sets how many US dollars a day, every session or one session may spend. null returns to what config.hcl says.",
			`"required":["scope","usd"],"properties":{"scope":{"enum":["day","session"]},"session":`+idSchema+`,
				"usd":{"type":["number","null"],"minimum":0}}`,
			budgetSchema, `{"scope":"session","session":"ses_example","usd":2.5}`, repeatable), u.setBudget),
		sdk.Func(kind("budget", "Shows today's budget and that of a session: spent, reserved and left.",
			`"properties":{"session":`+idSchema+`}`, budgetSchema, `{}`, readOnly), u.budget),
		sdk.Func(kind("reserve", "Sets money aside for a call that is about to be made, or fails with budget_exceeded.",
			`"required":["id","model","input_tokens","output_tokens"],"properties":{"id":`+idSchema+`,"model":{"type":"string","minLength":1,"maxLength":200},
				"provider":`+nameSchema+`,"session":`+nameSchema+`,"input_tokens":`+countSchema+`,"output_tokens":`+countSchema+`,
				"ttl":{"type":"string","description":"how long it holds, 1s to 24h; default 10m"}}`,
			`{"type":"object","required":["reserved_usd"],"properties":{"reserved_usd":`+moneySchema+`,"expires_at":{"type":["string","null"]}}}`,
			`{"id":"example-2","model":"gpt-5","provider":"openai","input_tokens":1000,"output_tokens":500}`, repeatable), u.reserve),
		sdk.Func(kind("release", "Gives back what was reserved for a call that is not made.",
			`"required":["id"],"properties":{"id":`+idSchema+`}`,
			`{"type":"object","required":["released"],"properties":{"released":{"type":"boolean"}}}`,
			`{"id":"example-2"}`, repeatable), u.release),
		sdk.Func(kind("recompute", "Prices the records that no price was known for when they were recorded.",
			`"properties":{"model":`+nameSchema+`}`,
			`{"type":"object","required":["recomputed","still_unpriced","cost_usd"],"properties":{"recomputed":{"type":"integer"},
				"still_unpriced":{"type":"integer"},"cost_usd":{"type":"number"}}}`,
			`{}`, repeatable, func(h *sdk.HandlerInfo) { h.Timeout = sdk.Duration(10 * time.Minute) }), u.recompute),
		sdk.Func(kind("export", "Reads the records, page by page.",
			`"properties":{"limit":{"type":"integer","minimum":1,"maximum":300,"default":100},"cursor":{"type":"string"},"format":`+formatSchema+`}`,
			`{"type":"object","required":["next_cursor"],"properties":{"records":{"type":"array"},"csv":{"type":"string"},"next_cursor":{"type":"string"}}}`,
			`{"limit":10}`, reading), u.export),
	}
}

func kind(name, description, payload, result, example string, more ...func(*sdk.HandlerInfo)) sdk.HandlerInfo {
	h := sdk.HandlerInfo{Kind: "usage." + name, Description: description,
		PayloadSchema: json.RawMessage(`{"type":"object","additionalProperties":false,` + payload + `}`),
		ResultSchema:  json.RawMessage(result), Example: json.RawMessage(example)}
	for _, f := range more {
		f(&h)
	}
	return h
}

// readOnly marks what an assistant may offer to a model. What changes money is not
// among it: a model must not raise its own budget.
func readOnly(h *sdk.HandlerInfo) { reading(h); h.Tool = true }

func reading(h *sdk.HandlerInfo) { h.ReadOnly, h.Idempotent = true, true }

func repeatable(h *sdk.HandlerInfo) { h.Idempotent = true }

// recorder marks what must not give up. Records that run side by side are written
// together; a few are enough for that, and leave the queue's slots to others.
func recorder(h *sdk.HandlerInfo) { h.Idempotent, h.MaxAttempts, h.Concurrency = true, 20, 16 }
