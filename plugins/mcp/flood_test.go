package main

import (
	"strings"
	"testing"

	"github.com/nagatha/nagatha-runtime/sdk"
	"github.com/nagatha/nagatha-runtime/sdk/sdktest"
)

// TestWordyServer: a tool that fits in no result is disabled, and hides no others.
func TestWordyServer(t *testing.T) {
	p := start(t, map[string]serverConfig{"a": fake("wordy"), "b": fake("plain")})
	host := sdktest.NewHost()
	p.tools("a", host)
	p.tools("b", host)
	var enabled, disabled []string
	for _, tool := range p.allTools(host) {
		if tool.Enabled {
			enabled = append(enabled, tool.Server+"/"+tool.Name)
		} else {
			disabled = append(disabled, tool.Server+"/"+tool.Name+": "+tool.Reason)
		}
	}
	if got := strings.Join(enabled, " "); !strings.HasPrefix(got, "a/hello b/big b/empty") {
		t.Errorf("enabled: %s", got)
	}
	if got := strings.Join(disabled, " "); !strings.HasPrefix(got, "a/all: its description and schemas have 3") {
		t.Errorf("disabled: %s", got)
	}
	wants(t, p.run(t.Context(), "call_tool", `{"server":"a","tool":"all"}`, host, nil), sdk.CodeForbidden, "fit in no result")
	if got := p.call("a", "hello", `{}`, host); got.text() != "hi" {
		t.Errorf("got %+v", got)
	}
}

// TestFickleServer: one that has other tools each time fills what is remembered of it,
// and no more.
func TestFickleServer(t *testing.T) {
	p := start(t, map[string]serverConfig{"a": fake("fickle"), "b": fake("plain")})
	host := sdktest.NewHost()
	for range 4 {
		p.must("list_tools", `{"server":"a","refresh":true}`, host, nil)
	}
	for name, tool := range p.tools("a", host) {
		if tool.Enabled || !strings.Contains(tool.Reason, "more tools than are remembered") {
			t.Fatalf("%s: %+v", name, tool)
		}
	}
	for name, tool := range p.tools("b", host) {
		if !tool.Enabled {
			t.Errorf("%s of the other server: %+v", name, tool)
		}
	}
}
