package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
)

// openAI is the format of chat completions, which most servers speak.
type openAI struct {
	newLimit atomic.Bool // say max_completion_tokens, not max_tokens
	noUsage  atomic.Bool // do not ask for usage in the stream
	tools    encodedTools
}

// completionsRequest is a request without its messages and tools.
type completionsRequest struct {
	Model         string       `json:"model"`
	MaxTokens     int          `json:"max_tokens,omitempty"`
	MaxCompletion int          `json:"max_completion_tokens,omitempty"`
	Stream        bool         `json:"stream"`
	StreamOptions *chatOptions `json:"stream_options,omitempty"`
}

type chatOptions struct {
	IncludeUsage bool `json:"include_usage"`
}

type chatTool struct {
	Type     string       `json:"type"`
	Function chatFunction `json:"function"`
}

type chatFunction struct {
	Name        string          `json:"name"`
	Description string          `json:"description,omitempty"`
	Parameters  json.RawMessage `json:"parameters"`
}

func (o *openAI) request(req Request, key string) (map[string][]string, []byte, error) {
	q := completionsRequest{Model: req.Model, Stream: true}
	if o.newLimit.Load() {
		q.MaxCompletion = req.MaxTokens
	} else {
		q.MaxTokens = req.MaxTokens
	}
	if !o.noUsage.Load() {
		q.StreamOptions = &chatOptions{IncludeUsage: true}
	}
	all := said{json: beginBody(req)}
	if req.System != "" {
		all.json, all.last = append(appendQuoted(append(all.json, `{"role":"system","content":`...), req.System), '}'), "system"
	}
	if err := req.addMessages(o, &all); err != nil {
		return nil, nil, err
	}
	tools, err := o.tools.encode(req.Tools, func(t Tool) any {
		return chatTool{"function", chatFunction{t.Name, t.Description, objectSchema(t.Schema)}}
	})
	if err != nil {
		return nil, nil, err
	}
	header := map[string][]string{}
	if key != "" {
		header["Authorization"] = []string{"Bearer " + key}
	}
	b, err := endBody(all.json, tools, q)
	return header, b, err
}

// add implements wireFormat.
func (o *openAI) add(s *said, m *Message) error {
	if m.Role != "user" && m.Role != "assistant" && m.Role != "tool" {
		return fmt.Errorf("message of role %q: want user, assistant or tool", m.Role)
	}
	if m.Role == "assistant" && m.size() == 0 && len(m.Calls) == 0 {
		return nil
	}
	if s.last != "" {
		s.json = append(s.json, ',')
	}
	s.json, s.last = m.appendChat(s.json), m.Role
	return nil
}

// appendChat appends a message in this format.
func (m *Message) appendChat(b []byte) []byte {
	b = append(append(append(b, `{"role":"`...), m.Role...), `","content":`...)
	if m.size() > 0 || len(m.Calls) == 0 {
		b = m.appendText(b)
	} else {
		b = append(b, "null"...) // beside calls
	}
	if m.Role == "tool" {
		b = appendQuoted(append(b, `,"tool_call_id":`...), m.CallID)
	}
	for i, c := range m.Calls {
		if i == 0 {
			b = append(b, `,"tool_calls":[`...)
		} else {
			b = append(b, ',')
		}
		name, arguments := m.safe(c)
		b = appendQuoted(append(b, `{"id":`...), c.ID)
		b = appendQuoted(append(b, `,"type":"function","function":{"name":`...), name)
		b = appendQuoted(append(b, `,"arguments":`...), arguments)
		b = append(b, "}}"...)
		if i == len(m.Calls)-1 {
			b = append(b, ']')
		}
	}
	return append(b, '}')
}

// adapt follows the two parts of the format that servers disagree about.
func (o *openAI) adapt(e serverError) bool {
	text := e.Param + " " + e.Message
	unknown := e.Code == "unsupported_parameter" || e.Code == "unknown_parameter"
	for _, p := range []string{"not supported", "unsupported", "unrecognized", "unknown", "not permitted", "extra", "unexpected"} {
		unknown = unknown || strings.Contains(strings.ToLower(text), p)
	}
	if !unknown {
		return false
	}
	switch {
	case strings.Contains(text, "stream_options"), strings.Contains(text, "include_usage"):
		o.noUsage.Store(true)
		return true
	// A server that wants the new name says both, one that only knows the old says
	// the new one.
	case e.Param == "max_tokens", strings.Contains(text, "max_tokens"):
		o.newLimit.Store(true)
		return true
	case strings.Contains(text, "max_completion_tokens"):
		o.newLimit.Store(false)
		return true
	}
	return false
}

// chatChunk is an event of the stream, or (with Message) the whole answer.
type chatChunk struct {
	Model   string
	Choices []chatChoice
	Usage   *chatUsage
	Error   json.RawMessage
	Object  string
	Message json.RawMessage // of an error without an object of its own
}

type chatChoice struct {
	Index        int
	Delta        chatDelta
	Message      *chatDelta
	FinishReason string `json:"finish_reason"`
	Usage        *chatUsage
}

type chatDelta struct {
	Content          json.RawMessage // text, or a list of parts
	ReasoningContent piece           `json:"reasoning_content"`
	Reasoning        json.RawMessage // the same by another name
	Refusal          piece
	ToolCalls        []chatCallDelta `json:"tool_calls"`
}

type chatCallDelta struct {
	Index    *int
	ID       string
	Function struct {
		Name      string
		Arguments json.RawMessage // text; from some servers an object
	}
}

type chatUsage struct {
	PromptTokens     int `json:"prompt_tokens"`
	CompletionTokens int `json:"completion_tokens"`
	Details          struct {
		Cached int `json:"cached_tokens"`
	} `json:"prompt_tokens_details"`
	CacheHit int `json:"prompt_cache_hit_tokens"`
}

func (o *openAI) parser(b *replyBuilder) replyParser {
	return &chatParser{b: b, at: map[int]int{}, arguments: map[int]*seam{}}
}

// chatParser follows the stream of one answer.
type chatParser struct {
	b       *replyBuilder
	at      map[int]int // the newest call of each index on the wire
	refused bool

	text, thought seam
	arguments     map[int]*seam
}

var errNoAnswer = errors.New("an answer without a choice")

func (p *chatParser) event(data []byte) (last bool, err error) {
	if string(bytes.TrimSpace(data)) == "[DONE]" {
		if p.b.reply.Stop == "" {
			if !p.b.started {
				return false, errNoAnswer
			}
			p.stop("stop")
		}
		return true, nil
	}
	_, err = p.chunk(data)
	return false, err
}

func (p *chatParser) whole(data []byte) error {
	n, err := p.chunk(data)
	if err == nil && n == 0 {
		return errNoAnswer
	}
	if err == nil && p.b.reply.Stop == "" {
		p.stop("stop")
	}
	return err
}

// chunk takes one object and returns how many choices it has.
func (p *chatParser) chunk(data []byte) (choices int, err error) {
	var c chatChunk
	if err := json.Unmarshal(data, &c); err != nil {
		return 0, err
	}
	if len(c.Error) > 0 && string(c.Error) != "null" || c.Object == "error" {
		return 0, &streamError{bytes.Clone(data)}
	}
	if c.Model != "" {
		p.b.reply.Model = c.Model
	}
	p.usage(c.Usage)
	for _, choice := range c.Choices {
		if choice.Index != 0 {
			continue // one answer was asked for
		}
		p.usage(choice.Usage)
		if choice.Message != nil {
			choice.Delta = *choice.Message
		}
		if err := p.delta(choice.Delta); err != nil {
			return 0, err
		}
		if choice.FinishReason != "" {
			p.stop(choice.FinishReason)
		}
	}
	return len(c.Choices), nil
}

func (p *chatParser) delta(d chatDelta) error {
	reasoning := d.ReasoningContent
	if reasoning == (piece{}) {
		reasoning = partsText(d.Reasoning)
	}
	if err := p.b.addReasoning(p.thought.next(reasoning)); err != nil {
		return err
	}
	if err := p.b.addText(p.text.next(partsText(d.Content))); err != nil {
		return err
	}
	if d.Refusal != (piece{}) {
		p.refused = true
	}
	if err := p.b.addText(p.text.next(d.Refusal)); err != nil {
		return err
	}
	for _, call := range d.ToolCalls {
		i := p.place(call)
		if call.Index != nil {
			p.at[*call.Index] = i
		}
		if p.arguments[i] == nil {
			p.arguments[i] = &seam{}
		}
		if err := p.b.addCall(i, call.ID, call.Function.Name, p.arguments[i].next(argumentsText(call.Function.Arguments))); err != nil {
			return err
		}
	}
	return nil
}

// place is the call that a delta belongs to: that of its index, unless it begins
// another one under the same index, as some servers do; without an index that of its
// id, or the last.
func (p *chatParser) place(d chatCallDelta) int {
	calls := p.b.calls
	begins := func(i int) bool {
		return d.ID != "" && calls[i].id != "" && d.ID != calls[i].id && d.Function.Name != ""
	}
	if d.Index != nil {
		if i, ok := p.at[*d.Index]; ok && !begins(i) {
			return i
		}
		return len(calls)
	}
	for i := range calls {
		if d.ID != "" && calls[i].id == d.ID {
			return i
		}
	}
	if len(calls) == 0 || d.Function.Name != "" {
		return len(calls)
	}
	return len(calls) - 1
}

func (p *chatParser) stop(reason string) {
	stop := stopEnd
	switch reason {
	case "tool_calls", "function_call":
		stop = stopToolCalls
	case "length", "max_tokens":
		stop = stopLength
	case "content_filter":
		stop = stopRefusal
	}
	if p.refused {
		stop = stopRefusal
	}
	p.b.reply.Stop = stop
}

func (p *chatParser) usage(u *chatUsage) {
	if u != nil {
		p.b.reply.Usage = &Usage{u.PromptTokens, u.CompletionTokens, max(u.Details.Cached, u.CacheHit)}
	}
}

// partsText is the text of a content: a string, or a list of parts.
func partsText(raw json.RawMessage) (p piece) {
	if len(raw) == 0 || json.Unmarshal(raw, &p) == nil {
		return p
	}
	p = piece{}
	var parts []struct{ Text string }
	if json.Unmarshal(raw, &parts) != nil {
		return p
	}
	for _, part := range parts {
		p.text += part.Text
	}
	return p
}

// argumentsText is what a model wrote as arguments.
func argumentsText(raw json.RawMessage) (p piece) {
	if len(raw) == 0 || json.Unmarshal(raw, &p) == nil {
		return p
	}
	return piece{text: string(raw)}
}

// sentName is a tool's name as servers take it; a model may have invented another.
func sentName(name string) string {
	clean := strings.Map(func(r rune) rune {
		if r == '_' || r == '-' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' {
			return r
		}
		return '_'
	}, name)
	if clean == "" {
		return "unknown"
	}
	return clean[:min(len(clean), 64)]
}
