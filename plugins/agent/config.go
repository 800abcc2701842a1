package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/nagatha/nagatha-runtime/sdk"
)

const configSchema = `{"type":"object","additionalProperties":false,"properties":{
	"provider":{"enum":["","openai","anthropic"],"description":"the wire format; every server that speaks one of them works"},
	"base_url":{"type":"string","description":"of the model server; empty: the provider's own"},
	"usage_provider":{"type":"string","maxLength":200,"description":"whose prices hold, for plugin usage; empty: what base_url says"},
	"model":{"type":"string","description":"empty: none, and only slash commands work"},
	"models":{"type":"array","items":{"type":"string"},"description":"that /models shows besides model; a message may name any"},
	"key_secret":{"type":"string","description":"name of the granted secret with the key; default: OPENAI_API_KEY or ANTHROPIC_API_KEY"},
	"max_output_tokens":{"type":"integer","minimum":0},
	"context_window":{"type":"integer","minimum":0,"description":"tokens; 0: 64000"},
	"idle_timeout":{"type":"string"},
	"personality":{"type":"string"},
	"limits":{"type":"object","additionalProperties":false,"properties":{
		"steps":{"type":"integer","minimum":1},"tool_calls":{"type":"integer","minimum":0},"time":{"type":"string"},
		"tokens":{"type":"integer","minimum":0},"cost_usd":{"type":"number","minimum":0}}},
	"tools":{"type":"object","additionalProperties":{"enum":["auto","ask","deny"]},"description":"policies by pattern of the dotted name"},
	"approval_timeout":{"type":"string"},
	"tool_result_bytes":{"type":"integer","minimum":200,"maximum":131072}}}`

// config is the plugin's configuration with its defaults filled in.
type config struct {
	Provider        string            `json:"provider"`
	BaseURL         string            `json:"base_url"`
	UsageProvider   string            `json:"usage_provider"`
	Model           string            `json:"model"`
	Models          []string          `json:"models"`
	KeySecret       string            `json:"key_secret"`
	MaxOutputTokens int               `json:"max_output_tokens"`
	ContextWindow   int               `json:"context_window"`
	IdleTimeout     sdk.Duration      `json:"idle_timeout"`
	Personality     string            `json:"personality"`
	Limits          limits            `json:"limits"`
	Tools           map[string]string `json:"tools"`
	ApprovalTimeout sdk.Duration      `json:"approval_timeout"`
	ToolResultBytes int               `json:"tool_result_bytes"`
}

// limits of one turn. 0 tokens or cost: no limit.
type limits struct {
	Steps     int          `json:"steps"` // calls of the model
	ToolCalls *int         `json:"tool_calls"`
	Time      sdk.Duration `json:"time"` // without the waiting for people
	Tokens    int          `json:"tokens"`
	CostUSD   float64      `json:"cost_usd"`
}

const (
	defaultWindow      = 64_000
	defaultSteps       = 20
	defaultToolCalls   = 60
	defaultTime        = 10 * time.Minute
	defaultResultBytes = 16 << 10
	outputReserve      = 4096 // tokens kept free for a reply of no configured length
)

const defaultPersonality = `You are Nagatha, a personal assistant: warm, precise, and a little playful.
You help people keep track of what matters to them. You say what you know and what you do not know, and you never invent a result: when a tool can find something out, you use it.
You answer briefly unless asked for more.`

// agent is the plugin: its configuration and the client of its model.
type agent struct {
	config
	model Model // nil: none is configured
	known *known

	transcripts transcripts
}

func (a *agent) configure(_ context.Context, raw json.RawMessage) error {
	var c config
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&c); err != nil {
		return fmt.Errorf("config: %w", err)
	}
	for pattern := range c.Tools {
		if !sdk.ValidPattern(pattern) {
			return fmt.Errorf("config: tools: %q is no pattern; want dotted names such as \"memory.set\" or \"mcp.files.*\", > for the rest", pattern)
		}
	}
	if c.Limits.Time < 0 || c.ApprovalTimeout < 0 || c.IdleTimeout < 0 {
		return fmt.Errorf("config: durations must not be negative")
	}
	c.withDefaults()
	a.config, a.model, a.known = c, nil, &known{}
	a.transcripts.forget("") // another format may be another text
	if c.Model == "" {
		return nil
	}
	var err error
	a.model, err = newModel(modelConfig{Provider: c.Provider, BaseURL: c.BaseURL, Model: c.Model, KeySecret: c.KeySecret,
		IdleTimeout: c.IdleTimeout.Std(), MaxTokens: c.MaxOutputTokens, ContextWindow: c.ContextWindow})
	return err
}

func (c *config) withDefaults() {
	c.Provider = cmp.Or(c.Provider, "openai")
	if c.KeySecret == "" {
		c.KeySecret = "OPENAI_API_KEY"
		if c.Provider == "anthropic" {
			c.KeySecret = "ANTHROPIC_API_KEY"
		}
	}
	c.UsageProvider = cmp.Or(c.UsageProvider, seller(c.Provider, c.BaseURL))
	c.ContextWindow = cmp.Or(c.ContextWindow, defaultWindow)
	c.Personality = cmp.Or(c.Personality, defaultPersonality)
	c.Limits.Steps = cmp.Or(c.Limits.Steps, defaultSteps)
	c.Limits.Time = cmp.Or(c.Limits.Time, sdk.Duration(defaultTime))
	if c.Limits.ToolCalls == nil {
		n := defaultToolCalls
		c.Limits.ToolCalls = &n
	}
	c.ApprovalTimeout = cmp.Or(c.ApprovalTimeout, sdk.Duration(24*time.Hour))
	c.ToolResultBytes = cmp.Or(c.ToolResultBytes, defaultResultBytes)
}

// inputBudget is how many tokens a request may have, so that a reply fits behind it.
func (c *config) inputBudget() int {
	return max(c.ContextWindow-cmp.Or(c.MaxOutputTokens, outputReserve), c.ContextWindow/2)
}

// missing says which setting keeps the agent from using a model, or "".
func (a *agent) missing(ctx context.Context, host sdk.Host) string {
	variable, setting := "OPENAI_MODEL", "OPENAI_API_KEY"
	if a.Provider == "anthropic" {
		variable, setting = "ANTHROPIC_MODEL", "ANTHROPIC_API_KEY"
	}
	if a.model == nil {
		return fmt.Sprintf("No model is configured. Set the environment variable %s, or model in the config of plugin \"agent\" in config.hcl, and restart; "+
			"a server of your own also needs OPENAI_BASE_URL, a hosted one %s.", variable, setting)
	}
	if a.BaseURL == "" { // the provider's own server wants a key, always
		if key, err := sdk.Secret(ctx, host, a.KeySecret); err == nil && key == "" || sdk.CodeOf(err) == sdk.CodeCapabilityDenied {
			return fmt.Sprintf("There is no key for model %q. Set the environment variable %s, or secrets in the grant of plugin \"agent\" in config.hcl, and restart; "+
				"a server that needs none is named by base_url (OPENAI_BASE_URL).", a.Model, a.KeySecret)
		}
	}
	return ""
}
