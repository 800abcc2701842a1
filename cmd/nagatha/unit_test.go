package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/nagatha/nagatha-runtime/sdk"
	"github.com/nagatha/nagatha-runtime/sdk/client"
)

func TestWithSets(t *testing.T) {
	for _, c := range []struct {
		doc  string
		sets []string
		want string // "" for a usage error
	}{
		{"", nil, ""},
		{"", []string{"a=1"}, `{"a":1}`},
		{"", []string{"a=one"}, `{"a":"one"}`},
		{"", []string{"a="}, `{"a":""}`},
		{"", []string{`a="1"`}, `{"a":"1"}`},
		{"", []string{"a=true", "b=null", "c=[1,2]", `d={"e":1}`}, `{"a":true,"b":null,"c":[1,2],"d":{"e":1}}`},
		{"", []string{"a=NaN", "b=01", "c=1 2", "d=x=y"}, `{"a":"NaN","b":"01","c":"1 2","d":"x=y"}`},
		{"", []string{"a.b.c=1", "a.b.d=2"}, `{"a":{"b":{"c":1,"d":2}}}`},
		{"", []string{`a\.b=1`}, `{"a.b":1}`},
		{"", []string{"a=12345678901234567890"}, `{"a":12345678901234567890}`},
		{"", []string{`d={"e":1}`, "d.f=2"}, `{"d":{"e":1,"f":2}}`},
		{"", []string{"a=1", "a=2"}, `{"a":2}`},
		{"", []string{"a=<b>"}, `{"a":"<b>"}`},
		{`{"a":{"x":1.50},"n":9007199254740993}`, []string{"a.y=2"}, `{"a":{"x":1.50,"y":2},"n":9007199254740993}`},
		{`[1]`, []string{"a=1"}, ""},
		{"", []string{"a=1", "a.b=2"}, ""},
		{"", []string{"a"}, ""},
		{"", []string{"=1"}, ""},
		{"", []string{"a..b=1"}, ""},
		{"", []string{"a.=1"}, ""},
	} {
		got, err := withSets([]byte(c.doc), c.sets)
		if string(got) != c.want {
			t.Errorf("%s with %q: got %s, %v, want %s", c.doc, c.sets, got, err, c.want)
		}
		var usage *usageError
		if (c.want == "" && c.sets != nil) != errors.As(err, &usage) {
			t.Errorf("%s with %q: error %v", c.doc, c.sets, err)
		}
	}
}

// Scripts rely on the exit codes: each that the help lists is seen at work.
func TestEveryExitCodeIsScripted(t *testing.T) {
	script, err := os.ReadFile("testdata/codes.txtar")
	if err != nil {
		t.Fatal(err)
	}
	codes := regexp.MustCompile(`(?m)(?:^|\s{2,})(\d+)  \S`).FindAllStringSubmatch(exitHelp, -1)
	if len(codes) != 11 {
		t.Fatalf("the help lists %d codes: %v", len(codes), codes)
	}
	for _, c := range codes {
		if !regexp.MustCompile(`(?m)^(code ` + c[1] + ` |stdout '\^code ` + c[1] + `\$')`).Match(script) {
			t.Errorf("no line of codes.txtar ends with code %s", c[1])
		}
	}
}

func TestExitCodes(t *testing.T) {
	lost := &client.LostError{Server: "s", Err: errors.New("cut"), GaveUp: 1}
	for _, c := range []struct {
		err     error
		started bool
		want    int
	}{
		{nil, true, 0},
		{errors.New("x"), true, 1},
		{errors.New("unknown flag"), false, 2},
		{usagef("x"), true, 2},
		{fmt.Errorf("get: %w", sdk.Errorf(sdk.CodeNotFound, "x")), true, 3},
		{sdk.Errorf(sdk.CodeUnauthorized, "x"), true, 4},
		{sdk.Errorf(sdk.CodeForbidden, "x"), true, 4},
		{&client.LostError{Server: "s", Never: true, Err: errors.New("refused")}, true, 6},
		{sdk.Errorf(sdk.CodeUnavailable, "full"), true, 1},
		{lost, true, 13},
		{&hintError{lost, "x"}, true, 13},
		{quietExit(11), true, 11},
		{context.Canceled, true, 130},
	} {
		if got := exitCode(c.err, c.started); got != c.want {
			t.Errorf("%v: got %d, want %d", c.err, got, c.want)
		}
	}
	for _, c := range []struct {
		state sdk.State
		code  sdk.Code
		want  int
	}{
		{sdk.StateCompleted, "", 0}, {sdk.StateCancelled, "", 11}, {sdk.StateFailed, sdk.CodeHandlerError, 10},
		{sdk.StateFailed, sdk.CodeTimeout, 12}, {sdk.StateFailed, sdk.CodeExpired, 12}, {sdk.StateFailed, "", 10},
		{sdk.StateRunning, "", 1},
	} {
		var e *sdk.Error
		if c.code != "" {
			e = &sdk.Error{Code: c.code}
		}
		if got := taskExit(c.state, e); got != c.want {
			t.Errorf("%s %s: got %d, want %d", c.state, c.code, got, c.want)
		}
	}
}

func TestToken(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	write := func(name, text string) string {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}
	write("data/admin.token", "local\n")
	write("other/admin.token", "other\n")
	write("file", " fromfile \n")
	for _, c := range []struct {
		env             map[string]string
		dataDir, server string
		want            string // "!" for an error
	}{
		{nil, "", client.DefaultServer, "local"},
		{nil, "", "http://[::1]:1", "local"},
		{nil, "", "https://example.org", ""}, // the local token stays here
		{nil, "other", "https://example.org", "other"},
		{nil, "missing", client.DefaultServer, "!"},
		{map[string]string{"NAGATHA_TOKEN_FILE": "file"}, "other", client.DefaultServer, "fromfile"},
		{map[string]string{"NAGATHA_TOKEN_FILE": "none"}, "", client.DefaultServer, "!"},
		{map[string]string{"NAGATHA_TOKEN": "env", "NAGATHA_TOKEN_FILE": "none"}, "", "https://example.org", "env"},
	} {
		a := &app{env: c.env, dataDir: c.dataDir}
		got, err := a.token(c.server)
		if err != nil {
			got = "!"
		}
		if got != c.want {
			t.Errorf("%+v: got %q, %v", c, got, err)
		}
	}
}

// What a task says must not be able to drive a terminal.
func TestControlCharacters(t *testing.T) {
	evil := "a\x1b[2Jb\r\nc\x07\u202ed\u009be"
	if got := clean(evil); got != "a[2Jb  cde" {
		t.Errorf("clean: %q", got)
	}
	if got := string(plain([]byte(evil), true)); got != "a[2Jb\ncde" {
		t.Errorf("plain: %q", got)
	}
	if got := string(plain([]byte(evil), false)); got != evil {
		t.Errorf("what is no terminal gets it as it is: %q", got)
	}
	if strings.ContainsRune(clean("\x1b]0;title\x07"), 0x1b) {
		t.Error("an escape got through")
	}
}

// Output may be cut within a character, which a terminal gets whole; what is none stays none.
func TestPiecesAreJoined(t *testing.T) {
	for _, s := range []string{"", "grün", "日本語\n", "😀😀", "bad \xff\xfe end", "\xe2\x82", "a\xf0\x9f"} {
		for cut := range len(s) + 1 {
			for second := cut; second <= len(s); second++ {
				var p pieces
				got := ""
				for _, piece := range []string{s[:cut], s[cut:second], s[second:]} {
					got += string(p.plain([]byte(piece), true))
				}
				if got += string(plain(p.rest, true)); got != string(plain([]byte(s), true)) {
					t.Fatalf("%q cut at %d and %d: %q", s, cut, second, got)
				}
			}
		}
	}
	if got := new(pieces).plain([]byte("\xe2"), false); string(got) != "\xe2" {
		t.Errorf("what is no terminal gets %q", got)
	}
}

func TestHintOfWhatIsNotThere(t *testing.T) {
	for text, want := range map[string]string{
		`there is no task "tsk_1"`:                         `"nagatha tasks list" shows what there is`,
		`there is no token "bob"`:                          `"nagatha tokens list" shows what there is`,
		`there is no queue "nope"; config.hcl has default`: `"nagatha queues list" shows what there is`,
		`there is no plugin "nope": config.hcl had none`:   `"nagatha plugins list" shows what there is`,
		`there is nothing at this path`:                    "",
	} {
		if got := new(app).hint(sdk.Errorf(sdk.CodeNotFound, "%s", text), exitNotFound); got != want {
			t.Errorf("%s: %q, want %q", text, got, want)
		}
	}
}

func TestCheckout(t *testing.T) {
	dir := t.TempDir()
	if got := checkout(filepath.Join(dir, "bin", "nagatha")); got != "" {
		t.Errorf("no checkout: %q", got)
	}
	if err := os.WriteFile(filepath.Join(dir, "go.mod"), []byte("module "+sdkModule+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := checkout(filepath.Join(dir, "bin", "nagatha")); got != dir {
		t.Errorf("got %q, want %q", got, dir)
	}
}
