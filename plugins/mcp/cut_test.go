package main

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// TestCut: what is too large loses what it says twice, then whole blocks that are no
// text, then the end of its text.
func TestCut(t *testing.T) {
	long := func(s string) *mcp.TextContent {
		return &mcp.TextContent{Text: strings.Repeat(s, maxResult/len(s)-2000)}
	}
	image := &mcp.ImageContent{MIMEType: "image/png", Data: make([]byte, maxResult)}
	for name, test := range map[string]struct {
		content    []mcp.Content
		structured any
		cut        bool // the text is
		blocks     int
	}{
		"small":                      {[]mcp.Content{&mcp.TextContent{Text: "a"}}, 1, false, 1},
		"twice":                      {[]mcp.Content{long("é")}, map[string]any{"content": long("é").Text}, false, 1},
		"long":                       {[]mcp.Content{long("é"), long("é")}, nil, true, 2},
		"much longer when encoded":   {[]mcp.Content{long("\x01\"")}, nil, true, 1},
		"an image that is too large": {[]mcp.Content{&mcp.TextContent{Text: "see"}, image, &mcp.TextContent{Text: "seen"}}, nil, false, 3},
		"many":                       {many(20000), nil, true, -1},
	} {
		t.Run(name, func(t *testing.T) {
			text := 0
			for _, c := range test.content {
				if c, ok := c.(*mcp.TextContent); ok {
					text += len(c.Text)
				}
			}
			out, err := newResult(&mcp.CallToolResult{Content: test.content, StructuredContent: test.structured}, true)
			if err != nil {
				t.Fatal(err)
			}
			b, err := json.Marshal(out)
			if err != nil || len(b) > maxResult || !utf8.Valid(b) || strings.Contains(string(b), `\ufffd`) {
				t.Errorf("%d bytes, %v", len(b), err)
			}
			var got called
			if err := json.Unmarshal(b, &got); err != nil || test.blocks >= 0 && len(got.Content) != test.blocks {
				t.Errorf("%d blocks, %v", len(got.Content), err)
			}
			if want := map[bool]int{true: text}[test.cut]; out.TextBytes != want {
				t.Errorf("cut from %d, want %d", out.TextBytes, want)
			}
			if name == "small" && out.Structured == nil {
				t.Error("what fits has lost something")
			}
			if name == "an image that is too large" && !strings.Contains(got.text(), "[image of") {
				t.Errorf("nothing says what is left out: %s", got.text())
			}
		})
	}
}

func many(n int) (out []mcp.Content) {
	for range n {
		out = append(out, &mcp.TextContent{Text: "little"})
	}
	return out
}
