package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/nagatha/nagatha-runtime/sdk"
	"github.com/nagatha/nagatha-runtime/sdk/sdktest"
)

func write(t *testing.T, path, format string, args ...any) {
	t.Helper()
	if err := os.WriteFile(path, fmt.Appendf(nil, format, args...), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestReload(t *testing.T) {
	self := fake("plain").Command[0]
	file := filepath.Join(t.TempDir(), "mcp.json")
	entry := func(part string) string { return fmt.Sprintf(`{"command":%q,"env":{"TEST_SERVER":%q}}`, self, part) }
	write(t, file, `{"mcpServers":{"a":%s,"b":%s,"c":%s,"_d":"a comment","e":{"command":"x","enabled":false},"f":{"command":"x","disabled":true}}}`, entry("plain"), entry("plain"), entry("plain"))
	p := startWith(t, map[string]any{"file": file, "servers": map[string]any{"z": fake("plain")}})
	host := sdktest.NewHost()
	reload := func() (d diff) { p.must("reload", `{}`, host, &d); return d }
	for _, s := range []string{"a", "b", "c", "z"} {
		p.call(s, "hello", `{}`, host)
	}
	if d := reload(); !reflect.DeepEqual(d, diff{[]string{}, []string{}, []string{}, []string{"a", "b", "c", "z"}}) {
		t.Errorf("nothing changed: %+v", d)
	}
	before := p.state("a").ConnectedAt

	// What is broken changes nothing, wherever it is broken.
	for content, want := range map[string]string{
		`{"mcpServers":{"a":`:                                                    "unexpected end",
		"{\"mcpServers\":{\n\"a\":{},}}":                                         "mcp.json:2",
		`{"servers":{}}`:                                                         `want {"mcpServers"`,
		`{"mcpServers":{"a":{"command":"x","arsg":[]}}}`:                         `unknown field "arsg"`,
		`{"mcpServers":{"a":{"command":"x"},"b":{}}}`:                            "servers.b.command",
		`{"mcpServers":{"a":{"command":"x","env":{"K":"${NO_SUCH_VARIABLE}"}}}}`: "${NO_SUCH_VARIABLE} is not set",
		`[]`:                       `want an object, not array`,
		`{"mcpServers":[]}`:        `mcpServers: want an object, not array`,
		`{"mcpServers":{"a":"x"}}`: `mcpServers.a: want an object, not string`,
		`{"mcpServers":{"a":{"command":"x","args":"y"}}}`:              `mcpServers.a: args: want a list, not string`,
		`{"mcpServers":{"a":{"command":"x","env":{"A":3}}}}`:           `mcpServers.a: env: want a text, not number`,
		`{"mcpServers":{"a":{"command":"x"},"a":{"command":"y"}}}`:     `"a" is there twice`,
		`{"mcpServers":{"a":{"command":"x","command":"y"}}}`:           `"command" is there twice`,
		`{"mcpServers":{"z":{"command":"x"}}}`:                         `"z" is in the config block too`,
		`{"mcpServers":{"a":{"url":"http://x/sse","type":"sse"}}}`:     "SSE transport is not supported",
		`{"mcpServers":{"a":{"command":"x","call_timeout":"soon"}}}`:   `mcpServers.a: call_timeout: want a duration`,
		`{"mcpServers":{"a/b":{"command":"x"}}}`:                       "letters",
		`{"mcpServers":{"a":{"url":"ftp://x"}}}`:                       "want http://",
		`{"mcpServers":{"a":{"url":"http://x","command":"x"}}}`:        "not both",
		`{"mcpServers":{"a":{"url":"http://x","type":"stdio"}}}`:       "stdio has a command",
		`{"mcpServers":{"a":{"command":"x","allow":["["]}}}`:           "is no pattern",
		`{"mcpServers":{"a":{"command":"x","protocol":"1999-01-01"}}}`: "protocol",
	} {
		write(t, file, "%s", content)
		err := p.run(t.Context(), "reload", `{}`, host, nil)
		if wants(t, err, sdk.CodeInvalid, "nothing was changed", want); sdk.AsError(err).Retryable {
			t.Errorf("%s: retryable", content)
		}
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	wants(t, p.run(t.Context(), "reload", `{}`, host, nil), sdk.CodeInvalid, "no such file")
	for _, s := range []string{"a", "b", "c", "z"} {
		p.call(s, "hello", `{}`, host)
	}

	t.Setenv("TEST_PART", "plain")
	// Some editors begin a file with a byte order mark.
	write(t, file, "\uFEFF"+`{"mcpServers":{"a":%s,"c":%s,"n":%s}}`, entry("plain"), entry("noisy"), entry("${TEST_PART}"))
	if d := reload(); !reflect.DeepEqual(d, diff{[]string{"n"}, []string{"b"}, []string{"c"}, []string{"a", "z"}}) {
		t.Errorf("changed: %+v", d)
	}
	if s := p.state("a"); s.ConnectedAt != before || s.Restarts != 0 {
		t.Errorf("a was started again: %+v", s)
	}
	for _, s := range []string{"a", "c", "n", "z"} {
		p.call(s, "hello", `{}`, host)
	}
	wants(t, p.run(t.Context(), "call_tool", `{"server":"b","tool":"hello"}`, host, nil), sdk.CodeNotFound, "a, c, n, z")
	eventually(t, "the processes of b and of the old c end", func() bool { return len(children(t, self)) == 4 })
}

func TestExpand(t *testing.T) {
	lookup := func(name string) (string, bool) {
		v, ok := map[string]string{"TOKEN": `a"b\c`, "EMPTY": ""}[name]
		return v, ok
	}
	for in, want := range map[string]string{
		`{"a":["x${TOKEN}y",1,null,true]}`: `{"a":["xa\"b\\cy",1,null,true]}`,
		`"${EMPTY:-d}${NONE:-e}${EMPTY}"`:  `"de"`,
		`"$TOKEN ${} ${1X}"`:               `"$TOKEN ${} ${1X}"`,
	} {
		if got, err := expand(json.RawMessage(in), lookup); err != nil || string(got) != want {
			t.Errorf("%s: %s, %v", in, got, err)
		}
	}
	if _, err := expand(json.RawMessage(`"${NONE}"`), lookup); err == nil || !strings.Contains(err.Error(), "${NONE} is not set") {
		t.Errorf("got %v", err)
	}
}

func TestBadConfig(t *testing.T) {
	for _, c := range []string{`{"servers":{"a":{"command":[]}}}`, `{"servers":{"a":{"comand":["x"]}}}`, `{"servers":{"a":{"command":["x"],"call_timeout":"soon"}}}`,
		`{"servers":{"a":{"url":"x"}}}`, `{"servers":{"a":{"command":["x"],"headers":{"a":"b"}}}}`, `{"servers":{"a":{"url":"http://x","env":{"a":"b"}}}}`,
		`{"servers":{"a":{"command":["x"],"call_timeout":"-1s"}}}`, `{"file":"no-such-file.json"}`} {
		if err := newPlugin().(sdk.Configurer).Configure(t.Context(), json.RawMessage(c)); err == nil {
			t.Errorf("%s passed", c)
		}
	}
}

func TestAllowDeny(t *testing.T) {
	sc := fake("plain")
	sc.Allow, sc.Deny = []string{"e*", "hello"}, []string{"empty"}
	p := start(t, map[string]serverConfig{"s": sc})
	host := sdktest.NewHost()
	names := []string{}
	for name := range p.tools("s", host) {
		names = append(names, name)
	}
	if slices.Sort(names); !slices.Equal(names, []string{"environment", "hello"}) {
		t.Errorf("tools: %v", names)
	}
	p.call("s", "hello", `{}`, host)
	for _, tool := range []string{"empty", "big"} {
		wants(t, p.run(t.Context(), "call_tool", `{"server":"s","tool":"`+tool+`"}`, host, nil), sdk.CodeForbidden, "allow and deny")
	}
}

func TestPage(t *testing.T) {
	var items []string
	for i := range 10 {
		items = append(items, fmt.Sprintf("%d%s", 9-i, strings.Repeat("x", 100<<10)))
	}
	var seen []string
	for cursor, pages := "", 0; ; pages++ {
		some, next := page(slices.Clone(items), cursor, func(s string) string { return s[:1] })
		if len(some) == 0 || len(some) > 2 || pages > 10 {
			t.Fatalf("%d items on page %d", len(some), pages)
		}
		for _, s := range some {
			seen = append(seen, s[:1])
		}
		if cursor = next; next == "" {
			break
		}
	}
	if got := strings.Join(seen, ""); got != "0123456789" {
		t.Errorf("got %s", got)
	}
}
