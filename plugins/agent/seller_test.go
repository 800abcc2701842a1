package main

import (
	"encoding/json"
	"testing"
)

func TestSeller(t *testing.T) {
	for _, tt := range []struct{ config, want string }{
		{`{}`, "openai"},
		{`{"provider":"anthropic"}`, "anthropic"},
		{`{"base_url":"https://api.openai.com/v1"}`, "openai"},
		{`{"provider":"anthropic","base_url":"https://api.anthropic.com"}`, "anthropic"},
		{`{"base_url":"https://openrouter.ai/api/v1"}`, "openrouter"},
		{`{"base_url":"https://api.groq.com/openai/v1"}`, "groq"},
		{`{"base_url":"https://acme.openai.azure.com/openai/v1"}`, "azure"},
		{`{"base_url":"https://generativelanguage.googleapis.com/v1beta/openai"}`, "google"},
		{`{"base_url":"https://router.huggingface.co/nebius/v1"}`, "huggingface_nebius"},
		{`{"base_url":"https://router.huggingface.co/v1"}`, "router.huggingface.co"},
		{`{"base_url":"http://127.0.0.1:11434/v1"}`, "local"},
		{`{"base_url":"http://[::1]:8080/v1"}`, "local"},
		{`{"base_url":"http://192.168.1.7:8000/v1"}`, "local"},
		{`{"base_url":"http://localhost:8080/v1"}`, "local"},
		{`{"base_url":"http://ollama:11434/v1"}`, "local"},
		{`{"base_url":"http://gpu.lan/v1"}`, "local"},
		{`{"base_url":"http://host.docker.internal:11434/v1"}`, "local"},
		{`{"base_url":"http://203.0.113.7/v1"}`, "203.0.113.7"},
		{`{"base_url":"https://LLM.acme.example:8443/v1"}`, "llm.acme.example"},
		{`{"base_url":"https://notapi.openai.com/v1"}`, "notapi.openai.com"},
		{`{"base_url":"https://llm.acme.example/v1","usage_provider":"mistral"}`, "mistral"},
	} {
		a := &agent{}
		if err := a.configure(t.Context(), json.RawMessage(tt.config)); err != nil {
			t.Fatal(err)
		}
		if a.UsageProvider != tt.want {
			t.Errorf("%s: %q, want %q", tt.config, a.UsageProvider, tt.want)
		}
	}
}

// What is told to plugin usage is the seller, and not the format that it speaks.
func TestUsageNamesTheSeller(t *testing.T) {
	w := setup(t, `{"base_url":"http://127.0.0.1:1/v1"}`)
	w.model.say = script("hello")
	w.chat("s", "hi")
	var data struct{ Provider string }
	for _, e := range w.Published {
		if e.Type == "usage.recorded" {
			_ = json.Unmarshal(e.Data, &data)
		}
	}
	if data.Provider != "local" {
		t.Errorf("provider %q in usage.recorded", data.Provider)
	}
}
