package main

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/nagatha/nagatha-runtime/sdk/sdktest"
)

// What was wrong with the MCP manager of the system that this one replaces, and
// must not come back. Besides the tests here:
//
//	the connection timeout was not applied, no call timeout  TestTimeouts, TestSilentHTTP
//	servers were tested one after the other                  TestParallelStart
//	a JSON error lost every server                           TestReload
//	${VAR}, enabled, cwd, unknown keys                       TestReload, TestExpand, TestBadConfig
//	no headers for HTTP servers                              TestHeaders
//	no allow and deny lists                                  TestAllowDeny
//	no resources, prompts, progress                          TestEverything
//	no cancellation                                          TestCancel
//	no list_changed                                          TestEras
//	isError was ignored, content was a repr                  TestEverything
//	events were defined and never published                  TestEvents

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
