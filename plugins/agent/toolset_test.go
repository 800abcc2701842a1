package main

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/nagatha/nagatha-runtime/sdk"
)

// TestPagesOfTools: a list that comes in pages is one.
func TestPagesOfTools(t *testing.T) {
	w := setup(t, `{}`)
	w.offer("mcp.call_tool", sdk.KindInfo{}, nil)
	w.offer("mcp.list_tools", sdk.KindInfo{}, func(p json.RawMessage) (any, *sdk.Error) {
		var in struct{ Cursor string }
		_ = json.Unmarshal(p, &in)
		next := map[string]string{"": "b", "b": "c"}[in.Cursor]
		return map[string]any{"tools": []any{map[string]string{"server": "web", "name": "get" + in.Cursor}}, "next_cursor": next}, nil
	})
	w.model.say = script("done")
	w.chat("s", "go")
	var names []string
	for _, tool := range w.model.last().Tools {
		names = append(names, tool.Name)
	}
	if got := strings.Join(names, " "); got != "web_get web_getb web_getc" {
		t.Errorf("the model was told of %s", got)
	}
}
