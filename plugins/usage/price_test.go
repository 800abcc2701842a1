package main

import (
	"encoding/json"
	"math"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/nagatha/nagatha-runtime/sdk"
)

func moment(t *testing.T, text string) sdk.Time {
	t.Helper()
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		t.Fatal(err)
	}
	return sdk.TimeOf(at)
}

func with(t *testing.T, config string) *usage {
	t.Helper()
	u := newUsage()
	if err := u.configure(t.Context(), json.RawMessage(config)); err != nil {
		t.Fatal(err)
	}
	return u
}

// TestPrices computes the expected costs by hand, from the prices in the comments
// (US dollars for a million tokens, which is micro-USD for one).
func TestPrices(t *testing.T) {
	u := with(t, `{"prices":{
		"local/*": {"input":0,"output":0},
		"local/big*": {"input":0.5,"output":1},
		"openai/gpt-4o": [{"input":1,"output":2},{"from":"2026-08-01","input":3,"output":4}],
		"acme/later": {"from":"2026-08-01","input":1,"output":1},
		"acme/tiered": {"input":{"base":1,"tiers":[{"start":1000,"price":2}]},"output":10,"cached":0.1,"request":5},
		"acme/night": [{"input":2,"output":2},{"start":"22:00","end":"06:00","input":1,"output":1}]}}`)
	summer, autumn := "2026-07-01T12:00:00Z", "2026-09-01T12:00:00Z"
	for name, c := range map[string]struct {
		provider, model, at string
		use                 tokens
		want                int64 // micro-USD; −1: unpriced
		version             string
	}{
		// gpt-5: 1.25 in, 0.125 cached, 10 out
		"plain":              {"openai", "gpt-5", autumn, tokens{Input: 1000, Output: 100}, 1250 + 1000, "genai-prices 0.1.8"},
		"cached":             {"openai", "gpt-5", autumn, tokens{Input: 1000, Output: 100, Cached: 800}, 250 + 100 + 1000, "genai-prices 0.1.8"},
		"by model":           {"", "gpt-5", autumn, tokens{Input: 1000, Output: 100}, 2250, "genai-prices 0.1.8"},
		"by address":         {"https://api.openai.com/v1", "gpt-5", autumn, tokens{Input: 1000, Output: 100}, 2250, "genai-prices 0.1.8"},
		"case and space":     {" OpenAI ", "GPT-5", autumn, tokens{Input: 1000, Output: 100}, 2250, "genai-prices 0.1.8"},
		"dated name":         {"openai", "gpt-5-2025-08-07", autumn, tokens{Input: 1000}, 1250, "genai-prices 0.1.8"},
		"short date":         {"openai", "gpt-5-20250807", autumn, tokens{Input: 1000}, 1250, "genai-prices 0.1.8"},
		"rounds up the half": {"openai", "gpt-5", autumn, tokens{Input: 2}, 3, "genai-prices 0.1.8"},
		"rounds once":        {"openai", "gpt-5", autumn, tokens{Input: 1, Cached: 1}, 0, "genai-prices 0.1.8"},
		"nothing":            {"openai", "gpt-5", autumn, tokens{}, 0, "genai-prices 0.1.8"},
		// claude-sonnet-4-5: 3 in, 3.75 cache write, 6 for an hour, 0.3 read, 15 out;
		// above 200,000 tokens of input 6, 7.5, 12, 0.6, 22.5
		"cache writes":    {"anthropic", "claude-sonnet-4-5", autumn, tokens{Input: 1000, Output: 10, Cached: 500, CacheWrite: 300, CacheWrite1h: 100}, 200*3 + 150 + 750 + 600 + 150, "genai-prices 0.1.8"},
		"below the tier":  {"anthropic", "claude-sonnet-4-5", autumn, tokens{Input: 200_000, Output: 10}, 600_000 + 150, "genai-prices 0.1.8"},
		"in the tier":     {"anthropic", "claude-sonnet-4-5", autumn, tokens{Input: 200_001, Output: 10}, 1_200_006 + 225, "genai-prices 0.1.8"},
		"tier and cached": {"anthropic", "claude-sonnet-4-5", autumn, tokens{Input: 300_000, Output: 1000, Cached: 200_000}, 600_000 + 120_000 + 22_500, "genai-prices 0.1.8"},
		// claude-opus-4-6 lost its tiers on 2026-03-13: 10 in above 200,000, then 5
		"before the date": {"anthropic", "claude-opus-4-6", "2026-03-12T23:59:59Z", tokens{Input: 300_000}, 3_000_000, "genai-prices 0.1.8"},
		"from the date":   {"anthropic", "claude-opus-4-6", "2026-03-13T00:00:00Z", tokens{Input: 300_000}, 1_500_000, "genai-prices 0.1.8"},
		// deepseek-reasoner: 0.55 in from 00:30 to 16:30 UTC, 0.135 else
		"in the hours":  {"deepseek", "deepseek-reasoner", "2026-07-01T16:29:59Z", tokens{Input: 1000}, 550, "genai-prices 0.1.8"},
		"off the hours": {"deepseek", "deepseek-reasoner", "2026-07-01T16:30:00Z", tokens{Input: 1000}, 135, "genai-prices 0.1.8"},
		// azure sells openai's: gpt-5
		"another's model": {"azure", "gpt-5", autumn, tokens{Input: 1000}, 1250, "genai-prices 0.1.8"},
		"by the hour":     {"groq", "whisper-large-v3", autumn, tokens{Input: 1}, -1, ""}, // not free
		"free":            {"github-copilot", "gpt-4o", autumn, tokens{Input: 1000, Output: 1000}, 0, "genai-prices 0.1.8"},
		// gpt-5.6-luna on aws: global 0.2, regional 1.1 until 2026-07-29 and then 0.22
		"another seller":     {"aws", "global.openai.gpt-5.6-luna", autumn, tokens{Input: 1000}, 200, "genai-prices 0.1.8"},
		"regional":           {"bedrock", "openai.gpt-5.6-luna", autumn, tokens{Input: 1000}, 220, "genai-prices 0.1.8"},
		"regional, at first": {"aws", "openai.gpt-5.6-luna", summer, tokens{Input: 1000}, 1100, "genai-prices 0.1.8"},
		"unknown model":      {"openai", "gpt-99", autumn, tokens{Input: 1000}, -1, ""},
		"unknown seller":     {"ollama", "gpt-5", autumn, tokens{Input: 1000}, -1, ""},
		"unknown at all":     {"", "nobody-knows", autumn, tokens{Input: 1000}, -1, ""},
		// overrides
		"own, free":         {"local", "llama", autumn, tokens{Input: 1000, Output: 1000}, 0, "config"},
		"own, more exact":   {"local", "big-llama", autumn, tokens{Input: 1000, Output: 1000}, 1500, "config"},
		"own, first":        {"openai", "gpt-4o", summer, tokens{Input: 1000, Output: 1000}, 3000, "config"},
		"own, dated":        {"openai", "gpt-4o", autumn, tokens{Input: 1000, Output: 1000}, 7000, "config"},
		"own, not yet":      {"acme", "later", summer, tokens{Input: 1000}, -1, ""},
		"own, now":          {"acme", "later", autumn, tokens{Input: 1000}, 1000, "config"},
		"own, tiered":       {"acme", "tiered", autumn, tokens{Input: 1001, Output: 1, Cached: 1000}, 2 + 100 + 10 + 5000, "config"},
		"own, at night":     {"acme", "night", "2026-07-01T23:00:00Z", tokens{Input: 1000}, 1000, "config"},
		"own, in the day":   {"acme", "night", "2026-07-01T12:00:00Z", tokens{Input: 1000}, 2000, "config"},
		"own, by its name":  {"", "tiered", autumn, tokens{Input: 1000}, -1, ""},
		"the most":          {"openai", "gpt-5", autumn, tokens{Input: maxTokens, Output: maxTokens}, 1_250_000_000 + 10_000_000_000, "genai-prices 0.1.8"},
		"reasoning, in out": {"openai", "gpt-5", autumn, tokens{Output: 100, Reasoning: 60}, 1000, "genai-prices 0.1.8"},
	} {
		got, from := u.quote(c.provider, c.model, c.use, moment(t, c.at))
		switch {
		case c.want < 0:
			if got != nil || from != nil {
				t.Errorf("%s: %v, %v, want no price", name, *got, from)
			}
		case got == nil:
			t.Errorf("%s: no price, want %d", name, c.want)
		case *got != c.want || from.Version != c.version && !(c.version == "config" && regexp.MustCompile(`^config [0-9a-f]{8}$`).MatchString(from.Version)):
			t.Errorf("%s: %d by %+v, want %d by %s", name, *got, from, c.want, c.version)
		}
	}
}

// TestGolden compares with what the data's own calculator says (prices/make.mjs).
func TestGolden(t *testing.T) {
	doc, err := os.ReadFile("prices/golden.json")
	if err != nil {
		t.Fatal(err)
	}
	var cases [][]any
	if err := json.Unmarshal(doc, &cases); err != nil || len(cases) < 500 {
		t.Fatal(len(cases), err)
	}
	u := newUsage()
	n := func(v any) int64 { return int64(v.(float64)) }
	for _, c := range cases {
		use := tokens{Input: n(c[3]), Cached: n(c[4]), CacheWrite: n(c[5]), Output: n(c[6])}
		got, from := u.quote(c[0].(string), c[1].(string), use, moment(t, c[2].(string)))
		want := c[8].(float64) * 1e6
		// What it says is a float; ours is exact, and differs only in the rounding.
		if got == nil || from.Model != c[7] || math.Abs(float64(*got)-want) > 0.5+1e-4 {
			t.Errorf("%v: %v, %+v", c, got, from)
		}
	}
}

// TestTable: every rule of the table can be read, and nothing in it is without effect.
func TestTable(t *testing.T) {
	var all table
	all.open()
	models := 0
	var check func(p *provider, c *clause)
	check = func(p *provider, c *clause) {
		if c == nil {
			return
		}
		set := len(c.Or) + len(c.And)
		for _, s := range []string{c.Equals, c.StartsWith, c.EndsWith, c.Contains, c.Regex} {
			if s != "" {
				set++
			}
			if s != strings.ToLower(s) && s != c.Regex {
				t.Errorf("%s: %q is not in lower case", p.ID, s)
			}
		}
		if set == 0 && c.Not == nil {
			t.Errorf("%s: an empty rule", p.ID)
		}
		if _, err := regexp.Compile(c.Regex); err != nil {
			t.Errorf("%s: %v", p.ID, err)
		}
		check(p, c.Not)
		for i := range c.Or {
			check(p, &c.Or[i])
		}
		for i := range c.And {
			check(p, &c.And[i])
		}
	}
	for _, p := range all.providers {
		check(p, p.Name)
		check(p, p.Model)
		if _, err := regexp.Compile(p.API); err != nil {
			t.Errorf("%s: %v", p.ID, err)
		}
		for _, m := range p.open() {
			models++
			check(p, &m.Match)
			if len(m.rates()) == 0 {
				t.Errorf("%s/%s has no prices", p.ID, m.ID)
			}
			for _, r := range m.rates() {
				if err := r.check(); err != nil {
					t.Errorf("%s/%s: %v", p.ID, m.ID, err)
				}
			}
		}
	}
	if len(all.providers) != 43 || models != 1694 || all.version != "genai-prices 0.1.8" {
		t.Errorf("%d providers, %d models, %q", len(all.providers), models, all.version)
	}
}

func TestConfigure(t *testing.T) {
	for config, ok := range map[string]bool{
		`{}`: true,
		`{"zone":"Europe/Berlin","keep":"48h","reservation":"1m","budgets":{"day":5,"session":null}}`: true,
		`{"zone":"Mars/Base"}`:                                    false,
		`{"keep":"1h"}`:                                           false,
		`{"reservation":"soon"}`:                                  false,
		`{"budgets":{"day":0.0000001}}`:                           false,
		`{"prices":{"gpt-5":{"input":1}}}`:                        false,
		`{"prices":{"a/b":{"inptu":1}}}`:                          false,
		`{"prices":{"a/b":{"input":-1}}}`:                         false,
		`{"prices":{"a/b":{"input":"x"}}}`:                        false,
		`{"prices":{"a/b":{"input":1,"from":"soon"}}}`:            false,
		`{"prices":{"a/b":{"input":1,"start":"25:00"}}}`:          false,
		`{"prices":{"a/b":[{"input":1},{"input":2,"from":"x"}]}}`: false,
	} {
		if err := newUsage().configure(t.Context(), json.RawMessage(config)); (err == nil) != ok {
			t.Errorf("%s: %v", config, err)
		}
	}
}

func TestMoney(t *testing.T) {
	for micro, want := range map[usd]string{0: "0", 1: "0.000001", 12_500: "0.0125", 1_000_000: "1", -1_500_000: "-1.5", 123_456_789_012: "123456.789012"} {
		b, err := json.Marshal(micro)
		var back usd
		if err != nil || string(b) != want || json.Unmarshal(b, &back) != nil || back != micro {
			t.Errorf("%d is %s and back %d, %v", int64(micro), b, int64(back), err)
		}
	}
	for _, bad := range []string{`0.0000001`, `"1"`, `1e12`, `1.0000005`} {
		var m usd
		if err := json.Unmarshal([]byte(bad), &m); err == nil {
			t.Errorf("%s became %s", bad, m)
		}
	}
}

func TestTokens(t *testing.T) {
	for _, bad := range []tokens{{Input: -1}, {Output: -1}, {Input: 1, Cached: -1}, {Input: 1, Cached: 2}, {Input: 10, Cached: 5, CacheWrite: 6},
		{Input: 10, CacheWrite: 1, CacheWrite1h: 2}, {Output: 1, Reasoning: 2}, {Input: maxTokens + 1}} {
		if err := bad.check(); sdk.CodeOf(err) != sdk.CodeInvalid {
			t.Errorf("%+v: %v", bad, err)
		}
	}
	if err := (tokens{Input: 10, Cached: 4, CacheWrite: 6, CacheWrite1h: 6, Output: 1, Reasoning: 1}).check(); err != nil {
		t.Error(err)
	}
}

// Of many calls it is said which one is wrong.
func TestWrongCallIsNamed(t *testing.T) {
	b := setup(t, `{}`)
	_, err := b.try("cost", `{"calls":[{"model":"gpt-5","input_tokens":1,"output_tokens":1},{"model":"gpt-5","input_tokens":1,"output_tokens":1,"cached_tokens":2}]}`)
	if e := sdk.AsError(err); err == nil || e.Code != sdk.CodeInvalid || len(e.Fields) != 1 || e.Fields[0].Field != "calls.1.cached_tokens" {
		t.Errorf("%v", err)
	}
}

// TestPricesAtHome prices the calls of a server on one's own machine: what plays a
// seller's model or passes it on costs what the seller takes, anything else only what
// the operator says.
func TestPricesAtHome(t *testing.T) {
	for _, c := range []struct {
		config, model string
		want          int64 // micro-USD for 1,000 tokens of input; −1: unpriced
	}{
		{`{}`, "gpt-5", 1250},
		{`{}`, "claude-sonnet-4-5", 3000},
		{`{}`, "qwen3", -1},
		{`{"prices":{"openai/gpt-5":{"input":2}}}`, "gpt-5", 2000},
		{`{"prices":{"local/*":{"input":0,"output":0}}}`, "gpt-5", 0},
		{`{"prices":{"local/*":{"input":0,"output":0}}}`, "qwen3", 0},
		{`{"prices":{"local/gpt-oss*":{"input":0,"output":0}}}`, "claude-sonnet-4-5", 3000},
	} {
		got, _ := with(t, c.config).quote("local", c.model, tokens{Input: 1000}, moment(t, "2026-09-01T12:00:00Z"))
		if want := c.want; (got == nil) != (want < 0) || got != nil && *got != want {
			t.Errorf("%s with %s: %v, want %d", c.model, c.config, value(got), want)
		}
	}
}

func value(n *int64) any {
	if n == nil {
		return nil
	}
	return *n
}
