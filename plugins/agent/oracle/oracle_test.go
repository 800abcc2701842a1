// Package oracle checks the recorded streams in ../testdata/streams, and what they
// are said to mean, with the official OpenAI and Anthropic SDKs: both sides must
// find the same text, calls, usage and reason to stop as the plugin's own parsers,
// which are tested against the same files. Where an SDK is known to differ, the file
// says why (ours_only), and the test sees to it that it still does.
package oracle

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/anthropics/anthropic-sdk-go"
	anthropicoption "github.com/anthropics/anthropic-sdk-go/option"
	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"
)

type reply struct {
	Text  string
	Calls []call
	Stop  string
	Usage *usage
	// Of a file only.
	Error       string `json:",omitempty"`
	OursOnly    string `json:"ours_only,omitempty"`
	InventedIDs bool   `json:"invented_ids,omitempty"`
}

type call struct{ ID, Name, Arguments string }

type usage struct {
	Input  int64 `json:"input_tokens"`
	Output int64 `json:"output_tokens"`
	Cached int64 `json:"cached_tokens"`
}

func TestOpenAI(t *testing.T)    { compare(t, "openai", byOpenAI) }
func TestAnthropic(t *testing.T) { compare(t, "anthropic", byAnthropic) }

func compare(t *testing.T, format string, parse func(t *testing.T, url string) (reply, error)) {
	files, err := filepath.Glob("../testdata/streams/" + format + "/*.sse")
	if err != nil || len(files) < 20 {
		t.Fatalf("%d streams: %v", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".sse"), func(t *testing.T) {
			stream, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var want reply
			b, err := os.ReadFile(strings.TrimSuffix(file, ".sse") + ".json")
			if err != nil {
				t.Fatal(err)
			}
			if err := json.Unmarshal(b, &want); err != nil {
				t.Fatal(err)
			}
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "text/event-stream")
				_, _ = w.Write(stream)
			}))
			defer s.Close()
			got, err := parse(t, s.URL)
			if diff := differ(got, err, want); (diff == "") == (want.OursOnly != "") {
				t.Errorf("%s\n     got %+v, %v\n    want %+v\nexplained %q", diff, got, err, want, want.OursOnly)
			}
		})
	}
}

// differ says in what an SDK's reading differs from ours, or "".
func differ(got reply, err error, want reply) string {
	if want.InventedIDs {
		for i := range min(len(got.Calls), len(want.Calls)) {
			got.Calls[i].ID = want.Calls[i].ID
		}
	}
	switch {
	// The SDKs report what a server says, but not that a stream lacks its end.
	case want.Error != "" && want.Error != "truncated" && err == nil:
		return "no error"
	case want.Error == "" && err != nil:
		return "an error"
	case got.Text != want.Text:
		return "text"
	case len(got.Calls)+len(want.Calls) > 0 && !reflect.DeepEqual(got.Calls, want.Calls):
		return "calls"
	case want.Error != "":
		return ""
	case got.Stop != want.Stop:
		return "stop"
	case !reflect.DeepEqual(got.Usage, want.Usage):
		return fmt.Sprintf("usage %+v, %+v", got.Usage, want.Usage)
	}
	return ""
}

func byOpenAI(t *testing.T, url string) (reply, error) {
	c := openai.NewClient(option.WithBaseURL(url), option.WithAPIKey("k"), option.WithMaxRetries(0))
	s := c.Chat.Completions.NewStreaming(t.Context(), openai.ChatCompletionNewParams{
		Model: "m", Messages: []openai.ChatCompletionMessageParamUnion{openai.UserMessage("hello")},
		StreamOptions: openai.ChatCompletionStreamOptionsParam{IncludeUsage: openai.Bool(true)},
	})
	defer s.Close()
	var acc openai.ChatCompletionAccumulator
	for s.Next() {
		if !acc.AddChunk(s.Current()) {
			return reply{}, fmt.Errorf("the SDK cannot add %s", s.Current().RawJSON())
		}
	}
	var r reply
	if len(acc.Choices) > 0 {
		choice := acc.Choices[0]
		r.Text = choice.Message.Content
		for _, c := range choice.Message.ToolCalls {
			r.Calls = append(r.Calls, call{c.ID, c.Function.Name, c.Function.Arguments})
		}
		r.Stop = map[string]string{"stop": "end", "tool_calls": "tool_calls", "length": "length", "content_filter": "refusal"}[choice.FinishReason]
		if r.Stop == "end" && len(r.Calls) > 0 {
			r.Stop = "tool_calls" // a rule of ours
		}
	}
	if u := acc.Usage; u.TotalTokens+u.PromptTokens > 0 {
		r.Usage = &usage{u.PromptTokens, u.CompletionTokens, u.PromptTokensDetails.CachedTokens}
	}
	return r, s.Err()
}

func byAnthropic(t *testing.T, url string) (reply, error) {
	c := anthropic.NewClient(anthropicoption.WithBaseURL(url), anthropicoption.WithAPIKey("k"), anthropicoption.WithMaxRetries(0))
	s := c.Messages.NewStreaming(t.Context(), anthropic.MessageNewParams{
		Model: "m", MaxTokens: 100, Messages: []anthropic.MessageParam{anthropic.NewUserMessage(anthropic.NewTextBlock("hello"))},
	})
	defer s.Close()
	var acc anthropic.Message
	for s.Next() {
		if err := acc.Accumulate(s.Current()); err != nil {
			return reply{}, err
		}
	}
	var r reply
	for _, block := range acc.Content {
		switch block.Type {
		case "text":
			r.Text += block.Text
		case "tool_use":
			arguments := string(block.Input)
			if arguments == "{}" {
				arguments = "" // it does not tell "none" from an empty object
			}
			r.Calls = append(r.Calls, call{block.ID, block.Name, arguments})
		}
	}
	r.Stop = map[anthropic.StopReason]string{"end_turn": "end", "stop_sequence": "end", "tool_use": "tool_calls",
		"max_tokens": "length", "model_context_window_exceeded": "length", "refusal": "refusal"}[acc.StopReason]
	if u := acc.Usage; u.InputTokens+u.OutputTokens > 0 {
		r.Usage = &usage{u.InputTokens + u.CacheReadInputTokens + u.CacheCreationInputTokens, u.OutputTokens, u.CacheReadInputTokens}
	}
	return r, s.Err()
}
