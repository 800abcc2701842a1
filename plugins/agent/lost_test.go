package main

import (
	"encoding/json"
	"testing"

	"github.com/nagatha/nagatha-runtime/sdk"
)

// TestLostPreparation: a crash that cuts what a turn prepares costs it no tools, no
// memories and no reservation.
func TestLostPreparation(t *testing.T) {
	w := setup(t, `{}`)
	once := func(kind string, result any) {
		n := 0
		w.offer(kind, sdk.KindInfo{}, func(json.RawMessage) (any, *sdk.Error) {
			if n++; n == 1 {
				return nil, sdk.Errorf(sdk.CodeNodeLost, "the node was lost")
			}
			return result, nil
		})
	}
	once("mcp.list_tools", json.RawMessage(`{"tools":[{"server":"web","name":"get"}],"next_cursor":""}`))
	once("memory.recall", json.RawMessage(`{"facts":[{"id":"fct_1","fact":"Bob works at Acme"}]}`))
	once("usage.reserve", map[string]any{"reserved_usd": 0.1})
	once("usage.cost", map[string]any{"cost_usd": 0.05})
	w.offer("mcp.call_tool", sdk.KindInfo{}, nil)
	w.model.say = script("done")
	m := w.chat("s", "where does Bob work?")
	if tools := w.model.last().Tools; len(tools) != 1 {
		t.Errorf("tools %v", tools)
	}
	if got, _ := m["memories"].([]any); len(got) != 1 {
		t.Errorf("memories %v", m["memories"])
	}
	if cost := m["usage"].(map[string]any)["cost_usd"]; cost != 0.05 {
		t.Errorf("cost %v", cost)
	}
	if data := string(w.Published[0].Data); !json.Valid([]byte(data)) || len(w.ran) != 8 {
		t.Errorf("%d children, published %s", len(w.ran), data)
	}
}

// TestLostForGood: what is lost every time is done without.
func TestLostForGood(t *testing.T) {
	w := setup(t, `{}`)
	w.offer("memory.recall", sdk.KindInfo{}, func(json.RawMessage) (any, *sdk.Error) {
		return nil, sdk.Errorf(sdk.CodePluginCrashed, "the plugin crashed")
	})
	w.model.say = script("done")
	if m := w.chat("s", "hi"); m["response"] != "done" || len(w.ran) != 1+maxLost {
		t.Errorf("%v, %d children", m, len(w.ran))
	}
}
