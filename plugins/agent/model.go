package main

import (
	"context"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"net/url"
	"strings"
	"time"

	"github.com/nagatha/nagatha-runtime/sdk"
)

// Model is a language model behind one of the two wire formats. It is safe for
// concurrent use.
//
// Stream makes one call. It calls on, in order and from one goroutine, for each
// piece as it arrives. What fails before the first piece is tried again, in the first
// attempt of a task; after it nothing is. With an error the Reply holds what had
// arrived, without Stop: its text may be shown, its calls may be incomplete and must
// not be made.
//
// The error is an *[sdk.Error] that says what to set, or the cause with which ctx
// ended. errors.Is tells [errContextLength], [errBetween] and [errTruncated] from the rest.
type Model interface {
	Stream(ctx context.Context, host sdk.Host, req Request, on func(Delta)) (Reply, error)
}

// Request is what a model is asked.
type Request struct {
	Model     string // default: the configured one
	System    string
	Past      *transcript // what comes before Messages; nil: nothing
	Messages  []Message
	Tools     []Tool // not changed once they were in a request
	MaxTokens int    // most tokens of the reply; 0: the configured number, or the server's own limit
}

// messages is how many there are.
func (r *Request) messages() int {
	if r.Past == nil {
		return len(r.Messages)
	}
	return r.Past.messages + len(r.Messages)
}

// Message is one of a conversation. Tool messages follow the assistant message
// whose call they answer, one for each of its calls.
type Message struct {
	Role    string // user, assistant, tool
	Text    string
	Calls   []ToolCall // of an assistant
	CallID  string     // of a tool: the call that it answers
	IsError bool       // of a tool

	// Quoted, where given, is the text in place of Text, as a JSON string. It is sent
	// as it is: see [scanner].
	Quoted string
	// Sound: the names of Calls are such that servers take them, and their arguments
	// are JSON objects. Otherwise that is seen to when they are sent.
	Sound bool
}

// ToolCall is a call that a model wants made. IDs are unique within a reply, also
// where the server sent none.
type ToolCall struct {
	ID, Name  string
	Arguments string // as the model wrote it, perhaps not JSON
}

// Tool is what a model may call.
type Tool struct {
	Name, Description string          // Name: ^[a-zA-Z0-9_-]{1,64}$
	Schema            json.RawMessage // JSON Schema of the arguments, an object; nil: there are none
}

// Delta is a piece of a reply: one of Text, Reasoning and Call.
type Delta struct {
	Text, Reasoning string
	Call            *ToolCall // begun or grown: Arguments is the new part; ID and Name when known
	Index           int       // of Call: its place in the reply's Calls
}

// Usage counts tokens as the server told them.
type Usage struct {
	InputTokens  int // all of them, cached ones included
	OutputTokens int
	CachedTokens int // of InputTokens
}

// Why a reply ended.
const (
	stopEnd       = "end"
	stopToolCalls = "tool_calls"
	stopLength    = "length"  // cut by MaxTokens or the context window; its calls may be incomplete
	stopRefusal   = "refusal" // the same holds for its calls
)

// Reply is the whole answer.
type Reply struct {
	Message Message
	Stop    string // end, tool_calls, length, refusal
	Usage   *Usage // nil: not told
	Model   string // as the server calls it
}

// What the loop can do something about.
var (
	// errContextLength: the request does not fit the model's context window.
	errContextLength = errors.New("longer than the model's context window")
	// errBetween: the call ended with its context while it waited for another try, so that
	// nothing was asked that would cost.
	errBetween = errors.New("between two tries")
	// errTruncated: the stream ended early, or stalled, in the middle of the reply.
	errTruncated = errors.New("the model's reply was cut off")
)

// modelConfig says which model is used and how.
type modelConfig struct {
	Provider      string        // wire format: openai (default) or anthropic
	BaseURL       string        // default: the provider's own
	Model         string        // default of Request.Model
	KeySecret     string        // name of the secret with the key; not granted: none is sent
	IdleTimeout   time.Duration // most time without a byte from the server; default 5m
	MaxTokens     int           // default of Request.MaxTokens
	ContextWindow int           // tokens; 0: not known
}

// The defaults of modelConfig.
const (
	defaultIdle          = 5 * time.Minute // a local server may read a long prompt for minutes
	defaultOpenAIURL     = "https://api.openai.com/v1"
	defaultAnthropicURL  = "https://api.anthropic.com/v1"
	anthropicMaxTokens   = 8192 // this format must name a number
	providerOpenAI       = "openai"
	providerAnthropic    = "anthropic"
	openAIPath           = "/chat/completions"
	anthropicPath        = "/messages"
	anthropicVersionDate = "2023-06-01"
)

// newModel makes the client of a model. It connects to nothing. Its errors name the
// setting that is wrong.
func newModel(c modelConfig) (Model, error) {
	if c.IdleTimeout < 0 || c.MaxTokens < 0 || c.ContextWindow < 0 {
		return nil, sdk.Invalid("model", "idle_timeout, max_output_tokens and context_window must not be negative")
	}
	if c.IdleTimeout == 0 {
		c.IdleTimeout = defaultIdle
	}
	m := &modelClient{config: c, wait: pause, random: rand.Float64}
	path, base := openAIPath, defaultOpenAIURL
	switch c.Provider {
	case "", providerOpenAI:
		m.format = &openAI{}
	case providerAnthropic:
		m.format, path, base = &anthropic{}, anthropicPath, defaultAnthropicURL
	default:
		return nil, sdk.Invalid("provider", "want %q or %q, not %q; every server that speaks one of them works, with its base_url",
			providerOpenAI, providerAnthropic, c.Provider)
	}
	if c.BaseURL != "" {
		base = strings.TrimSuffix(strings.TrimRight(c.BaseURL, "/"), path)
	}
	u, err := url.Parse(base)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, sdk.Invalid("base_url", "want one such as %q, without a query", "http://127.0.0.1:11434/v1")
	}
	if c.Provider == providerAnthropic && u.Path == "" {
		base += "/v1" // the address that this format's own clients take
	}
	m.url, m.host = base+path, u.Host
	if o, ok := m.format.(*openAI); ok {
		// Only the model server that invented max_completion_tokens is sure to know it.
		o.newLimit.Store(u.Hostname() == "api.openai.com")
	}
	return m, nil
}
