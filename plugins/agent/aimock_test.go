package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nagatha/nagatha-runtime/sdk"
	"github.com/nagatha/nagatha-runtime/sdk/sdktest"
)

const aimockCLI = "testdata/npm/node_modules/@copilotkit/aimock/dist/cli.js"

var npm = sync.OnceValue(func() error {
	for _, tool := range []string{"node", "npm"} {
		if _, err := exec.LookPath(tool); err != nil {
			return err
		}
	}
	if _, err := os.Stat(aimockCLI); err == nil {
		return nil
	}
	cmd := exec.Command("npm", "ci", "--no-audit", "--no-fund", "--fetch-retries=5", "--ignore-scripts")
	cmd.Dir = "testdata/npm"
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("npm ci: %w\n%s", err, out)
	}
	return nil
})

// startAimock starts a model server that answers as the fixtures say, wants the key
// "k1", and returns its address. Without Node the test is skipped: in CI that is a
// failure.
func startAimock(t *testing.T, fixtures string) string {
	t.Helper()
	if err := npm(); err != nil {
		if os.Getenv("NAGATHA_NO_SKIP") != "" {
			t.Fatalf("needs Node and npm: %v", err)
		}
		t.Skipf("SKIPPED: needs Node and npm: %v", err)
	}
	t.Setenv("AIMOCK_API_KEYS", "k1")
	return startServer(t, "listening on ", "node", aimockCLI, "-p", "0", "-f", fixtures, "--strict")
}

// A server that others wrote, in both formats.
func TestAimock(t *testing.T) {
	url := startAimock(t, "testdata/aimock/model.json")
	for _, provider := range []string{"openai", "anthropic"} {
		t.Run(provider, func(t *testing.T) {
			host := sdktest.NewHost()
			host.Secrets["KEY"] = "k1"
			config := modelConfig{Provider: provider, BaseURL: url + "/v1", KeySecret: "KEY", MaxTokens: 200}
			say := func(text string) called {
				return ask(t.Context(), t, config, host, Request{Messages: []Message{{Role: "user", Text: text}}}, nil)
			}

			got := say("hello")
			if got.err != nil || got.Message.Text != "Hi there! I am a deterministic model." || got.Stop != stopEnd || len(got.deltas) < 2 || got.Model != "m" {
				t.Fatalf("%+v, %v", got.Reply, got.err)
			}

			// Two calls at once, and the turn with their results.
			question := Message{Role: "user", Text: "weather?"}
			tools := []Tool{{Name: "get_weather", Description: "Tells the weather.", Schema: json.RawMessage(`{"type":"object","properties":{"city":{"type":"string"}}}`)}, {Name: "nothing"}}
			got = ask(t.Context(), t, config, host, Request{System: "Be brief.", Messages: []Message{question}, Tools: tools}, nil)
			want := Message{Role: "assistant", Text: "Let me look.", Calls: []ToolCall{{"call_1", "get_weather", `{"city":"Paris"}`}, {"call_2", "get_weather", `{"city":"Rome"}`}}}
			if got.err != nil || !reflect.DeepEqual(got.Message, want) || got.Stop != stopToolCalls || got.Usage == nil || *got.Usage != (Usage{50, 31, 0}) {
				t.Fatalf("%+v, %v", got.Reply, got.err)
			}
			got = ask(t.Context(), t, config, host, Request{Messages: []Message{question, got.Message,
				{Role: "tool", CallID: "call_1", Text: "21C"}, {Role: "tool", CallID: "call_2", Text: "no such city", IsError: true}}, Tools: tools}, nil)
			if got.err != nil || !strings.HasPrefix(got.Message.Text, "It is 21C") || got.Stop != stopEnd {
				t.Fatalf("%+v, %v", got.Reply, got.err)
			}

			got = say("busy")
			if sdk.CodeOf(got.err) != sdk.CodeRateLimited || !reflect.DeepEqual(got.waits, []time.Duration{3375e6, 3375e6}) {
				t.Errorf("429: %v, waited %v", got.err, got.waits)
			}
			got = say("cut")
			if !errors.Is(got.err, errTruncated) || !strings.HasPrefix(got.Message.Text, "This is a long") || strings.HasSuffix(got.Message.Text, "goes.") || len(got.waits) != 0 {
				t.Errorf("cut: %q, %v", got.Message.Text, got.err)
			}
			for _, how := range []string{"malformed", "disconnect", "not in the fixtures"} {
				got = say(how)
				if sdk.CodeOf(got.err) != sdk.CodeUnavailable || len(got.waits) != 2 || len(got.deltas) != 0 {
					t.Errorf("%s: %v, waited %v", how, got.err, got.waits)
				}
			}
			reasoning := ""
			got = say("think")
			for _, d := range got.deltas {
				reasoning += d.Reasoning
			}
			if got.err != nil || got.Message.Text != "42" || reasoning != "Six times seven." {
				t.Errorf("%q, reasoning %q, %v", got.Message.Text, reasoning, got.err)
			}
			config.KeySecret = ""
			got = say("hello")
			if sdk.CodeOf(got.err) != sdk.CodeUnauthorized || len(got.waits) != 0 {
				t.Errorf("without a key: %v", got.err)
			}
		})
	}
}
