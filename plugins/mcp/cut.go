package main

import (
	"encoding/json"
	"fmt"
	"unicode/utf8"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// newResult is what a tool answered. With cut, one that is too large for a task's result
// is made to fit: without its structured content, which servers repeat as text, without
// large blocks that are no text, and then with less text.
func newResult(r *mcp.CallToolResult, cut bool) (callResult, error) {
	out := callResult{Structured: r.StructuredContent, IsError: r.IsError}
	if r.Content == nil {
		r.Content = []mcp.Content{}
	}
	var err error
	if out.Content, err = json.Marshal(r.Content); err != nil || !cut {
		return out, err
	}
	whole, err := json.Marshal(out)
	if err != nil || len(whole) <= maxResult {
		return out, err
	}
	total := 0
	for _, c := range r.Content {
		if text, ok := c.(*mcp.TextContent); ok {
			total += len(text.Text)
		}
	}
	if total == 0 && len(out.Content) <= maxResult/2 {
		return out, nil // it is the structured content, of which no part is anything
	}
	out.Structured = nil
	if len(out.Content) > maxResult-1024 {
		kept, text := keep(r.Content, maxResult-1024)
		if text < total {
			out.TextBytes = total
		}
		out.Content, err = json.Marshal(kept)
	}
	return out, err
}

// keep returns blocks of at most so many bytes of JSON, and how much of the text is in
// them.
func keep(blocks []mcp.Content, left int) (kept []mcp.Content, text int) {
	for _, c := range blocks {
		size := encoded(c)
		t, isText := c.(*mcp.TextContent)
		switch {
		case isText && size > left:
			t = beginning(t.Text, left)
			c, size = t, encoded(t)
		case !isText && size > left/2: // texts may come after it
			t = &mcp.TextContent{Text: fmt.Sprintf("[%s of %d bytes, left out: it does not fit in a result]", kindOf(c), size)}
			c, size = t, encoded(t)
		}
		if left -= size; left <= 0 {
			break
		}
		if kept = append(kept, c); isText {
			text += len(t.Text)
		}
	}
	return kept, text
}

func kindOf(c mcp.Content) string {
	var block struct{ Type string }
	b, _ := c.MarshalJSON() // it came as JSON
	_ = json.Unmarshal(b, &block)
	return block.Type
}

// encoded is the length of a block in a list.
func encoded(c mcp.Content) int {
	b, _ := json.Marshal(c) // as above
	return len(b) + 1
}

// beginning is a block of as much of a text as fits in so many bytes of JSON.
func beginning(text string, room int) *mcp.TextContent {
	for n := min(len(text), room) - 1; n > 0; {
		for n > 0 && !utf8.RuneStart(text[n]) {
			n--
		}
		t := &mcp.TextContent{Text: text[:n]}
		size := encoded(t)
		if size < room {
			return t
		}
		n = min(n*room/size, n) - 64
	}
	return &mcp.TextContent{}
}
