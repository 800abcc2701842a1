package main

import (
	"encoding/json"
	"strings"
	"sync"
	"unicode/utf8"
)

// The body of a request is put together here from parts that are JSON already: see
// [scanner] for why.

// said is a part of a conversation in a server's format, without an end.
type said struct {
	json []byte
	last string // role of the last message, as it is sent; "": there is none
}

// beginBody begins a body, up to where the messages stand.
func beginBody(req Request) []byte {
	n := requestBytes(req)
	if req.Past != nil {
		n += len(req.Past.json) - req.Past.size
	}
	return append(make([]byte, 0, n*5/4+1024), `{"messages":[`...)
}

// addMessages appends all that is said in a request.
func (req *Request) addMessages(f wireFormat, s *said) error {
	if p := req.Past; p != nil {
		if err := p.encode(f); err != nil {
			return err
		}
		if s.last != "" && p.last != "" {
			s.json = append(s.json, ',')
		}
		if p.last != "" {
			s.json, s.last = append(s.json, p.json...), p.last
		}
	}
	for i := range req.Messages {
		if err := f.add(s, &req.Messages[i]); err != nil {
			return err
		}
	}
	return nil
}

// endBody ends it: after the messages with the encoded tools, and with what else a
// request says, which is an object of a few small fields.
func endBody(b, tools []byte, rest any) ([]byte, error) {
	small, err := json.Marshal(rest)
	if err != nil {
		return nil, err
	}
	b = append(b, ']')
	if len(tools) > 0 {
		b = append(append(b, `,"tools":`...), tools...)
	}
	b = append(b, ',')
	return append(b, small[1:]...), nil
}

// appendText appends a message's text as a JSON string.
func (m *Message) appendText(b []byte) []byte {
	if m.Quoted != "" {
		return append(b, m.Quoted...)
	}
	return appendQuoted(b, m.Text)
}

// size is about how many bytes of text a message has.
func (m *Message) size() int {
	if m.Quoted != "" {
		return len(m.Quoted) - len(`""`)
	}
	return len(m.Text)
}

// blank reports whether a message has no text but white space.
func (m *Message) blank() bool {
	if m.Quoted == "" {
		return strings.TrimSpace(m.Text) == ""
	}
	for s := strings.Trim(m.Quoted, `"`); s != ""; s = s[1:] {
		switch {
		case s[0] == '\\' || s[0] >= utf8.RuneSelf: // rare at the beginning: only the text itself says
			return strings.TrimSpace(unquote(m.Quoted)) == ""
		case s[0] != ' ':
			return false
		}
	}
	return true
}

// requestBytes is what of a request becomes tokens.
func requestBytes(req Request) int {
	n := len(req.System)
	if req.Past != nil {
		n += req.Past.size
	}
	for i := range req.Messages {
		n += messageBytes(&req.Messages[i])
	}
	for _, tool := range req.Tools {
		n += len(tool.Name) + len(tool.Description) + len(tool.Schema) + perMessage
	}
	return n
}

// perMessage is about what a message costs beside its text.
const perMessage = 16

func messageBytes(m *Message) int {
	n := m.size() + perMessage
	for _, c := range m.Calls {
		n += len(c.Name) + len(c.Arguments) + perMessage
	}
	return n
}

// safe is a call as servers take it.
func (m *Message) safe(c ToolCall) (name, arguments string) {
	if m.Sound {
		return c.Name, c.Arguments
	}
	return sentName(c.Name), string(objectArguments(c.Arguments))
}

// encodedTools keeps the tools of the last request as JSON: those of the next one are
// mostly the same.
type encodedTools struct {
	mu   sync.Mutex
	of   []Tool
	json []byte
}

func (e *encodedTools) encode(tools []Tool, one func(Tool) any) ([]byte, error) {
	if len(tools) == 0 {
		return nil, nil
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.of) == len(tools) && &e.of[0] == &tools[0] {
		return e.json, nil
	}
	list := make([]any, len(tools))
	for i, t := range tools {
		list[i] = one(t)
	}
	b, err := json.Marshal(list)
	if err == nil {
		e.of, e.json = tools, b
	}
	return b, err
}
