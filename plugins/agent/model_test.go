package main

import (
	"testing"

	"github.com/nagatha/nagatha-runtime/sdk"
)

func TestModelConfig(t *testing.T) {
	for _, tt := range []struct{ provider, base, url string }{
		{"", "", "https://api.openai.com/v1/chat/completions"},
		{"openai", "http://127.0.0.1:11434/v1/", "http://127.0.0.1:11434/v1/chat/completions"},
		{"openai", "http://h/v1/chat/completions", "http://h/v1/chat/completions"},
		{"anthropic", "", "https://api.anthropic.com/v1/messages"},
		{"anthropic", "https://api.anthropic.com", "https://api.anthropic.com/v1/messages"},
		{"anthropic", "http://h/api/v1", "http://h/api/v1/messages"},
	} {
		m, err := newModel(modelConfig{Provider: tt.provider, BaseURL: tt.base})
		if err != nil || m.(*modelClient).url != tt.url {
			t.Errorf("%s %s: %v, %v", tt.provider, tt.base, m, err)
		}
	}
	for _, c := range []modelConfig{{Provider: "gemini"}, {BaseURL: "localhost:11434"}, {BaseURL: "http://u:p@h/"}, {BaseURL: "http://h/?key=1"}, {BaseURL: "ftp://h"}, {IdleTimeout: -1}, {MaxTokens: -1}} {
		if _, err := newModel(c); sdk.CodeOf(err) != sdk.CodeInvalid {
			t.Errorf("%+v: %v", c, err)
		}
	}
}
