package main

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nagatha/nagatha-runtime/sdk"
	"github.com/nagatha/nagatha-runtime/sdk/sdktest"
)

// What was wrong with the MCP manager of the system that this one replaces, and must
// not come back. docs/old-system.md lists all of it.

// TestUpstreamEnvironment: servers saw the whole environment, keys included.
func TestUpstreamEnvironment(t *testing.T) {
	t.Setenv("OPENAI_API_KEY", "sk-secret")
	sc := fake("plain")
	sc.Env["GIVEN"] = "yes"
	sc.Cwd = t.TempDir()
	p := start(t, map[string]serverConfig{"s": sc})
	lines := strings.Split(p.call("s", "environment", `{}`, sdktest.NewHost()).text(), "\n")
	for _, line := range lines {
		if name, _, _ := strings.Cut(line, "="); !slices.Contains([]string{"PATH", "HOME", "CWD", "TEST_SERVER", "GIVEN"}, name) {
			t.Errorf("it sees %s", line)
		}
	}
	if !slices.Contains(lines, "GIVEN=yes") || !slices.Contains(lines, "PATH="+os.Getenv("PATH")) || !slices.Contains(lines, "CWD="+sc.Cwd) {
		t.Errorf("it sees %q", lines)
	}
}

// TestUpstreamSession: every call started the server again.
func TestUpstreamSession(t *testing.T) {
	p := start(t, map[string]serverConfig{"s": fake("plain")})
	host := sdktest.NewHost()
	p.call("s", "hello", `{}`, host)
	before := children(t, fake("").Command[0])
	for range 20 {
		p.call("s", "hello", `{}`, host)
	}
	p.must("check_health", `{}`, host, nil)
	if after := children(t, fake("").Command[0]); len(before) != 1 || !slices.Equal(before, after) {
		t.Errorf("processes: %v, then %v", before, after)
	}
}

// TestUpstreamCounts: a server's tools_count was always 0, and the total counted
// each tool twice, since it was registered under two names.
func TestUpstreamCounts(t *testing.T) {
	p := start(t, map[string]serverConfig{"a": fake("plain"), "b": fake("plain")})
	host := sdktest.NewHost()
	var health struct {
		Status struct {
			Total int `json:"total_tools"`
		} `json:"mcp_status"`
		Info map[string]struct {
			Count int `json:"tools_count"`
		} `json:"server_info"`
	}
	p.must("check_health", `{}`, host, &health)
	if n := len(p.tools("a", host)); n == 0 || health.Info["a"].Count != n || health.Info["b"].Count != n || health.Status.Total != 2*n {
		t.Errorf("health: %+v, %d tools", health, n)
	}
	if all := p.allTools(host); len(all) != health.Status.Total {
		t.Errorf("%d tools are listed, %d counted", len(all), health.Status.Total)
	}
}

// TestUpstreamNames: servers whose names are written alike once sanitised took each
// other's tools. A tool is named by its server and its name, as they are.
func TestUpstreamNames(t *testing.T) {
	p := start(t, map[string]serverConfig{"fs.one": fake("plain"), "fs_one": fake("plain"), "FS-one": fake("exits")})
	host := sdktest.NewHost()
	for _, name := range []string{"fs.one", "fs_one"} {
		if got := p.call(name, "hello", `{}`, host); got.text() != "hi" {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

// TestUpstreamWithdrawal: the tools of a dead server stayed, and so did those that
// a server had taken back (for these see TestEras).
func TestUpstreamWithdrawal(t *testing.T) {
	dying := fake("dying")
	dying.Cwd = t.TempDir()
	p := start(t, map[string]serverConfig{"dying": dying, "plain": fake("plain")})
	host := sdktest.NewHost()
	if n := len(p.tools("dying", host)); n == 0 {
		t.Fatal("no tools at first")
	}
	_ = p.run(t.Context(), "call_tool", `{"server":"dying","tool":"hello"}`, host, nil)
	eventually(t, "only the living server's tools are listed", func() bool {
		all := p.allTools(host)
		return len(all) > 0 && !slices.ContainsFunc(all, func(t tool) bool { return t.Server == "dying" })
	})
	if s := p.state("dying"); s.State == "connected" || s.Tools != 0 {
		t.Errorf("it is %+v", s)
	}
}

// TestUpstreamTimeouts: the connection timeout was read and not applied, and a call had
// none.
func TestUpstreamTimeouts(t *testing.T) {
	t.Parallel() // it waits most of the time
	silent := fake("silent")
	silent.ConnectTimeout = sdk.Duration(100 * time.Millisecond)
	p := start(t, map[string]serverConfig{"silent": silent, "slow": fake("slow")})
	host := sdktest.NewHost()
	p.tools("slow", host)
	begun := time.Now()
	wants(t, p.run(t.Context(), "call_tool", `{"server":"silent","tool":"hello"}`, host, nil), sdk.CodeUnavailable, "100ms")
	wants(t, p.run(t.Context(), "call_tool", `{"server":"slow","tool":"hello","timeout":"100ms"}`, host, nil), sdk.CodeTimeout, "no answer within")
	if d := time.Since(begun); d > 20*time.Second {
		t.Errorf("it took %v", d)
	}
}

// TestUpstreamOneByOne: servers were tried one after the other, so that each that did
// not answer kept the others waiting.
func TestUpstreamOneByOne(t *testing.T) {
	t.Parallel()                                                                                         // it waits most of the time
	p := start(t, map[string]serverConfig{"a": fake("silent"), "b": fake("silent"), "z": fake("plain")}) // 15 s each
	begun := time.Now()
	if got := p.call("z", "hello", `{}`, sdktest.NewHost()); got.text() != "hi" || time.Since(begun) > 10*time.Second {
		t.Errorf("%+v after %v", got, time.Since(begun))
	}
}

// TestUpstreamBrokenFile: an error in mcp.json lost every server, ${VAR} was documented
// and not replaced, and a server could not be disabled, but for its name.
func TestUpstreamBrokenFile(t *testing.T) {
	t.Setenv("TEST_PART", "plain")
	file := filepath.Join(t.TempDir(), "mcp.json")
	good := fmt.Sprintf(`{"mcpServers":{"a":{"command":%q,"env":{"TEST_SERVER":"${TEST_PART}"}},"off":{"command":"x","enabled":false}}}`, fake("").Command[0])
	write(t, file, "%s", good)
	p := startWith(t, map[string]any{"file": file})
	host := sdktest.NewHost()
	p.call("a", "hello", `{}`, host)
	before := p.state("a")
	write(t, file, "%s", strings.TrimSuffix(good, "}"))
	wants(t, p.run(t.Context(), "reload", `{}`, host, nil), sdk.CodeInvalid, "nothing was changed")
	if p.call("a", "hello", `{}`, host); p.state("a") != before {
		t.Errorf("%+v, before %+v", p.state("a"), before)
	}
	wants(t, p.run(t.Context(), "test_connection", `{"server":"off"}`, host, nil), sdk.CodeNotFound)
}

// TestUpstreamErrorsOfTools: isError was ignored, and the model was shown the text of
// the SDK's object in place of what the tool had said.
func TestUpstreamErrorsOfTools(t *testing.T) {
	p := start(t, map[string]serverConfig{"s": fake("plain")})
	got := p.call("s", "wrong", `{}`, sdktest.NewHost())
	if !got.IsError || len(got.Content) != 1 || got.Content[0].Type != "text" || got.text() != "no such file" {
		t.Errorf("%+v", got)
	}
}

// TestUpstreamEvents: they were defined and never published.
func TestUpstreamEvents(t *testing.T) {
	p := start(t, map[string]serverConfig{"s": fake("plain")})
	host := sdktest.NewHost()
	p.call("s", "hello", `{}`, host)
	kill(t, fake("").Command[0])
	eventually(t, "its end and its new start are told of", func() bool {
		p.must("servers", `{}`, host, nil)
		return len(find(host, "mcp.server.disconnected")) == 1 && len(find(host, "mcp.server.connected")) == 2
	})
}

// TestUpstreamCredentials: a server over HTTP could not be given a header, and its
// tools could be neither allowed nor denied.
func TestUpstreamCredentials(t *testing.T) {
	url := serveGo(t, goServer(), nil, func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("X-Key") != "k" {
				http.Error(w, "no", http.StatusUnauthorized)
				return
			}
			h.ServeHTTP(w, r)
		})
	})
	headers := map[string]string{"X-Key": "k"}
	p := start(t, map[string]serverConfig{"open": {URL: url, Headers: headers}, "shut": {URL: url, Headers: headers, Deny: []string{"gr*"}}})
	host := sdktest.NewHost()
	if got := p.call("open", "greet", `{}`, host); got.text() != "hello" {
		t.Errorf("%+v", got)
	}
	wants(t, p.run(t.Context(), "call_tool", `{"server":"shut","tool":"greet"}`, host, nil), sdk.CodeForbidden)
}
