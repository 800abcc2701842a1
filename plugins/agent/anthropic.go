package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
)

// anthropic is the format of Anthropic's messages.
type anthropic struct{ tools encodedTools }

// messagesRequest is a request without its messages and tools.
type messagesRequest struct {
	Model     string           `json:"model"`
	MaxTokens int              `json:"max_tokens"`
	System    []messageContent `json:"system,omitempty"`
	Stream    bool             `json:"stream"`
}

type messageContent struct {
	Type  string        `json:"type"`
	Text  string        `json:"text"`
	Cache *cacheControl `json:"cache_control,omitempty"`
}

type cacheControl struct {
	Type string `json:"type"`
}

type anthropicTool struct {
	Name        string          `json:"name"`
	Description string          `json:"description,omitempty"`
	InputSchema json.RawMessage `json:"input_schema"`
}

func (a *anthropic) request(req Request, key string) (map[string][]string, []byte, error) {
	q := messagesRequest{Model: req.Model, MaxTokens: req.MaxTokens, Stream: true}
	if q.MaxTokens == 0 {
		q.MaxTokens = anthropicMaxTokens
	}
	// The next call of a conversation begins like this one: what is kept up to these
	// two places is read for a tenth of the price.
	if req.System != "" {
		q.System = []messageContent{{Type: "text", Text: req.System, Cache: &cacheControl{"ephemeral"}}}
	}
	all := said{json: beginBody(req)}
	if err := req.addMessages(a, &all); err != nil {
		return nil, nil, err
	}
	b := all.json
	if all.last != "" {
		b = append(b[:len(b)-1], `,"cache_control":{"type":"ephemeral"}}]}`...)
	}
	tools, err := a.tools.encode(req.Tools, func(t Tool) any { return anthropicTool{t.Name, t.Description, objectSchema(t.Schema)} })
	if err != nil {
		return nil, nil, err
	}
	header := map[string][]string{"Anthropic-Version": {anthropicVersionDate}}
	if key != "" {
		header["X-Api-Key"] = []string{key}
	}
	b, err = endBody(b, tools, q)
	return header, b, err
}

// add implements wireFormat. Roles alternate in this format: results, and what the user
// says after them, are one message, which has no end until another role speaks.
func (*anthropic) add(s *said, m *Message) error {
	role := m.Role
	switch m.Role {
	case "tool":
		role = "user"
	case "user", "assistant":
		if m.blank() && len(m.Calls) == 0 {
			return nil
		}
	default:
		return fmt.Errorf("message of role %q: want user, assistant or tool", m.Role)
	}
	b := s.json
	switch {
	case role == s.last:
		b = append(b, ',')
	case s.last != "":
		b = append(b, "]},"...)
	}
	if role != s.last {
		b = append(append(append(b, `{"role":"`...), role...), `","content":[`...)
	}
	s.json, s.last = m.appendBlocks(b), role
	return nil
}

// appendBlocks appends the blocks of a message; it has one at least. Text that is
// nothing but white space is none: models write it before their calls, and the server
// refuses to be told of it.
func (m *Message) appendBlocks(b []byte) []byte {
	if m.Role == "tool" {
		b = appendQuoted(append(b, `{"type":"tool_result","tool_use_id":`...), m.CallID)
		if !m.blank() {
			b = m.appendText(append(b, `,"content":`...))
		}
		if m.IsError {
			b = append(b, `,"is_error":true`...)
		}
		return append(b, '}')
	}
	text := !m.blank()
	if text {
		b = append(m.appendText(append(b, `{"type":"text","text":`...)), '}')
	}
	for i, c := range m.Calls {
		if i > 0 || text {
			b = append(b, ',')
		}
		name, arguments := m.safe(c)
		b = appendQuoted(append(b, `{"type":"tool_use","id":`...), c.ID)
		b = appendQuoted(append(b, `,"name":`...), name)
		b = append(append(append(b, `,"input":`...), arguments...), '}')
	}
	return b
}

// adapt has nothing to adapt: there is one definition of this format.
func (*anthropic) adapt(serverError) bool { return false }

// messageEvent is an event of the stream.
type messageEvent struct {
	Type    string
	Index   int
	Message messageWhole
	Block   messageBlock `json:"content_block"`
	Delta   struct {
		Type        string
		Text        piece
		Thinking    piece
		PartialJSON piece  `json:"partial_json"`
		StopReason  string `json:"stop_reason"`
	}
	Usage messageUsage
}

// messageWhole is an answer, in a stream without content.
type messageWhole struct {
	Type       string
	Model      string
	Content    []messageBlock
	StopReason string `json:"stop_reason"`
	Usage      messageUsage
}

type messageBlock struct {
	Type, Text, Thinking string
	ID, Name             string
	Input                json.RawMessage
}

type messageUsage struct {
	Input      *int `json:"input_tokens"` // without the cached ones
	Output     *int `json:"output_tokens"`
	CacheRead  *int `json:"cache_read_input_tokens"`
	CacheWrite *int `json:"cache_creation_input_tokens"`
}

func (*anthropic) parser(b *replyBuilder) replyParser {
	return &messagesParser{b: b, calls: map[int]int{}, inputs: map[int]json.RawMessage{}, seams: map[int]*seam{}}
}

// messagesParser follows the stream of one answer.
type messagesParser struct {
	b      *replyBuilder
	calls  map[int]int             // blocks that are calls, and their places in the reply
	inputs map[int]json.RawMessage // whole arguments, until it shows whether pieces follow
	seams  map[int]*seam           // of the pieces of each block

	input, output, read, write int
}

func (p *messagesParser) event(data []byte) (last bool, err error) {
	var e messageEvent
	if err := json.Unmarshal(data, &e); err != nil {
		return false, err
	}
	switch e.Type {
	case "error":
		return false, &streamError{bytes.Clone(data)}
	case "message_start":
		p.begin(e.Message)
	case "content_block_start":
		return false, p.block(e.Index, e.Block)
	case "content_block_delta":
		switch e.Delta.Type {
		case "text_delta":
			return false, p.b.addText(p.seam(e.Index).next(e.Delta.Text))
		case "thinking_delta":
			return false, p.b.addReasoning(p.seam(e.Index).next(e.Delta.Thinking))
		case "input_json_delta":
			if i, ok := p.calls[e.Index]; ok && e.Delta.PartialJSON != (piece{}) {
				delete(p.inputs, e.Index)
				return false, p.b.addCall(i, "", "", p.seam(e.Index).next(e.Delta.PartialJSON))
			}
		}
	case "content_block_stop":
		return false, p.flush(e.Index)
	case "message_delta":
		p.usage(e.Usage)
		if e.Delta.StopReason != "" {
			p.stop(e.Delta.StopReason)
		}
	case "message_stop":
		if p.b.reply.Stop == "" {
			p.stop("end_turn")
		}
		return true, p.flushAll()
	}
	return false, nil // a ping, or what this version does not know
}

func (p *messagesParser) whole(data []byte) error {
	var m messageWhole
	if err := json.Unmarshal(data, &m); err != nil {
		return err
	}
	if m.Type == "error" || m.Type != "message" && len(m.Content) == 0 {
		return &streamError{bytes.Clone(data)}
	}
	p.begin(m)
	for i, block := range m.Content {
		if err := p.block(i, block); err != nil {
			return err
		}
		if err := p.flush(i); err != nil {
			return err
		}
	}
	p.stop(m.StopReason)
	return nil
}

func (p *messagesParser) begin(m messageWhole) {
	if m.Model != "" {
		p.b.reply.Model = m.Model
	}
	p.usage(m.Usage)
}

func (p *messagesParser) seam(index int) *seam {
	if p.seams[index] == nil {
		p.seams[index] = &seam{}
	}
	return p.seams[index]
}

// block begins a block, which may have some or all of its content already.
func (p *messagesParser) block(index int, block messageBlock) error {
	switch block.Type {
	case "text":
		return p.b.addText(block.Text)
	case "thinking":
		return p.b.addReasoning(block.Thinking)
	case "tool_use":
		i := len(p.b.calls)
		p.calls[index] = i
		if input := bytes.TrimSpace(block.Input); len(input) > 0 && string(input) != "{}" && string(input) != "null" {
			p.inputs[index] = bytes.Clone(input)
		}
		return p.b.addCall(i, block.ID, block.Name, "")
	}
	return nil
}

// flush adds arguments that came whole.
func (p *messagesParser) flush(index int) error {
	input, ok := p.inputs[index]
	if !ok {
		return nil
	}
	delete(p.inputs, index)
	return p.b.addCall(p.calls[index], "", "", string(input))
}

func (p *messagesParser) flushAll() error {
	for _, index := range slices.Sorted(maps.Keys(p.inputs)) {
		if err := p.flush(index); err != nil {
			return err
		}
	}
	return nil
}

func (p *messagesParser) stop(reason string) {
	stop := stopEnd
	switch reason {
	case "tool_use":
		stop = stopToolCalls
	case "max_tokens", "model_context_window_exceeded":
		stop = stopLength
	case "refusal":
		stop = stopRefusal
	}
	p.b.reply.Stop = stop
}

// usage takes counts, each of which is of the whole message so far.
func (p *messagesParser) usage(u messageUsage) {
	take := func(to, n *int) {
		if n != nil {
			*to = *n
		}
	}
	take(&p.input, u.Input)
	take(&p.output, u.Output)
	take(&p.read, u.CacheRead)
	take(&p.write, u.CacheWrite)
	p.b.reply.Usage = &Usage{p.input + p.read + p.write, p.output, p.read}
}
