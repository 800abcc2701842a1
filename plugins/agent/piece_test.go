package main

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestPieces(t *testing.T) {
	for in, want := range map[string]string{
		`["a","b"]`:                              "ab",
		`["party \ud83c","","\udf89 ok"]`:        "party 🎉 ok",
		`["\ud83c","\udf89\ud83c","\udf89"]`:     "🎉🎉",
		`["\ud83c\udf89"]`:                       "🎉",
		`["\ud83c","x","\udf89"]`:                "\uFFFDx\uFFFD",
		`["\\ud83c","\\udf89"]`:                  `\ud83c\udf89`,
		`["\\\ud83c","\udf89"]`:                  `\🎉`,
		`["\uD83C","\uDF89",null,"\u00e9"]`:      "🎉é",
		`["\n","\u000a","\\u","\"","\u0041\\n"]`: "\n\n\\u\"A\\n",
	} {
		var list []piece
		if err := json.Unmarshal([]byte(in), &list); err != nil {
			t.Fatalf("%s: %v", in, err)
		}
		var s seam
		got := ""
		for _, p := range list {
			got += s.next(p)
		}
		if got != want {
			t.Errorf("%s: %q, want %q", in, got, want)
		}
	}
}

// TestHalfCharacters: in every text of both formats.
func TestHalfCharacters(t *testing.T) {
	for name, stream := range map[string]string{
		"openai": `data: {"choices":[{"index":0,"delta":{"content":"a\ud83c","tool_calls":[{"index":0,"id":"c","function":{"name":"f","arguments":"{\"k\":\"\ud83c"}}]}}]}

data: {"choices":[{"index":0,"delta":{"content":"\udf89","tool_calls":[{"index":0,"function":{"arguments":"\udf89\"}"}}]},"finish_reason":"tool_calls"}]}

data: [DONE]

`,
		"anthropic": `data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"a\ud83c"}}

data: {"type":"content_block_start","index":1,"content_block":{"type":"tool_use","id":"c","name":"f","input":{}}}

data: {"type":"content_block_delta","index":1,"delta":{"type":"input_json_delta","partial_json":"{\"k\":\"\ud83c"}}

data: {"type":"content_block_delta","index":1,"delta":{"type":"input_json_delta","partial_json":"\udf89\"}"}}

data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"\udf89"}}

data: {"type":"message_stop"}

`,
	} {
		b := &replyBuilder{}
		p := formats()[name].parser(b)
		r := newSSEReader(strings.NewReader(stream))
		for {
			data, err := r.next()
			if err != nil {
				t.Fatal(err)
			}
			last, err := p.event(data)
			if err != nil {
				t.Fatal(err)
			}
			if last {
				break
			}
		}
		if m := b.finish(0).Message; m.Text != "a🎉" || len(m.Calls) != 1 || m.Calls[0].Arguments != `{"k":"🎉"}` {
			t.Errorf("%s: %+v", name, m)
		}
	}
}
